"""An index in PostgreSQL, with the tables of Orthanc's plugin: copied as one of SQLite, and brought like one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from gateway.config import Storage
from gateway.errors import ConfigurationError, SourceError
from gateway.migration.orthanc_index import OrthancIndex
from gateway.migration.orthanc_migration import OrthancSource, migrate_orthanc
from gateway.migration.orthanc_postgres import connection_options, copy_postgres
from gateway.migration.storage_area import StorageArea
from tests.support.datasets import instance
from tests.support.orthanc_folder import OrthancFolder
from tests.support.postgres import USER, postgresql

pytestmark = pytest.mark.interop
TABLES = """
CREATE TABLE globalproperties (property INTEGER PRIMARY KEY, value TEXT);
CREATE TABLE serverproperties (server VARCHAR(64), property INTEGER, value TEXT, PRIMARY KEY (server, property));
CREATE TABLE resources (internalid BIGSERIAL PRIMARY KEY, resourcetype INTEGER NOT NULL, publicid VARCHAR(64) NOT NULL,
    parentid BIGINT);
CREATE TABLE metadata (id BIGINT, type INTEGER, value TEXT, revision INTEGER, PRIMARY KEY (id, type));
CREATE TABLE attachedfiles (id BIGINT, filetype INTEGER, uuid VARCHAR(64) NOT NULL, compressedsize BIGINT,
    uncompressedsize BIGINT, compressiontype INTEGER, uncompressedhash VARCHAR(40), compressedhash VARCHAR(40),
    revision INTEGER, PRIMARY KEY (id, filetype));
CREATE TABLE patientrecyclingorder (seq BIGSERIAL PRIMARY KEY, patientid BIGINT);
"""
LABELS = "CREATE TABLE labels (id BIGINT, label TEXT, PRIMARY KEY (id, label))"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as folder:
        yield folder


@pytest.fixture
async def connection(server: str) -> AsyncIterator[asyncpg.Connection]:
    admin = await asyncpg.connect(host=server, user=USER, database="postgres")
    await admin.execute("DROP DATABASE IF EXISTS orthanc")
    await admin.execute("CREATE DATABASE orthanc")
    await admin.close()
    connection = await asyncpg.connect(host=server, user=USER, database="orthanc")
    await connection.execute(TABLES)
    yield connection
    await connection.close()


def section(server: str) -> dict[str, object]:
    return {"EnableIndex": True, "Host": server, "Database": "orthanc", "Username": USER}


async def fill(connection: asyncpg.Connection, folder: OrthancFolder, *, from_zero: bool) -> None:
    """Put what an index of SQLite has into that of PostgreSQL."""
    source = folder.database
    less = 1 if from_zero else 0
    for table, sql in (
        ("globalproperties", "SELECT property, value FROM GlobalProperties"),
        ("resources", f"SELECT internalId, resourceType - {less}, publicId, parentId FROM Resources"),
        ("metadata", "SELECT id, type, value, revision FROM Metadata"),
        (
            "attachedfiles",
            "SELECT id, fileType, uuid, compressedSize, uncompressedSize, compressionType, uncompressedMD5, "
            "compressedMD5, 0 FROM AttachedFiles",
        ),
        ("patientrecyclingorder", "SELECT seq, patientId FROM PatientRecyclingOrder"),
    ):
        await connection.copy_records_to_table(table, records=source.execute(sql).fetchall())


@pytest.mark.parametrize("from_zero", [True, False])
async def test_everything_comes(tmp_path: Path, server: str, connection: asyncpg.Connection, from_zero: bool) -> None:
    folder = OrthancFolder(tmp_path / "orthanc")
    rows = [folder.add(instance(PatientID=f"P{number}"), compressed=True) for number in range(5)]
    folder.metadata(rows[0].study, 1024, "urgent", 3)
    folder.protect(rows[1].patient)
    await fill(connection, folder, from_zero=from_zero)
    if not from_zero:
        await connection.execute(LABELS)
        await connection.execute("INSERT INTO labels VALUES ($1, 'seen')", rows[2].study)
    folder.close()
    settings = Storage(path=str(tmp_path / "data"), min_free=0)
    source = OrthancSource(StorageArea(folder.folder), Path("none"), section(server), {1024: "triage"})
    async with asyncio.timeout(30):
        report = await migrate_orthanc(settings, source)
    assert report.proof is not None
    assert report.proof.is_clean, report.proof.problems
    assert report.proof.here == dict.fromkeys(("patient", "study", "series", "instance"), 5)
    with closing(sqlite3.connect(tmp_path / "data" / "database.sqlite")) as database:
        assert database.execute("SELECT name, value, revision FROM resource_metadata").fetchall() == [
            ("triage", "urgent", 3)
        ]
        assert database.execute("SELECT COUNT(*) FROM protected_patients").fetchone() == (1,)
        labels = [] if from_zero else [("study", "seen")]
        assert database.execute("SELECT level, label FROM resource_labels").fetchall() == labels


async def test_systems_of_all_servers(tmp_path: Path, server: str, connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO globalproperties VALUES (1, '6')")
    await connection.execute(
        """INSERT INTO serverproperties VALUES ('a', 20, '{"ct": ["CT1", "h", 104]}'), ('a', 1, 'x')"""
    )
    await copy_postgres(section(server), tmp_path / "copy")
    index = OrthancIndex(tmp_path / "copy")
    assert index.systems() == {"DicomModalities": {"ct": ["CT1", "h", 104]}}
    index.close()


async def test_what_cannot_be_read(tmp_path: Path, server: str, connection: asyncpg.Connection) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        await copy_postgres({**section(server), "Database": "nothing"}, tmp_path / "copy")
    with pytest.raises(SourceError, match="no table globalproperties"):
        await copy_postgres({**section(server), "Database": "postgres"}, tmp_path / "copy")
    with pytest.raises(SourceError, match="cannot be read"):
        await copy_postgres({"Host": str(tmp_path)}, tmp_path / "copy")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("postgresql://u@h/d", {"dsn": "postgresql://u@h/d"}),
        ("host=h port=5433 dbname=d user='a b'", {"host": "h", "port": 5433, "database": "d", "user": "a b"}),
        ("host=h sslmode=require", {"host": "h", "ssl": "require"}),
    ],
)
def test_connection_strings(words: str, options: dict[str, object]) -> None:
    assert connection_options({"ConnectionUri": words}) == options


@pytest.mark.parametrize("given", [{"ConnectionUri": "host='h"}, {"ConnectionUri": "hello"}, {"Port": "x"}])
def test_what_is_no_connection(given: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"PostgreSQL\."):
        connection_options(given)
