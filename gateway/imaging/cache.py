"""A cache of results that are expensive to make, such as frames and answers, bounded in bytes.

For any thread. The meaning of keys is not here, nor whether a value is still right: storage keys are never used twice,
so what was made of a file never goes stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from gateway import telemetry

T = TypeVar("T")

OVERHEAD_BYTES: Final = 512
"""Assumed cost of an entry besides its value: key, links, objects."""


class Cache(Generic[T]):
    """Values up to `capacity` bytes in total, by `size` of each; the least recently used are evicted first.

    A thread that asks for a value that another thread is making waits for it, and gets its error if there is one.
    A value larger than a quarter of the capacity is not cached, so that one cannot evict all others: it is made each
    time.
    """

    def __init__(self, name: str, capacity: int, size: Callable[[T], int]) -> None:
        """`name` distinguishes the cache from others in `gateway_cache_bytes`."""
        self._gauge = telemetry.CACHE_BYTES.labels(name)
        self.capacity = capacity
        self.used = 0
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def peek(self, key: Hashable) -> T | None:
        """The cached value of `key`, or None. Never waits for a value that is being made, so it is safe on the loop."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, from `make` unless it is cached or being made. Raises what `make` raises.

        `make` must not ask this cache for the same key.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry[0]
            other = self._making.get(key)
            if other is None:
                mine = self._making[key] = Future[T]()
        if other is not None:
            try:
                return other.result()
            finally:
                del other  # An error retains this frame, and everything it refers to, no longer than needed.
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            del mine
            raise
        with self._lock:
            self._add(key, value)
            del self._making[key]
        mine.set_result(value)
        return value

    def put(self, key: Hashable, value: T) -> None:
        """Cache a value that was made elsewhere, in place of the one that is cached."""
        with self._lock:
            self._add(key, value)

    def _add(self, key: Hashable, value: T) -> None:
        _, replaced = self._entries.pop(key, (None, 0))
        self.used -= replaced
        size = self._size(value) + OVERHEAD_BYTES
        if size > self.capacity // 4:
            return
        self._entries[key] = value, size
        self.used += size
        while self.used > self.capacity:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used -= freed
        self._gauge.set(self.used)


class FrameCache(Cache[bytes]):
    """Frames, decoded, encoded or rendered: the key names the object, the frame, and its form."""

    def __init__(self, capacity: int) -> None:
        super().__init__("pictures", capacity, len)
