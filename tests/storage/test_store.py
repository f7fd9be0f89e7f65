"""gateway/storage/store.py: what holds for every store, the one on disk and its double in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import NoSuchObject
from gateway.storage.filesystem import FileStore
from gateway.storage.layout import Layout, new_key
from gateway.storage.memory import MemoryStore
from gateway.storage.store import Store

KEY, OTHER = new_key(1000), new_key(2000)


@pytest.fixture(params=["file system", "memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Callable[[], None]]:
    """A store that holds b"abcdefgh", and what takes that away."""
    if request.param == "memory":
        memory = MemoryStore()
        memory.put(KEY, b"abcdefgh")
        return memory, lambda: memory.remove(KEY)
    layout = Layout(tmp_path)
    path = Path(layout.stored(KEY))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abcdefgh")
    store = FileStore(layout)
    return store, lambda: store.remove(KEY)


def test_any_part_is_read(made: tuple[Store, Callable[[], None]]) -> None:
    opened = made[0].open(KEY)
    assert opened.size == 8
    assert [opened.read(*at) for at in ((0, 8), (2, 3), (6, 100), (8, 1), (100, 1), (3, 0))] == [
        *(b"abcdefgh", b"cde", b"gh", b"", b"", b"")
    ]
    opened.close()


def test_what_is_not_there(made: tuple[Store, Callable[[], None]]) -> None:
    store, _ = made
    store.prefetch(OTHER)
    with pytest.raises(NoSuchObject, match=OTHER):
        store.open(OTHER)


def test_readers_outlive_a_removal(made: tuple[Store, Callable[[], None]]) -> None:
    store, remove = made
    opened = store.open(KEY)
    remove()
    remove()
    assert opened.read(0, 8) == b"abcdefgh"
    opened.close()
    with pytest.raises(NoSuchObject):
        store.open(KEY)


def test_there_is_room(made: tuple[Store, Callable[[], None]]) -> None:
    assert made[0].free_bytes() > 0
