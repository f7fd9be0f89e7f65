"""The statements that read the change log. Its entries are written by the scripts that make the changes."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query, numbered

_ENTRIES = "SELECT seq, kind, level, public_id, study_uid, at FROM changes WHERE seq > $1 AND seq <= $2"


def changes_between(kind_count: int, *, backward: bool, new_instances: bool) -> Query:
    """Entries of the change log after a number, up to another; of some kinds, or of all if their count is 0.

    Without `new_instances` the kinds have none, which an index passes over.
    """
    kinds = numbered(kind_count, 4)
    wanted = f" AND kind IN ({kinds})" if kind_count else ""
    passed_over = "" if new_instances else " AND kind <> 'NewInstance'"
    order = "DESC" if backward else "ASC"
    return Query(
        f"changes_between: {kind_count or 'all'} kinds, {'the last' if backward else 'the first'}",
        f"{_ENTRIES}{wanted}{passed_over} ORDER BY seq {order} LIMIT $3",
    )


LAST_CHANGE = Query("last_change: the highest number in the change log", "SELECT COALESCE(MAX(seq), 0) FROM changes")

_ABOVE_SERIES: Final = "JOIN studies t ON t.id = s.study JOIN patients p ON p.id = t.patient"
_SENT: Final = (
    ("patient", "p", "patients p"),
    ("study", "t", "studies t JOIN patients p ON p.id = t.patient"),
    ("series", "s", f"series s {_ABOVE_SERIES}"),
    ("instance", "i", f"instances i JOIN series s ON s.id = i.series {_ABOVE_SERIES}"),
)
"""Levels, each with the name of its table in a statement and with the tables of all above it."""
_UIDS: Final = ("t.uid", "s.uid", "i.uid")
_NONE: Final = ("''",) * len(_UIDS)
ADD_EXPORT = {
    level: Query(
        f"add_export: a {level} was sent to a system",
        "INSERT INTO exports (at, remote, level, public_id, patient_id, study_uid, series_uid, sop_uid) "
        f"SELECT CAST($2 AS DOUBLE PRECISION), $3, '{level.capitalize()}', {alias}.public_id, p.patient_id, "
        f"{', '.join([*_UIDS[:depth], *_NONE[depth:]])} FROM {tables} WHERE {alias}.public_id = $1",
    )
    for depth, (level, alias, tables) in enumerate(_SENT)
}
FORGET_EXPORTS = Query(
    "forget_exports: all but the newest $1",
    "DELETE FROM exports WHERE seq <= (SELECT MAX(seq) FROM exports) - CAST($1 AS BIGINT)",
)
FORGET_EXPORTS_OF = Query("forget_exports_of: a patient", "DELETE FROM exports WHERE patient_id = $1")
_EXPORT: Final = "SELECT seq, at, remote, level, public_id, patient_id, study_uid, series_uid, sop_uid FROM exports"
EXPORTS_AFTER = Query("exports_after: a number, oldest first", f"{_EXPORT} WHERE seq > $1 ORDER BY seq LIMIT $2")
LAST_EXPORT = Query("last_export: the newest entry", f"{_EXPORT} ORDER BY seq DESC LIMIT 1")
CLEAR_EXPORTS = Query("clear_exports: all entries", "DELETE FROM exports")
