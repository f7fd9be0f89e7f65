"""Transaction scripts in SQLite: many scripts in one commit, one writer at a time.

Each script runs in its own savepoint, so one that fails is rolled back alone. Writers, in threads and in processes,
queue on a lock file, which is fairer and far faster than SQLite's own busy timeout.

Everything blocks, and knows neither event loop nor thread: `writer.py` is the thread that does this for a gateway, and
`ingest/commit_process.py` the process that does it for instances. A connection that writes is opened here; migrations
and reading are in `sqlite.py`.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.database.database import Query, Row, Script
from gateway.database.log_erasure import overwrite_log
from gateway.database.queries import TRY_WRITING
from gateway.database.writers_lock import WritersLock
from gateway.errors import DatabaseError

log = logging.getLogger(__name__)

CHECKPOINT_EVERY: Final = 1000
"""Scripts between two checkpoints of the write-ahead log."""

BUSY_SECONDS = 30.0
"""Seconds to wait for a lock that another program holds on the file."""
PRAGMAS = (
    "PRAGMA synchronous = FULL",  # NORMAL loses committed rows at a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what was deleted is zeros
    "PRAGMA temp_store = MEMORY",
    "PRAGMA case_sensitive_like = ON",  # as PostgreSQL's LIKE is
    "PRAGMA wal_autocheckpoint = 16384",  # pages: a backstop, the writer checkpoints by itself
    "PRAGMA journal_size_limit = 67108864",
)
_FATAL = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FSYNC = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})

_SYNCHRONOUS = {True: PRAGMAS[0], False: "PRAGMA synchronous = NORMAL"}

Outcome = tuple[Any, BaseException | None]
"""The result of a script, or the error in its place."""


class CommitLog(Protocol):
    """A log that a transaction is the view of: after a power cut that undid the transaction, it is made again from
    the log."""

    def wait(self) -> None:
        """Wait until it is durable: what is raised here undoes the transaction."""

    def record(self, outcomes: Sequence[Outcome]) -> Script[None]:
        """The rows that say how far the transaction goes in the log, given the outcomes of its scripts."""

    def committed(self) -> None:
        """Called when the transaction is committed."""


class BatchTransactions(Protocol):
    """One writing connection, of which the process that commits instances has nothing else."""

    @property
    def failure(self) -> str:
        """The reason why nothing more can be written; '' if there is none."""

    @property
    def lost(self) -> str:
        """The reason why this connection is of no more use, while another may be; '' if there is none."""

    @property
    def check_every_s(self) -> float | None:
        """Seconds between two calls of `check` while there is nothing to do; None: it need not be called."""

    def turn(self) -> AbstractContextManager[None]:
        """Hold the writers' lock: inside, no other writer writes. Raises: DatabaseError."""

    def fetch(self, query: Query, parameters: Sequence[Any]) -> list[Row]:
        """All rows of a reading statement, as of the last commit of any process. Raises: DatabaseError."""

    def commit(
        self, scripts: Sequence[Callable[[], Script[Any]]], log: CommitLog | None = None, *, durably: bool = True
    ) -> list[Outcome]:
        """Run every script and commit once, within a `turn`; returns an outcome for each, in order. Never raises.

        With a `log` the transaction is a view of what stands there: see `CommitLog`. If not `durably`, a power cut may
        undo the transaction, though none that comes after it alone.
        """

    def checkpoint(self) -> None:
        """Do what is due between two batches."""

    def check(self) -> None:
        """Note whether the connection is still of use. Called while nothing is to be done."""

    def close(self) -> None:
        """Close the connection."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection for durable writing. Raises: sqlite3.Error."""
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=BUSY_SECONDS, cached_statements=256, check_same_thread=False
    )
    try:
        for pragma in (*PRAGMAS, "PRAGMA cache_size = -32768"):
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def transactions(path: Path, lock_path: Path) -> Transactions:
    """Open the database in a process beside the gateway's. Blocks. Raises: DatabaseError."""
    try:
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(contextlib.closing(connect(path)))
            # SQLite silently opens a file for reading when it cannot be opened for writing, for lack of space perhaps.
            connection.execute(TRY_WRITING.qmark)
            made = Transactions(connection, path, lock_path)
            opened.pop_all()
            return made
    except (sqlite3.Error, OSError) as error:
        raise DatabaseError(f"{path}: cannot be opened: {described(error)}") from error


