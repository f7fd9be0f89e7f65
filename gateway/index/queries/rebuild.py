"""Rebuilding the index from the files."""

from __future__ import annotations

from gateway.database.database import Query

KEEP_ORIGINS = Query(
    "keep_origins: saves the origins of the files",
    """
    INSERT INTO rebuild_origins (key, version, received_at, via, calling_aet, called_aet, peer)
    SELECT key, version, received_at, via, calling_aet, called_aet, peer FROM instances WHERE true
    ON CONFLICT (key) DO NOTHING
    """,
)
CLEAR = tuple(
    Query(f"clear_{table}: for rebuilding", f"DELETE FROM {table}")
    for table in ("metadata", "person_names", "instances", "series", "studies", "patients", "unreadable_files")
)
ADD_UNREADABLE = Query(
    "add_unreadable: a file of the store that a rebuild could not read",
    "INSERT INTO unreadable_files (key, reason, at) VALUES ($1, $2, $3)",
)
FIND_ORIGIN = Query(
    "find_origin: the saved origin of a file",
    "SELECT version, received_at, via, calling_aet, called_aet, peer FROM rebuild_origins WHERE key = $1",
)
COUNT_ORIGINS = Query("count_origins: more than 0 during a rebuild", "SELECT COUNT(*) FROM rebuild_origins")
FORGET_ORIGINS = Query("forget_origins: the rebuild is done", "DELETE FROM rebuild_origins")
FORGET_INCOMPLETE_GONE = Query(
    "forget_incomplete_gone: findings on files that a rebuild has not made an instance",
    "DELETE FROM incomplete WHERE key NOT IN (SELECT key FROM instances)",
)
SET_VERSION = Query(
    "set_version: of an instance that a rebuild has restored", "UPDATE instances SET version = $2 WHERE key = $1"
)
