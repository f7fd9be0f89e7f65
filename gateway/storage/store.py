"""The interface of a store: reading an object by its key.

Writing is not here: how an instance is written durably is the driver's own (`filesystem.py`), in the order that
`ingest/ingest.py` asks for.
"""

from __future__ import annotations

from typing import Protocol


class StoredObject(Protocol):
    """One open object. It stays readable until closed, even when its key is removed meanwhile."""

    @property
    def size(self) -> int:
        """Bytes of the whole object. Raises: NoSuchObject when it is gone already; StorageError."""

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes from `offset`; fewer only at the end. Blocks. Raises: StorageError."""

    def close(self) -> None:
        """Close the object. Idempotent."""


class ObjectSource(Protocol):
    """Opens objects by their keys."""

    def open(self, key: str) -> StoredObject:
        """Open an object for reading. Blocks. Raises: NoSuchObject when it does not exist (any more), perhaps only when
        its size or bytes are asked for."""


class Store(ObjectSource, Protocol):
    """Objects by key."""

    def prefetch(self, key: str) -> None:
        """Prefetch the beginning of an object that will be read soon. Raises nothing."""

    def free_bytes(self) -> int:
        """Bytes of free space."""

    def backed_up_at(self) -> float:
        """When the last finished backup began, in seconds since 1970; 0 if none is known."""
