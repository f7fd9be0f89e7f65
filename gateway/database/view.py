"""What a reader sees of the database: of some tables only a part of the rows, under the tables' own names.

A statement is read through a view by putting a common table expression of the same name before it for each such table;
in SQL that hides the table itself. So no statement has to think of who reads, and none can forget. The view of a
request is in a context variable: all that the request awaits, and every task that it starts, reads through it. What
outlives the request, or works for everybody, is started inside of `seeing(None)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, TypeVar

from gateway.database.actor import ACTOR, Actor
from gateway.database.database import Query, Script

T = TypeVar("T")

_NUMBERED: Final = re.compile(r"\$(\d+)")
_WORD: Final = re.compile(r"(?<!\.)\b\w+")
"""Any word but those behind a point: a table that is named with its schema is not hidden."""
_BY_ROW_ABOVE: Final = re.compile(
    r"SELECT v\.\* FROM \{schema\}\.(\w+) v WHERE EXISTS \(SELECT 1 FROM (\w+) x WHERE x\.id = v\.(\w+)\)"
)
"""The rows of a table of which each is seen if the row above it is, whose number is in one of its columns."""
_JOINS: Final = (
    r"((?<![\w.]){above}\s+(?P<a>\w+)(?:\s+ON [\w.]+ = [\w.]+)?\s+JOIN )"
    r"{table}(?=\s+(?P<b>\w+)\s+ON (?P=b)\.{column} = (?P=a)\.id{end})",
    r"((?<![\w.])){table}(?=\s+(?P<b>\w+)(?:\s+ON [\w.]+ = [\w.]+)?"
    r"\s+JOIN {above}\s+(?P<a>\w+)\s+ON (?P=a)\.id = (?P=b)\.{column}{end})",
)
"""Inner joins of such a table with the one above it, written from above or from below."""
_END: Final = r"\s*(?:$|\)|\b(?:WHERE|JOIN|LEFT JOIN|ORDER BY|GROUP BY|LIMIT)\b)"
"""What may follow their condition: neither AND nor OR, so that it is the whole condition."""
_READS: Final = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|(WITH(?: RECURSIVE)?))\b", re.IGNORECASE)


class View:
    """A part of the rows of some tables. Two views of the same texts and parameters are equal."""

    __slots__ = ("origin", "parameters", "tables", "tenant")

    def __init__(
        self, tables: Mapping[str, str], parameters: Sequence[Any] = (), *, origin: str = "", tenant: str = ""
    ) -> None:
        """`tables` has a SELECT of the visible rows for each table, in an order in which each names only those before
        it; `{schema}.` before the name of a table means all of its rows. `$1` to `$n` are the `parameters` of all.
        `origin` is a text of which whoever made the view can make it again. `tenant` is whose rows it shows; empty if
        it is above all tenants.
        """
        self.tables = tuple(tables.items())
        self.parameters = tuple(parameters)
        self.origin = origin
        self.tenant = tenant

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and (self.tables, self.parameters) == (other.tables, other.parameters)

    def __hash__(self) -> int:
        return hash((self.tables, self.parameters))

    def narrow(self, query: Query, parameters: Sequence[Any], schema: str) -> tuple[Query, Sequence[Any]]:
        """A statement that reads, and its parameters, as this view has it. `schema` is where the tables are."""
        narrowed, used = _narrowed(self.tables, query.name, query.sql, len(parameters), schema)
        return narrowed, (*parameters, *[self.parameters[number] for number in used])


VIEW: Final[ContextVar[View | None]] = ContextVar("view", default=None)
"""The view of the present task; None sees everything."""


def tenant_of_task() -> str:
    """The tenant for which the present task works; empty if it is above all tenants."""
    view = VIEW.get()
    return view.tenant if view is not None else ""


@contextmanager
def seeing(view: View | None) -> Iterator[None]:
    """Read through a view, or with None everything, until the end of the block."""
    token = VIEW.set(view)
    try:
        yield
    finally:
        VIEW.reset(token)


class reading:
    """Do something for somebody, and read through their view, until the end of the block."""

    __slots__ = ("_actor", "_actor_before", "_view", "_view_before")

    def __init__(self, actor: Actor, view: View | None) -> None:
        self._actor, self._view = actor, view

    def __enter__(self) -> None:
        self._actor_before, self._view_before = ACTOR.set(self._actor), VIEW.set(self._view)

    def __exit__(self, *_: object) -> None:
        VIEW.reset(self._view_before)
        ACTOR.reset(self._actor_before)


def through_view(script: Callable[[], Script[T]], schema: str) -> Callable[[], Script[T]]:
    """The script, whose reading statements see what the present task sees. Statements that write are not changed."""
    view = VIEW.get()
    return script if view is None else lambda: _seen(script(), view, schema)


def _seen(script: Script[T], view: View, schema: str) -> Script[T]:
    try:
        query, parameters = next(script)
        while True:
            if _READS.match(query.sql):
                query, parameters = view.narrow(query, parameters, schema)
            query, parameters = script.send((yield query, parameters))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        script.close()


@lru_cache(1024)
def _narrowed(
    tables: tuple[tuple[str, str], ...], name: str, sql: str, count: int, schema: str
) -> tuple[Query, list[int]]:
    """The statement behind the tables that it names, directly or by others, and the numbers, from 0, of the parameters
    of the view that it then has behind its own `count`."""
    sql = _joined_to_seen(sql, tables, schema)
    needed = set(_WORD.findall(sql))
    chosen: list[str] = []
    for table, rows in reversed(tables):
        if table in needed:
            needed.update(_WORD.findall(rows))
            # Named twice in a statement, SQLite would otherwise make a copy of the whole table first.
            chosen.append(f"{table} AS NOT MATERIALIZED ({rows.format(schema=schema)})")
    if not chosen:
        return Query(name, sql), []
    text = ", ".join(reversed(chosen))
    used = sorted({int(number) for number in _NUMBERED.findall(text)})  # The database takes no parameter too many.
    places = {number: at for at, number in enumerate(used, count + 1)}
    renumbered = _NUMBERED.sub(lambda found: f"${places[int(found[1])]}", text)
    found = _READS.match(sql)
    if found is not None and found[1] is not None:
        seen = f"{found[1]} {renumbered},{sql[found.end() :]}"
    else:
        seen = f"WITH {renumbered} {sql}"
    return Query(f"{name}, as seen", seen), [number - 1 for number in used]


def _joined_to_seen(sql: str, tables: tuple[tuple[str, str], ...], schema: str) -> str:
    """The statement, in which tables are whole where an inner join leaves only rows whose row above is seen: to look
    for it again in each of them would be most of the cost of a view."""
    for _table, rows in reversed(tables):
        if (of := _BY_ROW_ABOVE.fullmatch(rows)) is not None:
            table, above, column = of.groups()
            for join in _JOINS:
                pattern = join.format(table=table, above=above, column=column, end=_END)
                sql = re.sub(pattern, rf"\g<1>{schema}.{table}", sql)
    return sql
