"""The change log as it is read, and waiting for it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.database.sqlite import SQLite
from gateway.database.view import seeing
from gateway.errors import DatabaseError
from gateway.events.changes import last_change, read_changes
from gateway.events.feed import Feed
from gateway.index.store import Stored
from gateway.index.visibility import visible
from tests.support.index import data_set, fill, store
from tests.support.waiting import until


async def test_the_log_in_pages(database: SQLite) -> None:
    assert await last_change(database) == 0
    await fill(database, [data_set() for _ in range(5)])
    everything = (await read_changes(database)).changes
    assert [change.seq for change in everything] == list(range(1, 9))
    assert await last_change(database) == 8
    assert (await read_changes(database, since=3, limit=2)).changes == everything[3:5]
    assert (await read_changes(database, since=8)).changes == []


async def test_a_change_that_is_there_already(database: SQLite) -> None:
    feed = Feed(database)
    await fill(database, [data_set()])
    async with asyncio.timeout(10):
        assert await feed.wait_change(0, 60.0) == 4
    await feed.close()


async def test_it_sees_everything_whoever_waits_first(database: SQLite) -> None:
    """What one reader does not see is news for the others all the same."""
    feed = Feed(database, poll_seconds=0.01)
    await fill(database, [data_set()])
    async with asyncio.timeout(10):
        with seeing(visible([])):
            assert await feed.wait_change(0, 60.0) == 4
            waiting = asyncio.create_task(feed.wait_change(4, 60.0))
            await until(lambda: bool(feed._waiters))
        await fill(database, [data_set("1.2.4")])
        assert await waiting == 7
    await feed.close()


async def test_a_change_of_this_process_wakes_every_waiter_at_once(database: SQLite) -> None:
    feed = Feed(database, poll_seconds=3600)
    waiters = [asyncio.create_task(feed.wait_change(0, 60.0)) for _ in range(3)]
    later = asyncio.create_task(feed.wait_change(10**6, 0.2))
    await until(lambda: bool(feed._waiters))
    stored = await store(database, data_set())
    assert isinstance(stored, Stored)
    feed.notify(stored.change)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiters) == [stored.change] * 3
        assert await later == stored.change
    assert not feed._waiters
    await feed.close()


async def test_a_change_of_another_process_is_noticed(database: SQLite) -> None:
    feed = Feed(database, poll_seconds=0.01)
    other = await SQLite.open(database.path)
    try:
        waiter = asyncio.create_task(feed.wait_change(0, 60.0))
        await until(lambda: bool(feed._waiters))
        await fill(other, [data_set()])
        async with asyncio.timeout(10):
            assert await waiter == 4
    finally:
        await other.close()
        await feed.close()


async def test_time_is_over(database: SQLite) -> None:
    feed = Feed(database, poll_seconds=0.01)
    async with asyncio.timeout(10):
        assert await feed.wait_change(0, 0.02) == 0
        await until(lambda: feed._poller is None or feed._poller.done())  # nobody waits: nobody asks
        assert await feed.wait_change(0, 0.02) == 0
    await feed.close()


async def test_a_log_that_cannot_be_read_for_a_while(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(database, poll_seconds=0.001)
    waiter = asyncio.create_task(feed.wait_change(0, 60.0))
    await until(lambda: bool(feed._waiters))
    broken = asyncio.Event()

    async def fail(_database: SQLite) -> int:
        broken.set()
        raise DatabaseError("gone")

    monkeypatch.setattr("gateway.events.feed.last_change", fail)
    async with asyncio.timeout(10):
        await broken.wait()
        monkeypatch.undo()
        await fill(database, [data_set()])
        assert await waiter == 4
    await feed.close()


async def test_sequence_numbers_outlive_their_rows(database: SQLite, tmp_path: Path) -> None:
    await fill(database, [data_set()])
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("DELETE FROM changes")
        connection.commit()
    stored = await store(database, data_set())
    assert isinstance(stored, Stored)
    assert stored.change == 5
