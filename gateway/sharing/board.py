"""The memory that all workers of a gateway see: how many connections each holds, for whom, and what it reports.

The parent makes it and hands the descriptor on. Each worker writes only its own region, so that what a killed one had
is gone as soon as the parent clears that region, and nothing has to be counted down by whoever died. A lock of the
kernel's, which death releases, guards regions for the microseconds of a copy. Linux only.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

DICOM: Final = 0
HTTP: Final = 1
_REGION: Final = 1 << 20
_COUNTS: Final = 64
_REPORT: Final = 256 << 10
_HEAD = struct.Struct("<5I")  # present, DICOM connections, HTTP connections, bytes of counts, bytes of the report
_MOST_TITLES: Final = 8000
"""AE titles with associations that one worker can enter; each takes at most 30 bytes."""
LONGEST_REPORT: Final = _REGION - _REPORT


def make(workers: int) -> int:
    """The descriptor of an empty board, for so many workers."""
    descriptor = os.memfd_create("gateway-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, workers * _REGION)
    return descriptor


class Board:
    """The board as seen by worker `index` (from 0), or by the parent, who only clears regions. It owns `descriptor`."""

    def __init__(self, descriptor: int, index: int = -1) -> None:
        self._descriptor = descriptor
        self._index = index
        self._size = os.fstat(descriptor).st_size
        self._memory = mmap.mmap(descriptor, self._size)
        if index >= 0:
            self.clear(index)
            self._put(index, 0, 1)

    def close(self) -> None:
        self._memory.close()
        os.close(self._descriptor)

    def clear(self, index: int) -> None:
        """This worker holds nothing."""
        with self._locked():
            _HEAD.pack_into(self._memory, index * _REGION, 0, 0, 0, 0, 0)

    def note(self, kind: int, held: int) -> None:
        """We hold so many connections of a kind, DICOM or HTTP."""
        self._put(self._index, 1 + kind, held)

    def others(self, kind: int) -> list[int]:
        """How many connections of a kind each other worker holds."""
        heads = (_HEAD.unpack_from(self._memory, each * _REGION) for each in self._rest())
        return [head[1 + kind] for head in heads if head[0]]

    @contextlib.contextmanager
    def seats(self, ours: Counter[str]) -> Iterator[Counter[str]]:
        """While inside, nobody else counts: the associations of all workers by AE title, of which `ours` are our own.

        What is added inside is entered as ours.
        """
        with self._locked():
            total = Counter(ours)
            for each in self._rest():
                total.update(self._read(each, 3, _COUNTS, dict[str, int]) or {})
            before = Counter(total)
            yield total
            self._enter(ours + (total - before))

    def enter(self, ours: Counter[str]) -> None:
        """Our associations by AE title are these now."""
        with self._locked():
            self._enter(ours)

    def report(self, report: bytes) -> None:
        """Write down what we report, JSON of at most LONGEST_REPORT bytes, to be read by all."""
        with self._locked():
            self._write(4, _REPORT, report)

    def reports(self) -> list[bytes]:
        """What the other workers have reported last."""
        with self._locked():
            found = [self._bytes(each, 4, _REPORT) for each in self._rest()]
        return [each for each in found if each]

    def _enter(self, ours: Counter[str]) -> None:
        self._write(3, _COUNTS, msgspec.json.encode(dict(ours.most_common(_MOST_TITLES))))

    def _rest(self) -> list[int]:
        return [each for each in range(self._size // _REGION) if each != self._index]

    def _put(self, index: int, field: int, value: int) -> None:
        struct.pack_into("<I", self._memory, index * _REGION + 4 * field, value)

    def _write(self, field: int, at: int, data: bytes) -> None:
        start = self._index * _REGION + at
        self._put(self._index, field, 0)
        self._memory[start : start + len(data)] = data
        self._put(self._index, field, len(data))

    def _bytes(self, index: int, field: int, at: int) -> bytes:
        length = _HEAD.unpack_from(self._memory, index * _REGION)[field]
        start = index * _REGION + at
        return self._memory[start : start + length]

    def _read(self, index: int, field: int, at: int, kind: type[dict[str, int]]) -> dict[str, int] | None:
        data = self._bytes(index, field, at)
        return msgspec.json.decode(data, type=kind) if data else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # POSIX record locks belong to a process; flock would belong to the open file, which all of us share.
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
