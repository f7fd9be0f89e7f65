"""The change log for readers: what happened to patients, studies, series and instances, in order.

Entries are written by the scripts that make the changes; waiting for entries is in `feed.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.database.database import Database, Query, Row
from gateway.database.view import VIEW, seeing
from gateway.events import queries

KINDS: Final = (
    "CompletedSeries",
    "Deleted",
    *("NewInstance", "NewPatient", "NewSeries", "NewStudy"),
    *("StablePatient", "StableSeries", "StableStudy"),
    *("UpdatedAttachment", "UpdatedMetadata"),
)
"""What an entry can say, in Orthanc's words."""
_NEWEST: Final = 2**62
_MAX_LOOKED_AT: Final = 10_000
"""Entries that one statement looks at for a reader who sees a part of them, so that others have their turn between
two: a tenth of a second."""


class Change(NamedTuple):
    """One entry of the change log. `kind` is one of KINDS, `level` one of Patient, Study, Series and Instance.

    UpdatedAttachment is a new version of a file. `at` is seconds since 1970.
    """

    seq: int
    kind: str
    level: str
    public_id: str
    study_uid: str
    at: float


@dataclass(frozen=True, slots=True)
class ChangeLogPage:
    """A part of the change log, oldest first; `is_last` where nothing comes beyond it in the direction of reading."""

    changes: list[Change]
    is_last: bool


async def read_changes(
    database: Database, *, since: int = 0, to: int | None = None, limit: int = 100, kinds: Collection[str] = ()
) -> ChangeLogPage:
    """Changes after number `since` up to number `to`, at most `limit`: the first of them, or with `to` alone the last.

    `kinds` are those wanted; all where there are none.
    """
    backward = to is not None and not since
    query = queries.changes_between(len(kinds), backward=backward, new_instances=not kinds or "NewInstance" in kinds)
    rows = await _entries(database, query, (since, _NEWEST if to is None else to), limit + 1, kinds, backward=backward)
    found = [Change._make(row) for row in rows[:limit]]
    return ChangeLogPage(found[::-1] if backward else found, len(rows) <= limit)


async def last_change(database: Database) -> int:
    """The number of the latest change; 0 if there is none."""
    if VIEW.get() is not None:
        found = await read_changes(database, to=_NEWEST, limit=1)
        return found.changes[0].seq if found.changes else 0
    ((seq,),) = await database.fetch(queries.LAST_CHANGE)
    return int(seq)


async def _entries(
    database: Database, query: Query, between: tuple[int, int], limit: int, kinds: Collection[str], *, backward: bool
) -> list[Row]:
    """The rows of a statement of `changes_between`: its last ones if `backward`. No index leads to those that a reader
    of a part sees, so that they are looked for part by part."""
    first, last = between
    if VIEW.get() is None:
        return await database.fetch(query, first, last, limit, *kinds)
    with seeing(None):
        last = min(last, await last_change(database))
    found: list[Row] = []
    while first < last and len(found) < limit:
        low = max(first, last - _MAX_LOOKED_AT) if backward else first
        high = last if backward else min(last, first + _MAX_LOOKED_AT)
        found += await database.fetch(query, low, high, limit - len(found), *kinds)
        first, last = (first, low) if backward else (high, last)
    return found
