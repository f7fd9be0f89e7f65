"""What was received when and from where, from the rows that are there; what was deleted since is missing.

The last hour is read from the newest instances, longer times from the newest studies: all instances of a study then
count at the time of its last one, and for the sender of its first. The number of rows read is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.database.database import Database
from gateway.index.queries import traffic as queries

MAX_INSTANCES: Final = 20_000
"""The newest instances that are read."""
MAX_STUDIES: Final = 60_000
"""The newest studies that are read."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The instances that one sender brought in one interval, which begins at `at`, seconds since 1970."""

    at: float
    sender: str
    """The calling AE title; the way in, in angle brackets, where there is none."""
    instances: int
    bytes: int


async def received_lately(database: Database, since: float, interval_s: int) -> list[Traffic]:
    """Count by instance what was received since; only from the MAX_INSTANCES newest. Raises DatabaseError."""
    rows = await database.fetch(queries.NEWEST_INSTANCES, since, interval_s, MAX_INSTANCES)
    return _received(rows, interval_s)


async def lately_begins(database: Database) -> float:
    """The time from which on `received_lately` has everything; 0 if nothing is left out. Raises DatabaseError."""
    ((count, begins),) = await database.fetch(queries.OLDEST_OF_NEWEST, MAX_INSTANCES)
    return float(begins) if count >= MAX_INSTANCES else 0.0


async def received_by_study(database: Database, since: float, interval_s: int) -> list[Traffic]:
    """Count by study what was received since; only the MAX_STUDIES newest. Raises DatabaseError."""
    return _received(await database.fetch(queries.NEWEST_STUDIES, since, interval_s, MAX_STUDIES), interval_s)


async def studies_begin(database: Database) -> float:
    """The time from which on `received_by_study` has everything; 0 if nothing is left out. Raises DatabaseError."""
    rows = await database.fetch(queries.STUDY_BEHIND, MAX_STUDIES)
    return float(rows[0][0]) if rows else 0.0


def _received(rows: Iterable[tuple[Any, ...]], interval_s: int) -> list[Traffic]:
    return [
        Traffic(float(number * interval_s), calling or f"<{via}>", int(instances), int(size))
        for number, calling, via, instances, size in rows
    ]
