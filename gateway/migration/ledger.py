"""The ledger of one migration: a file in the data folder with what has been brought, so that it can go on.

Losing its last entries does no harm: an instance that is brought again is recognized by its bytes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import ConfigurationError, DatabaseError
from gateway.migration import queries

_COMMIT_AFTER: Final = 64
"""Statements in one transaction; a kill loses that many at most."""


class MigrationLedger:
    """An open ledger. Every method blocks for a moment only, and may be called in any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises: DatabaseError; ConfigurationError while another process has it."""
        self._lock = threading.Lock()
        self._pending = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigurationError(f"{path}: this migration runs already; wait for its end, or end it") from None
        except OSError as error:
            raise DatabaseError(f"{path}: {error.strerror}") from None
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for statement in queries.LEDGER:
                self._connection.execute(statement)
        except sqlite3.Error as error:
            self._file.close()
            raise DatabaseError(f"{path}: {error}") from None
        self.path = path

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a reading statement. Raises: DatabaseError."""
        with self._lock:
            return self._execute(query, parameters)

    def value(self, query: str, *parameters: Any) -> Any:
        """The first column of the first row; None without rows. Raises: DatabaseError."""
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def write(self, *statements: tuple[Any, ...]) -> None:
        """Note something: each statement with its parameters. Raises: DatabaseError."""
        with self._lock:
            if statements and not self._pending:
                self._execute("BEGIN", ())
            for query, *parameters in statements:
                self._execute(query, parameters)
                self._pending += 1
            if self._pending >= _COMMIT_AFTER:
                self._commit()

    def commit(self) -> None:
        """Make all that was noted durable. Raises: DatabaseError."""
        with self._lock:
            self._commit()

    async def of(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """`rows`, in a thread."""
        return await asyncio.to_thread(self.rows, query, *parameters)

    def close(self) -> None:
        with self._lock:
            self._commit()
            self._connection.close()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _commit(self) -> None:
        if self._pending:
            self._execute("COMMIT", ())
            self._pending = 0

    def _execute(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.path}: {error}") from None


def digest_of(parts: Iterable[object]) -> bytes:
    """A short fingerprint of texts and numbers in their order."""
    return hashlib.blake2b(repr(list(parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
