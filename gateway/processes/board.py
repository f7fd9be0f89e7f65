"""Memory visible to all workers of a gateway: the connections of each, by AE title, and its reports.

The parent makes it and passes the descriptor on. Each worker writes only its own region; the parent clears the region
of a worker that died, so nothing has to be counted down on behalf of the dead. Behind the regions are the table of
wrong passwords and the count of revocations, which all write. A lock of the kernel, released by death,
guards regions for the microseconds of a copy. Linux only.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.processes.failure_table import TABLE_BYTES, FailureTable
from gateway.processes.shared_counter import COUNTER_BYTES, SharedCounter

DICOM: Final = 0
HTTP: Final = 1
_REGION: Final = 1 << 20
_COUNTS: Final = 64
_REPORT: Final = 256 << 10
_HEAD = struct.Struct("<5I4xQ")
"""Present, DICOM connections, HTTP connections, bytes of counts, bytes of the report; bytes reserved for work."""
_RESERVED: Final = struct.Struct("<Q")
_RESERVED_AT: Final = 24
_MAX_TITLES_BYTES: Final = 8000
"""AE titles with associations that one worker can enter; each takes at most 30 bytes."""
MAX_REPORT_BYTES: Final = _REGION - _REPORT


def make(workers: int) -> int:
    """The descriptor of an empty board for `workers` workers."""
    descriptor = os.memfd_create("gateway-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, workers * _REGION + TABLE_BYTES + COUNTER_BYTES)
    return descriptor


class Scoreboard:
    """The board as seen by worker `index` (from 0), or by the parent, which only clears regions. Owns `descriptor`."""

    def __init__(self, descriptor: int, index: int = -1) -> None:
        self._descriptor = descriptor
        self._index = index
        self._size = os.fstat(descriptor).st_size
        self._memory = mmap.mmap(descriptor, self._size)
        self._threads = threading.Lock()
        self._table = memoryview(self._memory)
        behind = self._size - TABLE_BYTES - COUNTER_BYTES
        self.failures = FailureTable(self._table, behind, self._locked)
        """Wrong passwords by client, counted by all workers together."""
        self.revocations = SharedCounter(self._table, behind + TABLE_BYTES, self._locked)
        """Changes of who may do what: whatever a worker has cached about it is old when this has moved."""
        if index >= 0:
            self.clear(index)
            self._put(index, 0, 1)

    def close(self) -> None:
        self._table.release()
        self._memory.close()
        os.close(self._descriptor)

    def clear(self, index: int) -> None:
        """Clear the region of a worker: it has no connections any more."""
        with self._locked():
            _HEAD.pack_into(self._memory, index * _REGION, 0, 0, 0, 0, 0, 0)

    def note(self, kind: int, held: int) -> None:
        """Record that this worker has `held` connections of a kind, DICOM or HTTP."""
        self._put(self._index, 1 + kind, held)

    def others(self, kind: int) -> list[int]:
        """The number of connections of a kind in each other worker."""
        heads = (_HEAD.unpack_from(self._memory, each * _REGION) for each in self._rest())
        return [head[1 + kind] for head in heads if head[0]]

    def reserve(self, size: int, total: int) -> bool:
        """Reserve bytes of a memory budget shared by all workers; granted if the sum stays within `total`, or nothing
        is reserved yet. For any thread.
        """
        with self._locked():
            reserved = sum(self._reserved(each) for each in range(self._size // _REGION))
            if reserved and reserved + size > total:
                return False
            self._reserve(size)
            return True

    def release(self, size: int) -> None:
        """Return reserved bytes; those of a killed worker are returned when its region is cleared."""
        with self._locked():
            self._reserve(-size)

    @contextlib.contextmanager
    def association_slots(self, ours: Counter[str]) -> Iterator[Counter[str]]:
        """Lock the board and count the associations of all workers by AE title, of which `ours` are our own.

        Associations added to the counter inside the context are entered as ours.
        """
        with self._locked():
            total = Counter(ours)
            for each in self._rest():
                total.update(self._read(each, 3, _COUNTS, dict[str, int]) or {})
            before = Counter(total)
            yield total
            self._enter(ours + (total - before))

    def enter(self, ours: Counter[str]) -> None:
        """Enter our associations by AE title, replacing the last ones."""
        with self._locked():
            self._enter(ours)

    def report(self, report: bytes) -> None:
        """Publish this worker's report, JSON of at most MAX_REPORT_BYTES bytes."""
        with self._locked():
            self._write(4, _REPORT, report)

    def reports(self) -> list[bytes]:
        """The last report of each other worker."""
        with self._locked():
            reports = [self._bytes(each, 4, _REPORT) for each in self._rest()]
        return [each for each in reports if each]

    def _enter(self, ours: Counter[str]) -> None:
        self._write(3, _COUNTS, msgspec.json.encode(dict(ours.most_common(_MAX_TITLES_BYTES))))

    def _reserved(self, index: int) -> int:
        return int(_RESERVED.unpack_from(self._memory, index * _REGION + _RESERVED_AT)[0])

    def _reserve(self, size: int) -> None:
        reserved = self._reserved(self._index) + size
        _RESERVED.pack_into(self._memory, self._index * _REGION + _RESERVED_AT, reserved)

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
        # POSIX record locks belong to a process, so threads need a lock of their own; flock would belong to the open
        # file, which all workers share.
        with self._threads:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
