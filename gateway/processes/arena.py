"""Memory shared by the gateway and its commit processes: data received by one is written to disk by another, uncopied.

The arena is passed to a process as a descriptor; places in it are sent as spans.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from ctypes import addressof, c_char
from typing import Final

Buffer = bytes | bytearray | memoryview


Span = tuple[int, int]
"""A part of an arena: offset and length in bytes."""


COPY_BYTES: Final = 768 << 10
"""The room for one copy: a small instance, with its header."""
COPIES: Final = 16
"""Copies at once in a gateway: requests of STOW-RS, mostly."""


class Arena:
    """Shared memory of `size` bytes, which the system provides page by page as it is used."""

    def __init__(self, size: int, copies: int = 0) -> None:
        """`copies`: the number of places for `copy`, beside the `size` bytes."""
        self.descriptor = os.memfd_create("dicom-gateway-blocks", os.MFD_CLOEXEC)
        whole = size + copies * COPY_BYTES
        os.ftruncate(self.descriptor, whole)
        memory = mmap.mmap(self.descriptor, whole)
        # From here on the memory lives as long as any view of it; `descriptor` is only passed to other processes.
        self._view = memoryview(memory)
        self._start = addressof(c_char.from_buffer(memory))
        self._size = size
        self._allocated = 0
        self._copies = [self._view[at : at + COPY_BYTES] for at in range(size, whole, COPY_BYTES)]

    def allocate(self, size: int) -> memoryview:
        """Allocate the next `size` bytes, for good. Raises: MemoryError when the arena is full."""
        if self._allocated + size > self._size:
            raise MemoryError(f"all {self._size} bytes are allocated")
        self._allocated += size
        return self._view[self._allocated - size : self._allocated]

    def copy(self, views: Sequence[Buffer]) -> memoryview | None:
        """Copy what came in other memory, at most COPY_BYTES, into a place of the arena, until `end_copy`; None while
        all places are in use. 512 KB take 50 us; pickled and sent through a socket, 300."""
        size = sum(map(len, views))
        if not self._copies or size > COPY_BYTES:
            return None
        place, at = self._copies.pop(), 0
        for view in views:
            place[at : at + len(view)] = view
            at += len(view)
        return place[:size]

    def end_copy(self, copied: memoryview) -> None:
        """Give back the place of a copy, which nobody reads any more."""
        at = addressof(c_char.from_buffer(copied)) - self._start
        self._copies.append(self._view[at : at + COPY_BYTES])

    def close(self) -> None:
        """Close the descriptor; no further process can map the arena. Allocated memory stays valid."""
        os.close(self.descriptor)
        self._copies.clear()
        self._view.release()

    def to_spans(self, views: Sequence[Buffer], max_bytes: int) -> tuple[bytes, list[Span]] | None:
        """Encode views for another process: leading bytes, at most `max_bytes`, and spans of the arena.

        None if views outside of the arena are longer than that, or follow one inside.
        """
        leading: list[Buffer] = []
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
            leading.append(view)
        return (b"".join(leading), spans) if sum(map(len, leading)) <= max_bytes else None


class MappedArena:
    """An arena mapped read-only into another process."""

    def __init__(self, descriptor: int) -> None:
        self._view = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        os.close(descriptor)

    def views(self, spans: Sequence[Span]) -> list[memoryview]:
        return [self._view[offset : offset + length] for offset, length in spans]
