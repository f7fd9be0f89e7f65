"""Disk space reserved so that deletions can be recorded when the disk is otherwise full.

A deletion needs space before it frees any: for rows, and for the log of the database. Everything blocks; call it in a
thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from gateway.storage.layout import Layout

MAX_RESERVE_BYTES = 32 << 20
_FULL_BYTES = 4 << 20
"""With less free space than this a deletion might fail."""
_FRACTION = 16
"""On a small disk the reserve takes one part in this many of the free space."""


class Reserve:
    """One file of a data folder. Several processes may hold and release it."""

    def __init__(self, layout: Layout) -> None:
        self._path = str(layout.reserve)
        self._disk = layout.disk

    def hold(self, free_bytes: int) -> None:
        """Allocate the reserve from free space, unless it is held; a full disk has none."""
        size = min(MAX_RESERVE_BYTES, free_bytes // _FRACTION)
        with contextlib.suppress(OSError), self._opened(os.O_CREAT) as descriptor:
            if self._disk.fstat(descriptor).st_size < size // 2:
                self._disk.allocate(descriptor, size)

    def release_when_full(self, free_bytes: int) -> bool:
        """Release the reserve if the disk is full apart from it. Whether the disk is full."""
        if free_bytes >= _FULL_BYTES:
            return False
        with contextlib.suppress(OSError), self._opened() as descriptor:
            self._disk.truncate(descriptor, 0)
        return True

    @contextlib.contextmanager
    def _opened(self, flags: int = 0) -> Iterator[int]:
        descriptor = self._disk.open(self._path, os.O_WRONLY | flags)
        try:
            yield descriptor
        finally:
            self._disk.close(descriptor)
