"""DICOM files that lie around: files, folders, zip archives, one after another, and what their headers say."""

from __future__ import annotations

import functools
import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.dicom import part10
from gateway.dicom.elements import Element, pick
from gateway.dicom.part10 import FileMeta
from gateway.dicom.source import Inflater
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.errors import DataSetError, TruncatedDataSet

HEAD = 1 << 20
"""Bytes within which the header of a file is looked for."""
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_OPEN_ZIPS = 4
LOOK = 16 << 10
"""Bytes in which nearly every file says what it is."""
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018

TROUBLES = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What opening and reading raise where a file or a zip is damaged, encrypted, or compressed in an unusual way."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a member of a zip."""

    name: str
    open: Callable[[], IO[bytes]]
    """Opens it; blocks. Raises TROUBLES."""
    size: int | None = None
    """Bytes; None for a file, which says so itself."""


class Files:
    """Everything below some paths, in the order of names. Members of a zip can be opened until `close`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = paths
        self._zips: OrderedDict[Path, zipfile.ZipFile] = OrderedDict()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Source]:
        """Blocks, as the file system does."""
        for path in self._paths:
            if path.is_dir():
                for folder, below, names in os.walk(path):
                    below.sort()
                    for name in sorted(names):
                        yield from self._file(Path(folder) / name)
            else:
                yield from self._file(path)

    def close(self) -> None:
        with self._lock:
            while self._zips:
                self._zips.popitem()[1].close()

    def _file(self, path: Path) -> Iterator[Source]:
        if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                yield Source(
                    f"{path}:{member.filename}", functools.partial(self._open_member, path, member), member.file_size
                )
        else:
            yield Source(str(path), lambda: path.open("rb"))

    def _open_member(self, path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
        # A zip that is closed while its members are open goes on to serve them.
        with self._lock:
            archive = self._zips.pop(path, None) or zipfile.ZipFile(path)
            self._zips[path] = archive
            if len(self._zips) > _OPEN_ZIPS:
                self._zips.popitem(last=False)[1].close()
            return archive.open(member)


def read_meta(head: bytes) -> FileMeta | None:
    """The header of a file that begins with `head`, of up to HEAD bytes.

    None for what is no DICOM file, or is a DICOMDIR. Raises DataSetError for a DICOM file whose header is broken.
    """
    if head[128:132] != b"DICM":
        return None
    meta = part10.read_header(lambda offset, length: head[offset : offset + length])
    return None if meta.sop_class_uid == _MEDIA_STORAGE_DIRECTORY else meta


@dataclass(frozen=True, slots=True)
class Found:
    """A DICOM file that has been looked into."""

    source: Source
    meta: FileMeta
    sop_class_uid: str
    sop_instance_uid: str
    """What the data set says it is; where it does not, or cannot be read so far, what the header says; or empty."""
    size: int
    """Bytes of the whole file."""

    def open(self) -> OpenFile:
        """Open it again, to read all of it; blocks. Raises TROUBLES."""
        return OpenFile(self.source.open(), self.size)


def look_into(source: Source) -> Found | None:
    """Read a file's header; None for what `read_meta` passes over. Blocks. Raises TROUBLES and DataSetError."""
    with source.open() as file:
        head = file.read(LOOK)
        if head[128:132] != b"DICM":
            return None
        try:
            meta = read_meta(head)
        except TruncatedDataSet:
            head += file.read(HEAD - len(head))
            meta = read_meta(head)
        if meta is None:
            return None
        sop_class_uid, sop_instance_uid = identity(head, meta)
        size = os.fstat(file.fileno()).st_size if source.size is None else source.size
        return Found(source, meta, sop_class_uid, sop_instance_uid, size)


def identity(head: bytes, meta: FileMeta) -> tuple[str, str]:
    """SOP class and instance. The header of a file that somebody has edited is often that of the original."""
    found: dict[int, Element] = {}
    start = meta.data_set_offset
    try:
        syntax = transfer_syntax(meta.transfer_syntax_uid)
        if syntax.deflated:
            inflater = Inflater(lambda offset, length: head[offset : offset + length], start, len(head), HEAD)
            data, uid = inflater(0, LOOK), EXPLICIT_VR_LITTLE_ENDIAN.uid
        else:
            data, uid = head[start:], syntax.uid
        found, _ = pick(data, uid, frozenset((_SOP_CLASS, _SOP_INSTANCE)), _SOP_INSTANCE)
    except DataSetError:
        pass

    def text(tag: int) -> str:
        element = found.get(tag)
        return bytes(element.value).rstrip(b"\0 ").decode("ascii", "replace") if element is not None else ""

    return text(_SOP_CLASS) or meta.sop_class_uid, text(_SOP_INSTANCE) or meta.sop_instance_uid


class OpenFile:
    """A file as a stored object (`storage.store.StoredObject`): for one reader at a time, best forward."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        if self._file.tell() != offset:
            self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()
