"""Failures in a row by client, counted in memory that several processes may share.

A table of fixed size: what an attacker sends never makes it grow. A client has its place in one of many small sets,
chosen by a keyed hash; in a full set the client whose last failure is the oldest is forgotten. Nobody who does not know
the key can choose addresses that push out another, or share its place.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final

_KEY_BYTES: Final = 16
_HEAD: Final = struct.Struct(f"<{_KEY_BYTES}sQ")
"""The key of the hash, and a counter that orders failures."""
_ENTRY: Final = struct.Struct("<8sIxxxxQ")
"""Hash of the client, failures in a row (0 is free), and the counter when it failed last."""
_SETS: Final = 512
_WAYS: Final = 8
MAX_CLIENTS: Final = _SETS * _WAYS
"""Clients whose failures are counted."""
TABLE_BYTES: Final = _HEAD.size + MAX_CLIENTS * _ENTRY.size


class FailureTable:
    """A table in `memory` from `offset` on, TABLE_BYTES long; by default in memory of this process alone.

    `locked` guards the memory among all who share it. The first to use it draws the key.
    """

    def __init__(
        self,
        memory: bytearray | memoryview | None = None,
        offset: int = 0,
        locked: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        own = threading.Lock()
        self._memory = memory if memory is not None else bytearray(TABLE_BYTES)
        self._offset = offset
        self._locked = locked or (lambda: own)

    def add(self, client: str) -> int:
        """Count one more failure of a client; returns how many it has in a row."""
        with self._locked():
            key, counter = self._head()
            digest, places = self._places(client, key)
            entries = [(self._entry(place), place) for place in places]
            found = next((each for each in entries if each[0][1] and each[0][0] == digest), None)
            # The oldest of the set makes room; a free place has failed at 0, before all others.
            (_, before, _), place = found or min(entries, key=lambda each: each[0][2])
            failures = before + 1 if found else 1
            _ENTRY.pack_into(self._memory, place, digest, min(failures, 0xFFFFFFFF), counter + 1)
            _HEAD.pack_into(self._memory, self._offset, key, counter + 1)
            return failures

    def forget(self, client: str) -> None:
        """Forget the failures of a client: it has shown who it is."""
        with self._locked():
            digest, places = self._places(client, self._head()[0])
            for place in places:
                found, failures, _ = self._entry(place)
                if failures and found == digest:
                    _ENTRY.pack_into(self._memory, place, bytes(8), 0, 0)

    def _head(self) -> tuple[bytes, int]:
        key, counter = _HEAD.unpack_from(self._memory, self._offset)
        return (key if any(key) else os.urandom(_KEY_BYTES)), counter

    def _places(self, client: str, key: bytes) -> tuple[bytes, range]:
        digest = blake2b(client.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        start = self._offset + _HEAD.size + int.from_bytes(digest[:2], "little") % _SETS * _WAYS * _ENTRY.size
        return digest, range(start, start + _WAYS * _ENTRY.size, _ENTRY.size)

    def _entry(self, place: int) -> tuple[bytes, int, int]:
        digest, failures, at = _ENTRY.unpack_from(self._memory, place)
        return digest, failures, at
