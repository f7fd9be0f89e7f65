"""What an Orthanc's index says, read from a copy of it: resources, their files, and what people added to them.

Blocks; each method is one page at most. `index_copy.py` makes the copy of an SQLite index, `orthanc_postgres.py` that
of a PostgreSQL one.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.dicom.levels import LEVELS, Level
from gateway.errors import SourceError
from gateway.index.store import Origin, Via
from gateway.migration import queries

PAGE: Final = 200
"""Resources of one page."""
_RECEPTION_DATE, _REMOTE_AET, _ORIGIN, _REMOTE_IP, _CALLED_AET = 2, 3, 8, 11, 12
"""Numbers of Orthanc's own metadata of instances."""
MADE_OF: Final = {5: "ModifiedFrom", 6: "AnonymizedFrom"}
"""Orthanc's own metadata that say of what a resource was made."""
_VIA: Final[Mapping[str, Via]] = {"DicomProtocol": "dimse", "RestApi": "rest", "WebDav": "rest", "Plugins": "stow"}
_MODALITIES, _PEERS = 20, 21
"""Global properties: systems that were added over REST, where they are kept in the index."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_NONE, _ZLIB = 1, 2
_LEVEL_NUMBERS: Final = range(1, len(LEVELS) + 1)
DATABASE_VERSIONS: Final = ("6",)


@dataclass(frozen=True, slots=True)
class SourceAttachment:
    """The DICOM file of an instance in the storage area, as the index describes it."""

    uuid: str
    compressed: bool
    stored_size: int
    size: int
    """Bytes before compression."""
    stored_md5: str
    md5: str
    """MD5 before compression; '' where Orthanc computes none."""


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """An instance of Orthanc's: its row, public id, file, and how it came."""

    row: int
    public_id: str
    file: SourceAttachment | None
    trouble: str
    """Why there is no file that could be read; '' if there is one."""
    origin: Origin


@dataclass(frozen=True, slots=True)
class Annotated:
    """A resource with what people added to it."""

    row: int
    level: Level
    public_id: str
    metadata: Sequence[tuple[int, str, int]]
    """Number, value and revision of each."""
    labels: Sequence[str]
    protected: bool


@dataclass(frozen=True, slots=True)
class UserFile:
    """A file that somebody attached to a resource, under a number of the user's."""

    row: int
    level: Level
    public_id: str
    number: int
    file: SourceAttachment | None
    trouble: str
    """Why it cannot be read; '' if it can."""

    @property
    def place(self) -> tuple[int, int]:
        """The place in the order of all of them."""
        return self.row, self.number


@dataclass(frozen=True, slots=True)
class Contents:
    """How much is in an index."""

    levels: Mapping[Level, int]
    files: int
    size: int
    stored_size: int
    others: Mapping[int, tuple[int, int]]
    """Number and bytes of attachments that are no DICOM files, by their type."""


