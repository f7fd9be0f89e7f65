"""The script that removes a patient, study, series or instance from the index, with all below and emptied parents.

All changes of one removal are in one script: rows, counts of what remains, the change log, the list of files to
delete. Whether a removal is allowed is decided in `admin/deletion.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Script
from gateway.dicom.levels import Level
from gateway.index.annotations import forget
from gateway.index.queries import remove as queries
from gateway.index.queries.annotations import FORGET_BELOW
from gateway.index.queries.attachments import DISCARD_ATTACHED_BELOW
from gateway.index.queries.store import ADD_CHANGE, COUNT_EDIT, MODALITIES, SET_MODALITIES


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of a removal. `ancestor` is the lowest remaining one, level and public id; None if there is none."""

    instances: int
    change: int
    """Number of the last entry in the change log."""
    ancestor: tuple[Level, str] | None


def remove_resource(level: Level, row: int, now: float, delete_at: float) -> Script[Removed | None]:
    """Remove the resource with this row number; None if there is none. Files may be deleted from `delete_at` on."""
    rows = yield queries.ANCESTORS[level], (row,)
    if not rows:
        return None
    patient, patient_id, study, study_id, study_uid, series, series_id = rows[0]
    ((count, size),) = yield queries.TOTALS_BELOW[level], (row,)
    yield queries.DISCARD_BELOW[level], (row, delete_at)
    yield queries.FORGET_INCOMPLETE_BELOW[level], (row,)
    yield queries.LOG_INSTANCES_BELOW[level], (row, now)
    yield queries.REMEMBER_VERSIONS[level], (row, now)
    for query in DISCARD_ATTACHED_BELOW[level]:
        yield query, (row, delete_at)
    for query in FORGET_BELOW[level]:
        yield query, (row,)
    yield queries.REMOVE_INSTANCES[level], (row,)
    ancestor: tuple[Level, str] | None = None
    if level in ("patient", "study"):
        yield queries.LOG_SERIES_BELOW[level], (row, now)
        yield queries.REMOVE_SERIES[level], (row,)
        yield queries.LOG_STUDIES_BELOW[level], (row, now)
        for query in queries.REMOVE_STUDIES[level]:
            yield query, (row,)
    else:
        ((remaining,),) = yield queries.SHRINK_SERIES, (series, count, size)
        if remaining:
            ancestor = "series", series_id
        else:
            yield ADD_CHANGE, ("Deleted", "Series", series_id, study_uid, now)
            yield from forget("series", series_id, delete_at)
            yield queries.REMOVE_SERIES["series"], (series,)
        ((remaining,),) = yield queries.SHRINK_STUDY, (study, 0 if remaining else 1, count, size)
        if not remaining:
            yield ADD_CHANGE, ("Deleted", "Study", study_id, study_uid, now)
            yield from forget("study", study_id, delete_at)
            for query in queries.REMOVE_STUDIES["study"]:
                yield query, (study,)
        elif ancestor is None:
            ancestor = "study", study_id
            modalities = yield MODALITIES, (study,)
            yield SET_MODALITIES, (study, "\\" + "".join([f"{code}\\" for (code,) in modalities if code]))
    if ancestor is None:
        if (yield queries.REMOVE_PATIENT, (patient,)):
            yield ADD_CHANGE, ("Deleted", "Patient", patient_id, study_uid, now)
            yield from forget("patient", patient_id, delete_at)
        else:
            ancestor = "patient", patient_id
    yield COUNT_EDIT, ()
    ((change,),) = yield queries.NEWEST_CHANGE, ()
    return Removed(count, change, ancestor)
