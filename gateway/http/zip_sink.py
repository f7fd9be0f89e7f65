"""The output of a zip archive that is sent while it is written: a sink of `zipfile` that cannot seek."""

from __future__ import annotations

from collections.abc import Iterator


class ZipSink:
    """The output of `zipfile`: pieces of the archive that wait to be sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._closed = False

    def write(self, piece: bytes) -> int:
        """Append a piece. Raises ValueError once closed, as a file does."""
        if self._closed:
            raise ValueError("the archive is closed")
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Do nothing; `zipfile` calls it."""

    def close(self) -> None:
        self._closed = True

    def drain(self) -> Iterator[bytes]:
        """Yield the pieces written since the last call."""
        pieces, self._pieces = self._pieces, []
        yield from pieces
