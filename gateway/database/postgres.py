"""PostgreSQL as the index: opening, migrations, reading, writing.

One task writes, many scripts in a commit; a few connections read. A connection that is lost costs those who used it an
error, and is opened again by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import asyncpg

from gateway.config.addresses import without_password
from gateway.database import migrations
from gateway.database.commit_counter import CommitCounter
from gateway.database.companion import accompanied
from gateway.database.database import Database, Query, Row, Script
from gateway.database.postgres_connection import (
    ERRORS,
    connect,
    failed,
    fetch,
    is_lost,
    pool_of,
    schema_of,
)
from gateway.database.postgres_transactions import BEGIN, ConnectionLost, commit
from gateway.database.queries import (
    ADD_VERSION,
    BIND_DATA_FOLDER,
    BOUND_DATA_FOLDER,
    CREATE_DATA_FOLDER,
    CREATE_VERSION,
    READ_VERSION,
)
from gateway.database.transactions import Outcome, refused
from gateway.database.view import VIEW, through_view
from gateway.database.writer import MAX_BATCH, MAX_QUEUED, QueuedScript
from gateway.database.writers_lock import WritersLock
from gateway.errors import DatabaseError
from gateway.supervision import lasting
from gateway.telemetry import COMMIT_ROWS

T = TypeVar("T")

READERS: Final = 4
"""Connections of a process that read, at most."""
_CLOSE_S: Final = 2.0
_ID_BYTES: Final = 16


class PostgreSQL(Database):
    """One database of a server. Open it with `await PostgreSQL.open(...)`, and close it."""

    def __init__(
        self, url: str, pool: asyncpg.Pool, schema: str, lock_path: Path, on_failed: Callable[[str], None]
    ) -> None:
        self.url = url
        self._on_failed = on_failed
        self._pool = pool
        self._schema = schema
        self._lock = WritersLock(lock_path)
        self._counter = CommitCounter(lock_path)
        self._failure = ""
        self._closed = False
        self._room = asyncio.Semaphore(MAX_QUEUED)
        self._queue: deque[QueuedScript] = deque()
        self._queued = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._writing = asyncio.get_running_loop().create_task(lasting("writing to PostgreSQL", self._write_all))

    @classmethod
    async def open(cls, url: str, *, lock_path: Path, on_failed: Callable[[str], None] = lambda reason: None) -> Self:
        """Connect, migrate the schema, start the writer.

        `lock_path` is the file that serializes writers of several processes of a data folder. `on_failed` is called
        once, with the reason, when writing has stopped for good. Raises: DatabaseError: nobody answers there, it cannot
        be used, or it has a newer schema.
        """
        connection = await connect(url)
        try:
            schema = await schema_of(connection)
            await _migrate(connection)
        except ERRORS as error:
            raise failed(f"{without_password(url)}: cannot be opened", error) from error
        finally:
            connection.terminate()
        pool = await pool_of(url, READERS)
        try:
            return cls(url, pool, schema, lock_path, on_failed)
        except OSError as error:
            await pool.close()
            raise DatabaseError(f"{lock_path}: cannot be opened: {error.strerror}") from error

    @property
    def failed(self) -> str:
        """The reason why writing has stopped; '' while it has not."""
        return self._failure

    async def is_bound(self, marker: Path) -> bool:
        """Whether the database is that of the data folder with this marker; False if it is no folder's yet.

        Raises: DatabaseError, when it is another folder's: two of them would take each other's rows for their own.
        """
        rows = await self.fetch(BOUND_DATA_FOLDER)
        if not rows:
            return False
        if rows[0][0] != await asyncio.to_thread(_marked, marker):
            raise DatabaseError(
                f"{without_password(self.url)} is the index of another data folder than {marker.parent}; name that "
                "one, or an empty database"
            )
        return True

    async def bind(self, marker: Path) -> None:
        """Make this the database of a data folder, by a marker in both. Raises: DatabaseError."""
        name = await asyncio.to_thread(_mark, marker)
        await self.write(lambda: _bind(name))

    async def fetch(self, query: Query, *parameters: object) -> list[Row]:
        values: Any = parameters
        if (view := VIEW.get()) is not None:
            query, values = view.narrow(query, values, self._schema)
        for is_last in (False, True):
            try:
                async with self._pool.acquire() as connection:
                    try:
                        return await fetch(connection, query, values)
                    except ERRORS as error:
                        # The server may have restarted since this connection was used.
                        if is_last or not is_lost(connection, error):
                            raise
            except ERRORS as error:
                raise failed(query.name, error) from error
        raise AssertionError

    def data_version(self) -> int:
        return self._counter.current()

    async def write(self, script: Callable[[], Script[T]], *, durably: bool = True) -> T:
        # Always durable: a server that crashes would undo it while whoever has written it, such as a runner that has
        # claimed a job, goes on.
        await self._room.acquire()
        if self._failure or self._closed:
            self._room.release()
            raise refused(self._failure or f"{without_password(self.url)} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with accompanied(through_view(script, self._schema)) as all_of_it:
            self._queue.append(QueuedScript(all_of_it, future, durably=True))
            self._queued.set()
            return await future

    def fail(self, reason: str) -> None:
        """Stop writing: another writer has found that the disk can no longer be trusted."""
        if not self._failure:
            self._failure = reason
            self._on_failed(reason)

    async def close(self) -> None:
        """Finish queued scripts, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._queued.set()
        await self._writing
        if self._connection is not None:
            await _close(self._connection)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._pool.close()
        except ERRORS:
            self._pool.terminate()
        self._counter.close()
        self._lock.close()

    async def _write_all(self) -> None:
        while not self._closed or self._queue:
            await self._queued.wait()
            self._queued.clear()
            while self._queue:
                await self._write_batch()

    async def _write_batch(self) -> None:
        waiting: list[QueuedScript] = []
        outcomes: list[Outcome] = []
        try:
            if not self._lock.acquire(waits=False):
                await asyncio.to_thread(self._lock.acquire)
            try:
                # Taken only now: what was queued while another process wrote shares this commit.
                waiting = self._take()
                if waiting:
                    outcomes = await self._commit([each.script for each in waiting])
            finally:
                self._lock.release()
        except Exception as error:  # A fault of the program, too, must leave nobody waiting.
            waiting = waiting or self._take()
            outcomes = [(None, error)] * len(waiting)
        for each, (result, failure) in zip(waiting, outcomes, strict=True):
            self._room.release()
            if each.future.done():
                continue
            if failure is None:
                each.future.set_result(result)
            else:
                each.future.set_exception(failure)

    def _take(self) -> list[QueuedScript]:
        taken: list[QueuedScript] = []
        while self._queue and len(taken) < MAX_BATCH:
            if (each := self._queue.popleft()).future.cancelled():
                self._room.release()
            else:
                taken.append(each)
        return taken

    async def _commit(self, scripts: list[Callable[[], Script[Any]]]) -> list[Outcome]:
        """Commit, with a new connection if the last one was lost. Raises: DatabaseError."""
        if self._failure:
            return [(None, refused(self._failure)) for _ in scripts]
        for is_last in (False, True):
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self.url)
            try:
                outcomes = await commit(self._connection, self._counter, scripts)
            except ConnectionLost as error:
                self._connection.terminate()
                self._connection = None
                # That the server has ended it while nobody used it may be noticed only now.
                if is_last or error.in_doubt:
                    raise
            else:
                COMMIT_ROWS.observe(len(scripts))
                return outcomes
        raise AssertionError


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=_CLOSE_S)
    except ERRORS:
        connection.terminate()


