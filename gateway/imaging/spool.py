"""Spooling encoded frames until all are ready: in memory, or in a file without a name if they are large.

An encapsulated data set begins with data known only at its end: the offsets of its frames, which depend on their
compressed lengths, and with loss the ratio. Encoding twice would double the greatest cost; so compressed frames are
spooled. Uncompressed ones, whose lengths are known, never are.
"""

from __future__ import annotations

import errno
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from gateway.errors import DataSetError, OutOfSpace, StorageFailed

MAX_MEMORY_BYTES: Final = 16 << 20
"""Bytes above which a file is used."""
MAX_SPOOL_BYTES: Final = 16 << 30
"""Bytes of one object."""
_PIECE_BYTES: Final = 512 << 10


class Spool:
    """Stores frames, and returns them in the same order. Its file is in `folder`, or in that of temporary files."""

    def __init__(self, folder: Path | None) -> None:
        self.lengths = array("Q")
        self.size = 0
        directory = str(folder) if folder is not None else None
        self._file = tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES, dir=directory)  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, frame: bytes) -> None:
        """Append a frame. Raises: DataSetError past MAX_SPOOL_BYTES; OutOfSpace; StorageFailed."""
        self.size += len(frame)
        if self.size > MAX_SPOOL_BYTES:
            raise DataSetError(f"the encoded frames have more than {MAX_SPOOL_BYTES} bytes")
        try:
            self._file.write(frame)
        except OSError as error:
            kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed
            raise kind(f"encoded frames cannot be spooled: {error}") from error
        self.lengths.append(len(frame))

    def frames(self) -> Iterator[Iterator[bytes]]:
        """Each frame in pieces; read all of one before the next."""
        self._file.seek(0)
        for length in self.lengths:
            yield self._pieces(length)

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length > 0:
            piece = self._file.read(min(_PIECE_BYTES, length))
            if not piece:
                raise StorageFailed("a spooled frame is missing")
            length -= len(piece)
            yield piece
