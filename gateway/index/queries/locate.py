"""Finding instances by the identifiers above them, in pages."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query, numbered
from gateway.dicom.levels import COLLECTIONS, Level
from gateway.index.queries.columns import COLUMNS, OF_PATIENT, PATIENT_OF_STUDY, TABLES
from gateway.index.queries.remove import BELOW
from gateway.index.queries.resources import ALIAS

ROWS_BY_PUBLIC_ID = {
    level: Query(f"{level}_row: by public id", f"SELECT id FROM {table} WHERE public_id = $1")
    for level, table in COLLECTIONS.items()
}
_BY_UID = {
    "study": ("t.id", "FROM studies t WHERE t.uid = $1"),
    "series": ("s.id", "FROM studies t JOIN series s ON s.study = t.id WHERE t.uid = $1 AND s.uid = $3"),
    "instance": (
        "i.id",
        "FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id "
        "WHERE t.uid = $1 AND s.uid = $3 AND i.uid = $4",
    ),
}
ROWS_BY_UID = {
    level: Query(
        f"{level}_rows: by the UIDs from the study down, with their patients",
        f"SELECT {row}, {PATIENT_OF_STUDY} {tables} AND {OF_PATIENT.format(patient='$2')}",
    )
    for level, (row, tables) in _BY_UID.items()
}
"""Parameters: study, patient (public id or ''), series, instance."""

_LOCATED: Final = f"SELECT {COLUMNS} FROM {TABLES} WHERE t.uid = $1 AND {OF_PATIENT.format(patient='$2')}"
_AFTER = """
    AND (s.number, s.id, i.number, i.id) > ($3, $4, $5, $6)
    ORDER BY s.number, s.id, i.number, i.id LIMIT $7"""
LOCATE_BY_PUBLIC_ID = {
    level: Query(
        f"locate_{level}: a page of the instances of a {level} by its public id, in the order of rows, with theirs",
        f"""
        SELECT {COLUMNS}, p.public_id, t.public_id, s.public_id, i.public_id
        FROM patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id
            JOIN instances i ON i.series = s.id
        WHERE {table}.public_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3
        """,
    )
    for level, table in ALIAS.items()
}
REPLACED_SINCE = {
    level: Query(
        f"replaced_since: an instance of a {level} by its public id that got another file behind a change",
        # The condition twice, since the index of changes is of those that are no new instances.
        f"""
        SELECT 1 FROM changes c JOIN instances i ON i.public_id = c.public_id JOIN series s ON s.id = i.series
            JOIN studies t ON t.id = s.study JOIN patients p ON p.id = t.patient
        WHERE c.seq > $2 AND c.kind <> 'NewInstance' AND c.kind = 'UpdatedAttachment' AND c.level = 'Instance'
            AND {table}.public_id = $1
        LIMIT 1
        """,
    )
    for level, table in ALIAS.items()
}
COPIES_IN_STUDY = Query(
    "copies_in_study: a page of the instances of a study in the order of rows, with what each was made of, if anything",
    # Outer joins, so that the metadata are looked up for the instances and not the other way round.
    """
    SELECT c.id, c.public_id, i.id, p.public_id, t.public_id, s.public_id, i.public_id
    FROM studies ct JOIN series cs ON cs.study = ct.id JOIN instances c ON c.series = cs.id
        LEFT JOIN resource_metadata m ON m.level = 'instance' AND m.public_id = c.public_id AND m.name = $2
        LEFT JOIN instances i ON i.public_id = m.value LEFT JOIN series s ON s.id = i.series
        LEFT JOIN studies t ON t.id = s.study LEFT JOIN patients p ON p.id = t.patient
    WHERE ct.public_id = $1 AND c.id > $3 ORDER BY c.id LIMIT $4
    """,
)
LAST_ROW = Query("last_row: of all instances", "SELECT COALESCE(MAX(id), -1) FROM instances")


def count_below(level: Level, count: int) -> Query:
    """The statement for how many of `count` rows of instances are below the resource with row number $1."""
    return Query(
        f"count_below: how many of {count} rows are below a {level}",
        # The plus keeps an index from being read from end to end for these few.
        f"SELECT COUNT(*) FROM instances WHERE +{BELOW[level]} AND id IN ({numbered(count, 2)})",
    )


def count_stored(count: int) -> Query:
    """The statement for how many of `count` public ids are those of stored instances."""
    return Query(
        f"count_stored: how many of {count} instances there are",
        f"SELECT COUNT(*) FROM instances WHERE public_id IN ({numbered(count)})",
    )


def counted_resources(count: int) -> Query:
    """The statement for the level of `count` public ids, what is below them, and what they belong to."""
    names = numbered(count)
    of_patient = "(SELECT {what} FROM studies o WHERE o.patient = p.id)"
    counted, size = (of_patient.format(what=f"COALESCE(SUM(o.{name}), 0)") for name in ("instance_count", "size"))
    return Query(
        "counted_resources: public id, level, number and bytes of instances, public ids of patient, study and series",
        f"""
        SELECT i.public_id, 'instance', 1, i.size, p.public_id, t.public_id, s.public_id
        FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
            JOIN patients p ON p.id = t.patient WHERE i.public_id IN ({names})
        UNION ALL SELECT s.public_id, 'series', s.instance_count, s.size, p.public_id, t.public_id, ''
        FROM series s JOIN studies t ON t.id = s.study JOIN patients p ON p.id = t.patient
        WHERE s.public_id IN ({names})
        UNION ALL SELECT t.public_id, 'study', t.instance_count, t.size, p.public_id, '', ''
        FROM studies t JOIN patients p ON p.id = t.patient WHERE t.public_id IN ({names})
        UNION ALL SELECT p.public_id, 'patient', {counted}, {size}, '', '', ''
        FROM patients p WHERE p.public_id IN ({names})
        """,
    )


LOCATE_STUDY = Query("locate_study: a page of the instances of a study, in order", _LOCATED + _AFTER)
LOCATE_SERIES = Query(
    "locate_series: a page of the instances of a series, in order", _LOCATED + " AND s.uid = $8" + _AFTER
)
LOCATE_INSTANCE = Query(
    "locate_instance: an instance under its study and series",
    _LOCATED + " AND s.uid = $8 AND i.uid = $9" + _AFTER,
)

# Kinds of series without images, or whose images do not characterize a study (PS3.3 C.7.3.1.1.1).
_NOT_PICTURES = (
    "'SR', 'PR', 'KO', 'DOC', 'RTSTRUCT', 'RTPLAN', 'RTRECORD', 'RTDOSE', 'REG', 'FID', 'SEG', 'ECG', 'AU', 'PLAN'"
)
_OF_STUDY = f"FROM studies t JOIN series s ON s.study = t.id WHERE t.uid = $1 AND {OF_PATIENT.format(patient='$2')}"
_MIDDLE = f"""
    AND s.id = (SELECT s.id {_OF_STUDY} {{series}}
        ORDER BY CASE WHEN s.modality IN ({_NOT_PICTURES}) THEN 1 ELSE 0 END, s.number, s.id LIMIT 1)
    ORDER BY i.number, i.id LIMIT 1 OFFSET COALESCE((SELECT s.instance_count / 2 {_OF_STUDY} {{series}}
        ORDER BY CASE WHEN s.modality IN ({_NOT_PICTURES}) THEN 1 ELSE 0 END, s.number, s.id LIMIT 1), 0)"""
LOCATE_MIDDLE_OF_STUDY = Query(
    "locate_middle_of_study: the instance that stands for a study, of its first series with pictures",
    _LOCATED + _MIDDLE.format(series=""),
)
LOCATE_MIDDLE_OF_SERIES = Query(
    "locate_middle_of_series: the instance that stands for a series", _LOCATED + _MIDDLE.format(series="AND s.uid = $3")
)