async def _migrate(connection: asyncpg.Connection) -> None:
    """Run all pending migrations in one transaction, one process at a time. Raises: DatabaseError; ERRORS."""
    await connection.execute(BEGIN[True])
    for query in (CREATE_VERSION, CREATE_DATA_FOLDER):
        await connection.execute(query.sql)
    current = await connection.fetchval(READ_VERSION.sql)
    for migration in migrations.pending(current):
        for statement in migration.statements(migrations.POSTGRESQL):
            await connection.execute(statement)
        await connection.execute(ADD_VERSION.sql, migration.version, migration.name, time.time())
    await connection.execute("COMMIT")


def _bind(name: str) -> Script[None]:
    yield BIND_DATA_FOLDER, (name,)


def _marked(marker: Path) -> str:
    """The name in a marker; '' if there is none. Blocks."""
    with contextlib.suppress(FileNotFoundError):
        return marker.read_text(encoding="ascii").strip()
    return ""


def _mark(marker: Path) -> str:
    """The name in a marker, which is made where it is missing. Blocks. Raises: DatabaseError."""
    if name := _marked(marker):
        return name
    name = os.urandom(_ID_BYTES).hex()
    try:
        marker.write_text(name + "\n", encoding="ascii")
    except OSError as error:
        raise DatabaseError(f"{marker}: cannot be written: {error.strerror}") from error
    return name
