"""Reading the bytes of a data set on demand: a forward window over `read(offset, length)`, and inflating.

`read` returns the bytes at an offset of the stored object, fewer at its end. Their meaning is not here.
Memory is bounded by the window and by the requested length, which is never an unchecked length of a peer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from gateway.errors import DataSetError, TruncatedDataSet

Read = Callable[[int, int], bytes]

_FIRST: Final = 16 << 10
_AFTER_JUMP: Final = 256
_MAX_READ_BYTES: Final = 128 << 10
CHUNK: Final = 1 << 20
"""Bytes of the largest piece that is read, inflated or returned at once."""


class Window:
    """A buffer that moves forward over `read`. `buffer[index]` is the byte at offset `base + index`.

    Sequential use reads ever larger pieces; a jump past the window, as over pixel data, reads a small one.
    `end` is the offset after the last byte, or None if only reading finds the end.
    """

    __slots__ = ("_read", "_size", "base", "buffer", "end")

    def __init__(self, read: Read, start: int, end: int | None) -> None:
        self._read = read
        self.base = start
        self._size = _FIRST
        self.buffer: bytes | memoryview = b""
        self.end = end

    @classmethod
    def over(cls, data: bytes | memoryview) -> Window:
        """A window that holds all of `data`."""
        window = cls(lambda offset, length: b"", 0, len(data))
        window.buffer = data
        return window

    def need(self, position: int, length: int) -> int:
        """The index in `buffer` of `position`, with `length` bytes there. Raises: TruncatedDataSet if fewer."""
        index = position - self.base
        if index >= 0 and index + length <= len(self.buffer):
            return index
        if self._fill(position, length) < length:
            raise TruncatedDataSet(f"the data set ends at offset {self.base + len(self.buffer)}, inside an element")
        return position - self.base

    def ended(self, position: int) -> bool:
        """Whether the data set ends at `position`."""
        if self.end is not None:
            return position >= self.end
        return not 0 <= position - self.base < len(self.buffer) and self._fill(position, 1) == 0

    def read(self, position: int, length: int) -> bytes:
        """A copy of `length` bytes; the caller has bounded `length`. Raises: TruncatedDataSet if there are fewer."""
        index = position - self.base
        if index >= 0 and index + length <= len(self.buffer):
            return bytes(self.buffer[index : index + length])
        if self.end is not None and position + length > self.end:
            raise TruncatedDataSet(f"the data set ends at offset {self.end}, inside a value at {position}")
        index = self.need(position, length)
        return bytes(self.buffer[index : index + length])

    def _fill(self, position: int, length: int) -> int:
        """Move the window so that it starts at `position`; returns the number of bytes it then has."""
        known = self.base + len(self.buffer)
        rest: bytes | memoryview = b""
        if self.base <= position < known:
            rest = self.buffer[position - self.base :]
        else:
            if position != known:
                self._size = _AFTER_JUMP
        wanted = max(length, self._size) - len(rest)
        if self.end is not None:
            wanted = min(wanted, self.end - position - len(rest))
        self._size = min(self._size * 4, _MAX_READ_BYTES)
        more = self._read(position + len(rest), wanted) if wanted > 0 else b""
        self.buffer = b"".join((rest, more)) if more else rest
        self.base = position
        return len(self.buffer)


class Inflater:
    """`read` over the inflated bytes of a raw deflate stream (PS3.5 A.5) at `start` to `end` of another `read`.

    Offsets must not go back. Skipped bytes are inflated and dropped, so memory stays flat. Raises: DataSetError past
    `limit` inflated bytes or for a corrupt stream; TruncatedDataSet for an incomplete one.
    """

    def __init__(self, read: Read, start: int, end: int, limit: int) -> None:
        self._read = read
        self._next = start
        self._end = end
        self._limit = limit
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._pending = b""
        self.position = 0
        """Inflated bytes so far."""

    def __call__(self, offset: int, length: int) -> bytes:
        if offset < self.position:
            raise ValueError(f"cannot go back from {self.position} to {offset} in a deflate stream")
        while self.position < offset:
            if not self.more(min(offset - self.position, CHUNK)):
                raise TruncatedDataSet(f"the inflated data set ends at offset {self.position}, before {offset}")
        pieces = []
        while length > 0 and (piece := self.more(min(length, CHUNK))):
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def more(self, length: int) -> bytes:
        """The next 1 to `length` inflated bytes; b"" at the end."""
        while not self._inflate.eof:
            data = self._pending
            if not data:
                data = self._read(self._next, min(64 << 10, self._end - self._next)) if self._next < self._end else b""
                self._next += len(data)
            try:
                piece = self._inflate.decompress(data, length)
            except zlib.error as error:
                raise DataSetError(f"corrupt deflate stream near offset {self._next}: {error}") from None
            self._pending = self._inflate.unconsumed_tail
            if piece:
                self.position += len(piece)
                if self.position > self._limit:
                    raise DataSetError(f"the data set inflates to more than {self._limit} bytes")
                return piece
            if not data and not self._inflate.eof:
                raise TruncatedDataSet(f"the deflate stream ends early, at inflated offset {self.position}")
        return b""


class Inflated:
    """`read` over the inflated bytes of a deflate stream, from any offset: going back restarts the stream.

    For few passes, each forward. Raises as Inflater does.
    """

    def __init__(self, read: Read, start: int, end: int, limit: int) -> None:
        self._stream = read, start, end, limit
        self._inflater = Inflater(*self._stream)

    def __call__(self, offset: int, length: int) -> bytes:
        if offset < self._inflater.position:
            self._inflater = Inflater(*self._stream)
        return self._inflater(offset, length)

    def size(self) -> int:
        """The inflated length in bytes, found by inflating."""
        inflater = Inflater(*self._stream)
        while inflater.more(CHUNK):
            pass
        return inflater.position


def inflate(data: bytes | bytearray | memoryview, limit: int) -> bytes:
    """The data set of Deflated Explicit VR Little Endian, whole.

    Bytes after the stream (a null pads it to even length) are ignored. Raises: DataSetError if it is corrupt or
    longer than `limit` bytes; TruncatedDataSet if it ends early.
    """
    view = memoryview(data)
    return Inflater(lambda offset, length: bytes(view[offset : offset + length]), 0, len(view), limit)(0, limit + 1)
