"""Statements on a copy of an Orthanc's index, and on the ledger of a migration (both SQLite).

Tables and columns of the index are those of Orthanc's database version 6. Newer releases have more: labels, revisions
and custom data of attachments; `orthanc_index.py` looks for these first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

FOLD_LOG: Final = "PRAGMA journal_mode = DELETE"
CHECK: Final = "PRAGMA quick_check(1)"
FAST: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF")
READ_ONLY: Final = "PRAGMA query_only = ON"


def columns_of(table: str) -> str:
    """Name and type of each column of a table; none if there is no such table."""
    return f"SELECT name, type FROM pragma_table_info('{table}')"


DATABASE_VERSION: Final = "SELECT value FROM GlobalProperties WHERE property = 1"
GLOBAL_PROPERTY: Final = "SELECT value FROM GlobalProperties WHERE property = ?1"
COUNT_LEVELS: Final = "SELECT resourceType, COUNT(*) FROM Resources GROUP BY resourceType"
COUNT_BYTES: Final = (
    "SELECT COUNT(*), TOTAL(uncompressedSize), TOTAL(compressedSize) FROM AttachedFiles WHERE fileType = 1"
)
OTHER_ATTACHMENTS: Final = (
    "SELECT fileType, COUNT(*), TOTAL(uncompressedSize) FROM AttachedFiles WHERE fileType <> 1 GROUP BY fileType"
)


def instances_after(custom_data: bool) -> str:
    """A page of instances with their files, if they have one, in the order in which they came."""
    elsewhere = "a.customData" if custom_data else "NULL"
    return (
        "SELECT r.internalId, r.publicId, a.uuid, a.compressionType, a.compressedSize, a.uncompressedSize, "
        f"a.compressedMD5, a.uncompressedMD5, {elsewhere} FROM Resources r LEFT JOIN AttachedFiles a "
        "ON a.id = r.internalId AND a.fileType = 1 "
        "WHERE r.resourceType = 4 AND r.internalId > ?1 ORDER BY r.internalId LIMIT ?2"
    )


def user_files_after(custom_data: bool) -> str:
    """A page of the files that users attached, in the order of resources and numbers."""
    elsewhere = "a.customData" if custom_data else "NULL"
    return (
        f"SELECT a.id, r.resourceType, r.publicId, a.fileType, {elsewhere}, a.uuid, a.compressionType, "
        "a.compressedSize, a.uncompressedSize, a.compressedMD5, a.uncompressedMD5 "
        "FROM AttachedFiles a JOIN Resources r ON r.internalId = a.id "
        "WHERE a.fileType BETWEEN 1024 AND 65535 AND (a.id, a.fileType) > (?1, ?2) ORDER BY a.id, a.fileType LIMIT ?3"
    )


METADATA_BETWEEN: Final = (
    "SELECT m.id, m.type, m.value FROM Metadata m WHERE m.id BETWEEN ?1 AND ?2 AND m.type IN (2, 3, 8, 11, 12)"
)
"""What says how instances came, of all resources between two."""
ABOVE: Final = (
    "SELECT p.internalId, p.publicId FROM Resources r JOIN Resources p ON p.internalId = r.parentId "
    "WHERE r.internalId = ?1"
)
RESOURCE: Final = "SELECT internalId FROM Resources WHERE publicId = ?1"
RESOURCES_AFTER: Final = (
    "SELECT internalId, publicId FROM Resources WHERE resourceType = ?1 AND internalId > ?2 "
    "ORDER BY internalId LIMIT ?3"
)


def annotated_after(labels: bool) -> str:
    """A page of the resources to which somebody has added something, or that were made of others."""
    labelled = "OR EXISTS (SELECT 1 FROM Labels l WHERE l.id = r.internalId) " if labels else ""
    return (
        "SELECT r.internalId, r.resourceType, r.publicId FROM Resources r WHERE r.internalId > ?1 AND ("
        "EXISTS (SELECT 1 FROM Metadata m WHERE m.id = r.internalId AND (m.type >= 1024 OR m.type IN (5, 6))) "
        f"{labelled}"
        "OR (r.resourceType = 1 AND NOT EXISTS "
        "(SELECT 1 FROM PatientRecyclingOrder p WHERE p.patientId = r.internalId))) "
        "ORDER BY r.internalId LIMIT ?2"
    )


def added_metadata(revisions: bool) -> str:
    """Type, value and revision of the metadata that somebody has added to a resource."""
    revision = "revision" if revisions else "0"
    return (
        f"SELECT type, value, {revision} FROM Metadata WHERE id = ?1 AND (type >= 1024 OR type IN (5, 6)) ORDER BY type"
    )


LABELS: Final = "SELECT label FROM Labels WHERE id = ?1 ORDER BY label"
RECYCLED: Final = "SELECT 1 FROM PatientRecyclingOrder WHERE patientId = ?1"

# Tables for what is read from another database; columns as in SQLite's.
COPIED_TABLES: Final = {
    "GlobalProperties": ("property", "value"),
    "Resources": ("internalId", "resourceType", "publicId", "parentId"),
    "Metadata": ("id", "type", "value", "revision"),
    "AttachedFiles": (
        *("id", "fileType", "uuid", "compressedSize", "uncompressedSize", "compressionType"),
        *("uncompressedMD5", "compressedMD5", "customData"),
    ),
    "PatientRecyclingOrder": ("seq", "patientId"),
    "Labels": ("id", "label"),
}
_KEYS: Final = {"GlobalProperties": "property", "Resources": "internalId", "PatientRecyclingOrder": "seq"}


def create_table(table: str) -> str:
    columns = ", ".join(
        f"{name} INTEGER PRIMARY KEY" if name == _KEYS.get(table) else name for name in COPIED_TABLES[table]
    )
    return f"CREATE TABLE {table} ({columns})"


def insert_row(table: str) -> str:
    names = COPIED_TABLES[table]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


INDEXES: Final = (
    "CREATE INDEX ByType ON Resources (resourceType, internalId)",
    "CREATE INDEX ByPublicId ON Resources (publicId)",
    "CREATE INDEX MetadataOf ON Metadata (id)",
    "CREATE INDEX FilesOf ON AttachedFiles (id)",
    "CREATE INDEX LabelsOf ON Labels (id)",
    "CREATE INDEX Recycled ON PatientRecyclingOrder (patientId)",
)

# The ledger.
LEDGER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS arrived (id INTEGER PRIMARY KEY, version BLOB NOT NULL, outcome TEXT NOT NULL, "
    "public_id TEXT NOT NULL, key TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS failed (id TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS renamed (theirs TEXT PRIMARY KEY, ours TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS annotated (id INTEGER PRIMARY KEY, digest BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS attached (id INTEGER, number INTEGER, version BLOB NOT NULL, "
    "PRIMARY KEY (id, number)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS proved (id INTEGER PRIMARY KEY, key TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS listed (window TEXT PRIMARY KEY, found INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS doubted (window TEXT PRIMARY KEY, answered INTEGER) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS studies (uid TEXT PRIMARY KEY, expected INTEGER, done INTEGER NOT NULL DEFAULT 0) "
    "WITHOUT ROWID",
)
ATTACHED: Final = "SELECT version FROM attached WHERE id = ?1 AND number = ?2"
ADD_ATTACHED: Final = (
    "INSERT INTO attached VALUES (?1, ?2, ?3) ON CONFLICT (id, number) DO UPDATE SET version = excluded.version"
)
READ_NOTE: Final = "SELECT value FROM notes WHERE name = ?1"
WRITE_NOTE: Final = "INSERT INTO notes VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
BROUGHT: Final = "SELECT id, version, outcome, public_id, key FROM arrived WHERE id BETWEEN ?1 AND ?2"
ADD_BROUGHT: Final = (
    "INSERT INTO arrived VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET version = excluded.version, "
    "outcome = excluded.outcome, public_id = excluded.public_id, key = excluded.key"
)
ADD_FAILED: Final = "INSERT INTO failed VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET reason = excluded.reason"
FORGET_FAILED: Final = "DELETE FROM failed WHERE id = ?1"
REASON: Final = "SELECT reason FROM failed WHERE id = ?1"
RENAME: Final = "INSERT INTO renamed VALUES (?1, ?2) ON CONFLICT (theirs) DO UPDATE SET ours = excluded.ours"
RENAMED: Final = "SELECT ours FROM renamed WHERE theirs = ?1"
DIGEST: Final = "SELECT digest FROM annotated WHERE id = ?1"
ADD_DIGEST: Final = "INSERT INTO annotated VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET digest = excluded.digest"
PROVED: Final = "SELECT id, key FROM proved WHERE id BETWEEN ?1 AND ?2"
ADD_PROVED: Final = "INSERT INTO proved VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET key = excluded.key"
FORGET_PROVED: Final = "DELETE FROM proved"
LISTED: Final = "SELECT found FROM listed WHERE window = ?1"
ADD_LISTED: Final = "INSERT INTO listed VALUES (?1, ?2) ON CONFLICT (window) DO UPDATE SET found = excluded.found"
ADD_DOUBT: Final = "INSERT INTO doubted VALUES (?1, ?2) ON CONFLICT (window) DO UPDATE SET answered = excluded.answered"
DOUBTS: Final = "SELECT window, answered FROM doubted WHERE answered IS NULL OR answered >= ?1 ORDER BY window LIMIT ?2"
ADD_STUDY: Final = (
    "INSERT INTO studies (uid, expected) VALUES (?1, ?2) ON CONFLICT (uid) DO UPDATE SET expected = excluded.expected"
)
STUDIES_AFTER: Final = "SELECT uid, expected FROM studies WHERE uid > ?1 AND done = 0 ORDER BY uid LIMIT ?2"
STUDIES_LEFT: Final = "SELECT uid FROM studies WHERE done = 0"
COUNT_STUDIES: Final = "SELECT COUNT(*), TOTAL(done) FROM studies"
STUDY_DONE: Final = "UPDATE studies SET done = 1 WHERE uid = ?1"
LIST_FAILED: Final = "SELECT id, reason FROM failed WHERE id > ?1 ORDER BY id LIMIT ?2"
FORGET_DOUBTS: Final = "DELETE FROM doubted"
COUNT_FAILED: Final = "SELECT COUNT(*) FROM failed"
FORGET_FAILED_OF: Final = "DELETE FROM failed WHERE id = ?1 OR id LIKE ?1 || ' %'"
FORGET_LIST: Final = (
    "DELETE FROM listed",
    "DELETE FROM doubted",
    "DELETE FROM studies",
    "DELETE FROM failed",
    "DELETE FROM notes",
)

# PostgreSQL.
POSTGRES_COLUMNS: Final = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_name = $1 AND table_schema = ANY (current_schemas(false))"
)
SERVER_PROPERTIES: Final = "SELECT property, value FROM serverproperties WHERE property IN (20, 21)"


RENUMBERED: Final = "resourcetype + 1"
LOWEST_LEVEL: Final = "SELECT MAX(resourcetype) FROM resources"


def select_all(table: str, columns: Sequence[str]) -> str:
    """All rows of a table of PostgreSQL."""
    return f"SELECT {', '.join(columns)} FROM {table}"
