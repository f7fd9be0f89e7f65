"""Removing a patient, study, series or instance, with everything below."""

from __future__ import annotations

from gateway.database.database import Query

BELOW = {
    "patient": "series IN (SELECT s.id FROM series s JOIN studies t ON t.id = s.study WHERE t.patient = $1)",
    "study": "series IN (SELECT s.id FROM series s WHERE s.study = $1)",
    "series": "series = $1",
    "instance": "id = $1",
}
"""The condition for instances below the resource with row number $1, by level."""
SERIES_BELOW = {"patient": "study IN (SELECT t.id FROM studies t WHERE t.patient = $1)", "study": "study = $1"}
STUDIES_BELOW = {"patient": "patient = $1", "study": "id = $1"}
STUDIES_OF_PATIENT = Query("studies_of_patient: row numbers", "SELECT id FROM studies WHERE patient = $1 ORDER BY id")
ANCESTORS = {
    level: Query(
        f"ancestors of a {level}: row numbers and public ids, '' below its level",
        f"""
        SELECT p.id, p.public_id, t.id, t.public_id, t.uid, {columns}
        FROM patients p JOIN studies t ON t.patient = p.id {joins} WHERE {condition} LIMIT 1
        """,
    )
    for level, columns, joins, condition in (
        ("patient", "0, ''", "", "p.id = $1"),
        ("study", "0, ''", "", "t.id = $1"),
        ("series", "s.id, s.public_id", "JOIN series s ON s.study = t.id", "s.id = $1"),
        (
            "instance",
            "s.id, s.public_id",
            "JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id",
            "i.id = $1",
        ),
    )
}
TOTALS_BELOW = {
    level: Query(
        f"totals below a {level}: instances and bytes",
        f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM instances WHERE {below}",
    )
    for level, below in BELOW.items()
}
DISCARD_BELOW = {
    level: Query(
        f"discard_below a {level}: its files are to be deleted, from $2 on",
        f"INSERT INTO garbage (key, at) SELECT key, CAST($2 AS DOUBLE PRECISION) FROM instances WHERE {below} "
        "ON CONFLICT (key) DO NOTHING",
    )
    for level, below in BELOW.items()
}
FORGET_INCOMPLETE_BELOW = {
    level: Query(
        f"forget_incomplete_below a {level}: what its instances lack",
        f"DELETE FROM incomplete WHERE key IN (SELECT key FROM instances WHERE {below})",
    )
    for level, below in BELOW.items()
}
_LOG = "INSERT INTO changes (kind, level, public_id, study_uid, at) SELECT 'Deleted', "
LOG_INSTANCES_BELOW = {
    level: Query(
        f"log_instances_below a {level}: that they are deleted",
        f"{_LOG} 'Instance', i.public_id, t.uid, CAST($2 AS DOUBLE PRECISION) FROM instances i "
        f"JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study WHERE i.{below} ORDER BY i.id",
    )
    for level, below in BELOW.items()
}
LOG_SERIES_BELOW = {
    level: Query(
        f"log_series_below a {level}: that they are deleted",
        f"{_LOG} 'Series', s.public_id, t.uid, CAST($2 AS DOUBLE PRECISION) FROM series s "
        f"JOIN studies t ON t.id = s.study WHERE s.{below} ORDER BY s.id",
    )
    for level, below in SERIES_BELOW.items()
}
LOG_STUDIES_BELOW = {
    level: Query(
        f"log_studies_below a {level}: that they are deleted",
        f"{_LOG} 'Study', public_id, uid, CAST($2 AS DOUBLE PRECISION) FROM studies WHERE {below} ORDER BY id",
    )
    for level, below in STUDIES_BELOW.items()
}
REMEMBER_VERSIONS = {
    level: Query(
        f"remember_versions: of the instances below a {level}, which are about to be deleted",
        "INSERT INTO deleted_instances (public_id, version, at) SELECT public_id, version, CAST($2 AS DOUBLE PRECISION)"
        f" FROM instances WHERE {below} "
        "ON CONFLICT (public_id) DO UPDATE SET version = excluded.version, at = excluded.at",
    )
    for level, below in BELOW.items()
}
REMOVE_INSTANCES = {
    level: Query(f"remove_instances: of a {level}", f"DELETE FROM instances WHERE {below}")
    for level, below in BELOW.items()
}
REMOVE_SERIES = {
    level: Query(f"remove_series: of a {level}", f"DELETE FROM series WHERE {below}")
    for level, below in {**SERIES_BELOW, "series": "id = $1"}.items()
}
_UNSHARE = (
    "UPDATE studies SET shared = 0 WHERE uid IN (SELECT uid FROM studies WHERE {below} AND shared = 1) "
    "AND (SELECT COUNT(*) FROM studies o WHERE o.uid = studies.uid) <= 2"
)
REMOVE_STUDIES = {
    level: (
        Query(f"unshare_studies: where one of two goes with a {level}", _UNSHARE.format(below=below)),
        *[
            Query(f"{name}: of a {level}", f"DELETE FROM {table} WHERE {condition}")
            for name, table, condition in (
                ("remove_names", "person_names", f"study IN (SELECT id FROM studies WHERE {below})"),
                ("remove_metadata", "metadata", f"study_uid IN (SELECT uid FROM studies WHERE {below})"),
                ("remove_studies", "studies", below),
            )
        ],
    )
    for level, below in STUDIES_BELOW.items()
}
"""In this order: `shared`, names and metadata are found by the studies."""
REMOVE_PATIENT = Query(
    "remove_patient: if no study is left; returns its row",
    "DELETE FROM patients WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM studies WHERE patient = $1) RETURNING id",
)
SHRINK_SERIES = Query(
    "shrink_series: by instances and bytes; returns the remaining instances",
    "UPDATE series SET instance_count = instance_count - $2, size = size - $3 WHERE id = $1 RETURNING instance_count",
)
SHRINK_STUDY = Query(
    "shrink_study: by series, instances and bytes; returns the remaining series",
    """
    UPDATE studies SET series_count = series_count - $2, instance_count = instance_count - $3, size = size - $4
    WHERE id = $1 RETURNING series_count
    """,
)
NEWEST_CHANGE = Query("newest_change: number of the last entry", "SELECT COALESCE(MAX(seq), 0) FROM changes")
