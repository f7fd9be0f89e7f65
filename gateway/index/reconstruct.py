"""Making the index entries of stored instances again from their files, while the gateway serves.

Identities, versions, origins, deliveries and what users have added stay. The rows of patient, study and series become
those of the oldest instance below them. Reading the files is in `systems/reconstruction.py`; a rebuild of the whole
index, with no gateway running, is `rebuild.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Database, Script
from gateway.dicom.levels import Level
from gateway.index.queries import reconstruct as queries
from gateway.index.queries import store as rows
from gateway.index.queries.locate import ROWS_BY_PUBLIC_ID
from gateway.index.queries.metadata import FORGET_METADATA_OF_STUDY
from gateway.index.record import InstanceRecord
from gateway.index.store import set_modalities, set_study


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """An instance in the index: its row number, the key of its file, its public id, the row number of its series."""

    row: int
    key: str
    public_id: str
    series: int


async def row_of(database: Database, level: Level, public_id: str) -> int | None:
    """The row number of a resource; None where there is none."""
    found = await database.fetch(ROWS_BY_PUBLIC_ID[level], public_id)
    return int(found[0][0]) if found else None


async def entries(database: Database, resource: tuple[Level, int] | None, after: int, limit: int) -> list[IndexedFile]:
    """The next instances below a resource (level and row number), or of all, after a row number."""
    if resource is None:
        return [IndexedFile(*row) for row in await database.fetch(queries.ALL_AFTER, after, limit)]
    level, row_number = resource
    return [IndexedFile(*row) for row in await database.fetch(queries.BELOW_AFTER[level], row_number, after, limit)]


def reconstruct(entry: IndexedFile, record: InstanceRecord, *, first_seen: bool) -> Script[bool]:
    """Make the entry of an instance again, and where the instance is the oldest one below them, of its parents.

    `first_seen` says that it is the first of its series in this run: for others the parents are not looked at. False
    where the instance has gone, has another version now, or its file is one of another instance.
    """
    parameters = record.sop_class_uid, record.number, record.attributes, record.extras
    if not (yield queries.REFRESH_INSTANCE, (entry.row, entry.key, record.public_id, *parameters)):
        return False
    yield rows.COUNT_EDIT, ()
    if first_seen:
        yield FORGET_METADATA_OF_STUDY, (record.parents.study_instance_uid,)
        yield from _correct_parents(entry, record)
    return True


def _correct_parents(entry: IndexedFile, record: InstanceRecord) -> Script[None]:
    parents = record.parents
    ((study, in_series, in_study, in_patient),) = yield queries.PARENTS_OF, (entry.series, entry.row)
    if not in_patient:
        yield rows.CORRECT_PATIENT, parents.patient
    if not in_study:
        yield from set_study(record, study)
    if not in_series:
        yield rows.CORRECT_SERIES, (entry.series, *parents.series[2:])
        yield from set_modalities(study)
