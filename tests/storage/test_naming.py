"""gateway/storage/naming.py: a file gets its name at once or not at all, and never that of another."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from gateway.storage import naming
from gateway.storage.naming import Named, name_file, private, replace_durably


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    path = tmp_path / "temporary"
    path.write_bytes(b"new")
    return path


@pytest.fixture(params=[0, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has hard links; each way in which one without them says so."""

    def refuse(old: Path, new: Path) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param:
        monkeypatch.setattr(os, "link", refuse)
    return not request.param


def test_a_name_that_is_free(temporary: Path, links: bool) -> None:
    path = temporary.with_name("final")
    assert name_file(temporary, path) is Named.NEW
    assert path.read_bytes() == b"new"
    assert temporary.exists() is links


@pytest.mark.parametrize(("there", "named"), [(b"new", Named.SAME), (b"old", Named.TAKEN), (b"longer", Named.TAKEN)])
def test_a_name_that_another_has(temporary: Path, links: bool, there: bytes, named: Named) -> None:
    path = temporary.with_name("final")
    path.write_bytes(there)
    assert name_file(temporary, path) is named
    assert path.read_bytes() == there
    assert temporary.exists()


def test_the_same_size_and_time_are_not_the_same_bytes(temporary: Path) -> None:
    path = temporary.with_name("final")
    path.write_bytes(b"old")
    for each in (temporary, path):
        os.utime(each, (1, 1))
    assert name_file(temporary, path) is Named.TAKEN


def test_the_name_of_a_folder_or_of_a_broken_link_is_taken(temporary: Path, links: bool) -> None:
    folder, link = temporary.with_name("folder"), temporary.with_name("link")
    folder.mkdir()
    link.symlink_to("nowhere")
    assert name_file(temporary, folder) is Named.TAKEN
    assert name_file(temporary, link) is Named.TAKEN
    assert link.is_symlink()


def test_another_error_is_raised(temporary: Path) -> None:
    with pytest.raises(FileNotFoundError):
        name_file(temporary, temporary.with_name("missing") / "final")
    assert temporary.exists()


def test_what_is_replaced_is_on_the_disk_before_and_its_name_after(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = temporary.with_name("final")
    final.write_bytes(b"old")
    steps: list[tuple[str, bytes]] = []

    def sync(descriptor: int) -> None:
        steps.append(("file", final.read_bytes()))

    def sync_folder(path: Path) -> None:
        assert path == final.parent
        steps.append(("folder", final.read_bytes()))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(naming, "sync_folder", sync_folder)
    replace_durably(temporary, final)
    assert steps == [("file", b"old"), ("folder", b"new")]
    assert not temporary.exists()


def test_what_is_made_is_for_owner_and_group_alone(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with open(path, "xb", opener=private):
        pass
    assert not stat.S_IMODE(path.stat().st_mode) & 0o137
