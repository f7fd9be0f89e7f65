"""What was made and may be asked for again: frames, kept by whatever names them, within a number of bytes.

Called from worker threads. Not here: what a key means; storage keys are never used twice, so nothing goes stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

T = TypeVar("T")

OVERHEAD: Final = 512
"""Bytes that an entry is taken to cost besides its value: key, links, objects."""


class Cache(Generic[T]):
    """Values up to `capacity` bytes together, by `size` of each; the least recently used go first.

    Whoever asks for what another thread is just making waits for it, and gets its error too where there is one.
    A value is never larger than a quarter of the whole, so that one cannot drive out all others: it is made each time.
    """

    def __init__(self, capacity: int, size: Callable[[T], int]) -> None:
        self.capacity = capacity
        self.used = 0
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def peek(self, key: Hashable) -> T | None:
        """The value of `key` where it is kept. Never waits for one that is being made, so it may be asked anywhere."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
            return kept[0]

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, from `make` unless it is kept or being made. Raises what `make` raises.

        `make` does not ask this cache for the same key.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept[0]
            other = self._making.get(key)
            if other is None:
                mine = self._making[key] = Future[T]()
        if other is not None:
            try:
                return other.result()
            finally:
                del other  # an error holds on to this frame, and all that hangs on it, no longer than it must
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            del mine
            raise
        with self._lock:
            self._keep(key, value)
            del self._making[key]
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: T) -> None:
        size = self._size(value) + OVERHEAD
        if size > self.capacity // 4:
            return
        self._kept[key] = value, size
        self.used += size
        while self.used > self.capacity:
            _, (_, freed) = self._kept.popitem(last=False)
            self.used -= freed


class FrameCache(Cache[bytes]):
    """Frames, decoded, encoded or rendered: the key says of which object, which one, and in which form."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, len)
