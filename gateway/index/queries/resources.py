"""Patients, studies, series and instances as resources: rows in the order in which they came, and what is below."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gateway.database.database import Query, numbered
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level

ALIAS: Final[dict[Level, str]] = {"patient": "p", "study": "t", "series": "s", "instance": "i"}
TABLE: Final = COLLECTIONS
"""Tables are called as what they hold."""
_PARENT: Final[dict[Level, str]] = {"study": "patient", "series": "study", "instance": "series"}
"""The column with the row number of the parent."""
_INSTANCES: Final[dict[Level, str]] = {
    "patient": "COALESCE((SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = p.id), 0)",
    "study": "t.instance_count",
    "series": "s.instance_count",
    "instance": "1",
}
_STAMP: Final = {level: f"(SELECT number FROM resource_edits), {count}" for level, count in _INSTANCES.items()}
_SHOWN: Final[dict[Level, str]] = {
    "patient": (
        "p.id, p.public_id, '', p.attributes, '', '', 0, "
        "COALESCE((SELECT MAX(o.last_received) FROM studies o WHERE o.patient = p.id), 0), '', 0"
    ),
    "study": "t.id, t.public_id, p.public_id, t.attributes, t.extras, '', 0, t.last_received, '', 0",
    # Of the instances an orientation is wanted, which Orthanc has among the attributes of series.
    "series": (
        "s.id, s.public_id, t.public_id, s.attributes, s.extras, COALESCE((SELECT i.extras FROM instances i "
        "WHERE i.id = (SELECT MIN(o.id) FROM instances o WHERE o.series = s.id)), ''), s.number, s.last_received, '', 0"
    ),
    "instance": ("i.id, i.public_id, s.public_id, i.attributes, i.extras, '', i.number, i.received_at, i.key, i.size"),
}
"""Row number, public id, that of the parent, three JSON fragments, number, when it last received something, storage
key, bytes."""
_COLUMNS: Final = {level: f"{columns}, {_STAMP[level]}" for level, columns in _SHOWN.items()}
"""These, and the two numbers of its stamp."""
_WITH_PARENT: Final[dict[Level, str]] = {
    "patient": "patients p",
    "study": "studies t JOIN patients p ON p.id = t.patient",
    "series": "series s JOIN studies t ON t.id = s.study",
    "instance": "instances i JOIN series s ON s.id = i.series",
}
_CHAIN: Final[dict[Level, str]] = {
    "patient": "patients p",
    "study": "patients p JOIN studies t ON t.patient = p.id",
    "series": "patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id",
    "instance": (
        "patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id "
        "JOIN instances i ON i.series = s.id"
    ),
}
_PAGE: Final = "{row}.id > $1 ORDER BY {row}.id LIMIT $2"

RESOURCES = {
    level: Query(
        f"resources: a page of all of level {level}, by row number, after leaving out $3 of them",
        f"SELECT {_COLUMNS[level]} FROM {_WITH_PARENT[level]} WHERE {_PAGE.format(row=ALIAS[level])} OFFSET $3",
    )
    for level in LEVELS
}
ROWS = {
    level: Query(
        f"rows: a page of all of level {level}, by row number, after leaving out $3 of them",
        f"SELECT id, public_id FROM {TABLE[level]} {ALIAS[level]} WHERE {_PAGE.format(row=ALIAS[level])} OFFSET $3",
    )
    for level in LEVELS
}
RESOURCE = {
    level: Query(
        f"resource: of level {level}, by public id",
        f"SELECT {_COLUMNS[level]} FROM {_WITH_PARENT[level]} WHERE {ALIAS[level]}.public_id = $1",
    )
    for level in LEVELS
}
RESOURCES_BELOW = {
    (above, level): Query(
        f"resources_below: a page of level {level} below a {above}, by row number",
        f"SELECT {_COLUMNS[level]} FROM {_CHAIN[level]} WHERE {ALIAS[above]}.public_id = $3 "
        f"AND {_PAGE.format(row=ALIAS[level])}",
    )
    for at, above in enumerate(LEVELS)
    for level in LEVELS[at + 1 :]
}
RESOURCE_ABOVE = {
    (level, above): Query(
        f"resource_above: the {above} of a {level}, by public id",
        f"SELECT {ALIAS[above]}.public_id FROM {_CHAIN[level]} WHERE {ALIAS[level]}.public_id = $1",
    )
    for at, above in enumerate(LEVELS)
    for level in LEVELS[at + 1 :]
}
TOTALS = {
    "patient": Query(
        "totals: studies, series, instances and bytes of a patient",
        "SELECT COUNT(*), SUM(t.series_count), SUM(t.instance_count), SUM(t.size) "
        "FROM patients p JOIN studies t ON t.patient = p.id WHERE p.public_id = $1 HAVING COUNT(*) > 0",
    ),
    "study": Query(
        "totals: of a study", "SELECT 1, series_count, instance_count, size FROM studies WHERE public_id = $1"
    ),
    "series": Query("totals: of a series", "SELECT 1, 1, instance_count, size FROM series WHERE public_id = $1"),
    "instance": Query("totals: of an instance", "SELECT 1, 1, 1, size FROM instances WHERE public_id = $1"),
}
LOOK_UP = Query(
    "look_up: resources by Patient ID in any case ($1 in small letters) or by a UID",
    """
    SELECT DISTINCT 'patient', p.public_id FROM studies t JOIN patients p ON p.id = t.patient
    WHERE LOWER(t.patient_id) = $1
    UNION ALL SELECT 'study', public_id FROM studies WHERE uid = $2
    UNION ALL SELECT 'series', public_id FROM series WHERE uid = $2
    UNION ALL SELECT 'instance', public_id FROM instances WHERE uid = $2
    LIMIT $3
    """,
)


STAMP = {
    level: Query(
        f"stamp: of level {level}, by public id",
        f"SELECT {ALIAS[level]}.id, {_STAMP[level]} FROM {TABLE[level]} {ALIAS[level]} "
        f"WHERE {ALIAS[level]}.public_id = $1",
    )
    for level in LEVELS
}
_KEPT: Final = 128
"""Statements that are kept: most pages are full, and the text of one of 200 takes as long as SQLite with it."""


@lru_cache(_KEPT)
def by_row(level: Level, count: int) -> Query:
    """The resources with these row numbers."""
    return Query(
        f"resources_by_row: of level {level}",
        f"SELECT {_COLUMNS[level]} FROM {_WITH_PARENT[level]} WHERE {ALIAS[level]}.id IN ({numbered(count)})",
    )


@lru_cache(_KEPT)
def stamps(level: Level, count: int) -> Query:
    """Row number and stamp of the resources with these row numbers."""
    alias = ALIAS[level]
    return Query(
        f"stamps: of level {level}",
        f"SELECT {alias}.id, {_STAMP[level]} FROM {TABLE[level]} {alias} WHERE {alias}.id IN ({numbered(count)})",
    )


@lru_cache(_KEPT)
def around(level: Level, count: int) -> Query:
    """Children, labels and the like of the resources with these row numbers: row number, kind, text, number.

    The kinds are `child` (public id, and the number of an instance), `label`, `protected`, and names of metadata that
    say of what a resource was made.
    """
    rows, alias = numbered(count), ALIAS[level]
    beside = (
        "SELECT {alias}.id{columns} FROM {table} {alias} JOIN {added} a ON a.level = '{level}' AND a.public_id = "
        "{alias}.public_id WHERE {alias}.id IN ({rows})"
    )
    names = {"alias": alias, "table": TABLE[level], "level": level, "rows": rows}
    parts = [
        beside.format(
            columns=" AS owner, 'label' AS kind, a.label AS text, 0 AS number, 0 AS place",
            added="resource_labels",
            **names,
        ),
        beside.format(columns=", a.name, a.value, 0, 0", added="resource_metadata", **names)
        + " AND a.name IN ('AnonymizedFrom', 'ModifiedFrom')",
    ]
    if level == "patient":
        parts.append(
            "SELECT p.id, 'protected', '', 0, 0 FROM patients p JOIN protected_patients a ON a.public_id = p.public_id "
            f"WHERE p.id IN ({rows})"
        )
    if level != "instance":
        below = LEVELS[LEVELS.index(level) + 1]
        number = "c.number" if below == "instance" else "0"
        parent = _PARENT[below]
        child = f"SELECT c.{parent}, 'child', c.public_id, {number}, c.id FROM {TABLE[below]} c"
        parts.append(f"{child} WHERE c.{parent} IN ({rows})")
    sql = f"{' UNION ALL '.join(parts)} ORDER BY place, text"
    return Query(f"around: what belongs to resources of level {level}", sql)
