"""SQLite as the index: opening, pragmas, migrations, reading, backup.

Writing is in the thread of `writer.py`; other processes may write too (`transactions`). Reading uses one aiosqlite
connection that fetches whole pages: no cursor stays open, so no read transaction holds up the write-ahead log.

Nothing runs ANALYZE or `PRAGMA optimize`: the plan of a statement then depends on the schema alone, is checked
by a test, and is the same on every machine and at every size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from gateway.database import migrations
from gateway.database.companion import accompanied
from gateway.database.database import Database, Query, Row, Script
from gateway.database.log_erasure import overwrite_log
from gateway.database.network import refuse_network_file_system
from gateway.database.queries import ADD_VERSION, CREATE_VERSION, READ_VERSION
from gateway.database.transactions import BUSY_SECONDS, PRAGMAS, Transactions, connect, described, refused
from gateway.database.versions import DataVersions
from gateway.database.view import VIEW, through_view
from gateway.database.writer import MAX_QUEUED, QueuedScript, Writer
from gateway.database.writers_lock import WritersLock
from gateway.errors import DatabaseError

T = TypeVar("T")

_SCHEMA = "main"
"""Where SQLite has the tables of a database."""


class SQLite(Database):
    """One SQLite file. Open it with `await SQLite.open(path)`; close it, or its threads keep the process alive."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock_path: Path,
        reader: aiosqlite.Connection,
        versions: DataVersions,
        on_failed: Callable[[str], None],
    ) -> None:
        self.path = path
        self._on_failed = on_failed
        self._reader = reader
        self._versions = versions
        self._failure = ""
        self._closed = False
        self._room = asyncio.Semaphore(MAX_QUEUED)
        loop = asyncio.get_running_loop()
        self._lock_path = lock_path
        self._writer = Writer(Transactions(connection, path, lock_path), loop, self._delivered, self._failed)
        self._writer.start()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        lock_path: Path | None = None,
        on_failed: Callable[[str], None] = lambda reason: None,
    ) -> Self:
        """Open or create the database, migrate its schema, start the writer.

        `lock_path` is the file that serializes writers of several processes; by default beside the database.
        `on_failed` is called in the event loop, once, with the reason, when the writer has stopped for good.
        Raises: DatabaseError: not a database, a newer schema, no space, or a network file system.
        """
        lock_path = lock_path or path.with_name(path.name + ".lock")
        connection = await asyncio.to_thread(_prepare, path, lock_path)
        versions: DataVersions | None = None
        reader = aiosqlite.connect(path, isolation_level=None, cached_statements=256, timeout=BUSY_SECONDS)
        try:
            await reader
            for pragma in (*PRAGMAS, "PRAGMA cache_size = -16384", "PRAGMA query_only = ON"):
                await reader.execute_fetchall(pragma)
            versions = await asyncio.to_thread(DataVersions, path)
            return cls(path, connection, lock_path, reader, versions, on_failed)
        except BaseException as error:
            connection.close()
            if versions is not None:
                versions.close()
            await reader.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise DatabaseError(f"{path}: cannot be opened: {described(error)}") from error
            raise

    @property
    def failed(self) -> str:
        """The reason why writing has stopped; '' while it has not."""
        return self._failure

    def _delivered(self, count: int) -> None:
        for _ in range(count):
            self._room.release()

    def _failed(self, reason: str) -> None:
        self._failure = reason
        self._on_failed(reason)

    async def fetch(self, query: Query, *parameters: object) -> list[Row]:
        values: Sequence[Any] = parameters
        if (view := VIEW.get()) is not None:
            query, values = view.narrow(query, values, _SCHEMA)
        try:
            return list(await self._reader.execute_fetchall(query.qmark, values))  # type: ignore[arg-type]
        except (sqlite3.Error, ValueError) as error:
            raise DatabaseError(f"{query.name}: {described(error)}") from error

    def data_version(self) -> int:
        return self._versions.current()

    async def write(self, script: Callable[[], Script[T]], *, durably: bool = True) -> T:
        await self._room.acquire()
        if self._failure or self._closed:
            self._room.release()
            raise refused(self._failure or f"{self.path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with accompanied(through_view(script, _SCHEMA)) as all_of_it:
            self._writer.put(QueuedScript(all_of_it, future, durably))
            return await future

    async def is_bound(self, marker: Path) -> bool:
        """Whether the database is that of its data folder: always, since it is in it."""
        return True

    async def bind(self, marker: Path) -> None:
        """Nothing: see `is_bound`."""

    def fail(self, reason: str) -> None:
        """Stop writing: another writer has found that the disk or the file can no longer be trusted."""
        self._writer.fail(reason)
        if not self._failure:
            self._failed(reason)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy of the present database to a new file, durably.

        Writing goes on meanwhile. Raises: DatabaseError if `target` exists or cannot be written.
        """
        if target.exists():
            raise DatabaseError(f"{target} exists; a backup never overwrites a file")
        await asyncio.to_thread(_backup, self.path, target)

    async def overwrite_log(self) -> bool:
        """Overwrite the write-ahead log, so that nothing of deleted rows can be read there; returns whether that was
        done, which a reader can prevent. Raises: DatabaseError."""
        return await asyncio.to_thread(_overwrite_log, self.path, self._lock_path)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._versions.close()
        await asyncio.to_thread(self._writer.stop)
        await self._reader.close()


def fetch_read_only(path: Path, query: Query, *parameters: object) -> list[Row]:
    """All rows of a statement on a database that nobody writes, such as that of a backup. Blocks.

    Raises: sqlite3.Error where it cannot be read.
    """
    location = f"{path.absolute().as_uri()}?immutable=1"
    with contextlib.closing(sqlite3.connect(location, uri=True)) as connection:
        return connection.execute(query.qmark, parameters).fetchall()


def _prepare(path: Path, lock_path: Path) -> sqlite3.Connection:
    """Open the writer's connection, in WAL mode, with the schema of this release. Blocks."""
    refuse_network_file_system(path)
    try:
        _make_private(path)
        with contextlib.closing(WritersLock(lock_path)) as lock, lock.turn():
            connection = connect(path)
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise DatabaseError(f"{path}: SQLite has no write-ahead log here (journal mode {mode})")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path}: cannot be opened: {described(error)}") from error
    return connection


