"""When patients, studies and series are stable and series complete, as entries of the change log.

Arrivals are read off the change log in parts, so that nothing is added to the transaction of an instance, and noted in
a table, so that what becomes stable while no gateway runs is said after the next start. The watch that runs these steps
is `ingest/stability_watch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from gateway.database.database import Database, Script
from gateway.dicom.levels import Level
from gateway.index.queries import stability as queries
from gateway.index.queries.annotations import EXISTS
from gateway.index.queries.store import ADD_CHANGE
from gateway.index.resources import Resource, page_size, resources_by_row
from gateway.index.values import NO_NUMBER

STABLE_AFTER_S: Final = 60.0
"""A resource is stable once nothing has come for so long, as in Orthanc's defaults."""
_MAX_CHANGES: Final = 500
"""Entries of the change log in one part."""
_MAX_STABLE: Final = 500
"""Resources that are said to be stable in one transaction."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A part of the change log: what it says to have arrived, and the number of its last entry."""

    resources: Sequence[tuple[Level, str, str]]
    """Level, public id and Study Instance UID of what received something."""
    complete: Sequence[tuple[str, str]]
    """Public id and Study Instance UID of the series that have all their instances."""
    up_to: int
    last: bool
    """Whether the change log ended here."""


async def arrivals(database: Database) -> Arrivals | None:
    """The next part of the change log; None at its end."""
    ((after, newest),) = await database.fetch(queries.WATCHED_SO_FAR)
    if newest <= after:
        return None
    up_to = min(newest, after + _MAX_CHANGES)
    rows = await database.fetch(queries.RECEIVING, after, up_to)
    found: dict[tuple[Level, str, str], None] = {}
    for _row, series_id, study_id, patient_id, uid in rows:
        found |= {("series", series_id, uid): None, ("study", study_id, uid): None, ("patient", patient_id, uid): None}
    uids = {series_id: uid for _row, series_id, _study, _patient, uid in rows}
    complete: list[tuple[str, str]] = []
    size = page_size("series")
    for at in range(0, len(rows), size):
        series = await resources_by_row(database, "series", [row[0] for row in rows[at : at + size]])
        complete += [(each.public_id, uids[each.public_id]) for each in series if series_status(each) == "Complete"]
    return Arrivals(list(found), complete, up_to, last=up_to == newest)


def note_arrivals(found: Arrivals, now: float) -> Script[int]:
    """Note what is not stable any more, and log the series that are complete; the number of the last entry, or 0."""
    last = 0
    for level, public_id, uid in found.resources:
        yield queries.NOTE_UNSTABLE, (level, public_id, uid, now)
    for public_id, uid in found.complete:
        ((last,),) = yield ADD_CHANGE, ("CompletedSeries", "Series", public_id, uid, now)
    yield queries.SET_WATCHED, (found.up_to,)
    return last


async def stable(database: Database, now: float, age: float) -> list[tuple[Level, str, str]]:
    """Level, public id and Study Instance UID of what has received nothing for `age` seconds; a part, oldest first."""
    rows = await database.fetch(queries.STABLE_SINCE, now - age, _MAX_STABLE)
    return [(cast(Level, level), public_id, uid) for level, public_id, uid in rows]


async def is_clock_behind(database: Database, now: float) -> bool:
    """Whether something is noted to have arrived later than now."""
    return bool(await database.fetch(queries.SINCE_LATER, now))


def begin_again(now: float) -> Script[None]:
    """Count what seems to come from the future as having arrived now: the clock was set back."""
    yield queries.BEGIN_AGAIN, (now,)


def log_stable(found: Sequence[tuple[Level, str, str]], now: float, age: float) -> Script[int]:
    """Log the resources that are stable, unless they have gone or received something meanwhile; the number of the last
    entry, or 0."""
    last = 0
    for level, public_id, uid in found:
        if (yield queries.FORGET_UNSTABLE, (level, public_id, now - age)) and (yield EXISTS[level], (public_id,)):
            name = level.capitalize()
            ((last,),) = yield ADD_CHANGE, (f"Stable{name}", name, public_id, uid, now)
    return last


def is_stable(resource: Resource, now: float) -> bool:
    """Whether nothing has come for a while. `now` in seconds since 1970."""
    return now - resource.last_received >= STABLE_AFTER_S


def series_status(series: Resource) -> str:
    """The status of a series by its Instance Numbers: complete with each once, from 1 to the expected number."""
    expected = series.expected_instances
    if expected is None:
        return "Unknown"
    there = [number for number in series.numbers if number != NO_NUMBER]
    if len(set(there)) < len(there) or any(not 0 < number <= expected for number in there):
        return "Inconsistent"
    return "Complete" if len(there) == expected else "Missing"
