"""SQLite beyond the contract: durability settings, several processes, failing commits, backup, migrations."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.database import migrations
from gateway.database import sqlite as driver
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.errors import DatabaseError
from tests.contracts.database import ALL, DatabaseContract, Failing, put

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def database(tmp_path: Path, told: asyncio.Queue[str]) -> AsyncIterator[SQLite]:
    database = await SQLite.open(tmp_path / "index.sqlite", on_failed=told.put_nowait)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def told() -> asyncio.Queue[str]:
    """The reasons for which the database has stopped writing, as its owner was told them."""
    return asyncio.Queue()


class TestContract(DatabaseContract):
    pass


class TestVersion:
    async def test_of_what_another_process_commits(self, database: SQLite) -> None:
        before = database.data_version()
        other = await SQLite.open(database.path)
        try:
            opened = database.data_version()
            await other.write(lambda: put("theirs"))
            assert database.data_version() not in (before, opened)
            assert other.data_version() == other.data_version()
        finally:
            await other.close()

    async def test_it_holds_no_snapshot(self, database: SQLite) -> None:
        database.data_version()
        await database.write(lambda: put("a"))
        with closing(sqlite3.connect(database.path)) as connection:
            busy, _pages, _moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy

    async def test_one_that_cannot_be_read_is_always_another(self, tmp_path: Path) -> None:
        database = await SQLite.open(tmp_path / "index.sqlite")
        before = database.data_version()
        await database.close()
        assert len({before, database.data_version(), database.data_version()}) == 3


def fail(database: SQLite, statement: str, code: int, *, run: bool = False) -> Failing:
    double = Failing(database._writer._transactions._connection, statement, code, run=run)
    database._writer._transactions._connection = double  # type: ignore[assignment]
    return double


class TestFailingCommit:
    async def test_an_io_error_at_commit_is_in_doubt_and_ends_writing(
        self, database: SQLite, told: asyncio.Queue[str]
    ) -> None:
        await database.write(lambda: put("before"))
        fail(database, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC)
        async with asyncio.timeout(10):
            results = await asyncio.gather(
                *[database.write(lambda n=n: put(f"k{n}")) for n in range(5)], return_exceptions=True
            )
            await told.get()
        # The first may have had a commit of its own; those of later ones were never begun.
        assert all(isinstance(result, DatabaseError) for result in results)
        assert results[0].in_doubt  # type: ignore[union-attr]
        assert "nothing more is written" in database.failed
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda: put("after"))
        assert not caught.value.in_doubt
        assert await database.fetch(ALL) == [("before",)]

    async def test_the_outcome_may_be_that_it_was_committed(self, database: SQLite) -> None:
        fail(database, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC, run=True)
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda: put("there"))
        assert caught.value.in_doubt
        assert await database.fetch(ALL) == [("there",)]

    async def test_what_another_process_has_found_ends_writing_here(
        self, database: SQLite, told: asyncio.Queue[str]
    ) -> None:
        await database.write(lambda: put("before"))
        for _ in range(2):
            database.fail("the disk is gone")
        with pytest.raises(DatabaseError, match="the disk is gone"):
            await database.write(lambda: put("after"))
        assert (told.get_nowait(), told.empty()) == ("the disk is gone", True)
        assert await database.fetch(ALL) == [("before",)]

    async def test_a_full_disk_is_rolled_back_and_passes(self, database: SQLite) -> None:
        double = fail(database, "COMMIT", sqlite3.SQLITE_FULL)
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda: put("a"))
        assert not caught.value.in_doubt
        assert not database.failed
        double.statement = ""
        assert await database.write(lambda: put("b")) == "b"
        assert await database.fetch(ALL) == [("b",)]

    async def test_a_failed_fsync_in_a_checkpoint_ends_writing(
        self, database: SQLite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.database.transactions.CHECKPOINT_EVERY", 1)
        fail(database, "PRAGMA wal_checkpoint(PASSIVE)", sqlite3.SQLITE_IOERR_FSYNC)
        assert await database.write(lambda: put("a")) == "a"
        with pytest.raises(DatabaseError):
            await database.write(lambda: put("b"))
        assert await database.fetch(ALL) == [("a",)]

    async def test_a_transaction_that_cannot_begin(self, database: SQLite) -> None:
        double = fail(database, "BEGIN IMMEDIATE", sqlite3.SQLITE_BUSY)
        with pytest.raises(DatabaseError):
            await database.write(lambda: put("a"))
        double.statement = ""
        assert await database.write(lambda: put("b")) == "b"

    async def test_a_savepoint_that_cannot_be_undone_undoes_everything(self, database: SQLite) -> None:
        """Half of a script must never share the commit of the others."""
        fail(database, "ROLLBACK TO script", sqlite3.SQLITE_IOERR)

        def broken() -> Script[None]:
            yield from put("half")
            raise ValueError("refused")

        blocker = asyncio.ensure_future(database.write(lambda: put("first")))
        results = await asyncio.gather(
            blocker,
            database.write(lambda: put("x")),
            database.write(broken),
            database.write(lambda: put("y")),
            return_exceptions=True,
        )
        there = {key for (key,) in await database.fetch(ALL)}
        assert isinstance(results[2], ValueError)
        assert there == {result for result in results if isinstance(result, str)}


class TestTheFullDisk:
    async def test_sqlite_full_within_a_script(self, database: SQLite) -> None:
        pages = database._writer._transactions._connection.execute("PRAGMA page_count").fetchone()[0]
        database._writer._transactions._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        results = await asyncio.gather(
            *[database.write(lambda n=n: put(f"{n}" + "x" * 9000)) for n in range(30)], return_exceptions=True
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        assert failed
        assert all(isinstance(error, DatabaseError) and not error.in_doubt for error in failed)
        assert len(await database.fetch(ALL)) == 30 - len(failed)
        database._writer._transactions._connection.execute("PRAGMA max_page_count = 100000")
        assert await database.write(lambda: put("small")) == "small"


class TestBounds:
    async def test_the_queue_is_bounded(self, database: SQLite) -> None:
        database._room = asyncio.Semaphore(4)
        async with asyncio.timeout(20):
            await asyncio.gather(*[database.write(lambda n=n: put(f"k{n}")) for n in range(50)])
        assert len(await database.fetch(ALL)) == 50
        assert database._room._value == 4

    async def test_who_waits_for_room_is_not_forgotten_at_close(self, database: SQLite) -> None:
        database._room = asyncio.Semaphore(1)
        writes = [asyncio.ensure_future(database.write(lambda n=n: put(f"k{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await database.close()
            results = await asyncio.gather(*writes, return_exceptions=True)
        assert results[0] == "k0"
        assert all(isinstance(result, (str, DatabaseError)) for result in results)

    async def test_the_log_is_checkpointed(self, database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.database.transactions.CHECKPOINT_EVERY", 10)
        log = database.path.with_name("index.sqlite-wal")
        migrated = log.stat().st_size
        for n in range(200):
            await database.write(lambda n=n: put(f"k{n}" + "x" * 4000))
        assert log.stat().st_size < migrated + 50 * 8000


class TestSettings:
    async def test_commits_are_durable_and_foreign_keys_hold(self, database: SQLite) -> None:
        for name, value in (("synchronous", 2), ("foreign_keys", 1), ("journal_mode", "wal")):
            query = Query(name, f"PRAGMA {name}")

            def script(query: Query = query) -> Script[object]:
                return (yield query, ())

            assert await database.write(script) == [(value,)]
            assert await database.fetch(query) == [(value,)]

    async def test_readers_cannot_write(self, database: SQLite) -> None:
        with pytest.raises(DatabaseError):
            await database.fetch(Query("drop", "DELETE FROM garbage"))


WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.database.sqlite import SQLite
from tests.database.test_sqlite import increment

async def main():
    database = await SQLite.open(Path(sys.argv[1]))
    try:
        for _ in range(5):
            await asyncio.gather(*[database.write(increment) for _ in range(10)])
    finally:
        await database.close()

asyncio.run(main())
"""


