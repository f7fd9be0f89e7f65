"""gateway/storage/copying.py: instances of one data folder in another, by links or as copies, and what is not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from gateway.errors import StorageError
from gateway.storage import copying
from gateway.storage.copying import StoreCopy, copy_file, make_store, remove_store
from gateway.storage.layout import Layout, new_key

KEYS = [new_key(1000 * 3600 * hours) for hours in (1, 2, 30)]


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "source")
    for number, key in enumerate(KEYS):
        path = Path(layout.stored(key))
        path.parent.mkdir(parents=True)
        path.write_bytes(content(number))
    return layout


@pytest.fixture
def target(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "target")
    layout.base.mkdir()
    make_store(layout)
    return layout


def content(number: int) -> bytes:
    return bytes([number]) * (3 << 20 | number)


ROWS = [(key, len(content(number))) for number, key in enumerate(KEYS)]


def is_linked(source: Layout, target: Layout, key: str) -> bool:
    return Path(source.stored(key)).samefile(target.stored(key))


def test_files_are_linked_where_that_can_be(source: Layout, target: Layout) -> None:
    bringing = StoreCopy(source, target, copy=False)
    assert bringing.bring(ROWS) == ROWS
    assert (bringing.linked, bringing.copied, bringing.named) == (3, 0, set(KEYS))
    assert all(is_linked(source, target, key) for key in KEYS)


def test_copies_are_whole_and_for_owner_and_group_alone(source: Layout, target: Layout) -> None:
    bringing = StoreCopy(source, target, copy=True)
    assert bringing.bring(ROWS) == ROWS
    assert (bringing.linked, bringing.copied) == (0, 3)
    for number, key in enumerate(KEYS):
        made = Path(target.stored(key))
        assert made.read_bytes() == content(number)
        assert not is_linked(source, target, key)
        assert not stat.S_IMODE(made.stat().st_mode) & 0o027


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES])
def test_where_no_links_can_be_all_further_files_are_copied(
    source: Layout, target: Layout, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tried = []

    def refuse(self: Path, target: Path) -> None:
        tried.append(target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    bringing = StoreCopy(source, target, copy=False)
    assert bringing.bring(ROWS) == ROWS
    assert (bringing.linked, bringing.copied, len(tried)) == (0, 3, 1)
    assert Path(target.stored(KEYS[2])).read_bytes() == content(2)


def test_another_error_is_said_with_its_file(source: Layout, target: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    bringing = StoreCopy(source, target, copy=False)
    with pytest.raises(StorageError, match=f"{KEYS[0]}: No space left on device"):
        bringing.bring(ROWS)
    assert bringing.named == set()


def test_what_is_gone_or_not_whole_is_not_brought(source: Layout, target: Layout) -> None:
    """The index may name what was deleted since, or what a crash has cut short."""
    Path(source.stored(KEYS[0])).unlink()
    bringing = StoreCopy(source, target, copy=False)
    assert bringing.bring([ROWS[0], (KEYS[1], ROWS[1][1] + 1), ROWS[2]]) == [ROWS[2]]
    assert bringing.named == {KEYS[2]}
    assert not Path(target.stored(KEYS[1])).exists()


def test_a_second_look_brings_what_is_new_and_drops_what_is_named_no_more(source: Layout, target: Layout) -> None:
    bringing = StoreCopy(source, target, copy=False)
    bringing.bring(ROWS[:2])
    bringing.named.clear()
    Path(source.stored(KEYS[1])).unlink()  # it is here already
    assert bringing.bring(ROWS[1:]) == ROWS[1:]
    assert bringing.linked == 3
    bringing.drop_others()
    assert [Path(target.stored(key)).exists() for key in KEYS] == [False, True, True]


def test_every_folder_with_a_new_name_is_synced(
    source: Layout, target: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the one in which the data folder itself has its name."""
    synced: list[Path] = []
    monkeypatch.setattr(copying, "sync_folder", lambda path: synced.append(Path(path)))
    bringing = StoreCopy(source, target, copy=False)
    bringing.bring(ROWS)
    bringing.sync()
    folders = {Path(target.stored(key)).parent for key in KEYS}
    assert set(synced) == {
        *folders,
        *(folder.parent for folder in folders),
        target.store,
        target.base,
        target.base.parent,
    }


def test_a_copy_is_synced_and_takes_the_place_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(content(1))
    copy_file(old, new)
    assert synced == [len(content(1))], "all of it is written before it is synced"
    with pytest.raises(FileExistsError):
        copy_file(old, new)


def test_a_store_is_for_owner_and_group_and_is_removed_with_all_in_it(source: Layout, target: Layout) -> None:
    assert not stat.S_IMODE(target.store.stat().st_mode) & 0o027
    with pytest.raises(FileExistsError):
        make_store(target)
    remove_store(source)
    assert not source.store.exists()
    remove_store(source)