class OrthancIndex:
    """A copy of an index, open for reading. Every method raises SourceError."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
            self._connection.execute(queries.READ_ONLY)
        except sqlite3.Error as error:
            raise SourceError(f"{path.name}: cannot be opened: {error}") from None
        version = self._value(queries.DATABASE_VERSION)
        if str(version) not in DATABASE_VERSIONS:
            self.close()
            raise SourceError(
                f"the index has database version {version}; {', '.join(DATABASE_VERSIONS)} can be read, "
                "which Orthanc has since 0.9.5: start a newer Orthanc once, which upgrades it"
            )
        files, metadata = self._columns("AttachedFiles"), self._columns("Metadata")
        self._instances_after = queries.instances_after("customData" in files)
        self._user_files_after = queries.user_files_after("customData" in files)
        self._has_labels = bool(self._columns("Labels"))
        self._annotated_after = queries.annotated_after(self._has_labels)
        self._added_metadata = queries.added_metadata("revision" in metadata)

    def close(self) -> None:
        self._connection.close()

    def contents(self) -> Contents:
        """How much there is of each kind."""
        by_type = dict(self._rows(queries.COUNT_LEVELS))
        ((files, size, stored),) = self._rows(queries.COUNT_BYTES)
        others = {
            kind: (count, int(total))
            for kind, count, total in self._rows(queries.OTHER_ATTACHMENTS)
            if isinstance(kind, int)
        }
        levels = {level: by_type.get(at, 0) for at, level in enumerate(LEVELS, 1)}
        return Contents(levels, files, int(size), int(stored), others)

    def systems(self) -> dict[str, Any]:
        """Modalities and peers that were added over REST and are kept in the index, as settings of Orthanc."""
        found: dict[str, Any] = {}
        for name, number in (("DicomModalities", _MODALITIES), ("OrthancPeers", _PEERS)):
            text = self._value(queries.GLOBAL_PROPERTY, number)
            try:
                table = msgspec.json.decode(text or "{}")
            except (msgspec.DecodeError, TypeError, RecursionError):
                continue
            if isinstance(table, dict) and table:
                found[name] = table
        return found

    def instances(self, after: int) -> list[SourceInstance]:
        """The page of instances after a row, in the order in which they came."""
        rows = self._rows(self._instances_after, after, PAGE)
        if not rows:
            return []
        came: dict[int, dict[int, str]] = {}
        for row, kind, value in self._rows(queries.METADATA_BETWEEN, rows[0][0], rows[-1][0]):
            came.setdefault(row, {})[kind] = str(value)
        return [self._instance(row, came.get(row[0], {})) for row in rows]

    def resources(self, level: Level, after: int) -> list[tuple[int, str]]:
        """The page of the resources of a level after a row: row and public id."""
        return self._rows(queries.RESOURCES_AFTER, LEVELS.index(level) + 1, after, PAGE)

    def has(self, public_id: str) -> bool:
        """Whether there is a resource with this public id."""
        return self._value(queries.RESOURCE, public_id) is not None

    def above(self, row: int) -> list[str]:
        """The public ids of the series, study and patient of an instance."""
        found: list[str] = []
        while len(found) < len(LEVELS) and (rows := self._rows(queries.ABOVE, row)):
            row = rows[0][0]
            found.append(str(rows[0][1]))
        return found

    def annotated(self, after: int) -> list[Annotated]:
        """The page after a row of what has metadata, labels or protection."""
        return [
            Annotated(
                row,
                LEVELS[kind - 1],
                str(public_id),
                [
                    (number, str(value), revision if isinstance(revision, int) else 0)
                    for number, value, revision in self._rows(self._added_metadata, row)
                    if isinstance(number, int)
                ],
                [str(label) for (label,) in self._rows(queries.LABELS, row)] if self._has_labels else (),
                kind == 1 and not self._rows(queries.RECYCLED, row),
            )
            for row, kind, public_id in self._rows(self._annotated_after, after, PAGE)
            if kind in _LEVEL_NUMBERS
        ]

    def user_files(self, after: tuple[int, int]) -> list[UserFile]:
        """The page of the user's attachments after a place."""
        return [
            UserFile(row, LEVELS[kind - 1], str(public_id), number, *_file(tuple(described), elsewhere))
            for row, kind, public_id, number, elsewhere, *described in self._rows(self._user_files_after, *after, PAGE)
            if kind in _LEVEL_NUMBERS
        ]

    def _instance(self, row: Sequence[Any], came: Mapping[int, str]) -> SourceInstance:
        number, public_id, uuid, compression, stored, size, stored_md5, md5, elsewhere = row
        described = uuid, compression, stored, size, stored_md5, md5
        file, trouble = (None, "Orthanc has no file of it") if uuid is None else _file(described, elsewhere)
        return SourceInstance(number, str(public_id), file, trouble, _origin(came))

    def _columns(self, table: str) -> set[str]:
        return {name for name, _type in self._rows(queries.columns_of(table))}

    def _value(self, query: str, *parameters: Any) -> Any:
        rows = self._rows(query, *parameters)
        return rows[0][0] if rows else None

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise SourceError(f"the index of Orthanc cannot be read: {error}") from None


def _file(described: tuple[Any, ...], elsewhere: object) -> tuple[SourceAttachment | None, str]:
    """A file that the index describes, or the reason why it cannot be read."""
    uuid, compression, stored, size, stored_md5, md5 = described
    if elsewhere:
        return None, "its file is not in the storage area, but where a plugin has put it"
    known = _UUID.fullmatch(str(uuid)) and compression in (_NONE, _ZLIB)
    if not known or not (isinstance(stored, int) and isinstance(size, int)):
        return None, f"the index describes its file in no known way: {uuid!r:.60}, compression {compression!r:.20}"
    md5s = [str(each or "").lower() for each in (stored_md5, md5)]
    return SourceAttachment(str(uuid), compression == _ZLIB, stored, size, *md5s), ""


def _origin(came: Mapping[int, str]) -> Origin:
    """How an instance came, as far as Orthanc noted it; when it is brought, where it did not."""
    try:
        when = datetime.strptime(came.get(_RECEPTION_DATE, ""), "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        when = time.time()
    return Origin(
        came.get(_REMOTE_AET, "")[:64],
        came.get(_CALLED_AET, "")[:64],
        came.get(_REMOTE_IP, "")[:255],
        when,
        _VIA.get(came.get(_ORIGIN, ""), "import"),
    )
