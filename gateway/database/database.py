"""The interface of a database driver: named queries and transaction scripts.

A *script* is a generator that yields `(query, parameters)` and receives the rows; its return value is the
result of the transaction. It does no I/O and knows no driver, so the same script runs in SQLite's writer thread,
where many share one commit, and over an asynchronous connection. Raise inside a script to roll back its work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]
_NUMBERED = re.compile(r"\$(\d+)")


class Query:
    """One statement with a name. Parameters are written `$1` to `$n`, as in PostgreSQL.

    `sql` is the text as written; `qmark` has `?1` to `?n` in their place, as in SQLite.
    """

    __slots__ = ("name", "qmark", "sql")

    def __init__(self, name: str, sql: str) -> None:
        self.name = name
        self.sql = sql
        self.qmark = _NUMBERED.sub(r"?\1", sql)

    def __repr__(self) -> str:
        return f"Query({self.name})"


def numbered(count: int, first: int = 1) -> str:
    """Parameters of a statement from `$first` on, with commas between them."""
    return ", ".join([f"${number}" for number in range(first, first + count)])


Script = Generator[tuple[Query, Sequence[Any]], list[Row], T]
"""A generator that yields `(query, parameters)`, receives the rows, and returns the result."""


class Database(Protocol):
    """One open database. Every method raises DatabaseError when the database fails."""

    async def fetch(self, query: Query, *parameters: Any) -> list[Row]:
        """All rows of one reading statement, from a snapshot that includes every finished `write`."""

    async def write(self, script: Callable[[], Script[T]], *, durably: bool = True) -> T:
        """Run a script in a transaction and return its result once that is durable; if not `durably`, once everybody
        sees it: then a power cut may undo it, though none that comes after it alone.

        Concurrent scripts may share a commit, each in its own savepoint: one that raises rolls back alone
        and its exception is raised here. The callable is called once for every attempt.
        """

    def data_version(self) -> int:
        """A number that two calls return only if nothing was committed between them, by any process.

        It never waits, and may be called thousands of times a second in the event loop. Rows that are read after a call
        are valid for as long as the number is the same.
        """

    async def close(self) -> None:
        """Finish queued scripts, then close every connection."""
