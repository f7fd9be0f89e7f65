"""Local DICOM files, folders and zip archives, one file after another, and their headers."""

from __future__ import annotations

import functools
import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.dicom import part10
from gateway.dicom.elements import Element, pick
from gateway.dicom.extent import check_end
from gateway.dicom.part10 import FileMeta
from gateway.dicom.source import Inflater
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, is_uid, transfer_syntax
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.ingest.zip_members import Budget, budget_on_disk, open_member, open_zip

MAX_HEAD_BYTES = 1 << 20
"""Bytes within which the header of a file must be."""
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_MAX_OPEN_ZIPS = 4
FIRST_READ_BYTES = 16 << 10
"""Bytes within which nearly every file has its header."""
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018

READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""Errors of opening and reading a file or a zip that is damaged, encrypted, or compressed in an unusual way."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a member of a zip."""

    name: str
    open: Callable[[], IO[bytes]]
    """Opens it; blocks. Raises: READ_ERRORS."""
    size: int | None = None
    """Size in bytes; None for a file, whose size is found when it is open."""


class Files:
    """The files below some paths, in the order of names. Members of a zip can be opened until `close`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = paths
        self._zips: OrderedDict[Path, zipfile.ZipFile] = OrderedDict()
        self._budgets: dict[Path, Budget] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Source]:
        """Iterate over the files; blocks."""
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
        if path.exists() and not path.is_file():  # Opening a pipe would wait for a writer.
            return
        if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
            try:
                with open_zip(path) as archive:
                    members = [member for member in archive.infolist() if not member.is_dir()]
            except READ_ERRORS as error:
                yield Source(str(path), functools.partial(_fail, error))
                return
            self._budgets[path] = budget_on_disk(path.stat().st_size)
            for member in members:
                yield Source(
                    f"{path}:{member.filename}", functools.partial(self._open_member, path, member), member.file_size
                )
        else:
            yield Source(str(path), lambda: path.open("rb"))

    def _open_member(self, path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
        # A zip that is closed while its members are open continues to serve them.
        with self._lock:
            archive = self._zips.pop(path, None) or open_zip(path)
            self._zips[path] = archive
            if len(self._zips) > _MAX_OPEN_ZIPS:
                self._zips.popitem(last=False)[1].close()
            return open_member(archive, member, self._budgets[path])


def _fail(error: Exception) -> IO[bytes]:
    """The `open` of a source that has failed already: the error is one file's, and others are still read."""
    raise error


def read_meta(head: bytes) -> FileMeta | None:
    """Parse the header of a file that begins with `head`, of up to MAX_HEAD_BYTES bytes.

    None for a file that is not DICOM, or a DICOMDIR. A bare data set (`part10.find_header`) is a DICOM file if it
    has a SOP Instance UID. Raises: DataSetError for a DICOM file whose header is broken.
    """
    meta = part10.find_header(lambda offset, length: head[offset : offset + length])
    if meta is None or meta.sop_class_uid == _MEDIA_STORAGE_DIRECTORY:
        return None
    if head[128:132] != b"DICM" and not all(map(is_uid, identity(head, meta))):
        return None
    return meta


@dataclass(frozen=True, slots=True)
class Found:
    """A DICOM file whose header has been read."""

    source: Source
    meta: FileMeta
    sop_class_uid: str
    sop_instance_uid: str
    """SOP class and instance of the data set; if it has none or is not readable so far, of the header; or empty."""
    size: int
    """Size of the whole file in bytes."""

    def open(self) -> OpenFile:
        """Open the file again, to read all of it; blocks. Raises: READ_ERRORS."""
        return OpenFile(self.source.open(), self.size)

    def check_end(self) -> None:
        """Check that the data set ends between elements; blocks. Raises: TruncatedDataSet, with the place; READ_ERRORS.

        A data set of unknown transfer syntax is not checked.
        """
        syntax = TRANSFER_SYNTAXES.get(self.meta.transfer_syntax_uid)
        if syntax is None:
            return
        with closing(self.open()) as file:
            check_end(file.read, self.meta.data_set_offset, self.size, syntax)


def look_into(source: Source) -> Found | None:
    """Read a file's header; None as `read_meta`. Blocks. Raises: READ_ERRORS; DataSetError."""
    with source.open() as file:
        head = file.read(FIRST_READ_BYTES)
        try:
            meta = read_meta(head)
        except TruncatedDataSet:
            head += file.read(MAX_HEAD_BYTES - len(head))
            meta = read_meta(head)
        if meta is None:
            return None
        sop_class_uid, sop_instance_uid = identity(head, meta)
        size = os.fstat(file.fileno()).st_size if source.size is None else source.size
        return Found(source, meta, sop_class_uid, sop_instance_uid, size)


def identity(head: bytes, meta: FileMeta) -> tuple[str, str]:
    """SOP class and instance of the data set, else of the header: that of an edited file is often the original's."""
    picked: dict[int, Element] = {}
    start = meta.data_set_offset
    try:
        syntax = transfer_syntax(meta.transfer_syntax_uid)
        if syntax.deflated:
            inflater = Inflater(lambda offset, length: head[offset : offset + length], start, len(head), MAX_HEAD_BYTES)
            data, uid = inflater(0, FIRST_READ_BYTES), EXPLICIT_VR_LITTLE_ENDIAN.uid
        else:
            data, uid = head[start:], syntax.uid
        picked, _ = pick(data, uid, frozenset((_SOP_CLASS, _SOP_INSTANCE)), _SOP_INSTANCE)
    except DataSetError:
        pass

    def text(tag: int) -> str:
        element = picked.get(tag)
        return bytes(element.value).rstrip(b"\0 ").decode("ascii", "replace") if element is not None else ""

    return text(_SOP_CLASS) or meta.sop_class_uid, text(_SOP_INSTANCE) or meta.sop_instance_uid


class OpenFile:
    """A local file as a stored object (`storage.store.StoredObject`): for one reader at a time, best forward."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        if self._file.tell() != offset:
            self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()
