"""Files of Orthanc's storage area, read in pieces and checked against the index while they are read.

A file lies in two folders named after the first characters of its UUID. A compressed one is eight bytes with the size
before compression, little endian, and a zlib stream (observed on Orthanc 1.10).
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.errors import SourceError
from gateway.migration.orthanc_index import SourceAttachment
from gateway.migration.refusals import reason_of

_READ_BYTES: Final = 1 << 18
_SIZE_BYTES: Final = 8


class StorageArea:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, attachment: SourceAttachment) -> Path:
        """The place of a file. Its UUID has been checked, and is no path of anybody's choice."""
        uuid = attachment.uuid
        return self.folder / uuid[:2] / uuid[2:4] / uuid

    def open(self, attachment: SourceAttachment) -> AttachmentReader:
        """Open a file; blocks. Raises: SourceError."""
        return AttachmentReader(self.path(attachment), attachment)


class AttachmentReader:
    """One file, decompressed: `read` it to the end, where sizes and MD5 are compared. Blocks."""

    def __init__(self, path: Path, attachment: SourceAttachment) -> None:
        """Open it. Raises: SourceError."""
        self._attachment = attachment
        self._read = 0
        self._given = 0
        self._stored_md5 = hashlib.md5(usedforsecurity=False)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._inflater = zlib.decompressobj() if attachment.compressed else None
        self._rest = b""
        self._ended = False
        try:
            # Opening a pipe would wait for somebody who writes to it.
            opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"its file {attachment.uuid} cannot be opened: {reason_of(error)}") from None
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise SourceError(f"its file {attachment.uuid} is no regular file")
        self._file = os.fdopen(opened, "rb")

    def read(self, length: int) -> bytes:
        """At most `length` bytes, which are none only at the end. Raises: SourceError for a file that is not what the
        index says; then nothing of it may be used."""
        while not self._ended:
            piece = self._next(length)
            if piece:
                self._md5.update(piece)
                self._given += len(piece)
                if self._given > self._attachment.size:
                    self._differs(f"it has more than the {self._attachment.size} bytes")
                return piece
        return b""

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _next(self, length: int) -> bytes:
        """The next bytes before compression; none where more of the file must be read, or at its end."""
        inflater = self._inflater
        if inflater is None:
            piece = self._stored(length)
            if not piece:
                self._end()
            return piece
        if not self._rest:
            self._rest = self._stored(_READ_BYTES)
            if not self._rest and (inflater.eof or not self._read):
                self._end()
                return b""
        if inflater.eof:
            self._differs("its compressed stream ends early")
        at_end = not self._rest
        try:
            piece = inflater.decompress(self._rest, length)
        except zlib.error as error:
            self._differs(f"it cannot be decompressed ({error})")
        self._rest = inflater.unconsumed_tail
        if at_end and not piece and not inflater.eof:
            self._differs("its compressed stream is cut off")
        return piece

    def _stored(self, length: int) -> bytes:
        """The next bytes of the file, without the size at the beginning of a compressed one."""
        try:
            data = self._file.read(length)
            if not self._read and self._inflater is not None:
                while len(data) < _SIZE_BYTES and (more := self._file.read(_SIZE_BYTES)):
                    data += more
        except OSError as error:
            raise SourceError(f"its file {self._attachment.uuid} cannot be read: {error.strerror}") from None
        begins = not self._read
        self._read += len(data)
        self._stored_md5.update(data)
        if begins and self._inflater is not None and data:
            if int.from_bytes(data[:_SIZE_BYTES], "little") != self._attachment.size:
                self._differs("it announces another size")
            return data[_SIZE_BYTES:]
        return data

    def _end(self) -> None:
        self._ended = True
        attachment = self._attachment
        if (self._read, self._given) != (attachment.stored_size, attachment.size):
            self._differs(f"it has {self._given} bytes, {self._read} stored")
        for found, wanted in ((self._stored_md5, attachment.stored_md5), (self._md5, attachment.md5)):
            if wanted and found.hexdigest() != wanted:
                self._differs(f"its MD5 is {found.hexdigest()}, not {wanted}")

    def _differs(self, how: str) -> None:
        self._ended = True
        raise SourceError(f"its file {self._attachment.uuid} is damaged: {how}; it is not what Orthanc recorded")
