"""The instances under unique keys of several levels (PS3.4 C.4.2.2), all of which must match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.database.database import Query, numbered
from gateway.index.queries.columns import COLUMNS, TABLES

Keys = Sequence[tuple[str, Sequence[str]]]
"""Columns, each with its allowed values."""
_OUTLINE: Final = "SELECT i.sop_class_uid, i.transfer_syntax_uid, COUNT(*), SUM(i.size), MAX(i.flags)"
SELECTED_IN_SERIES = Query(
    "selected_in_series: a page of the instances of a series, by its row number",
    f"""
    SELECT {COLUMNS} FROM {TABLES}
    WHERE i.series = $1 AND (i.number, i.id) > ($2, $3) ORDER BY i.number, i.id LIMIT $4
    """,
)


def outlined(keys: Keys) -> tuple[Query, list[str]]:
    """The number and bytes of instances under the keys, by SOP class and transfer syntax."""
    where, parameters = _where(keys)
    return Query(
        "outlined: groups under unique keys", f"{_OUTLINE} FROM {TABLES} {where} GROUP BY 1, 2 ORDER BY 1, 2"
    ), parameters


def selected_series(keys: Keys) -> tuple[Query, list[str]]:
    """The row numbers of the series under the keys."""
    where, parameters = _where(keys)
    sql = f"SELECT s.id FROM studies t JOIN series s ON s.study = t.id {where} ORDER BY t.id, s.number, s.id"
    return Query("selected_series: under unique keys", sql), parameters


def selected_instances(keys: Keys) -> tuple[Query, list[str]]:
    """The location of each instance under the keys."""
    where, parameters = _where(keys)
    sql = f"SELECT {COLUMNS} FROM {TABLES} {where} ORDER BY t.id, s.number, s.id, i.number, i.id"
    return Query("selected_instances: under unique keys", sql), parameters


_PARENT_OF: Final = {"t.uid": "t.patient", "s.uid": "s.study", "i.uid": "i.series"}


def selected_twice(keys: Keys) -> tuple[Query, list[str]]:
    """A UID of the lowest level among unique keys that exists under several parents; no row if there is none."""
    where, parameters = _where(keys)
    column, _values = keys[-1]
    several = f"COUNT(DISTINCT {_PARENT_OF[column]}) > 1"
    sql = f"SELECT {column} FROM {TABLES} {where} GROUP BY 1 HAVING {several} LIMIT 1"
    return Query("selected_twice: a UID under several parents", sql), parameters


def _where(keys: Keys) -> tuple[str, list[str]]:
    conditions, parameters = [], list[str]()
    for column, values in keys:
        conditions.append(f"{column} IN ({numbered(len(values), len(parameters) + 1)})")
        parameters += values
    return f"WHERE {' AND '.join(conditions)}", parameters
