"""gateway/storage/segments/writer.py, folder.py: batches, full segments, spare files, and what fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from gateway.errors import OutOfSpace, StorageError, StorageFailed
from gateway.processes.arena import Buffer
from gateway.storage.layout import Layout
from gateway.storage.segments import folder as folder_module
from gateway.storage.segments import writer as writer_module
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameKind
from gateway.storage.segments.reader import SegmentReader
from gateway.storage.segments.writer import SegmentWriter
from tests.storage.segments.conftest import append, frames
from tests.support.memory_disk import Fault, MemoryDisk


def read(folder: SegmentFolder, key: str) -> bytes:
    stored = SegmentReader(folder).open(key)
    try:
        return stored.read(0, stored.size)
    finally:
        stored.close()


def test_one_flush_for_a_batch(folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
    append(writer, b"first")
    disk.calls.clear()
    objects = [b"x" * size for size in (0, 1, 4000, 4096, 10_000)]
    keys = append(writer, *objects, notes=b'{"a":1}')
    assert [call.split()[0] for call in disk.calls] == ["write", "flush"]
    assert [read(folder, key) for key in keys] == objects
    stored = SegmentReader(folder).open(keys[3])
    assert stored.notes() == b'{"a":1}'
    assert stored.frame.written_at == 1000.5
    assert {frame.synced_up_to for frame in frames(folder)[1:]} == {frames(folder)[0].end}


def test_what_is_read_soon_is_written_through_the_page_cache(
    folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = len(disk._opened)
    direct = list[bool]()
    write_at = disk.write_at

    def noted(descriptor: int, view: Buffer, offset: int, *, durably: bool) -> int:
        direct.append(bool(disk._opened[descriptor].flags & os.O_DIRECT))
        return write_at(descriptor, view, offset, durably=durably)

    append(writer, b"begin")
    monkeypatch.setattr(disk, "write_at", noted)
    monkeypatch.setattr(writer_module, "_CACHED_BYTES", 2 * 4096)
    keys = []
    for writer.read_soon, objects in ((True, 1), (False, 1), (True, 2), (True, 3)):
        keys += append(writer, *[b"soon"] * objects)
    assert direct == [False, True, False, True], "a large batch takes longer through it"
    assert frames(folder)[-1].end == writer.end
    writer.close()
    assert len(disk._opened) == opened
    assert [read(folder, key) for key in keys] == [b"soon"] * 7


def test_views_are_joined(folder: SegmentFolder, writer: SegmentWriter) -> None:
    writer.reserve([(2, 6)])
    key = writer.stage(b"{}", [b"ab", memoryview(bytearray(b"cd")), b"ef"], 1.0)
    writer.flush()
    assert read(folder, key) == b"abcdef"


def test_a_full_segment_is_cut_and_the_next_begun(
    folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk
) -> None:
    keys = []
    while len(folder.names()) < 3:
        keys += append(writer, b"y" * 20_000)
    assert [read(folder, key) for key in keys] == [b"y" * 20_000] * len(keys)
    first, second, _ = folder.names()
    assert disk.stat(folder.path_of(first)).st_size == max(f.end for f in folder.frames(first))
    assert disk.stat(folder.path_of(second)).st_size <= 1 << 18
    assert folder.adopt(first) is not None, "nobody writes it any more"
    assert folder.adopt(writer.segment) is None


def test_a_batch_larger_than_any_segment(folder: SegmentFolder, writer: SegmentWriter) -> None:
    keys = append(writer, *[b"z" * 300_000] * 3)
    assert [len(read(folder, key)) for key in keys] == [300_000] * 3
    assert len(folder.names()) == 1


def test_rows_to_write(writer: SegmentWriter) -> None:
    writer.reserve([(0, 10)])
    assert (writer.begun, writer.ended) == (writer.segment, "")
    writer.stage(b"", [b"0123456789"], 1.0)
    writer.flush()
    writer.recorded()
    assert writer.begun == ""
    first = writer.segment
    writer.reserve([(0, 100_000)])
    assert (writer.begun, writer.ended) == (writer.segment, first)


def test_a_segment_whose_rows_were_not_committed_goes(folder: SegmentFolder, writer: SegmentWriter) -> None:
    writer.reserve([(0, 10)])
    writer.stage(b"", [b"0123456789"], 1.0)
    writer.flush()
    writer.abandon()
    assert folder.names() == []
    (key,) = append(writer, b"next")
    assert read(folder, key) == b"next"
    writer.abandon()
    assert read(folder, key) == b"next", "its row is there"


@pytest.mark.parametrize(("call", "error"), [("write", errno.EIO), ("flush", errno.EIO), ("write", errno.EROFS)])
def test_after_a_failed_flush_nothing_more_is_written(
    folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk, call: str, error: int
) -> None:
    append(writer, b"one")
    disk.faults.append(Fault(call, error))
    writer.reserve([(0, 3)])
    writer.stage(b"", [b"two"], 1.0)
    with pytest.raises(StorageFailed, match="writing a segment failed"):
        writer.flush()
    with pytest.raises(StorageFailed, match="writing a segment failed"):
        writer.reserve([(0, 3)])
    assert writer.failure


def test_a_disk_without_room_is_none_for_ever(folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
    """Where a file system writes elsewhere what was allocated."""
    append(writer, b"one")
    disk.faults.append(Fault("write", errno.ENOSPC))
    writer.reserve([(0, 3)])
    writer.stage(b"", [b"two"], 1.0)
    with pytest.raises(OutOfSpace):
        writer.flush()
    (key,) = append(writer, b"three")
    assert read(folder, key) == b"three"
    assert [frame.object_length for frame in frames(folder)] == [3, 5]


class TestSpares:
    def test_one_is_made_ready_when_a_segment_is_half_full(self, folder: SegmentFolder, writer: SegmentWriter) -> None:
        append(writer, b"a" * 10_000)
        writer.prepare()
        assert folder.spares() == []
        append(writer, b"a" * 30_000)
        writer.prepare()
        (spare,) = folder.spares()
        writer.prepare()
        assert folder.spares() == [spare]
        append(writer, b"a" * 40_000)
        assert folder.spares() == []
        assert len(folder.names()) == 2

    def test_of_a_small_disk_what_there_is(
        self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk
    ) -> None:
        disk.faults.append(Fault("allocate", errno.ENOSPC, count=2))
        (key,) = append(writer, b"small")
        assert read(folder, key) == b"small"
        assert disk.stat(folder.path_of(writer.segment)).st_size < 1 << 16

    def test_of_a_full_disk_nothing(self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
        disk.faults.append(Fault("allocate", errno.ENOSPC, count=100))
        with pytest.raises(OutOfSpace):
            append(writer, b"small")
        assert disk.listdir(folder.path) == []
        disk.faults.clear()
        append(writer, b"small")

    def test_a_dead_segment_becomes_one(self, folder: SegmentFolder, writer: SegmentWriter) -> None:
        while len(folder.names()) < 5:
            append(writer, b"a" * 40_000)
        names = folder.names()
        for name in names:
            folder.recycle(name)
        assert len(folder.spares()) == 2
        assert folder.names() == [writer.segment], "which is being written"
        (key,) = append(writer, b"b" * 60_000)
        assert read(folder, key) == b"b" * 60_000

    def test_what_was_half_made_goes(self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
        append(writer, b"one")
        disk.close(disk.open(f"{folder.path}/new-01ABC", 0o102))
        folder.clear()
        assert disk.listdir(folder.path) == [writer.segment]

    @pytest.mark.parametrize("call", ["write", "flush"])
    def test_none_is_used_whose_flush_failed(
        self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk, call: str
    ) -> None:
        """A later flush of the same file may succeed without having written what the failed one was for."""
        folder.prepare(1 << 16)
        disk.faults.append(Fault(call, errno.EIO))
        with pytest.raises(StorageError):
            append(writer, b"one")
        assert folder.spares() == []
        (key,) = append(writer, b"two")
        assert read(SegmentFolder(Layout(Path("/data"), disk.after(Random(1)))), key) == b"two"

    def test_none_is_left_whose_zeros_were_not_flushed(self, folder: SegmentFolder, disk: MemoryDisk) -> None:
        folder.prepare(1 << 16)
        disk.faults.append(Fault("fsync", errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            list(folder.fill())
        assert folder.spares() == []

    def test_two_writers_at_once(self, folder: SegmentFolder) -> None:
        folder.prepare(1 << 16)
        writers = [SegmentWriter(folder) for _ in range(3)]
        keys = [append(writer, b"object %d" % number) for number, writer in enumerate(writers)]
        assert len({writer.segment for writer in writers}) == 3
        assert [read(folder, key) for (key,) in keys] == [b"object 0", b"object 1", b"object 2"]


def test_the_frames_are_instances(folder: SegmentFolder, writer: SegmentWriter) -> None:
    append(writer, b"one", b"two")
    assert [frame.kind for frame in frames(folder)] == [FrameKind.INSTANCE] * 2


def test_closed_it_is_cut(folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
    append(writer, b"one")
    name = writer.segment
    writer.close()
    writer.close()
    assert disk.stat(folder.path_of(name)).st_size == 8192


class TestIdle:
    """Spare files that are written before they are needed."""

    def test_nothing_for_who_hardly_writes(self, folder: SegmentFolder, writer: SegmentWriter) -> None:
        append(writer, b"one")
        assert not writer.improve()
        assert folder.spares() == []

    def test_two_that_are_written(
        self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "_WORTH_BYTES", 1)
        monkeypatch.setattr(folder_module, "_PIECE_BYTES", 1 << 14)
        append(writer, b"one")
        steps = 0
        while writer.improve():
            steps += 1
        assert steps >= 8
        assert [spare.split("-")[0] for spare in folder.spares()] == ["written", "written"]
        assert not writer.improve()
        append(writer, b"x" * 100_000)
        assert len(folder.spares()) == 1
        assert frames(folder)[-1].object_length == 100_000

    def test_one_that_another_process_takes_meanwhile(
        self, folder: SegmentFolder, writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is left alone: its lock is held by who writes zeros."""
        monkeypatch.setattr(writer_module, "_WORTH_BYTES", 1)
        append(writer, b"one")
        assert writer.improve()
        (key,) = append(SegmentWriter(folder), b"other")
        while writer.improve():
            pass
        assert read(folder, key) == b"other"

    def test_a_full_disk(
        self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "_WORTH_BYTES", 1)
        append(writer, b"one")
        disk.faults.append(Fault("allocate", errno.ENOSPC, count=100))
        assert not writer.improve()
        assert not writer.failure
