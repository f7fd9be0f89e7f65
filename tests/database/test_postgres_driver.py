"""PostgreSQL beyond the contract: what SQLite answers, several processes, lost connections, failing commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.database import migrations
from gateway.database.database import Query, Script
from gateway.database.postgres import PostgreSQL
from gateway.database.postgres_transactions import PostgresTransactions
from gateway.errors import DatabaseError
from tests.contracts.database import ALL, GET, DatabaseContract, put
from tests.database.test_sqlite import increment
from tests.support.postgres import new_database
from tests.support.waiting import until

pytestmark = pytest.mark.interop


@pytest.fixture
async def database(postgres_url: str, tmp_path: Path) -> AsyncIterator[PostgreSQL]:
    database = await PostgreSQL.open(postgres_url, lock_path=tmp_path / "write.lock")
    try:
        yield database
    finally:
        await database.close()


class TestContract(DatabaseContract):
    pass


async def open_again(url: str, lock_path: Path) -> PostgreSQL:
    return await PostgreSQL.open(url, lock_path=lock_path)


async def end_connections(url: str) -> None:
    """Have the server end every connection but the one that asks."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


class TestWriters:
    async def test_the_version_of_what_another_process_commits(
        self, database: PostgreSQL, postgres_url: str, tmp_path: Path
    ) -> None:
        other = await open_again(postgres_url, tmp_path / "write.lock")
        try:
            before = database.data_version()
            await other.write(lambda: put("theirs"))
            assert database.data_version() == other.data_version() != before
        finally:
            await other.close()

    @pytest.mark.parametrize("lock", ["write.lock", "another.lock"])
    async def test_they_take_turns(self, database: PostgreSQL, postgres_url: str, tmp_path: Path, lock: str) -> None:
        """By the lock file, and by the server's lock where that file does not help."""
        other = await open_again(postgres_url, tmp_path / lock)
        try:
            async with asyncio.timeout(50):
                for _ in range(5):
                    await asyncio.gather(*[each.write(increment) for _ in range(5) for each in (database, other)])
        finally:
            await other.close()
        assert await database.fetch(GET, "n") == [(50.0,)]


class TestLostConnections:
    async def test_they_are_opened_again(self, database: PostgreSQL, postgres_url: str) -> None:
        await database.write(lambda: put("before"))
        await database.fetch(ALL)
        await end_connections(postgres_url)
        assert await database.write(lambda: put("after")) == "after"
        assert await database.fetch(ALL) == [("after",), ("before",)]

    async def test_one_that_is_lost_in_a_transaction_undoes_it(self, database: PostgreSQL, postgres_url: str) -> None:
        own = Query("own", "SELECT pg_terminate_backend(pg_backend_pid())")

        def script() -> Script[None]:
            yield from put("half")
            yield own, ()

        before = database.data_version()
        with pytest.raises(DatabaseError, match="the connection to PostgreSQL was lost") as caught:
            await database.write(script)
        assert not caught.value.in_doubt
        assert not database.failed
        assert await database.write(lambda: put("whole")) == "whole"
        assert await database.fetch(ALL) == [("whole",)]
        assert database.data_version() != before

    async def test_one_that_is_lost_at_its_commit_is_in_doubt(self, database: PostgreSQL) -> None:
        await database.write(lambda: put("before"))
        connection = database._connection
        assert connection is not None

        async def execute(statement: str) -> str:
            if statement != "COMMIT":
                return str(await type(connection).execute(connection, statement))
            connection.terminate()
            raise ConnectionResetError

        database._connection = Double(connection, execute)
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda: put("perhaps"))
        assert caught.value.in_doubt
        assert database.data_version() != database.data_version()  # Until the next commit nobody knows.
        await database.write(lambda: put("after"))
        assert database.data_version() == database.data_version()

    async def test_one_that_asyncpg_has_lost_track_of_is_not_used_again(self, database: PostgreSQL) -> None:
        """As it says when a server that is stopped ends the connection between two of its messages."""
        await database.write(lambda: put("before"))
        connection = database._connection
        assert connection is not None

        async def execute(_statement: str) -> str:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

        database._connection = Double(connection, execute)
        assert await database.write(lambda: put("again")) == "again"
        assert connection.is_closed()
        assert await database.write(lambda: put("after")) == "after"
        assert await database.fetch(ALL) == [("after",), ("again",), ("before",)]

    async def test_in_a_process_that_stores(self, postgres_url: str, tmp_path: Path) -> None:
        lock = tmp_path / "write.lock"
        await (await open_again(postgres_url, lock)).close()
        transactions = await asyncio.to_thread(PostgresTransactions, postgres_url, lock)
        try:
            with transactions.turn():
                ((result, error),) = await asyncio.to_thread(transactions.commit, [lambda: put("a")])
            assert (result, error) == ("a", None)
            await asyncio.to_thread(transactions.check)
            assert not transactions.lost
            await end_connections(postgres_url)

            def is_lost() -> str:
                transactions.check()
                return transactions.lost

            assert await until(lambda: asyncio.to_thread(is_lost))
            ((result, error),) = await asyncio.to_thread(transactions.commit, [lambda: put("b")])
            assert isinstance(error, DatabaseError)
        finally:
            await asyncio.to_thread(transactions.close)


class Double:
    """A connection with another way to execute."""

    def __init__(self, connection: asyncpg.Connection, execute: Callable[[str], Awaitable[str]]) -> None:
        self._connection = connection
        self.execute = execute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class TestOpening:
    async def test_a_newer_schema_is_refused(self, database: PostgreSQL, postgres_url: str, tmp_path: Path) -> None:
        await database.write(lambda: one(Query("newer", "INSERT INTO schema_version VALUES (99, 'future', 0)")))
        with pytest.raises(DatabaseError, match=r"schema version 99.*newer release"):
            await open_again(postgres_url, tmp_path / "write.lock")

    async def test_a_migration_that_fails_changes_nothing(
        self, database: PostgreSQL, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = migrations.migrations()
        bad = migrations.Migration(len(known) + 1, "bad", "CREATE TABLE half (a TEXT); SELECT nothing FROM nowhere;")
        monkeypatch.setattr(migrations, "migrations", lambda: (*known, bad))
        with pytest.raises(DatabaseError, match="nowhere"):
            await open_again(postgres_url, tmp_path / "write.lock")
        tables = await database.fetch(Query("tables", "SELECT 1 FROM pg_tables WHERE tablename = 'half'"))
        assert tables == []

    async def test_several_that_migrate_at_once(self, postgres_server: str, tmp_path: Path) -> None:
        async with new_database(postgres_server, "unmigrated") as url:
            opened = await asyncio.gather(*[open_again(url, tmp_path / "write.lock") for _ in range(3)])
            try:
                versions = await opened[0].fetch(Query("versions", "SELECT COUNT(*) FROM schema_version"))
                assert versions == [(len(migrations.migrations()),)]
            finally:
                for each in opened:
                    await each.close()

    async def test_where_nobody_answers_the_password_is_not_shown(self, tmp_path: Path) -> None:
        url = f"postgresql://somebody:secret@/archive?host={tmp_path}"
        with pytest.raises(DatabaseError, match="postgresql://somebody@/archive: cannot be opened") as caught:
            await open_again(url, tmp_path / "write.lock")
        assert "secret" not in str(caught.value)


def one(query: Query) -> Script[None]:
    yield query, ()
