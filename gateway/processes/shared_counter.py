"""A number that several processes count up together, and read without a lock."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

_COUNT: Final = struct.Struct("<Q")
COUNTER_BYTES: Final = _COUNT.size


class SharedCounter:
    """A count in `memory` at `offset`, COUNTER_BYTES long; by default in memory of this process alone.

    `locked` guards the memory among all who count. Reading takes eight aligned bytes at once.
    """

    def __init__(
        self,
        memory: bytearray | memoryview | None = None,
        offset: int = 0,
        locked: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        own = threading.Lock()
        self._memory = memory if memory is not None else bytearray(COUNTER_BYTES)
        self._offset = offset
        self._locked = locked or (lambda: own)

    @property
    def value(self) -> int:
        return int(_COUNT.unpack_from(self._memory, self._offset)[0])

    def add(self) -> None:
        """Count one up."""
        with self._locked():
            _COUNT.pack_into(self._memory, self._offset, self.value + 1)
