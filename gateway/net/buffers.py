"""Receive blocks: a pool of fixed size for all associations together.

A block is filled by the kernel, parsed in place, and written to disk from where it lies. It is *held* by whoever
still needs its bytes, and goes back to the pool when nobody does. Not thread-safe: holds are taken and dropped on
the event loop; threads only read while somebody on the loop holds the block for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

BLOCK_SIZE = 256 * 1024
"""1 MiB each took 508 MB of memory at 500 senders, 256 KiB took 153 MB."""


class Block:
    """`view` is its memory, `holds` how many need it, `freed` is called when the last hold is dropped."""

    __slots__ = ("freed", "holds", "view")

    def __init__(self, view: memoryview, freed: Callable[[Block], None]) -> None:
        self.view = view
        self.holds = 0
        self.freed = freed

    def hold(self) -> None:
        self.holds += 1

    def drop(self) -> None:
        self.holds -= 1
        if not self.holds:
            self.freed(self)


class BlockPool:
    """At most `count` blocks of BLOCK_SIZE bytes. Memory is taken when first needed, and kept.

    `on_dry` is called when somebody begins to wait: those who sit on half-filled blocks should write them out.
    `give` makes the memory of a block.
    """

    def __init__(
        self,
        count: int,
        on_dry: Callable[[], None] = lambda: None,
        give: Callable[[int], memoryview] = lambda size: memoryview(bytearray(size)),
    ) -> None:
        self._count = count
        self._give = give
        self._made = 0
        self._free: list[Block] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._waking: asyncio.Handle | None = None
        self.on_dry = on_dry
        self.reserve = count // 8
        """Kept for associations that have no block at all."""

    @property
    def available(self) -> int:
        """Blocks that could be leased now."""
        return len(self._free) + self._count - self._made

    def lease(self, freed: Callable[[Block], None]) -> Block | None:
        """A block without holds, or None when all are in use. `freed` must hand it to `put_back`."""
        if self._free:
            block = self._free.pop()
            block.freed = freed
            return block
        if self._made < self._count:
            self._made += 1
            return Block(self._give(BLOCK_SIZE), freed)
        return None

    @property
    def contended(self) -> bool:
        """Somebody waits: do not sit on half-filled blocks."""
        return bool(self._waiting)

    def put_back(self, block: Block) -> None:
        self._free.append(block)
        if self._waiting and self._waking is None:
            self._waking = asyncio.get_running_loop().call_soon(self._wake)

    def when_available(self, callback: Callable[[], None]) -> None:
        """Call back once, first come first served, when a block can be had."""
        self._waiting.append(callback)
        if len(self._waiting) == 1:
            self.on_dry()

    def forget(self, callback: Callable[[], None]) -> None:
        """The one who waited has gone."""
        if callback in self._waiting:
            self._waiting.remove(callback)

    def _wake(self) -> None:
        """As many as there are blocks; and again in the next turn, since who is woken may have nothing to read."""
        self._waking = None
        for _ in range(min(self.available, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting and self.available:
            self._waking = asyncio.get_running_loop().call_soon(self._wake)
