"""gateway/ingest/duplicates.py: the same bytes in the same transfer syntax, and nothing less."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.errors import NoSuchObject, StorageError
from gateway.index.store import Duplicate, FileLocation
from gateway.ingest import duplicates
from gateway.ingest.duplicates import same_bytes
from gateway.storage.memory import MemoryObject, MemoryStore

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DATA = bytes(range(256)) * 10


class Counted(MemoryStore):
    """Counts the objects that are open, and the most bytes that were read at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.open_objects = 0
        self.most_read = 0

    def open(self, key: str) -> MemoryObject:
        counted, behind = self, super().open(key)
        self.open_objects += 1

        class Object(MemoryObject):
            def read(self, offset: int, length: int) -> bytes:
                data = behind.read(offset, length)
                counted.most_read = max(counted.most_read, len(data))
                return data

            def close(self) -> None:
                counted.open_objects -= 1

        return Object(b"")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """In it `theirs`, with DATA as its data set behind 10 bytes; pieces are of 1000 bytes."""
    monkeypatch.setattr(duplicates, "_PIECE_BYTES", 1000)
    store = Counted()
    store.put("theirs", bytes(10) + DATA)
    return store


THEIRS = Duplicate("theirs", 1, EXPLICIT, 10 + len(DATA), 10)


def ours(store: MemoryStore, data: bytes, before: bytes = b"other header", syntax: str = EXPLICIT) -> FileLocation:
    store.put("ours", before + data)
    return FileLocation("ours", len(before) + len(data), len(before), syntax)


def test_the_data_set_counts_and_not_what_stands_before_it(store: Counted) -> None:
    assert same_bytes(store, ours(store, DATA), THEIRS)
    assert store.open_objects == 0
    assert store.most_read == 1000


@pytest.mark.parametrize("at", [0, 999, 1000, 1999, 2000, len(DATA) - 1])
def test_one_byte_that_differs_anywhere(store: Counted, at: int) -> None:
    changed = bytearray(DATA)
    changed[at] ^= 1
    assert not same_bytes(store, ours(store, bytes(changed)), THEIRS)
    assert store.open_objects == 0


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b""])
def test_another_length(store: Counted, data: bytes) -> None:
    assert not same_bytes(store, ours(store, data), THEIRS)


def test_another_length_in_a_file_of_the_same_size(store: Counted) -> None:
    assert not same_bytes(store, ours(store, DATA[2:], bytes(12)), THEIRS)


def test_the_same_bytes_in_another_transfer_syntax(store: Counted) -> None:
    assert not same_bytes(store, ours(store, DATA, syntax=IMPLICIT), THEIRS)


def test_ours_may_stand_elsewhere(store: Counted) -> None:
    incoming = Counted()
    assert same_bytes(store, ours(incoming, DATA), THEIRS, incoming)
    assert (store.open_objects, incoming.open_objects) == (0, 0)


def test_what_is_stored_is_gone(store: Counted) -> None:
    """Whoever asked looks again: it may have moved."""
    with pytest.raises(NoSuchObject):
        same_bytes(store, ours(store, DATA), dataclasses.replace(THEIRS, key="gone"))
    assert store.open_objects == 0


def test_what_is_new_is_gone(store: Counted) -> None:
    """That is a fault of the storage, and not of what it is compared with."""
    location = ours(store, DATA)
    store.remove("ours")
    with pytest.raises(StorageError, match="new instance has gone") as caught:
        same_bytes(store, location, THEIRS)
    assert not isinstance(caught.value, NoSuchObject)
    assert store.open_objects == 0
