"""Memory that the gateway and its keepers see alike: what one receives the other writes to disk, without a copy.

Handed to another process as a descriptor; what is where in it they tell each other as spans.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from ctypes import addressof, c_char

Buffer = bytes | bytearray | memoryview


Span = tuple[int, int]
"""A part of an arena: offset and length in bytes."""


class Arena:
    """`size` bytes, which take memory only once they are used."""

    def __init__(self, size: int) -> None:
        self.descriptor = os.memfd_create("dicom-gateway-blocks", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, size)
        memory = mmap.mmap(self.descriptor, size)
        # From here on the memory lives as long as one of its views, and `descriptor` is only to hand on.
        self._view = memoryview(memory)
        self._start = addressof(c_char.from_buffer(memory))
        self._given = 0

    def give(self, size: int) -> memoryview:
        """The next `size` bytes; never taken back. MemoryError where there are none."""
        if self._given + size > len(self._view):
            raise MemoryError(f"all {len(self._view)} bytes are given")
        self._given += size
        return self._view[self._given - size : self._given]

    def close(self) -> None:
        """It is told and handed to nobody any more. What has been given stays valid."""
        os.close(self.descriptor)
        self._view.release()

    def told(self, views: Sequence[Buffer], most: int) -> tuple[bytes, list[Span]] | None:
        """How to tell another process what stands in these views: bytes to begin with, at most `most`, and spans.

        None where it cannot be told so, because views that are not in the arena come later, or are more.
        """
        before: list[Buffer] = []
        spans: list[Span] = []
        size = len(self._view)
        for view in views:
            if type(view) is memoryview and not view.readonly and view:
                offset = addressof(c_char.from_buffer(view)) - self._start
                if 0 <= offset < size:
                    spans.append((offset, len(view)))
                    continue
            if spans and view:
                return None
            before.append(view)
        return (b"".join(before), spans) if sum(map(len, before)) <= most else None


class Shown:
    """An arena as the other process sees it: to read."""

    def __init__(self, descriptor: int) -> None:
        self._view = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        os.close(descriptor)

    def views(self, spans: Sequence[Span]) -> list[memoryview]:
        return [self._view[offset : offset + length] for offset, length in spans]
