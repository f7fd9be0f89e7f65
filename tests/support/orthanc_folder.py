"""An Orthanc's folder made by hand: the tables of database version 6, as Orthanc 1.12.8 and later have them or as 1.10
has, and a storage area. For what Debian's Orthanc, which is older, does not write.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from gateway.dicom import part10
from gateway.index.identity import public_id
from tests.support.datasets import EXPLICIT, encode

_TABLES = (
    "CREATE TABLE GlobalProperties (property INTEGER PRIMARY KEY, value TEXT)",
    "CREATE TABLE Resources (internalId INTEGER PRIMARY KEY AUTOINCREMENT, resourceType INTEGER, publicId TEXT, "
    "parentId INTEGER)",
    "CREATE TABLE PatientRecyclingOrder (seq INTEGER PRIMARY KEY AUTOINCREMENT, patientId INTEGER)",
)
_OLD = (
    "CREATE TABLE Metadata (id INTEGER, type INTEGER, value TEXT, PRIMARY KEY (id, type))",
    "CREATE TABLE AttachedFiles (id INTEGER, fileType INTEGER, uuid TEXT, compressedSize INTEGER, "
    "uncompressedSize INTEGER, compressionType INTEGER, uncompressedMD5 TEXT, compressedMD5 TEXT, "
    "PRIMARY KEY (id, fileType))",
)
_NEW = (
    "CREATE TABLE Metadata (id INTEGER, type INTEGER, value TEXT, revision INTEGER, PRIMARY KEY (id, type))",
    "CREATE TABLE AttachedFiles (id INTEGER, fileType INTEGER, uuid TEXT, compressedSize INTEGER, "
    "uncompressedSize INTEGER, compressionType INTEGER, uncompressedMD5 TEXT, compressedMD5 TEXT, revision INTEGER, "
    "customData BLOB, PRIMARY KEY (id, fileType))",
    "CREATE TABLE Labels (id INTEGER, label TEXT NOT NULL, PRIMARY KEY (id, label))",
)


def file_of(data_set: Dataset) -> bytes:
    """A DICOM file, with a group 0002 that is not ours."""
    header = part10.file_header(
        sop_class_uid=str(data_set.SOPClassUID),
        sop_instance_uid=str(data_set.SOPInstanceUID),
        transfer_syntax_uid=EXPLICIT,
        source_aet="SOMEBODY",
    )
    return header + encode(data_set)


@dataclass(frozen=True)
class Row:
    """The rows of an instance: its own number and those above it, and the place of its file."""

    patient: int
    study: int
    series: int
    instance: int
    public_id: str
    path: Path


class OrthancFolder:
    """A folder with index and storage area, to which instances are added."""

    def __init__(self, folder: Path, *, newer: bool = True, version: str = "6") -> None:
        self.folder = folder
        self.newer = newer
        folder.mkdir(parents=True)
        (folder / "orthanc.json").write_text('{"StorageDirectory": ".", "UserMetadata": {"triage": 1024}}')
        self.database = sqlite3.connect(folder / "index", isolation_level=None)
        for statement in (*_TABLES, *(_NEW if newer else _OLD)):
            self.database.execute(statement)
        self.database.execute("INSERT INTO GlobalProperties VALUES (1, ?)", (version,))

    def close(self) -> None:
        self.database.close()

    def add(self, data_set: Dataset, *, compressed: bool = False, md5: bool = True, custom: bytes | None = None) -> Row:
        """Add an instance and its file."""
        ids = [str(data_set.PatientID), str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID)]
        ids.append(str(data_set.SOPInstanceUID))
        rows: list[int] = []
        for level in range(4):
            rows.append(self._resource(level + 1, public_id(*ids[: level + 1]), rows[-1] if rows else None))
        for number, value in ((2, "20200102T030405"), (3, "CT1"), (8, "DicomProtocol"), (11, "10.0.0.9"), (12, "OLD")):
            self.metadata(rows[3], number, value)
        return Row(*rows, public_id(*ids), self.attach(rows[3], file_of(data_set), compressed, md5, custom))

    def attach(
        self,
        row: int,
        content: bytes,
        compressed: bool = False,
        md5: bool = True,
        custom: bytes | None = None,
        *,
        number: int = 1,
    ) -> Path:
        """Give an instance its file, or a resource another attachment, in the place of the one it had."""
        stored = len(content).to_bytes(8, "little") + zlib.compress(content) if compressed else content
        name = str(uuid.uuid4())
        path = self.folder / name[:2] / name[2:4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored)
        digests = [hashlib.md5(each).hexdigest() if md5 else "" for each in (content, stored)]
        values = [row, number, name, len(stored), len(content), 2 if compressed else 1, *digests]
        values += [0, custom] if self.newer else []
        marks = ", ".join("?" * len(values))
        self.database.execute(f"INSERT OR REPLACE INTO AttachedFiles VALUES ({marks})", values)
        return path

    def metadata(self, row: int, number: int, value: str, revision: int = 0) -> None:
        values = [row, number, value, *([revision] if self.newer else [])]
        self.database.execute(f"INSERT OR REPLACE INTO Metadata VALUES ({', '.join('?' * len(values))})", values)

    def label(self, row: int, label: str) -> None:
        self.database.execute("INSERT INTO Labels VALUES (?, ?)", (row, label))

    def protect(self, patient: int) -> None:
        self.database.execute("DELETE FROM PatientRecyclingOrder WHERE patientId = ?", (patient,))

    def remove(self, row: Row) -> None:
        """Delete an instance; what is above it stays."""
        self.database.execute("DELETE FROM Resources WHERE internalId = ?", (row.instance,))
        self.database.execute("DELETE FROM AttachedFiles WHERE id = ?", (row.instance,))
        row.path.unlink()

    def _resource(self, kind: int, name: str, parent: int | None) -> int:
        found = self.database.execute("SELECT internalId FROM Resources WHERE publicId = ?", (name,)).fetchone()
        if found:
            return int(found[0])
        values = (kind, name, parent)
        made = self.database.execute(
            "INSERT INTO Resources (resourceType, publicId, parentId) VALUES (?, ?, ?)", values
        ).lastrowid
        assert made is not None
        if kind == 1:
            self.database.execute("INSERT INTO PatientRecyclingOrder (patientId) VALUES (?)", (made,))
        return made
