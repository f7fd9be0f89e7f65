"""SQLite as the index: opening, pragmas, migrations, reading, backup.

Writing is the thread in `writer.py`; other processes may write beside it (`transactions`). Reading is one aiosqlite
connection that fetches whole pages: no cursor stays open, so no read transaction holds up the write-ahead log.

Nothing runs ANALYZE or `PRAGMA optimize`: how a statement is gone about then depends on the schema alone, is looked at
by a test, and is the same on every machine and at every size.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import aiosqlite

from gateway.database import migrations
from gateway.database.database import Database, Query, Row, Script
from gateway.database.network import refuse_network_file_system
from gateway.database.queries import ADD_VERSION, CREATE_VERSION, READ_VERSION, TRY_WRITING
from gateway.database.transactions import Transactions, refused
from gateway.database.writer import Job, Writer
from gateway.errors import DatabaseError

T = TypeVar("T")

MAX_QUEUED = 4096
"""Scripts that wait for the writer; past it `write` waits for room."""
_BUSY_SECONDS = 30.0
"""How long a lock that another program holds on the file is waited for."""
_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # NORMAL loses committed rows at a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA case_sensitive_like = ON",  # as PostgreSQL's LIKE is
    "PRAGMA wal_autocheckpoint = 16384",  # pages: a backstop, the writer checkpoints by itself
    "PRAGMA journal_size_limit = 67108864",
)


class SQLite(Database):
    """One SQLite file. Open it with `await SQLite.open(path)`; close it, or its threads keep the process alive."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock_path: Path, reader: aiosqlite.Connection
    ) -> None:
        self.path = path
        self.on_failed: Callable[[str], None] | None = None
        """Called in the event loop, once, when the writer has stopped for good."""
        self._reader = reader
        self._failure = ""
        self._closed = False
        self._room = asyncio.Semaphore(MAX_QUEUED)
        loop = asyncio.get_running_loop()
        self._writer = Writer(Transactions(connection, lock_path), loop, self._delivered, self._failed)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, lock_path: Path | None = None) -> Self:
        """Open or create the database, bring its schema up to date, start the writer.

        `lock_path` is the file on which writers of several processes take turns; by default beside the database.
        Raises DatabaseError: not a database, a newer schema, no room, or a network file system.
        """
        lock_path = lock_path or path.with_name(path.name + ".lock")
        connection = await asyncio.to_thread(_prepare, path, lock_path)
        reader = aiosqlite.connect(path, isolation_level=None, cached_statements=256, timeout=_BUSY_SECONDS)
        try:
            await reader
            for pragma in (*_PRAGMAS, "PRAGMA cache_size = -16384", "PRAGMA query_only = ON"):
                await reader.execute_fetchall(pragma)
            return cls(path, connection, lock_path, reader)
        except BaseException as error:
            connection.close()
            await reader.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise DatabaseError(f"{path}: cannot be opened: {error}") from error
            raise

    @property
    def failed(self) -> str:
        """Why nothing more is written; '' while all is well."""
        return self._failure

    def _delivered(self, count: int) -> None:
        for _ in range(count):
            self._room.release()

    def _failed(self, reason: str) -> None:
        self._failure = reason
        if self.on_failed is not None:
            self.on_failed(reason)

    async def fetch(self, query: Query, *parameters: object) -> list[Row]:
        try:
            return list(await self._reader.execute_fetchall(query.qmark, parameters))  # type: ignore[arg-type]
        except (sqlite3.Error, ValueError) as error:
            raise DatabaseError(f"{query.name}: {error}") from error

    async def write(self, script: Callable[[], Script[T]]) -> T:
        await self._room.acquire()
        if self._failure or self._closed:
            self._room.release()
            raise refused(self._failure or f"{self.path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Job(script, future))
        return await future

    async def backup(self, target: Path) -> None:
        """A consistent copy of the database as it is now, in one new file that is on the disk when this returns.

        Writing goes on meanwhile. Raises DatabaseError where `target` exists or cannot be written.
        """
        if target.exists():
            raise DatabaseError(f"{target} exists; a backup never overwrites a file")
        await asyncio.to_thread(_backup, self.path, target)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.stop)
        await self._reader.close()


def transactions(path: Path, lock_path: Path) -> Transactions:
    """For a process beside the one that has opened the database. Blocks. Raises DatabaseError."""
    try:
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(contextlib.closing(_connect(path)))
            # A file that cannot be opened for writing, for want of room perhaps, SQLite opens for reading without a
            # word.
            connection.execute(TRY_WRITING.qmark)
            made = Transactions(connection, lock_path)
            opened.pop_all()
            return made
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path}: cannot be opened: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=_BUSY_SECONDS, cached_statements=256, check_same_thread=False
    )
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    connection.execute("PRAGMA cache_size = -32768")
    return connection


def _prepare(path: Path, lock_path: Path) -> sqlite3.Connection:
    """The writer's connection, in WAL mode, with the schema of this release. Blocking."""
    refuse_network_file_system(path)
    try:
        with _locked(lock_path):
            connection = _connect(path)
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise DatabaseError(f"{path}: SQLite has no write-ahead log here (journal mode {mode})")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path}: cannot be opened: {error}") from error
    return connection


@contextlib.contextmanager
def _locked(lock_path: Path) -> Iterator[None]:
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _migrate(connection: sqlite3.Connection) -> None:
    """All pending migrations in one transaction: the schema is the old one or the new one, never between."""
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
        with contextlib.closing(_connect(source_path)) as source, contextlib.closing(sqlite3.connect(partial)) as copy:
            # All pages in one step: in smaller ones every commit in between starts the copy over again.
            source.backup(copy, pages=-1)
        _sync(partial)
        os.link(partial, target)
        partial.unlink()
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{target}: the backup failed: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