class Transactions:
    """One writing connection. For one thread at a time.

    After a commit whose outcome is unknown, a failed fsync, or a corrupt file, `failure` holds the reason, and from
    then on every script is refused.
    """

    lost: Final = ""
    check_every_s: Final = None

    def __init__(self, connection: sqlite3.Connection, path: Path, lock_path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = WritersLock(lock_path)
        self._since_checkpoint = 0
        self._durably = True
        self.failure = ""

    def close(self) -> None:
        """Close the connection. The last one of all deletes the log, whose bytes are therefore overwritten before."""
        try:
            if not self.failure:
                with self.turn():
                    overwrite_log(self._connection, self._path)
        except (sqlite3.Error, OSError, DatabaseError) as error:
            log.warning("the log of the database is not overwritten: %s", error)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.close()

    def turn(self) -> AbstractContextManager[None]:
        """Hold the writers' lock: inside, no other writer writes. Raises: DatabaseError."""
        return self._lock.turn()

    def fetch(self, query: Query, parameters: Sequence[Any]) -> list[Row]:
        """All rows of a reading statement, as of the last commit of any process. Raises: DatabaseError."""
        try:
            return self._connection.execute(query.qmark, parameters).fetchall()
        except sqlite3.Error as error:
            self._note(error)
            raise DatabaseError(f"{query.name}: {described(error)}") from error

    def commit(
        self, scripts: Sequence[Callable[[], Script[Any]]], log: CommitLog | None = None, *, durably: bool = True
    ) -> list[Outcome]:
        """Run every script and commit once; see `BatchTransactions.commit`."""
        outcomes = self._commit(scripts, log, durably)
        self._since_checkpoint += len(scripts)
        return outcomes

    def _commit(
        self, scripts: Sequence[Callable[[], Script[Any]]], log: CommitLog | None, durably: bool
    ) -> list[Outcome]:
        if self.failure:
            return [(None, refused(self.failure)) for _ in scripts]
        connection = self._connection
        try:
            if durably is not self._durably:
                connection.execute(_SYNCHRONOUS[durably])
                self._durably = durably
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._note(error)
            return [(None, _rolled_back(error)) for _ in scripts]
        outcomes: list[Outcome] = []
        alone = len(scripts) == 1 and log is None
        for script in scripts:
            try:
                outcomes.append((self._execute(script, alone), None))
            except BaseException as error:
                self._note(error)
                outcomes.append((None, _rolled_back(error)))
                if not connection.in_transaction:
                    # SQLite has undone everything, earlier scripts too (SQLITE_FULL, IOERR, NOMEM).
                    return _all_undone(outcomes, len(scripts))
                if alone:
                    self._rollback()
                    return outcomes
        if log is not None:
            try:
                log.wait()
                self._execute(lambda: log.record(outcomes), alone=True)
            except BaseException as error:
                self._note(error)
                self._rollback()
                failed = _rolled_back(error)
                return [(None, own or failed) for _, own in outcomes]
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._commit_failed(outcomes, error)
        if log is not None:
            log.committed()
        return outcomes

    def _execute(self, make: Callable[[], Script[Any]], alone: bool) -> Any:
        execute = self._connection.execute
        if not alone:
            execute("SAVEPOINT script")
        script = make()
        try:
            request = next(script)
            while True:
                query, parameters = request
                request = script.send(execute(query.qmark, parameters).fetchall())
        except StopIteration as end:
            if not alone:
                execute("RELEASE script")
            return end.value
        except BaseException:
            script.close()
            self._undo(alone)
            raise

    def _undo(self, alone: bool) -> None:
        """Roll one script back; all of them if even that fails, so that no half of it is ever committed."""
        try:
            if not alone and self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO script")
                self._connection.execute("RELEASE script")
        except sqlite3.Error:
            self._rollback()

    def _commit_failed(self, outcomes: list[Outcome], error: sqlite3.Error) -> list[Outcome]:
        """The outcomes after a failed COMMIT. SQLITE_FULL and the like undo the transaction; after an I/O error the
        commit record may be on the disk."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        in_doubt = code & 0xFF in {sqlite3.SQLITE_IOERR, *_FATAL}
        self._rollback()
        failed: BaseException = _rolled_back(error)
        if in_doubt:
            self._fail(f"a commit failed and its outcome is unknown: {described(error)}")
            failed = DatabaseError(self.failure, in_doubt=True)
        return [(None, own or failed) for _, own in outcomes]

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database when it is due. Call it after outcomes are delivered: then only
        the next batch waits for its syncs. Holds the writers' lock, since concurrent writes would keep SQLite from
        restarting the log.
        """
        if self._since_checkpoint < CHECKPOINT_EVERY or self.failure:
            return
        self._since_checkpoint = 0
        try:
            with self.turn():
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, DatabaseError) as error:
            log.warning("checkpoint of the database failed: %s", error)
            self._note(error)

    def check(self) -> None:
        """Nothing: a file does not go away."""

    def _note(self, error: BaseException) -> None:
        """Stop for good if the error means that the disk or the file can no longer be trusted."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _FSYNC or code & 0xFF in _FATAL:
            self._fail(f"the database failed: {described(error)}")

    def _fail(self, reason: str) -> None:
        if not self.failure:
            self.failure = f"{reason}; nothing more is written until the gateway is started again"
            log.critical("%s", self.failure)


def described(error: BaseException) -> str:
    """The text of an SQLite error, with the remedy if the file is damaged."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _FATAL:
        return str(error)
    return (
        f"{error}: the index is damaged; restore a backup, or rebuild it from the stored files: dicom-gateway reindex"
    )


def refused(reason: str) -> DatabaseError:
    """The error of a script that was not begun because writing has stopped."""
    return DatabaseError(f"not written, since {reason}")


def _all_undone(outcomes: list[Outcome], count: int) -> list[Outcome]:
    """The outcomes when the last script failed and undid all: scripts that failed before have their own errors."""
    shared = "the transaction was rolled back because another one that shared it failed"
    own = [error for _, error in outcomes]
    return [(None, error or DatabaseError(shared)) for error in [*own, *[None] * (count - len(own))]]


def _rolled_back(error: BaseException) -> BaseException:
    """Wrap the database's own errors; errors raised by a script are returned unchanged."""
    if isinstance(error, sqlite3.Error):
        wrapped = DatabaseError(f"the transaction was rolled back: {error}")
        wrapped.__cause__ = error
        return wrapped
    return error
