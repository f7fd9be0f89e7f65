"""The interface of a store: what reads an object by its key.

Writing is not here: how an instance is written durably is the driver's own (`filesystem.py`), in the order that
`archive/ingest.py` asks for.
"""

from __future__ import annotations

from typing import Protocol


class StoredObject(Protocol):
    """One open object. It stays readable until closed, even when its key is removed meanwhile."""

    @property
    def size(self) -> int:
        """Bytes of the whole object."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end. Blocks. Raises StorageError."""

    def close(self) -> None:
        """Let go of it. Closing twice is allowed."""


class Store(Protocol):
    """Objects by key."""

    def open(self, key: str) -> StoredObject:
        """Open an object for reading. Blocks. Raises NoSuchObject when it is not (or no longer) there."""

    def expect(self, key: str) -> None:
        """The beginning of an object will be read soon: have it fetched meanwhile. Raises nothing."""
