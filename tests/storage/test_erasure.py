"""gateway/storage/erasure.py: what is erased cannot be read, and who reads it meanwhile gets an error, not zeros."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.errors import NoSuchObject
from gateway.storage.disk import LOCAL, LocalDisk
from gateway.storage.erasure import erase_file, erase_remains
from gateway.storage.filesystem import FileStore
from gateway.storage.layout import Layout, new_key

SECRET = b"Zwiebelfisch" * 300_000


def stored(path: Path) -> tuple[FileStore, str, Path]:
    store, key = FileStore(Layout(path)), new_key(1)
    store.prepare()
    file = Path(store.where(key))
    file.parent.mkdir(parents=True)
    file.write_bytes(SECRET)
    return store, key, file


def test_the_bytes_go_and_a_reader_gets_an_error(tmp_path: Path) -> None:
    store, key, file = stored(tmp_path)
    reader = store.open(key)
    descriptor = os.open(file, os.O_RDONLY)
    assert reader.read(0, 12) == b"Zwiebelfisch"
    store.erase(key)
    assert list(file.parent.iterdir()) == []
    assert os.pread(descriptor, len(SECRET) + 9, 0).strip(b"\0") == b""
    with pytest.raises(NoSuchObject, match="erased while it was read"):
        reader.read(0, 12)
    store.erase(key)
    reader.close()
    os.close(descriptor)


def test_a_backup_that_links_to_it_keeps_it(tmp_path: Path) -> None:
    store, key, file = stored(tmp_path)
    backup = tmp_path / "backup"
    backup.hardlink_to(file)
    store.erase(key)
    assert not file.exists()
    assert backup.read_bytes() == SECRET


def test_one_that_a_crash_has_left_half_erased(tmp_path: Path) -> None:
    store, key, file = stored(tmp_path)
    file.rename(f"{file}.erased")
    store.erase(key)
    assert list(file.parent.iterdir()) == []


class NoRoom(LocalDisk):
    def write_at(self, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "no room")


def test_a_full_disk_that_cannot_overwrite_gets_its_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(SECRET)
    erase_file(NoRoom(), str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()
    assert "deleted and not overwritten" in caplog.text


def test_remains(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"stays" + bytes(3 << 20) + SECRET + bytes(100))
    descriptor = os.open(path, os.O_RDWR)
    erase_remains(LOCAL, descriptor, 5, path.stat().st_size)
    os.close(descriptor)
    assert path.read_bytes() == b"stays" + bytes((3 << 20) + len(SECRET) + 100)
