"""Instances whose index entries are made again from their files, and the rows that change."""

from __future__ import annotations

from typing import Final

from gateway.database.database import Query
from gateway.dicom.levels import LEVELS, Level
from gateway.index.queries.remove import BELOW

_COLUMNS: Final = "SELECT i.id, i.key, i.public_id, i.series FROM instances i"
ALL_AFTER = Query("all_after: a page of all instances", f"{_COLUMNS} WHERE i.id > $1 ORDER BY i.id LIMIT $2")
BELOW_AFTER: Final[dict[Level, Query]] = {
    level: Query(
        f"below_after: a page of the instances of a {level}",
        f"{_COLUMNS} WHERE i.{BELOW[level]} AND i.id > $2 ORDER BY i.id LIMIT $3",
    )
    for level in LEVELS
}
REFRESH_INSTANCE = Query(
    "refresh_instance: what its file says, if it is still the file of this instance; returns its series",
    """
    UPDATE instances SET sop_class_uid = $4, number = $5, attributes = $6, extras = $7
    WHERE id = $1 AND key = $2 AND public_id = $3 RETURNING series
    """,
)
PARENTS_OF = Query(
    "parents_of: the study of a series, and whether an instance of each is older than one",
    """
    SELECT s.study,
        EXISTS (SELECT 1 FROM instances o WHERE o.series = s.id AND o.id < $2),
        EXISTS (SELECT 1 FROM series a JOIN instances o ON o.series = a.id WHERE a.study = t.id AND o.id < $2),
        EXISTS (SELECT 1 FROM studies b JOIN series a ON a.study = b.id JOIN instances o ON o.series = a.id
            WHERE b.patient = t.patient AND o.id < $2)
    FROM series s JOIN studies t ON t.id = s.study WHERE s.id = $1
    """,
)
