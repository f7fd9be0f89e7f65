"""Receive blocks: a pool of fixed size for all associations together.

The kernel fills a block, the block is parsed in place and written to disk from there. Code that still needs the bytes
retains the block; when the last holder releases it, it returns to the pool. Not thread-safe: blocks are retained and
released on the event loop; a thread only reads while a holder on the loop retains the block for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

BLOCK_SIZE = 256 * 1024
"""1 MiB each took 508 MB of memory at 500 senders, 256 KiB took 153 MB."""


class Block:
    """A piece of receive memory: `view` is the memory, `holds` counts holders, the last `release` calls `freed`."""

    __slots__ = ("freed", "holds", "view")

    def __init__(self, view: memoryview, freed: Callable[[Block], None]) -> None:
        self.view = view
        self.holds = 0
        self.freed = freed

    def retain(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1
        if not self.holds:
            self.freed(self)


class BlockPool:
    """At most `count` blocks of BLOCK_SIZE bytes. Memory is allocated at first need and reused after that.

    `on_exhausted` is called when an association begins to wait for a block: holders of half-filled blocks should write
    them out. `allocate` returns the memory of a new block.
    """

    def __init__(
        self,
        count: int,
        on_exhausted: Callable[[], None] = lambda: None,
        allocate: Callable[[int], memoryview] = lambda size: memoryview(bytearray(size)),
    ) -> None:
        self._count = count
        self._allocate = allocate
        self._allocated = 0
        self._free: list[Block] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._waking: asyncio.Handle | None = None
        self.on_exhausted = on_exhausted
        self.reserve = count // 8
        """Blocks reserved for associations that have no block at all."""

    @property
    def available(self) -> int:
        """Blocks that could be leased now."""
        return len(self._free) + self._count - self._allocated

    def lease(self, freed: Callable[[Block], None]) -> Block | None:
        """A block without holders, or None when all are in use. `freed` must return the block by `put_back`."""
        if self._free:
            block = self._free.pop()
            block.freed = freed
            return block
        if self._allocated < self._count:
            self._allocated += 1
            return Block(self._allocate(BLOCK_SIZE), freed)
        return None

    @property
    def contended(self) -> bool:
        """Whether an association waits for a block; others should then write out half-filled blocks."""
        return bool(self._waiting)

    def put_back(self, block: Block) -> None:
        self._free.append(block)
        if self._waiting and self._waking is None:
            self._waking = asyncio.get_running_loop().call_soon(self._wake)

    def when_available(self, callback: Callable[[], None]) -> None:
        """Register a callback for the next available block, first come first served; it is called once."""
        self._waiting.append(callback)
        if len(self._waiting) == 1:
            self.on_exhausted()

    def forget(self, callback: Callable[[], None]) -> None:
        """Remove a callback of `when_available`, if it still waits."""
        if callback in self._waiting:
            self._waiting.remove(callback)

    def _wake(self) -> None:
        """Call as many waiters as there are blocks; again in the next turn, since a waiter may have nothing to read."""
        self._waking = None
        for _ in range(min(self.available, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting and self.available:
            self._waking = asyncio.get_running_loop().call_soon(self._wake)
