"""What people add to resources: metadata, labels, the protection of patients."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query, numbered
from gateway.dicom.levels import LEVELS, Level
from gateway.index.queries.columns import LABELS_OF_STUDY
from gateway.index.queries.remove import BELOW as INSTANCES_BELOW
from gateway.index.queries.remove import SERIES_BELOW, STUDIES_BELOW
from gateway.index.queries.resources import TABLE

CAME_FROM: Final[dict[Level, tuple[str, ...]]] = {
    "series": ("RemoteAET",),
    "instance": ("RemoteAET", "CalledAET", "RemoteIP", "Origin", "SopClassUid", "TransferSyntax"),
}
"""Metadata of an instance that say how it came, in the order of columns; of a series as its first instance has it."""


def came_from(level: Level, count: int) -> Query:
    """Row numbers, and how these series or instances came."""
    if level == "series":
        sql = (
            "SELECT s.id, i.calling_aet FROM series s JOIN instances i "
            "ON i.id = (SELECT MIN(o.id) FROM instances o WHERE o.series = s.id) WHERE s.id"
        )
    else:
        sql = (
            "SELECT id, calling_aet, called_aet, peer, via, sop_class_uid, transfer_syntax_uid FROM instances WHERE id"
        )
    return Query(f"came_from: how {level} rows came", f"{sql} IN ({numbered(count)})")


def added_to(level: Level, count: int) -> Query:
    """Row number, name, value and revision of all metadata that was added to the resources with these row numbers."""
    sql = (
        f"SELECT r.id, m.name, m.value, m.revision FROM {TABLE[level]} r JOIN resource_metadata m "
        f"ON m.level = '{level}' AND m.public_id = r.public_id WHERE r.id IN ({numbered(count)}) ORDER BY m.name"
    )
    return Query(f"added_to: metadata of level {level}", sql)


ONE_METADATA = Query(
    "one_metadata: of a resource, by its name",
    "SELECT value, revision FROM resource_metadata WHERE level = $1 AND public_id = $2 AND name = $3",
)
ADDED_METADATA = Query(
    "added_metadata: of a resource",
    "SELECT name, value, revision FROM resource_metadata WHERE level = $1 AND public_id = $2 ORDER BY name",
)
SET_METADATA = Query(
    "set_metadata: of a resource",
    """
    INSERT INTO resource_metadata (level, public_id, name, value, revision) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (level, public_id, name) DO UPDATE SET value = excluded.value, revision = excluded.revision
    """,
)
_ITSELF: Final[dict[Level, tuple[str, str]]] = {
    "patient": ("''", "patients r"),
    "study": ("r.uid", "studies r"),
    "series": ("t.uid", "series r JOIN studies t ON t.id = r.study"),
    "instance": ("t.uid", "instances r JOIN series s ON s.id = r.series JOIN studies t ON t.id = s.study"),
}
"""The Study Instance UID of a resource, and the tables that have both."""
LOG_METADATA, LOG_ATTACHMENT = (
    {
        level: Query(
            f"log_{what}: those of a {level} have changed",
            "INSERT INTO changes (kind, level, public_id, study_uid, at) "
            f"SELECT 'Updated{what.capitalize()}', '{level.capitalize()}', r.public_id, {uid}, "
            f"CAST($2 AS DOUBLE PRECISION) FROM {tables} WHERE r.public_id = $1",
        )
        for level, (uid, tables) in _ITSELF.items()
    }
    for what in ("metadata", "attachment")
)
REMOVE_METADATA = Query(
    "remove_metadata: of a resource, by its name",
    "DELETE FROM resource_metadata WHERE level = $1 AND public_id = $2 AND name = $3",
)
COUNT_METADATA = Query(
    "count_metadata: of a resource", "SELECT COUNT(*) FROM resource_metadata WHERE level = $1 AND public_id = $2"
)
LABELS = Query(
    "labels: of a resource, in order",
    "SELECT label FROM resource_labels WHERE level = $1 AND public_id = $2 ORDER BY label",
)
ADD_LABEL = Query(
    "add_label: to a resource",
    "INSERT INTO resource_labels (level, public_id, label) VALUES ($1, $2, $3) "
    "ON CONFLICT (level, public_id, label) DO NOTHING",
)
REMOVE_LABEL = Query(
    "remove_label: from a resource",
    "DELETE FROM resource_labels WHERE level = $1 AND public_id = $2 AND label = $3",
)
_PATIENT_OF_STUDY: Final = "(SELECT p.public_id FROM patients p WHERE p.id = studies.patient)"
_ITS_STUDIES: Final[dict[Level, str]] = {
    "patient": "patient = (SELECT o.id FROM patients o WHERE o.public_id = $1)",
    "study": "public_id = $1",
}
LABEL_STUDIES: Final = {
    level: Query(
        f"label_studies: note the labels of a {level} with its studies, after one was given or taken",
        f"UPDATE studies SET labels = {LABELS_OF_STUDY.format(study='studies.public_id', patient=_PATIENT_OF_STUDY)} "
        f"WHERE {condition}",
    )
    for level, condition in _ITS_STUDIES.items()
}
NEXT_LABEL = Query(
    "next_label: the first of all labels after one; NULL for none",
    "SELECT MIN(label) FROM resource_labels WHERE label > $1",
)
PROTECTED = Query("protected: whether a patient is", "SELECT 1 FROM protected_patients WHERE public_id = $1")
PROTECT = Query(
    "protect: a patient", "INSERT INTO protected_patients (public_id) VALUES ($1) ON CONFLICT (public_id) DO NOTHING"
)
UNPROTECT = Query("unprotect: a patient", "DELETE FROM protected_patients WHERE public_id = $1")
EXISTS = {
    level: Query(f"exists: a {level}, by public id", f"SELECT 1 FROM {table} WHERE public_id = $1")
    for level, table in TABLE.items()
}

_ADDED: Final = ("resource_metadata", "resource_labels", "attachments")
BELOW: Final = {
    "instance": INSTANCES_BELOW,
    "series": {**SERIES_BELOW, "series": "id = $1"},
    "study": STUDIES_BELOW,
    "patient": {"patient": "id = $1"},
}
"""The condition for resources of a level at or below the resource with row number $1, by both levels."""
FORGET_BELOW = {
    level: tuple(
        Query(
            f"forget_{added}: of level {each} below a {level} that is about to be deleted",
            f"DELETE FROM {added} WHERE level = '{each}' AND public_id IN "
            f"(SELECT public_id FROM {TABLE[each]} WHERE {BELOW[each][level]})",
        )
        for each in LEVELS[max(at, 1) :]
        for added in _ADDED
    )
    for at, level in enumerate(LEVELS)
}
"""A patient's own goes when its row does: `FORGET_OF`."""
FORGET_OF = tuple(
    Query(f"forget_{added}: of a resource", f"DELETE FROM {added} WHERE level = $1 AND public_id = $2")
    for added in _ADDED
)
