"""What jobs have made: whole or not there, of bounded size and age."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import NoSuchObject, OutOfSpace, StorageError
from gateway.storage.layout import Layout
from gateway.storage.outputs import OutputFolder


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(Layout(tmp_path))


def written(folder: OutputFolder, job: int, data: bytes, at: float = 0.0) -> Path:
    writer = folder.create(job)
    writer.append(data)
    writer.finish()
    path = folder._layout.output(job)
    if at:
        os.utime(path, (at, at))
    return path


def test_is_read_once_it_is_whole(folder: OutputFolder) -> None:
    writer = folder.create(7)
    writer.append(b"one")
    writer.append(b"two")
    with pytest.raises(NoSuchObject):
        folder.find(7)
    writer.finish()
    writer.abandon()
    output = folder.find(7)
    assert (output.size, b"".join(folder.read(output, 2, 5))) == (6, b"etw")
    pieces = folder.read(output, 0, 3)
    assert folder.jobs() == [7]
    assert next(pieces) == b"one"
    assert folder.remove(7)
    assert not folder.remove(7)
    pieces.close()
    with pytest.raises(StorageError):
        next(folder.read(output, 0, 3))
    written(folder, 7, b"other", at=5.0)
    with pytest.raises(StorageError, match="replaced"):
        next(folder.read(output, 0, 3))


def test_what_is_abandoned_leaves_nothing(folder: OutputFolder) -> None:
    writer = folder.create(7)
    writer.append(b"one")
    writer.abandon()
    writer.abandon()
    assert folder.jobs() == []


def test_what_is_too_old_is_not_there(folder: OutputFolder) -> None:
    old = written(folder, 1, b"x", at=100.0)
    new = written(folder, 2, b"x", at=300.0)
    with pytest.raises(NoSuchObject):
        folder.find(1, since=200.0)
    folder.expire(before=200.0)
    assert (old.exists(), new.exists()) == (False, True)


def test_the_oldest_give_way(folder: OutputFolder) -> None:
    paths = [written(folder, job, b"x" * 10, at=float(job)) for job in (3, 1, 2)]
    folder.make_room(25)
    assert [path.exists() for path in paths] == [True, False, True]
    folder.make_room(25)
    assert [path.exists() for path in paths] == [True, False, True]


def test_what_is_being_written_has_bounds_too(folder: OutputFolder) -> None:
    whole, writer = written(folder, 1, b"x" * 10), folder.create(2)
    writer.append(b"x" * (1 << 20))
    with pytest.raises(OutOfSpace, match="max_output_bytes"):
        folder.make_room(1000)
    assert not whole.exists()
    writer.abandon()
    OutputFolder(Layout(Path("/nonexistent"))).expire(1.0)
