"""Blocking generators run in threads ahead of who reads from them, and the memory that all of them hold together.

What is made is `retrieve.py`'s.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CHUNK: Final = 1 << 20
"""Bytes that are read in one visit to a thread: 1.0 to 1.3 GB/s, where 64 KiB gave 0.4 to 0.5."""
SMALLEST: Final = 32 << 10
"""The same where memory is scarce."""
MEMORY: Final = 48 << 20
"""Bytes of one gateway that wait for those who read them."""


class Memory:
    """Bytes that have been made and not yet been taken. For any thread.

    The more there are the less is read at once: many slow readers come to about the whole of it and SMALLEST for each,
    while a few have all the speed there is.
    """

    def __init__(self, total: int = MEMORY) -> None:
        self._total = total
        self._lock = threading.Lock()
        self.held = 0

    def change(self, size: int) -> None:
        """So many bytes more are held, or fewer."""
        with self._lock:
            self.held += size

    @property
    def piece(self) -> int:
        """How many bytes to make at once."""
        return max(SMALLEST, min(CHUNK, (self._total - self.held) // 16))

    @property
    def scarce(self) -> bool:
        """Whether nothing is to be made before it is asked for."""
        return self.piece < CHUNK


class Pump(Generic[T]):
    """Runs a blocking generator in threads, one step at a time, and closes it in the end.

    A step that has begun cannot be stopped, so when the waiter is cancelled the generator is closed behind that step,
    never beside it: its file is not closed under a running read. An item counts as held, with its `size` in bytes,
    until the one after it is asked for.
    """

    def __init__(
        self, executor: Executor, source: Generator[T, None, None], memory: Memory, size: Callable[[T], int]
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
        """Begin to make the next item, which `next()` then hands out."""
        self._step = self._executor.submit(self._make)
        self._started = True

    def ahead(self) -> None:
        """`start` while the item before is still in use, unless memory is scarce."""
        if not self._memory.scarce:
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
        else:  # at once where the step is over, otherwise in its thread when it is
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
        self._step = None  # it may hold an item
