"""The log of exports: which patients, studies, series and instances were sent to which other system, and when.

Entries are written in the transaction that ends the job or delivery which has sent something; the oldest go when there
are too many. Why something was not sent is known of the job or the delivery.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database, Script
from gateway.dicom.levels import Level
from gateway.events import queries

MAX_EXPORTS: Final = 100_000
"""The newest so many entries stay."""


@dataclass(frozen=True, slots=True)
class Export:
    """One entry. `level` is one of Patient, Study, Series and Instance; `at` is seconds since 1970."""

    seq: int
    at: float
    remote: str
    """Name of the system."""
    level: str
    public_id: str
    patient_id: str
    study_uid: str
    """'' where the level is above; so are the UIDs that follow."""
    series_uid: str
    sop_uid: str


def log_exports(remote: str, resources: Iterable[tuple[str, Level]], now: float) -> Script[None]:
    """Write down that resources, public id and level each, were sent to a system. Those that have gone are left out."""
    for public_id, level in resources:
        yield queries.ADD_EXPORT[level], (public_id, now, remote)
    yield queries.FORGET_EXPORTS, (MAX_EXPORTS,)


async def read_exports(database: Database, since: int, limit: int) -> tuple[list[Export], bool]:
    """Up to `limit` entries after number `since`, oldest first, and whether these are the last."""
    rows = await database.fetch(queries.EXPORTS_AFTER, since, limit + 1)
    return [Export(*row) for row in rows[:limit]], len(rows) <= limit


async def last_export(database: Database) -> list[Export]:
    """The newest entry alone; an empty list where there is none."""
    return [Export(*row) for row in await database.fetch(queries.LAST_EXPORT)]


def forget_exports_of(patient_id: str) -> Script[None]:
    """Delete the entries of a patient, of every tenant's with that Patient ID."""
    yield queries.FORGET_EXPORTS_OF, (patient_id,)


def clear_exports() -> Script[None]:
    """Delete all entries. The numbers of later ones go on."""
    yield queries.CLEAR_EXPORTS, ()