ACKNOWLEDGING = """
import asyncio, sys
from pathlib import Path
from gateway.database.sqlite import SQLite
from tests.contracts.database import put

async def main():
    database = await SQLite.open(Path(sys.argv[1]))

    async def writer(name):
        for n in range(100000):
            print(await database.write(lambda: put(f"{name}-{n:06}")), flush=True)

    await asyncio.gather(*[writer(name) for name in "abcd"])

asyncio.run(main())
"""


def increment() -> Script[int]:
    """Reads, then writes what it read plus one: wrong as soon as two of them run at once."""
    rows = yield Query("n", "SELECT at FROM garbage WHERE key = 'n'"), ()
    found = rows[0][0] if rows else 0.0
    yield (
        Query("set", "INSERT INTO garbage (key, at) VALUES ('n', $1) ON CONFLICT (key) DO UPDATE SET at = $1"),
        (found + 1,),
    )
    return int(found + 1)


class TestProcesses:
    async def test_writers_of_several_processes_take_turns(self, database: SQLite) -> None:
        workers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(database.path), cwd=ROOT)
            for _ in range(2)
        ]
        for _ in range(5):
            await asyncio.gather(*[database.write(increment) for _ in range(10)])
        async with asyncio.timeout(30):
            assert [await worker.wait() for worker in workers] == [0, 0]
        assert await database.fetch(Query("n", "SELECT at FROM garbage WHERE key = 'n'")) == [(150.0,)]

    async def test_a_killed_writer_keeps_its_word_and_leaves_no_lock(self, database: SQLite) -> None:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ACKNOWLEDGING, str(database.path)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdout is not None
        async with asyncio.timeout(30):
            acknowledged = [(await worker.stdout.readline()).decode().strip() for _ in range(200)]
            worker.kill()
            rest, _ = await worker.communicate()
            acknowledged += [line for line in rest.decode().split("\n")[:-1] if line]
            assert await database.write(lambda: put("after")) == "after"
        there = {key for (key,) in await database.fetch(ALL)}
        assert set(acknowledged) <= there