def _make_private(path: Path) -> None:
    """Let only owner and group read the index, even in a folder open to all. SQLite gives its log and its shared
    memory the mode of the database. Raises: OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    for each in (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # The file may be another user's.
            mode = each.stat().st_mode
            if mode & 0o007:
                each.chmod(mode & 0o770)


def _migrate(connection: sqlite3.Connection) -> None:
    """Run all pending migrations in one transaction: the schema is the old one or the new one, never between."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(CREATE_VERSION.qmark)
        (current,) = connection.execute(READ_VERSION.qmark).fetchone()
        for migration in migrations.pending(current):
            for statement in migration.statements(migrations.SQLITE):
                connection.execute(statement)
            connection.execute(ADD_VERSION.qmark, (migration.version, migration.name, time.time()))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _backup(source_path: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        _make_private(partial)
        with contextlib.closing(connect(source_path)) as source, contextlib.closing(sqlite3.connect(partial)) as copy:
            # All pages in one step: in smaller steps every commit in between restarts the copy.
            source.backup(copy, pages=-1)
        _sync(partial)
        os.link(partial, target)
        partial.unlink()
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{target}: the backup failed: {error}") from error


def _overwrite_log(path: Path, lock_path: Path) -> bool:
    try:
        with (
            contextlib.closing(WritersLock(lock_path)) as lock,
            lock.turn(),
            contextlib.closing(connect(path)) as connection,
        ):
            return overwrite_log(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path}: the log cannot be overwritten: {described(error)}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
