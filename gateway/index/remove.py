"""The script that takes a patient, study, series or instance out of the index, with all below and what it leaves empty.

Everything one removal changes happens in one script: rows, counts of what stays, the change log, the list of files to
delete. Whether something may be removed at all is decided in `archive/remove.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.database.database import Script
from gateway.index import queries

Level = Literal["patient", "study", "series", "instance"]


@dataclass(frozen=True, slots=True)
class Removed:
    """`ancestor` is what is left above: its level and public id, None where nothing is."""

    instances: int
    change: int
    """Number of the last entry in the change log."""
    ancestor: tuple[Level, str] | None


def remove_resource(level: Level, row: int, now: float, delete_at: float) -> Script[Removed | None]:
    """Remove the resource with this row number; None where there is none. Files may be deleted from `delete_at` on."""
    found = yield queries.ANCESTORS[level], (row,)
    if not found:
        return None
    patient, patient_id, study, study_id, study_uid, series, series_id = found[0]
    ((count, size),) = yield queries.TOTALS_BELOW[level], (row,)
    yield queries.DISCARD_BELOW[level], (row, delete_at)
    yield queries.LOG_INSTANCES_BELOW[level], (row, now)
    yield queries.REMOVE_INSTANCES[level], (row,)
    ancestor: tuple[Level, str] | None = None
    if level in ("patient", "study"):
        yield queries.LOG_SERIES_BELOW[level], (row, now)
        yield queries.REMOVE_SERIES[level], (row,)
        yield queries.LOG_STUDIES_BELOW[level], (row, now)
        for query in queries.REMOVE_STUDIES[level]:
            yield query, (row,)
    else:
        ((left,),) = yield queries.SHRINK_SERIES, (series, count, size)
        if left:
            ancestor = "series", series_id
        else:
            yield queries.ADD_CHANGE, ("Deleted", "Series", series_id, study_uid, now)
            yield queries.REMOVE_SERIES["series"], (series,)
        ((left,),) = yield queries.SHRINK_STUDY, (study, 0 if left else 1, count, size)
        if not left:
            yield queries.ADD_CHANGE, ("Deleted", "Study", study_id, study_uid, now)
            for query in queries.REMOVE_STUDIES["study"]:
                yield query, (study,)
        elif ancestor is None:
            ancestor = "study", study_id
            modalities = yield queries.MODALITIES, (study,)
            yield queries.SET_MODALITIES, (study, "\\" + "".join([f"{code}\\" for (code,) in modalities if code]))
    if ancestor is None:
        if (yield queries.REMOVE_PATIENT, (patient,)):
            yield queries.ADD_CHANGE, ("Deleted", "Patient", patient_id, study_uid, now)
        else:
            ancestor = "patient", patient_id
    ((change,),) = yield queries.NEWEST_CHANGE, ()
    return Removed(count, change, ancestor)
