"""The thread that writes to SQLite: many transaction scripts, one commit.

While one commit waits for the disk, the scripts of other associations queue; the next turn takes all of them (up to
MAX_BATCH), each in a savepoint of its own, and hands every outcome back with one call into the event loop. Writers
of several processes take turns on a lock file, which is fairer and far faster than SQLite's own busy timeout.

Opening, pragmas and reading are in `sqlite.py`. This file knows `sqlite3.Connection` and no event loop but for
`call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.database.database import Script
from gateway.errors import DatabaseError
from gateway.telemetry import COMMIT_ROWS

log = logging.getLogger(__name__)

MAX_BATCH = 256
"""Scripts that share one commit at most."""
CHECKPOINT_EVERY = 1000
"""Scripts after which the write-ahead log is copied into the database."""

_FATAL = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FSYNC = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})

Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Job:
    __slots__ = ("future", "script")

    def __init__(self, script: Callable[[], Script[Any]], future: asyncio.Future[Any]) -> None:
        self.script = script
        self.future = future


class Writer:
    """One thread with one connection. `put` may be called from the event loop only.

    `delivered(n)` is called in the loop with the number of jobs that a batch ended, `failed(reason)` once in the loop
    when the writer stops for good: after a commit whose outcome is unknown, a failed fsync, or a corrupt file.
    From then on every job is refused.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock_path: Path,
        loop: asyncio.AbstractEventLoop,
        delivered: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._loop = loop
        self._delivered = delivered
        self._on_failed = failed
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = False
        self._failure = ""
        self._since_checkpoint = 0
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is queued, close the connection, end. Blocks until then."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            first = self._queue.get()
            if first is None:
                break
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            except OSError as error:
                self._deliver([(first.future, None, DatabaseError(f"the lock of the database failed: {error}"))])
                continue
            # Taken only now: whatever came while another process held the lock shares this commit.
            batch = [first, *self._waiting(MAX_BATCH - 1)]
            try:
                self._deliver(self._commit(batch))
                self._since_checkpoint += len(batch)
                if self._since_checkpoint >= CHECKPOINT_EVERY and not self._failure:
                    self._checkpoint()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        os.close(self._lock)

    def _waiting(self, most: int) -> list[Job]:
        jobs: list[Job] = []
        while len(jobs) < most:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._stopping = True
                break
            jobs.append(job)
        return jobs

    def _commit(self, batch: list[Job]) -> list[Outcome]:
        """Run every script and commit once. Never raises."""
        if self._failure:
            return [(job.future, None, refused(self._failure)) for job in batch]
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._note(error)
            return [(job.future, None, _rolled_back(error)) for job in batch]
        outcomes: list[Outcome] = []
        alone = len(batch) == 1
        for job in batch:
            if job.future.cancelled():
                outcomes.append((job.future, None, None))
                continue
            try:
                outcomes.append((job.future, self._execute(job, alone), None))
            except BaseException as error:
                self._note(error)
                if not connection.in_transaction:
                    # SQLite has undone everything, the scripts before this one too (SQLITE_FULL, IOERR, NOMEM).
                    return self._all_undone(batch, outcomes, job, error)
                outcomes.append((job.future, None, _rolled_back(error)))
                if alone:
                    self._rollback()
                    return outcomes
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._commit_failed(outcomes, error)
        COMMIT_ROWS.observe(len(batch))
        return outcomes

    def _execute(self, job: Job, alone: bool) -> Any:
        execute = self._connection.execute
        if not alone:
            execute("SAVEPOINT script")
        script = job.script()
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
        """Roll one script back; all of them where even that fails, so that no half of it is ever committed."""
        try:
            if not alone and self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO script")
                self._connection.execute("RELEASE script")
        except sqlite3.Error:
            self._rollback()

    def _all_undone(self, batch: list[Job], outcomes: list[Outcome], job: Job, error: BaseException) -> list[Outcome]:
        """The failed script and those before it keep their own errors; the others were rolled back with it."""
        own = {id(future): failure for future, _, failure in outcomes if failure is not None}
        own[id(job.future)] = _rolled_back(error)
        shared = "the transaction was rolled back because another one that shared it failed"
        return [(other.future, None, own.get(id(other.future)) or DatabaseError(shared)) for other in batch]

    def _commit_failed(self, outcomes: list[Outcome], error: sqlite3.Error) -> list[Outcome]:
        """SQLITE_FULL and the like undo the transaction. After an I/O error the commit record may be on the disk."""
        done = [future for future, _, failure in outcomes if failure is None]
        own = [outcome for outcome in outcomes if outcome[2] is not None]
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        in_doubt = code & 0xFF in {sqlite3.SQLITE_IOERR, *_FATAL}
        self._rollback()
        if not in_doubt:
            return own + [(future, None, _rolled_back(error)) for future in done]
        self._fail(f"a commit failed and its outcome is unknown: {error}")
        return own + [(future, None, DatabaseError(self._failure, in_doubt=True)) for future in done]

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _checkpoint(self) -> None:
        """Copy the log into the database. The batch has been answered; nobody waits for its fsyncs but the next."""
        self._since_checkpoint = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("checkpoint of the database failed: %s", error)
            self._note(error)

    def _note(self, error: BaseException) -> None:
        """Stop for good where the error says that the disk or the file can no longer be trusted."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _FSYNC or code & 0xFF in _FATAL:
            self._fail(f"the database failed: {error}")

    def _fail(self, reason: str) -> None:
        if not self._failure:
            self._failure = f"{reason}; nothing more is written until the gateway is started again"
            log.critical("%s", self._failure)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._on_failed, self._failure)

    def _deliver(self, outcomes: list[Outcome]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._resolve, outcomes)

    def _resolve(self, outcomes: list[Outcome]) -> None:
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._delivered(len(outcomes))


def refused(reason: str) -> DatabaseError:
    """For a script that was not begun because the writer has stopped for good."""
    return DatabaseError(f"not written, since {reason}")


def _rolled_back(error: BaseException) -> BaseException:
    """The database's own errors in our words; what a script raised comes out as it is."""
    if isinstance(error, sqlite3.Error):
        wrapped = DatabaseError(f"the transaction was rolled back: {error}")
        wrapped.__cause__ = error
        return wrapped
    return error
