"""Read-ahead: blocking generators run in threads ahead of their reader, within one memory budget.

`retrieval.py` has the generators.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CHUNK: Final = 1 << 20
"""Bytes read in one visit to a thread: 1.0 to 1.3 GB/s, where 64 KiB gave 0.4 to 0.5."""
SMALLEST: Final = 32 << 10
"""Bytes read in one visit under memory pressure."""
MEMORY: Final = 48 << 20
"""Bytes of one gateway that wait for their readers."""


class MemoryBudget:
    """The bytes that were produced and not yet consumed. For any thread.

    The more bytes wait the less is read at once: many slow readers hold about the whole budget plus SMALLEST each,
    while a few get full speed.
    """

    def __init__(self, total: int = MEMORY) -> None:
        self._total = total
        self._lock = threading.Lock()
        self.held = 0

    def change(self, size: int) -> None:
        """Add `size` bytes to those held; negative to release."""
        with self._lock:
            self.held += size

    @property
    def piece(self) -> int:
        """Bytes to produce at once."""
        return max(SMALLEST, min(CHUNK, (self._total - self.held) // 16))

    @property
    def under_pressure(self) -> bool:
        """Whether nothing is to be produced before it is requested."""
        return self.piece < CHUNK


class Batch(Generic[T]):
    """Gathers items until they have `MemoryBudget.piece` bytes; smaller ones would cost a step each."""

    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self._items: list[T] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, item: T, size: int) -> bool:
        """Add an item of `size` bytes. Returns whether the batch is full."""
        self._items.append(item)
        self._size += size
        return self._size >= self._memory.piece

    def take(self) -> list[T]:
        """Empty the batch; returns its items."""
        items, self._items, self._size = self._items, [], 0
        return items


class ReadAhead(Generic[T]):
    """Runs a blocking generator in threads, one step at a time, and closes it at the end.

    A running step cannot be stopped, so after a cancelled wait the generator is closed once that step ends, never
    beside it: the file is not closed under a running read. An item counts as held, with its `size` in bytes, until the
    next one is requested.
    """

    def __init__(
        self, executor: Executor, source: Generator[T, None, None], memory: MemoryBudget, size: Callable[[T], int]
    ) -> None:
        self._executor = executor
        self._source = source
        self._memory = memory
        self._size = size
        self._step: Future[T | None] | None = None
        self._started = False
        self._closed = False
        self._made = self._taken = 0

    def start(self) -> None:
        """Produce the next item, which `next()` then returns."""
        self._step = self._executor.submit(self._make)
        self._started = True

    def ahead(self) -> None:
        """Call `start` while the previous item is still in use, unless memory is under pressure."""
        if not self._memory.under_pressure:
            self.start()

    async def next(self) -> T | None:
        """The next item; None at the end."""
        self._memory.change(-self._taken)
        self._taken = 0
        if not self._started:
            self.start()
        assert self._step is not None
        self._started = False
        item = await asyncio.wrap_future(self._step)
        self._taken, self._made = self._made, 0
        return item

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._step is None:
            self._source.close()
        else:  # at once after the step, otherwise in its thread when it ends
            self._step.add_done_callback(lambda _step: self._end())

    def _make(self) -> T | None:
        item = next(self._source, None)
        if item is not None:
            self._made = self._size(item)
            self._memory.change(self._made)
        return item

    def _end(self) -> None:
        self._source.close()
        self._memory.change(-self._made - self._taken)
        self._made = self._taken = 0
        self._step = None  # its result may hold an item
