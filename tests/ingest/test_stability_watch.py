"""What the watch says in the change log: series that are complete, and what is stable, over restarts too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.events.changes import read_changes
from gateway.index.remove import remove_resource
from gateway.ingest.stability_watch import StabilityWatch
from tests.support.index import data_set, origin, placement, store
from tests.support.waiting import until

STABLE = ("StableSeries", "StableStudy", "StablePatient")


class Clock:
    """The time of the watch, which the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    made = await SQLite.open(tmp_path / "index.sqlite")
    yield made
    await made.close()


async def kinds(database: SQLite, *wanted: str) -> list[str]:
    return [change.kind for change in (await read_changes(database, kinds=wanted)).changes]


async def test_what_receives_nothing_for_a_minute_is_stable(database: SQLite) -> None:
    clock, told = Clock(), list[int]()
    watch = StabilityWatch(database, told.append, clock=clock)
    await store(database, data_set())
    await watch.look()
    clock.now += 59.9
    await watch.look()
    assert await kinds(database, *STABLE) == []
    clock.now += 0.2
    await watch.look()
    assert await kinds(database, *STABLE) == list(STABLE)
    assert told == [7]
    clock.now += 1000
    await watch.look()
    assert await kinds(database, *STABLE) == list(STABLE)


async def test_what_comes_during_a_look_is_for_the_next(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy intake is not followed entry by entry, each with a commit of its own."""
    watch, write, commits = StabilityWatch(database), database.write, 0

    async def write_while_more_comes(script: Callable[[], Script[object]]) -> object:
        nonlocal commits
        commits += 1
        monkeypatch.undo()
        await store(database, data_set(sop=f"1.2.3.1.{commits}"))
        monkeypatch.setattr(database, "write", write_while_more_comes)
        return await write(script)

    await store(database, data_set())
    monkeypatch.setattr(database, "write", write_while_more_comes)
    async with asyncio.timeout(10):
        await watch.look()
    assert commits == 1


async def test_what_receives_more_is_stable_later(database: SQLite) -> None:
    clock = Clock()
    watch = StabilityWatch(database, clock=clock)
    await store(database, data_set(series="1.2.3.1"))
    await watch.look()
    clock.now += 40
    await store(database, data_set(series="1.2.3.2"), came=origin(1040.0))
    await watch.look()
    clock.now += 40
    await watch.look()
    (first,) = (await read_changes(database, kinds=STABLE)).changes
    assert first.kind == "StableSeries"
    clock.now += 40
    await watch.look()
    assert (await kinds(database, *STABLE))[1:] == list(STABLE)


async def test_stable_while_no_gateway_runs(database: SQLite) -> None:
    clock = Clock()
    await store(database, data_set())
    await StabilityWatch(database, clock=clock).look()
    clock.now += 3600
    await StabilityWatch(database, clock=clock).look()
    assert await kinds(database, *STABLE) == list(STABLE)


async def test_arrivals_of_the_last_moments_before_a_crash(database: SQLite) -> None:
    clock = Clock()
    await store(database, data_set())  # and nothing looked at it
    await StabilityWatch(database, clock=clock).look()
    clock.now += 61
    await StabilityWatch(database, clock=clock).look()
    assert await kinds(database, *STABLE) == list(STABLE)


async def test_a_clock_that_is_set_back(database: SQLite) -> None:
    clock = Clock()
    clock.now = 100_000.0
    watch = StabilityWatch(database, clock=clock)
    await store(database, data_set())
    await watch.look()
    clock.now = 1000.0
    await watch.look()
    clock.now += 61
    await watch.look()
    assert await kinds(database, *STABLE) == list(STABLE)


async def test_what_has_gone_is_not_stable(database: SQLite) -> None:
    clock = Clock()
    watch = StabilityWatch(database, clock=clock)
    await store(database, data_set())
    await watch.look()
    await database.write(lambda: remove_resource("patient", 1, 1.0, 1.0))
    clock.now += 61
    await watch.look()
    assert await kinds(database, *STABLE) == []


async def test_a_new_version_counts_as_an_arrival_and_other_changes_do_not(database: SQLite) -> None:
    clock = Clock()
    watch = StabilityWatch(database, clock=clock)
    first = placement()
    await store(database, data_set(sop="1.5"), first)
    await watch.look()
    clock.now += 61
    await watch.look()
    await store(database, data_set(sop="1.5"), came=origin(1061.0), replaces=first.key)
    await watch.look()
    clock.now += 61
    await watch.look()
    assert await kinds(database, *STABLE) == list(STABLE) * 2


async def test_a_series_with_all_its_instances(database: SQLite) -> None:
    watch = StabilityWatch(database, clock=Clock())
    for number in (1, 2, 3):
        await store(
            database, data_set(InstanceNumber=str(number), ImagesInAcquisition="3", NumberOfTemporalPositions="1")
        )
        await watch.look()
        assert await kinds(database, "CompletedSeries") == ["CompletedSeries"] * (number == 3)


async def test_runs_until_it_is_closed(database: SQLite) -> None:
    await store(database, data_set())
    told = list[int]()
    watch = StabilityWatch(database, told.append, age=0.0)
    watch.start()
    await until(lambda: told)
    await watch.close()
    assert told == [7]