class TestBackup:
    async def test_a_backup_under_writes_is_whole(self, database: SQLite, tmp_path: Path) -> None:
        for n in range(50):
            await database.write(lambda n=n: put(f"k{n:03}"))
        target = tmp_path / "copy.sqlite"
        backup = asyncio.ensure_future(database.backup(target))
        for n in range(50, 100):
            await database.write(lambda n=n: put(f"k{n:03}"))
        await backup
        with closing(sqlite3.connect(target)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            keys = [key for (key,) in copy.execute("SELECT key FROM garbage ORDER BY key")]
        assert 50 <= len(keys) <= 100
        assert keys == [f"k{n:03}" for n in range(len(keys))]
        assert not list(tmp_path.glob("*.partial*"))
        again = await SQLite.open(target)
        try:
            assert len(await again.fetch(ALL)) == len(keys)
        finally:
            await again.close()

    async def test_a_backup_overwrites_nothing(self, database: SQLite, tmp_path: Path) -> None:
        target = tmp_path / "mine"
        target.write_text("mine")
        with pytest.raises(DatabaseError, match="exists"):
            await database.backup(target)
        assert target.read_text() == "mine"

    async def test_a_backup_that_cannot_be_written(self, database: SQLite, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError):
            await database.backup(tmp_path / "no" / "such" / "folder")


class TestOpening:
    async def test_what_was_written_is_there_after_opening_again(self, tmp_path: Path) -> None:
        for n in range(3):
            database = await SQLite.open(tmp_path / "i.sqlite")
            try:
                assert await database.fetch(ALL) == [(f"{k}",) for k in range(n)]
                await database.write(lambda n=n: put(f"{n}"))
            finally:
                await database.close()

    async def test_a_damaged_file_is_named_with_the_remedy(self, tmp_path: Path) -> None:
        path = tmp_path / "i.sqlite"
        await (await SQLite.open(path)).close()
        with path.open("r+b") as file:
            file.write(b"no database".ljust(4096, b"."))
        with pytest.raises(DatabaseError, match=r"the index is damaged; restore a backup, or .*reindex"):
            await SQLite.open(path)

    async def test_a_newer_schema_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "i.sqlite"
        await (await SQLite.open(path)).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO schema_version VALUES (99, 'future', 0)")
            connection.commit()
        with pytest.raises(DatabaseError, match=r"schema version 99.*newer release"):
            await SQLite.open(path)

    async def test_a_migration_that_fails_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "i.sqlite"
        await (await SQLite.open(path)).close()
        known = migrations.migrations()
        bad = migrations.Migration(len(known) + 1, "bad", "CREATE TABLE half (a TEXT); SELECT nothing FROM nowhere;")
        good = migrations.Migration(len(known) + 1, "good", "-- a comment;\nCREATE TABLE more (id {key}, a TEXT);")
        monkeypatch.setattr(migrations, "migrations", lambda: (*known, bad))
        with pytest.raises(DatabaseError):
            await SQLite.open(path)
        monkeypatch.setattr(migrations, "migrations", lambda: (*known, good))
        database = await SQLite.open(path)
        try:
            tables = await database.fetch(Query("tables", "SELECT name FROM sqlite_schema WHERE type = 'table'"))
            versions = await database.fetch(Query("versions", "SELECT version FROM schema_version ORDER BY version"))
        finally:
            await database.close()
        assert ("more",) in tables
        assert ("half",) not in tables
        assert versions == [(n,) for n in range(1, len(known) + 2)]

    async def test_something_else_is_not_taken_for_a_database(self, tmp_path: Path) -> None:
        path = tmp_path / "i.sqlite"
        path.write_bytes(b"this is no database, it is a text file\n" * 100)
        with pytest.raises(DatabaseError, match=r"cannot be opened"):
            await SQLite.open(path)
        with pytest.raises(DatabaseError, match=r"cannot be opened"):
            await SQLite.open(tmp_path / "no" / "i.sqlite")

    async def test_a_network_file_system_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.database.network.file_system", lambda path, mounts: "nfs4")
        with pytest.raises(DatabaseError, match="network file system"):
            await SQLite.open(tmp_path / "i.sqlite")

    async def test_pragmas_that_fail_leave_nothing_open(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = driver._prepare

        def prepare(path: Path, lock_path: Path) -> sqlite3.Connection:
            connection = real(path, lock_path)
            monkeypatch.setattr(driver, "PRAGMAS", ("PRAGMA nonsense(",))
            return connection

        monkeypatch.setattr(driver, "_prepare", prepare)
        with pytest.raises(DatabaseError):
            await SQLite.open(tmp_path / "i.sqlite")
