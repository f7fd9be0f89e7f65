"""Transaction scripts in PostgreSQL: many scripts in one commit, one writer at a time.

Scripts are written for one writer at a time, as SQLite has it. So writers queue on the lock file of the data folder,
and every transaction begins with an advisory lock, which the server still holds for a writer that has died after it
sent its COMMIT.

Scripts run without savepoints at first, since most batches succeed and each would cost two round trips: if one fails
that has written, all are run again, each in its own.

Here: transactions over a connection, for an event loop, and `PostgresTransactions`, which blocks, for the process that
commits instances (`ingest/commit_process.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import asyncpg

from gateway.database.commit_counter import CommitCounter
from gateway.database.database import Query, Row, Script
from gateway.database.postgres_connection import ERRORS, connect, described, failed, fetch, is_lost
from gateway.database.transactions import CommitLog, Outcome, refused
from gateway.database.writers_lock import WritersLock
from gateway.errors import DatabaseError

WRITERS: Final = 0x444943_4F4D
"""The number of the advisory lock of those who write, in the database of the gateway."""
_LOCK: Final = f"SELECT pg_advisory_xact_lock({WRITERS})"
BEGIN: Final = {True: f"BEGIN; {_LOCK}", False: f"BEGIN; SET LOCAL synchronous_commit = off; {_LOCK}"}
"""The beginning of a transaction whose commit is flushed, or is not: one round trip."""
_READS: Final = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)
_RECONNECT_EVERY_S: Final = 0.5


class ConnectionLost(DatabaseError):
    """The connection to the database has ended. What was not committed is rolled back."""


class _StatementFailed(Exception):
    """A statement of a script failed; the error is its cause."""

    def __init__(self, query: Query, error: BaseException) -> None:
        self.query = query
        self.error = error


class _RunAgain(Exception):
    """A script has failed that others shared a transaction with, and there is no savepoint."""


async def commit(
    connection: asyncpg.Connection,
    counter: CommitCounter,
    scripts: Sequence[Callable[[], Script[Any]]],
    log: CommitLog | None = None,
    *,
    durably: bool = True,
) -> list[Outcome]:
    """Run every script and commit once, as `Transactions.commit`, within a turn. Raises: ConnectionLost."""
    batch = _Batch(connection, counter, scripts, log, durably)
    try:
        try:
            return await batch.run(savepoints=False)
        except _RunAgain:
            await connection.execute("ROLLBACK")
            return await batch.run(savepoints=True)
    except ERRORS as error:
        if not is_lost(connection, error):
            connection.terminate()  # Nobody knows any more where its transaction stands.
        raise _lost(error) from error


class _Batch:
    def __init__(
        self,
        connection: asyncpg.Connection,
        counter: CommitCounter,
        scripts: Sequence[Callable[[], Script[Any]]],
        log: CommitLog | None,
        durably: bool,
    ) -> None:
        self._connection = connection
        self._counter = counter
        self._scripts = scripts
        self._log = log
        self._durably = durably
        self._has_written = False
        """Whether the script that runs has sent a statement that may have written."""

    async def run(self, *, savepoints: bool) -> list[Outcome]:
        """Run the transaction. Raises: _RunAgain; ConnectionLost; what is in ERRORS."""
        execute = self._connection.execute
        await execute(BEGIN[self._durably])
        alone = len(self._scripts) == 1 and self._log is None
        outcomes: list[Outcome] = []
        for script in self._scripts:
            if savepoints:
                await execute("SAVEPOINT script")
            try:
                outcomes.append((await self._result(script), None))
            except BaseException as error:
                if alone:
                    await self._roll_back(error)
                    return [(None, _rolled_back(error))]
                self._check(error)
                if savepoints:
                    await execute("ROLLBACK TO script")
                elif self._has_written or isinstance(error, _StatementFailed):
                    raise _RunAgain from error
                outcomes.append((None, _rolled_back(error)))
            if savepoints:
                await execute("RELEASE script")
        if self._log is not None:
            try:
                self._log.wait()
                record = self._log.record(outcomes)
                await self._result(lambda: record)
            except BaseException as error:
                await self._roll_back(error)
                return [(None, own or _rolled_back(error)) for _, own in outcomes]
        return await self._commit(outcomes)

    async def _commit(self, outcomes: list[Outcome]) -> list[Outcome]:
        self._counter.begin()
        try:
            status = await self._connection.execute("COMMIT")
        except ERRORS as error:
            if is_lost(self._connection, error):
                # The counter stays odd: it may be committed yet.
                raise _lost(error, in_doubt=True) from error
            self._counter.end()
            await self._connection.execute("ROLLBACK")
            return [(None, own or _rolled_back(error)) for _, own in outcomes]
        self._counter.end()
        if status != "COMMIT":
            undone = DatabaseError(f"the transaction was rolled back: {status}")
            return [(None, own or undone) for _, own in outcomes]
        if self._log is not None:
            self._log.committed()
        return outcomes

    async def _roll_back(self, error: BaseException) -> None:
        self._check(error)
        await self._connection.execute("ROLLBACK")

    def _check(self, error: BaseException) -> None:
        """Raises: ConnectionLost, when the error of a statement has ended the connection."""
        if isinstance(error, _StatementFailed) and is_lost(self._connection, error.error):
            raise _lost(error.error) from error

    async def _result(self, make: Callable[[], Script[Any]]) -> Any:
        self._has_written = False
        script = make()
        try:
            query, parameters = next(script)
            while True:
                self._has_written = self._has_written or _READS.match(query.sql) is None
                try:
                    rows = await fetch(self._connection, query, parameters)
                except ERRORS as error:
                    raise _StatementFailed(query, error) from error
                query, parameters = script.send(rows)
        except StopIteration as end:
            return end.value
        finally:
            script.close()


def _lost(error: BaseException, *, in_doubt: bool = False) -> ConnectionLost:
    if isinstance(error, ConnectionLost):
        return error
    outcome = "; the outcome of its last commit is unknown" if in_doubt else ""
    return ConnectionLost(f"the connection to PostgreSQL was lost{outcome}: {described(error)}", in_doubt=in_doubt)


def _rolled_back(error: BaseException) -> BaseException:
    """Wrap the database's own errors; errors raised by a script are returned unchanged."""
    if isinstance(error, _StatementFailed):
        return failed(f"the transaction was rolled back: {error.query.name}", error.error)
    if isinstance(error, asyncpg.PostgresError):
        return failed("the transaction was rolled back", error)
    return error


