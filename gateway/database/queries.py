"""The statements of the driver itself, on the schema version."""

from __future__ import annotations

from gateway.database.database import Query

CREATE_VERSION = Query(
    "create_version",
    "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL, at DOUBLE PRECISION)",
)
READ_VERSION = Query("read_version", "SELECT COALESCE(MAX(version), 0) FROM schema_version")
TRY_WRITING = Query("try_writing", "UPDATE schema_version SET at = at WHERE version < 0")
ADD_VERSION = Query("add_version", "INSERT INTO schema_version (version, name, at) VALUES ($1, $2, $3)")
CREATE_DATA_FOLDER = Query(
    "create_data_folder: whose index this is, on a server where anybody's may be",
    "CREATE TABLE IF NOT EXISTS data_folder (name TEXT PRIMARY KEY)",
)
BOUND_DATA_FOLDER = Query("bound_data_folder", "SELECT name FROM data_folder")
BIND_DATA_FOLDER = Query("bind_data_folder", "INSERT INTO data_folder (name) VALUES ($1) ON CONFLICT DO NOTHING")
