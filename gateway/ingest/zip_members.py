"""The members of a zip of any origin: which are opened, and how much may be unpacked.

No number in the zip is trusted. The size of the directory is checked before it is read, only members that are stored or
deflated are opened, and unpacked bytes are counted. Uploads are handled in `zip_upload.py`, zips on a disk in
`files.py`.
"""

from __future__ import annotations

import os
import struct
import threading
import zipfile
from typing import IO, Final

MAX_DIRECTORY_BYTES: Final = 8 << 20
"""Bytes of the directory of a zip: some 80 000 members, each of which costs half a kilobyte of memory."""
MAX_UNPACKED_BYTES: Final = 16 << 30
"""Unpacked bytes of a small zip on a disk."""
MAX_RATIO: Final = 100
"""Unpacked bytes for each byte of a zip, if that is more. Images shrink to a half or a third, empty
masks to a thousandth, which is the limit of deflate."""

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""zipfile unpacks bzip2 and LZMA without a limit: a read of one byte may need all memory (20 KB became 8 GB)."""
_REFUSED: Final = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
_ENCRYPTED: Final = 0x1
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")


class TooMuch(zipfile.BadZipFile):
    """The members unpack to more bytes than allowed."""


class Budget:
    """Bytes that may still be unpacked from one zip; shared by several threads."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Count unpacked bytes. Raises: TooMuch."""
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise TooMuch("the zip unpacks to more bytes than allowed")


def budget_on_disk(size: int) -> Budget:
    """The budget of a zip of `size` bytes on a local disk."""
    return Budget(max(MAX_UNPACKED_BYTES, MAX_RATIO * size))


def open_zip(file: IO[bytes] | str | os.PathLike[str]) -> zipfile.ZipFile:
    """Open a zip in a seekable file, or at a path, and read its directory. Blocks.

    Raises: BadZipFile; OSError.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            _check_directory(opened)
    else:
        _check_directory(file)
    try:
        return zipfile.ZipFile(file)
    except (NotImplementedError, ValueError, OverflowError) as error:  # unsupported features, names, offsets
        raise zipfile.BadZipFile(str(error)) from None


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget) -> IO[bytes]:
    """Open a member of `archive` to read, and count every byte against `budget`. Blocks.

    Raises: BadZipFile if it is neither stored nor deflated, is encrypted, or is not where the directory says; reading
    raises TooMuch, BadZipFile, EOFError, zlib.error, OSError.
    """
    if member.compress_type not in _METHODS:
        name = _REFUSED.get(member.compress_type, f"method {member.compress_type}")
        raise zipfile.BadZipFile(f"compressed by {name}: only stored and deflated members of a zip are read")
    if member.flag_bits & _ENCRYPTED:
        raise zipfile.BadZipFile("encrypted: members of a zip with a password are not read")
    try:
        return _Counted(archive.open(member), budget)  # type: ignore[return-value]
    except (ValueError, OverflowError) as error:  # an invalid name, or an offset outside of the file
        raise zipfile.BadZipFile(f"{member.filename}: {error}") from None


class _Counted:
    """A member as a file: bytes unpacked for a read, or to reach a position, are counted."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, length: int = -1, /) -> bytes:
        data = self._file.read(length)
        self._budget.spend(len(data))
        return data

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, /) -> int:
        """Move to a position; back means from the beginning again."""
        before = self._file.tell()
        self._budget.spend(offset - before if offset >= before else offset)
        return self._file.seek(offset)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_directory(file: IO[bytes]) -> None:
    """Check the length of the directory before zipfile reads all of it. Raises: BadZipFile."""
    size = _directory_size(file)
    if size > MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile(f"the directory of the zip has {size} bytes, more than {MAX_DIRECTORY_BYTES}")


def _directory_size(file: IO[bytes]) -> int:
    """Size of the directory by the end of the archive (APPNOTE 4.3.16, 4.3.14): the bytes that zipfile would read."""
    whole = file.seek(0, os.SEEK_END)
    length = min(whole, _END.size + 0xFFFF)
    tail = _read(file, whole - length, length)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END.size:
        raise zipfile.BadZipFile("it has no end of a directory")
    size = int(_END.unpack_from(tail, at)[5])
    locator = whole - length + at - _LOCATOR64.size
    if locator >= 0:
        signature, _disk, offset, _disks = _LOCATOR64.unpack(_read(file, locator, _LOCATOR64.size))
        record = _read(file, min(offset, whole), _END64.size)
        if signature == b"PK\6\7":
            # zipfile looks for the record right before its locator, wherever the locator points.
            before = _read(file, max(0, locator - _END64.size), _END64.size)
            sizes = [int(_END64.unpack(each)[8]) for each in (record, before) if len(each) == _END64.size]
            size = max([size if size != 0xFFFFFFFF else 0, *sizes])
    return size


def _read(file: IO[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
