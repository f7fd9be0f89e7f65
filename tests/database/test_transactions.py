"""Writing from beside the process that has opened the database: turns, checkpoints, and a death in a commit."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.database import transactions as module
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.database.transactions import Transactions, transactions
from gateway.errors import DatabaseError
from gateway.index.store import tombstone_if_uncommitted
from tests.contracts.database import ALL, Failing, put

_SYNCHRONOUS = Query("synchronous: of this connection", "PRAGMA synchronous")
WAL_INDEX_HEADER = 96
"""Bytes of the two copies that say how much of the log is committed."""
DIES_IN_A_COMMIT = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("INSERT INTO garbage (key, at) VALUES ('ghost', 1)")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    database = await SQLite.open(tmp_path / "index.sqlite")
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def beside(database: SQLite) -> Iterator[Transactions]:
    with closing(transactions(database.path, lock_of(database))) as beside:
        yield beside


def lock_of(database: SQLite) -> Path:
    return database.path.with_name("index.sqlite.lock")


async def keys(database: SQLite) -> list[str]:
    return [key for (key,) in await database.fetch(ALL)]


async def test_both_see_what_the_other_has_committed(database: SQLite, beside: Transactions) -> None:
    for number in range(10):
        await database.write(lambda number=number: put(f"a{number}"))  # type: ignore[misc]
        with beside.turn():
            assert beside.commit([lambda number=number: put(f"b{number}")]) == [(f"b{number}", None)]  # type: ignore[misc]
        assert len(await keys(database)) == 2 * number + 2
    with beside.turn():
        ((_, error),) = beside.commit([lambda: put("a1")])
    assert isinstance(error, DatabaseError)


async def test_nobody_else_writes_during_a_turn(database: SQLite, beside: Transactions) -> None:
    with beside.turn():
        writing = asyncio.ensure_future(database.write(lambda: put("later")))
        beside.commit([lambda: put("first")])
        done, _ = await asyncio.wait([writing], timeout=0.1)
        assert not done
        assert await keys(database) == ["first"]
    async with asyncio.timeout(10):
        assert await writing == "later"


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"no database at all, and long enough to be read as one" * 10)
    for name in ("other", "missing"):
        with pytest.raises(DatabaseError, match="cannot be opened"):
            transactions(tmp_path / name, tmp_path / "lock")


@pytest.mark.case("a file that is refused leaves no connection open")
def test_a_file_that_is_refused_leaves_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 warns of those that are left to the garbage collector; older versions say nothing."""
    (tmp_path / "other").write_bytes(b"no database at all, and long enough to be read as one" * 10)
    made: list[sqlite3.Connection] = []
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(real(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        transactions(tmp_path / "other", tmp_path / "lock")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


class TestCheckpoint:
    """Copies the log into the database, in a turn, when so many scripts have been written; `commit` never does."""

    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "CHECKPOINT_EVERY", 3)

    async def test_when_it_is_time(
        self, database: SQLite, beside: Transactions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = database.path.stat().st_mtime_ns
        turns: list[int] = []
        real = fcntl.flock
        monkeypatch.setattr(fcntl, "flock", lambda lock, kind: (turns.append(kind), real(lock, kind)))
        for number in range(3):
            beside.checkpoint()
            assert (turns, database.path.stat().st_mtime_ns) == ([], before)
            beside.commit([lambda number=number: put(f"k{number}")])  # type: ignore[misc]
        beside.checkpoint()
        assert turns == [fcntl.LOCK_EX, fcntl.LOCK_UN]
        assert database.path.stat().st_mtime_ns > before
        beside.checkpoint()
        assert len(turns) == 2

    @pytest.mark.parametrize(("code", "ends"), [(sqlite3.SQLITE_IOERR_FSYNC, True), (sqlite3.SQLITE_FULL, False)])
    async def test_one_that_fails(self, beside: Transactions, code: int, ends: bool) -> None:
        beside._connection = Failing(beside._connection, "PRAGMA wal_checkpoint(PASSIVE)", code)  # type: ignore[assignment]
        with beside.turn():
            beside.commit([lambda: put("a"), lambda: put("b"), lambda: put("c")])
        beside.checkpoint()
        assert bool(beside.failure) is ends
        with beside.turn():
            ((_, error),) = beside.commit([lambda: put("d")])
        assert isinstance(error, DatabaseError) is ends

    async def test_no_turn(self, beside: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError("no locks")

        beside.commit([lambda: put("a"), lambda: put("b"), lambda: put("c")])
        monkeypatch.setattr(fcntl, "flock", fail)
        beside.checkpoint()
        assert beside.failure == ""


class TestADeathInACommit:
    """The commit record is on the disk, and the index of the log does not say so yet.

    Nobody sees such a commit, and the next start finds it. What must be sure that it never comes back writes.
    """

    @pytest.fixture
    async def haunted(self, database: SQLite) -> SQLite:
        await database.write(lambda: put("before"))
        index = database.path.with_name("index.sqlite-shm").open("r+b")
        with index:
            header = index.read(WAL_INDEX_HEADER)
            died = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES_IN_A_COMMIT, str(database.path))
            assert await died.wait() == -signal.SIGKILL
            os.pwrite(index.fileno(), header, 0)
        return database

    async def after_a_restart(self, database: SQLite, to: Path) -> list[str]:
        """What somebody finds who has the files only: all processes have died."""
        to.mkdir()
        for name in ("index.sqlite", "index.sqlite-wal"):
            shutil.copy(database.path.with_name(name), to)
        again = await SQLite.open(to / "index.sqlite")
        try:
            return await keys(again)
        finally:
            await again.close()

    async def test_it_comes_back(self, haunted: SQLite, tmp_path: Path) -> None:
        assert await keys(haunted) == ["before"]
        assert await self.after_a_restart(haunted, tmp_path / "again") == ["before", "ghost"]

    async def test_who_disowns_is_sure(self, haunted: SQLite, tmp_path: Path) -> None:
        assert await haunted.write(lambda: tombstone_if_uncommitted("0" * 26, 1.0)) is True
        assert await self.after_a_restart(haunted, tmp_path / "again") == ["0" * 26, "before"]


class TestFlushes:
    """2 is FULL: the commit is flushed. 1 is NORMAL: a later one flushes it."""

    async def test_what_need_not_be_durable_is_not_flushed(self, database: SQLite) -> None:
        levels = [await database.write(_level, durably=durably) for durably in (True, False, True)]
        assert levels == [2, 1, 2]

    async def test_together_with_what_must_be_it_is(self, database: SQLite) -> None:
        with lock_of(database).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            writing = [asyncio.ensure_future(database.write(_level, durably=durably)) for durably in (False, True)]
            await asyncio.sleep(0)
            fcntl.flock(lock, fcntl.LOCK_UN)
            async with asyncio.timeout(10):
                assert await asyncio.gather(*writing) == [2, 2]


def _level() -> Script[int]:
    ((level,),) = yield _SYNCHRONOUS, ()
    return int(level)
