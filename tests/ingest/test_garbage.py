"""gateway/ingest/garbage.py: files that nothing names go for good before they are forgotten, and only then."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.index import store as index
from gateway.index.queries.store import ADD_GARBAGE
from gateway.ingest.garbage import Garbage
from gateway.ingest.health import Health
from tests.support.waiting import until

HOUR_S = 3600.0


class Store:
    """Notes what is done to it; `failure` is what a sync raises."""

    def __init__(self) -> None:
        self.done: list[tuple[str, object]] = []
        self.segments = self.in_segments = None
        self.failure: OSError | None = None

    def folder(self, key: str) -> str:
        return key[0]

    def erase(self, key: str) -> None:
        self.done.append(("erase", key))

    def sync(self, folders: Collection[str]) -> None:
        self.done.append(("sync", sorted(folders)))
        if self.failure is not None:
            raise self.failure

    def free_bytes(self) -> int:
        return 12345


class Reserve:
    """Full below 20 000 bytes."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def hold(self, free_bytes: int) -> None:
        self.held.append(free_bytes)

    def release_when_full(self, free_bytes: int) -> bool:
        return free_bytes < 20_000


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    yield opened
    await opened.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def reserve() -> Reserve:
    return Reserve()


@pytest_asyncio.fixture
async def garbage(
    database: SQLite, store: Store, reserve: Reserve, threads: ThreadPoolExecutor, health: Health
) -> AsyncIterator[Garbage]:
    made = Garbage(database, cast(Any, store), cast(Any, reserve), threads, health)
    yield made
    await made.close()


async def add(database: SQLite, *keys: str, age_s: float = HOUR_S) -> None:
    """Files that became garbage so long ago."""

    def script() -> Script[None]:
        for key in keys:
            yield ADD_GARBAGE, (key, time.time() - age_s)

    await database.write(script)


async def listed(database: SQLite) -> list[str]:
    return await index.garbage(database, older_than=time.time() + 2 * HOUR_S)


class TestCollecting:
    async def test_names_are_gone_for_good_before_they_are_forgotten(
        self, garbage: Garbage, store: Store, database: SQLite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = index.forget_garbage

        def forget(keys: Any) -> Script[None]:
            store.done.append(("forget", list(keys)))
            return really(keys)

        monkeypatch.setattr(index, "forget_garbage", forget)
        await add(database, "a1", "a2", "b1")
        await garbage.collect()
        assert store.done == [
            *[("erase", key) for key in ("a1", "a2", "b1")],
            ("sync", ["a", "b"]),
            ("forget", ["a1", "a2", "b1"]),
        ]
        assert await listed(database) == []

    async def test_all_there_is_however_much(self, garbage: Garbage, store: Store, database: SQLite) -> None:
        keys = [f"a{number:04}" for number in range(1100)]
        await add(database, *keys)
        await garbage.collect()
        assert [key for what, key in store.done if what == "erase"] == keys
        assert await listed(database) == []

    async def test_what_is_to_stay_a_while_stays(self, garbage: Garbage, store: Store, database: SQLite) -> None:
        await add(database, "a1", age_s=-HOUR_S)
        await garbage.collect()
        assert store.done == []
        assert await listed(database) == ["a1"]


class TestFailures:
    async def test_of_a_sync_is_the_end_of_deleting(
        self, garbage: Garbage, store: Store, database: SQLite, health: Health
    ) -> None:
        """A second sync may succeed without having written the first: nothing is forgotten, and nothing tried again."""
        store.failure = OSError(errno.EIO, os.strerror(errno.EIO))
        await add(database, "a1")
        await garbage.collect()
        assert health.failures == ["syncing the store failed: Input/output error"]
        assert await listed(database) == ["a1"]
        store.failure, store.done = None, []
        await garbage.collect()
        garbage.collect_after(0)
        assert garbage._collector is not None
        await garbage._collector
        assert store.done == []
        assert await listed(database) == ["a1"]

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
    async def test_of_descriptors_is_none_of_the_disk(
        self, garbage: Garbage, store: Store, database: SQLite, health: Health, number: int
    ) -> None:
        store.failure = OSError(number, os.strerror(number))
        await add(database, "a1")
        with pytest.raises(OSError, match="Too many open files"):
            await garbage.collect()
        assert health.sound
        assert await listed(database) == ["a1"], "it is tried again"
        store.failure = None
        await garbage.collect()
        assert await listed(database) == []

    async def test_in_the_background_is_said(
        self, garbage: Garbage, store: Store, database: SQLite, health: Health, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.failure = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        await add(database, "a1")
        garbage.collect_after(0)
        await until(lambda: "stay on disk for now" in caplog.text)
        assert health.sound


class TestLater:
    async def test_until_there_is_none(self, garbage: Garbage, database: SQLite) -> None:
        await add(database, "a1")
        garbage.collect_after(0)
        first = garbage._collector
        assert first is not None
        garbage.collect_after(0)
        assert garbage._collector is first, "one at a time"
        await first
        assert await listed(database) == []
        await add(database, "a2")
        garbage.collect_after(0)
        assert garbage._collector is not first
        await garbage._collector  # type: ignore[misc]
        assert await listed(database) == []

    async def test_the_next_start_goes_on(self, garbage: Garbage, store: Store, database: SQLite) -> None:
        await add(database, "a1")
        garbage.collect_after(HOUR_S)
        async with asyncio.timeout(10):
            await garbage.close()
        assert store.done == []
        assert await listed(database) == ["a1"]


async def test_the_reserve_is_told_what_is_free(garbage: Garbage, reserve: Reserve, store: Store) -> None:
    assert await garbage.make_room()
    await garbage.hold_reserve()
    assert reserve.held == [12345]
    store.free_bytes = lambda: 30_000  # type: ignore[method-assign]
    assert not await garbage.make_room()