class PostgresTransactions:
    """One writing connection in a process or thread without an event loop; it has a loop of its own, which runs in
    calls only. For one thread at a time.

    A connection that is lost is not opened again: what waited in PostgreSQL to be flushed is lost with its server,
    and is made again from the segments by whoever finds them without their writer. `lost` has the reason.
    """

    failure: Final = ""
    """PostgreSQL itself decides when nothing more can be written; see `Transactions.failure`."""
    check_every_s: Final = 1.0

    def __init__(self, url: str, lock_path: Path, *, patience_s: float = 0.0) -> None:
        """Connect, trying again for `patience_s` seconds. Blocks. Raises: DatabaseError; OSError."""
        self.lost = ""
        with contextlib.ExitStack() as opened:
            self._lock = opened.enter_context(contextlib.closing(WritersLock(lock_path)))
            self._counter = opened.enter_context(contextlib.closing(CommitCounter(lock_path)))
            self._loop = opened.enter_context(contextlib.closing(asyncio.SelectorEventLoop()))
            self._connection = self._loop.run_until_complete(_connect(url, patience_s))
            opened.pop_all()

    def close(self) -> None:
        with contextlib.suppress(*ERRORS):
            self._loop.run_until_complete(self._connection.close(timeout=1))
        self._loop.close()
        self._counter.close()
        self._lock.close()

    def turn(self) -> AbstractContextManager[None]:
        """Hold the writers' lock: inside, no other writer writes. Raises: DatabaseError."""
        return self._lock.turn()

    def fetch(self, query: Query, parameters: Sequence[Any]) -> list[Row]:
        """All rows of a reading statement, as of the last commit of any process. Raises: DatabaseError."""
        try:
            return self._loop.run_until_complete(fetch(self._connection, query, parameters))
        except ERRORS as error:
            if is_lost(self._connection, error):
                self.lost = self.lost or str(_lost(error))
            raise failed(query.name, error) from error

    def commit(
        self, scripts: Sequence[Callable[[], Script[Any]]], log: CommitLog | None = None, *, durably: bool = True
    ) -> list[Outcome]:
        """Run every script and commit once; see `Transactions.commit`. Never raises."""
        if self.lost:
            return [(None, refused(self.lost)) for _ in scripts]
        try:
            return self._loop.run_until_complete(commit(self._connection, self._counter, scripts, log, durably=durably))
        except ConnectionLost as error:
            self.lost = str(error)
            return [(None, error)] * len(scripts)

    def checkpoint(self) -> None:
        """Nothing: PostgreSQL does so by itself."""

    def check(self) -> None:
        """Note whether the connection was lost while nobody used it. No message is sent for that."""
        self._loop.run_until_complete(asyncio.sleep(0))
        if self._connection.is_closed():
            self.lost = self.lost or "PostgreSQL has closed the connection"


async def _connect(url: str, patience_s: float) -> asyncpg.Connection:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while True:
        try:
            return await connect(url)
        except DatabaseError:
            if loop.time() >= until:
                raise
            await asyncio.sleep(_RECONNECT_EVERY_S)
