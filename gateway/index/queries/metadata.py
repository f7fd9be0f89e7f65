"""Cached metadata, and the validators that show whether they are current."""

from __future__ import annotations

from gateway.database.database import Query
from gateway.index.queries.columns import OF_PATIENT, TABLES

_VALIDATOR = f"""
    SELECT COUNT(*), COALESCE(SUM(i.id), 0), COALESCE(SUM(i.version), 0), COALESCE(SUM(i.size), 0),
        COALESCE(MAX(i.received_at), 0), COALESCE(MAX(t.shared), 0)
    FROM {TABLES}
    WHERE t.uid = $1 AND {OF_PATIENT.format(patient="$2")}"""
VALIDATORS = (
    Query("validator_of_study: values that change as soon as an instance of a study comes or goes", _VALIDATOR),
    Query("validator_of_series: as validator_of_study, for a series", _VALIDATOR + " AND s.uid = $3"),
    Query(
        "validator_of_instance: as validator_of_study, for an instance", _VALIDATOR + " AND s.uid = $3 AND i.uid = $4"
    ),
)
"""By the number of UIDs besides the study's."""
FIND_METADATA = Query("find_metadata: by its tag", "SELECT length, checksum, body FROM metadata WHERE tag = $1")
KEEP_METADATA = Query(
    "keep_metadata: under its tag, if its study still exists",
    """
    INSERT INTO metadata (tag, study_uid, at, length, checksum, size, body)
    SELECT $1, $2, CAST($3 AS DOUBLE PRECISION), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), $7
    WHERE EXISTS (SELECT 1 FROM studies WHERE uid = $2)
    ON CONFLICT (tag) DO NOTHING
    """,
)
SIZE_OF_METADATA = Query("size_of_metadata: cached bytes", "SELECT COALESCE(SUM(size), 0) FROM metadata")
OLDEST_METADATA = Query(
    "oldest_metadata: some, with their sizes", "SELECT tag, size FROM metadata ORDER BY at LIMIT $1"
)
FORGET_METADATA = Query("forget_metadata: by its tag", "DELETE FROM metadata WHERE tag = $1")
FORGET_METADATA_OF_STUDY = Query("forget_metadata_of_study: by its UID", "DELETE FROM metadata WHERE study_uid = $1")
