"""gateway/storage/unindexed.py: what a crash left is set aside for good, and its folder is there only meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import NoSuchObject, StorageError
from gateway.storage import unindexed
from gateway.storage.disk import Disk
from gateway.storage.layout import Layout, new_key
from gateway.storage.unindexed import UnindexedFolder

OLD, NEW = new_key(1000), new_key(2000)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def folder(layout: Layout, tmp_path: Path) -> UnindexedFolder:
    """With two files in it, the newer one added first."""
    made = UnindexedFolder(layout)
    for key in (NEW, OLD):
        (tmp_path / key).write_bytes(key.encode())
    made.add([(str(tmp_path / NEW), NEW), (str(tmp_path / OLD), OLD)])
    return made


def test_what_is_added_has_moved(folder: UnindexedFolder, layout: Layout) -> None:
    assert folder.keys() == [OLD, NEW]
    assert sorted(path.name for path in layout.base.iterdir()) == ["unindexed"]
    assert layout.unindexed_file(OLD).read_bytes() == OLD.encode()


def test_its_names_are_synced_when_all_are_there(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []

    def sync(disk: Disk, path: str) -> None:
        synced.append((path, folder.keys()))

    monkeypatch.setattr(unindexed, "sync_folder", sync)
    folder = UnindexedFolder(layout)
    for key in (OLD, NEW):
        (tmp_path / key).touch()
    folder.add([(str(tmp_path / key), key) for key in (OLD, NEW)])
    assert synced == [(str(layout.unindexed), [OLD, NEW]), (str(layout.base), [OLD, NEW])]


def test_a_file_is_read(folder: UnindexedFolder) -> None:
    file = folder.open(OLD)
    assert (file.size, file.read(1, 3)) == (len(OLD), OLD.encode()[1:4])
    file.close()
    with pytest.raises(NoSuchObject):
        folder.open(new_key(3000))


def test_its_folder_goes_with_the_last(folder: UnindexedFolder, layout: Layout) -> None:
    folder.remove(OLD)
    assert folder.keys() == [NEW]
    folder.remove(NEW)
    assert not layout.unindexed.exists()
    assert folder.keys() == []
    folder.remove(NEW)  # another process was quicker


def test_what_people_put_there_is_none_of_ours(folder: UnindexedFolder, layout: Layout) -> None:
    """They import from this folder, and may look into it with programs that leave files."""
    for name in ("DICOMDIR", "scan.dcm", f"{OLD}.txt", f"{OLD.lower()}.dcm", ".directory"):
        (layout.unindexed / name).touch()
    assert folder.keys() == [OLD, NEW]
    for key in (OLD, NEW):
        folder.remove(key)
    assert layout.unindexed.exists(), "a folder that holds something stays"


def test_nothing_but_a_key_becomes_a_path(folder: UnindexedFolder) -> None:
    with pytest.raises(StorageError):
        folder.open("../database")
