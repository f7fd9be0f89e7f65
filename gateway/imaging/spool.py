"""Frames that wait until all of them are there: in memory, or in a file without a name where they are many.

An encapsulated data set begins with what only its end can tell: the offsets of its frames, which hang on how well each
was compressed, and with a loss the ratio. Encoding twice would double what costs most by far; so compressed frames wait
here. Uncompressed ones, whose lengths are known, never do.
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

IN_MEMORY: Final = 16 << 20
"""Bytes up to which no file is made."""
LIMIT: Final = 16 << 30
"""Bytes of one object, at most."""
_PIECE: Final = 512 << 10


class Spool:
    """Add frames, then read them again in the same order. Its file is in `folder`, or where temporary files are."""

    def __init__(self, folder: Path | None) -> None:
        self.lengths = array("Q")
        self.size = 0
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder) if folder is not None else None)  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, frame: bytes) -> None:
        """DataSetError past LIMIT, OutOfSpace, StorageFailed."""
        self.size += len(frame)
        if self.size > LIMIT:
            raise DataSetError(f"the frames have more than {LIMIT} bytes once they are encoded")
        try:
            self._file.write(frame)
        except OSError as error:
            kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageFailed
            raise kind(f"frames cannot be kept while the others are encoded: {error}") from error
        self.lengths.append(len(frame))

    def frames(self) -> Iterator[Iterator[bytes]]:
        """Each of them in pieces; take all of one before the next."""
        self._file.seek(0)
        for length in self.lengths:
            yield self._pieces(length)

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length > 0:
            piece = self._file.read(min(_PIECE, length))
            if not piece:
                raise StorageFailed("a frame that was kept while the others were encoded is not there any more")
            length -= len(piece)
            yield piece
