"""A store in memory: for what is not stored yet, and as the test double for the layers above storage."""

from __future__ import annotations

from gateway.errors import NoSuchObject


class MemoryObject:
    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        pass


class MemoryStore:
    """Holds objects as bytes; `put` replaces."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self._objects[key] = data

    def remove(self, key: str) -> None:
        self._objects.pop(key, None)

    def open(self, key: str) -> MemoryObject:
        try:
            return MemoryObject(self._objects[key])
        except KeyError:
            raise NoSuchObject(f"no object {key}") from None

    def prefetch(self, key: str) -> None:
        pass

    def free_bytes(self) -> int:
        return 1 << 40

    def backed_up_at(self) -> float:
        return 0.0
