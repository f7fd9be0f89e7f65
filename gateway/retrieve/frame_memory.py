"""The memory in which frames are read, decoded and rendered: one budget in bytes for all processes of a gateway.

A thread reserves memory once it knows the size of a frame and before it reads the pixels, and releases the memory when
the work is done, so that a slow client holds none. Results that wait for their reader count in `read_ahead.py`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from gateway.errors import Overloaded

PATIENCE_S: Final = 30.0
"""Work that has waited this long for memory fails."""
_LOOK_S: Final = 0.02
"""Interval between two checks for memory released by other processes."""


class Ledger(Protocol):
    """A ledger of the memory that several processes have reserved. For any thread."""

    def reserve(self, size: int, total: int) -> bool:
        """Reserve `size` bytes, if the sum stays within `total` or nothing is reserved yet. Returns whether it did."""

    def release(self, size: int) -> None: ...


class OwnLedger:
    """A ledger for one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken = 0

    def reserve(self, size: int, total: int) -> bool:
        with self._lock:
            if self.taken and self.taken + size > total:
                return False
            self.taken += size
            return True

    def release(self, size: int) -> None:
        with self._lock:
            self.taken -= size


class FrameMemory:
    """The budget as one process sees it. For any thread; threads of this process get memory in the order of asking."""

    def __init__(self, total: Callable[[], int], ledger: Ledger | None = None) -> None:
        """`total` gives the bytes that all processes may reserve; they share the `ledger`."""
        self._total = total
        self._ledger: Ledger = ledger if ledger is not None else OwnLedger()
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes inside the context, waiting for them in the thread. More than the whole budget is
        granted alone.

        Raises: Overloaded after PATIENCE_S.
        """
        self._reserve(size)
        try:
            yield
        finally:
            self._ledger.release(size)
            with self._changed:
                self._changed.notify_all()

    def _reserve(self, size: int) -> None:
        ticket, until = object(), time.monotonic() + PATIENCE_S
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._ledger.reserve(size, self._total()):
                    if time.monotonic() > until:
                        raise Overloaded("too much memory is in use for other frames (imaging.memory); try again later")
                    self._changed.wait(_LOOK_S)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
