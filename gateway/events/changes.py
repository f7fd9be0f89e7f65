"""The change log for readers: what happened to patients, studies, series and instances, in order.

Entries are written by the scripts that make the changes; waiting for entries is in `feed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Database
from gateway.events import queries


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log. `kind` and `level` are Orthanc's words: NewPatient, NewStudy, NewSeries,
    NewInstance, UpdatedAttachment (a new version of the file); Patient, Study, Series, Instance. `at` is seconds since
    1970."""

    seq: int
    kind: str
    level: str
    public_id: str
    study_uid: str
    at: float


async def changes_since(database: Database, seq: int, limit: int = 100) -> list[Change]:
    """At most `limit` changes after number `seq` (0: from the beginning), oldest first."""
    return [Change(*row) for row in await database.fetch(queries.CHANGES_AFTER, seq, limit)]


async def last_change(database: Database) -> int:
    """The number of the latest change; 0 if there is none."""
    ((seq,),) = await database.fetch(queries.LAST_CHANGE)
    return int(seq)
