"""A write-ahead log of SQLite, followed while another process writes it, so that no committed page is missed.

The log is begun anew, over itself, once all of it has been moved to the database; its first salt is then one more
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log). Whoever looks often enough still finds the end of what
was there before behind the beginning of what is new. Whatever cannot be told apart counts as missed.
"""

from __future__ import annotations

import functools
import os
import struct
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

import numpy as np

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = {0x377F0682: "<u4", 0x377F0683: ">u4"}
"""Byte order of the checksums, by the first word of the log."""
_MASK: Final = 0xFFFFFFFF
_FRAMES_AT_ONCE: Final = 64
_PAGE_SIZES: Final = frozenset(1 << power for power in range(9, 17))

Words = np.ndarray[tuple[int, ...], np.dtype[np.uint32]]
Sums = tuple[int, int]
"""A checksum: both sums, modulo 2^32."""


class LogHeader(NamedTuple):
    """The header of a log, whose checksum is right."""

    order: str
    page_size: int
    salts: tuple[int, int]
    sums: Sums


class LogFollower:
    """Copies the committed pages of a log to a file of frames. Blocks. Raises OSError."""

    def __init__(self, log: Path, frames: BinaryIO) -> None:
        """Raises FileNotFoundError where there is no log."""
        self._path = log
        self._frames = frames
        self._log = os.open(log, os.O_RDONLY)
        self._header: LogHeader | None = None
        self._position = 0
        """Frames up to the last commit, of the log as it is now."""
        self._sums: Sums = (0, 0)
        self._places: dict[int, int] = {}
        """Place in the file of frames of each page, by its number."""
        self._end = 0
        self._page_count = 0

    def close(self) -> None:
        os.close(self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def follow(self) -> bool:
        """Copy what has been committed since the last call; whether nothing can have been missed."""
        header = read_header(os.pread(self._log, _HEADER.size, 0))
        if header is None or not self._is_there():
            return False
        if self._header is None:
            self._begin(header)
        elif header.salts != self._header.salts:
            # The rest of the log before this one lies behind what has been written over it so far.
            self._copy_frames()
            if not self._follows(header) or self._salts_at(self._position) == header.salts:
                return False
            self._begin(header)
        self._copy_frames()
        return True

    def _is_there(self) -> bool:
        """Whether the log is still this file: who closes a database removes its log, and makes another one later."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._log))
        except FileNotFoundError:
            return False

    def apply(self, target: BinaryIO) -> None:
        """Write the newest version of every page to a database."""
        if self._header is None or not self._page_count:
            return
        size = self._header.page_size
        for number, place in self._places.items():
            self._frames.seek(place)
            target.seek((number - 1) * size)
            target.write(self._frames.read(size))
        target.truncate(self._page_count * size)

    def _begin(self, header: LogHeader) -> None:
        self._header, self._position, self._sums = header, 0, header.sums

    def _follows(self, header: LogHeader) -> bool:
        """Whether a log is the one after this, none between them."""
        assert self._header is not None
        return header.salts[0] == (self._header.salts[0] + 1) & _MASK and header.page_size == self._header.page_size

    def _salts_at(self, position: int) -> tuple[int, int] | None:
        assert self._header is not None
        at = _HEADER.size + position * (_FRAME.size + self._header.page_size)
        data = os.pread(self._log, _FRAME.size, at)
        return _FRAME.unpack(data)[2:4] if len(data) == _FRAME.size else None

    def _copy_frames(self) -> None:
        """Copy frames from the last commit on, as far as they are whole; those after another commit do not count."""
        assert self._header is not None
        size = _FRAME.size + self._header.page_size
        position, sums, end = self._position, self._sums, self._end
        fresh: dict[int, int] = {}
        while True:
            data = os.pread(self._log, size * _FRAMES_AT_ONCE, _HEADER.size + position * size)
            for at in range(0, len(data) - size + 1, size):
                page, committed, *salts, first, second = _FRAME.unpack_from(data, at)
                content = data[at + _FRAME.size : at + size]
                if tuple(salts) != self._header.salts or not page:
                    return
                sums = checksum(data[at : at + 8] + content, self._header.order, sums)
                if sums != (first, second):
                    return
                self._frames.seek(end)
                self._frames.write(content)
                fresh[page] = end
                end += len(content)
                position += 1
                if committed:
                    self._places |= fresh
                    fresh = {}
                    self._position, self._sums, self._end, self._page_count = position, sums, end, committed
            if len(data) < size * _FRAMES_AT_ONCE:
                return


def read_header(data: bytes) -> LogHeader | None:
    """The header in the first bytes of a log; None for none, or one that is being written."""
    if len(data) < _HEADER.size:
        return None
    magic, _version, page_size, _sequence, *rest = _HEADER.unpack(data[: _HEADER.size])
    order = _MAGIC.get(magic)
    if order is None or page_size not in _PAGE_SIZES or checksum(data[:24], order, (0, 0)) != (rest[2], rest[3]):
        return None
    return LogHeader(order, page_size, (rest[0], rest[1]), (rest[2], rest[3]))


def checksum(data: bytes, order: str, before: Sums) -> Sums:
    """The sums after some bytes. Each is a sum of all words with weights of its own, as of Fibonacci's numbers."""
    first, second, (p, q, r) = _weights(len(data) // 8)
    words = np.frombuffer(data, order).astype(np.uint32)
    sums = [int((words * each).sum(dtype=np.uint32)) for each in (first, second)]
    return (p * before[0] + q * before[1] + sums[0]) & _MASK, (q * before[0] + r * before[1] + sums[1]) & _MASK


@functools.lru_cache(8)
def _weights(pairs: int) -> tuple[Words, Words, tuple[int, int, int]]:
    """The weights of words in both sums, and of the sums before.

    A pair of words (a, b) turns the sums (s, t) into (s + t + a, s + 2t + a + b): the matrix ((1, 1), (1, 2)), of
    whose powers ((p, q), (q, r)) each later pair adds one.
    """
    first, second = [0] * (2 * pairs), [0] * (2 * pairs)
    p, q, r = 1, 0, 1
    for pair in reversed(range(pairs)):
        first[2 * pair : 2 * pair + 2] = (p + q) & _MASK, q
        second[2 * pair : 2 * pair + 2] = (q + r) & _MASK, r
        p, q, r = (p + q) & _MASK, (p + 2 * q) & _MASK, (q + 2 * r) & _MASK
    return np.array(first, np.uint32), np.array(second, np.uint32), (p, q, r)
