"""The counter of commits of a database that has none itself, in memory that all processes of a data folder share.

It is in the file of the writers' lock: who holds that counts. It is odd while a commit is being made, and stays so if
its process dies: then nobody knows whether something was committed, until the next one counts.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

_COUNT: Final = struct.Struct("=Q")


class CommitCounter:
    """The counter of one data folder. Reading it waits for nobody."""

    def __init__(self, lock_path: Path) -> None:
        """Open the file of the writers' lock, made where it is missing. Raises: OSError."""
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Growing it again to what it has changes nothing, so that two processes may do so at once.
            if os.fstat(descriptor).st_size < _COUNT.size:
                os.ftruncate(descriptor, _COUNT.size)
            self._memory = mmap.mmap(descriptor, _COUNT.size)
        finally:
            os.close(descriptor)
        self._unknown = 0

    def current(self) -> int:
        """The number of commits; while one is being made, a number that was never returned before."""
        if not self._memory.closed and not (count := self._read()) & 1:
            return count
        self._unknown -= 1
        return self._unknown

    def begin(self) -> None:
        """Count a commit that is about to be made, by the holder of the lock."""
        self._write(self._read() | 1)

    def end(self) -> None:
        """Count that it is over, whatever came of it; by the holder of the lock."""
        self._write((self._read() | 1) + 1)

    def close(self) -> None:
        self._memory.close()

    def _read(self) -> int:
        return int(_COUNT.unpack_from(self._memory)[0])

    def _write(self, count: int) -> None:
        _COUNT.pack_into(self._memory, 0, count)
