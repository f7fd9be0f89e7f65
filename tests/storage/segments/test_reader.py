"""gateway/storage/segments/reader.py, erasure.py: what is read, and what is not any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import NoSuchObject, StorageError
from gateway.storage.segments import reader as module
from gateway.storage.segments.erasure import erase
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameKind
from gateway.storage.segments.keys import key_at, new_name, place_of
from gateway.storage.segments.reader import SegmentReader
from gateway.storage.segments.writer import SegmentWriter
from tests.storage.segments.conftest import append, frames
from tests.support.memory_disk import MemoryDisk


@pytest.fixture
def reader(folder: SegmentFolder) -> SegmentReader:
    return SegmentReader(folder)


def test_any_part(writer: SegmentWriter, reader: SegmentReader) -> None:
    key, _ = append(writer, b"abcdefgh", b"other")
    stored = reader.open(key)
    assert stored.size == 8
    parts = [(0, 8), (2, 3), (6, 100), (8, 1), (100, 1), (3, 0)]
    assert [stored.read(*part) for part in parts] == [b"abcdefgh", b"cde", b"gh", b"", b"", b""]
    stored.close()
    stored.close()


def test_what_is_not_there(writer: SegmentWriter, reader: SegmentReader) -> None:
    (key,) = append(writer, b"abc")
    name, offset = place_of(key)
    for other in (key_at(name, offset + 4096), key_at(new_name(1), 4096), key_at(name, 1 << 30)):
        with pytest.raises(NoSuchObject, match=other):
            reader.open(other)
    with pytest.raises(StorageError, match="is not a key"):
        reader.open("../../etc/passwd")
    reader.prefetch(key, 100)
    reader.prefetch(key_at(new_name(1), 4096), 100)
    reader.prefetch("nonsense", 100)


def test_what_is_erased_is_gone(
    folder: SegmentFolder, writer: SegmentWriter, reader: SegmentReader, disk: MemoryDisk
) -> None:
    keys = append(writer, b"patient one" * 500, b"patient two" * 500, notes=b'{"peer":"secret"}')
    stored = reader.open(keys[0])
    name, offset = place_of(keys[0])
    assert erase(folder, name, [offset]) == erase(folder, name, [offset]) == {offset: 8192}
    with pytest.raises(NoSuchObject, match="erased while it was read"):
        stored.read(0, 10)
    with pytest.raises(NoSuchObject):
        stored.notes()
    with pytest.raises(NoSuchObject):
        reader.open(keys[0])
    assert reader.open(keys[1]).read(0, 11) == b"patient two"
    (path,) = disk.files(folder.path)
    assert b"patient one" not in disk.files(folder.path)[path]
    assert [frame.kind for frame in frames(folder)] == [FrameKind.ERASED, FrameKind.INSTANCE]


def test_a_remembered_header_spares_a_read_and_shows_nothing_that_is_erased(
    folder: SegmentFolder, writer: SegmentWriter, reader: SegmentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = append(writer, b"patient one" * 500)
    reads = list[tuple[int, int]]()
    read = folder.disk.read

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        reads.append((length, offset))
        return read(descriptor, length, offset)

    monkeypatch.setattr(folder.disk, "read", counted)
    reader.open(key).close()
    for expected in (2, 2):
        reads.clear()
        stored = reader.open(key)
        assert stored.read(0, 11) == b"patient one"
        stored.close()
        assert len(reads) == expected, "the bytes, and then the header"
    name, offset = place_of(key)
    before, sized, dated = reader.open(key), reader.open(key), reader.open(key)
    erase(folder, name, [offset])  # As another process does it.
    for use in (lambda: before.read(0, 11), lambda: sized.size, lambda: dated.frame, lambda: reader.open(key)):
        with pytest.raises(NoSuchObject, match=key):
            use()


def test_remembered_headers_are_bounded(
    writer: SegmentWriter, reader: SegmentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    keys = append(writer, b"one", b"two", b"three")
    for key in (*keys[:2], keys[0], keys[2]):
        reader.open(key).close()
    assert [reader.header(key) is not None for key in keys] == [True, False, True]


def test_what_is_erased_is_gone_after_a_power_cut(
    folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk
) -> None:
    from random import Random

    (key,) = append(writer, b"patient one" * 500)
    name, offset = place_of(key)
    erase(folder, name, [offset])
    for seed in range(20):
        (data,) = disk.after(Random(seed)).files(folder.path).values()
        assert b"patient" not in data


def test_erasing_of_a_segment_that_is_gone(folder: SegmentFolder) -> None:
    assert erase(folder, new_name(1), [4096]) == {}


def test_descriptors_are_kept_and_bounded(
    folder: SegmentFolder, disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 2)
    keys = [append(SegmentWriter(folder), b"object %d" % number)[0] for number in range(4)]
    before = len(disk._opened)
    reader = SegmentReader(folder)
    reading = [reader.open(key) for key in keys]
    assert [each.read(0, 8) for each in reading] == [b"object 0", b"object 1", b"object 2", b"object 3"]
    assert len(disk._opened) == before + 4, "each is being read"
    for each in reading:
        each.close()
    assert len(disk._opened) == before + 2
    reader.close()
    assert len(disk._opened) == before


def test_one_that_is_forgotten_closes_with_its_readers(
    folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk
) -> None:
    (key,) = append(writer, b"object")
    before = len(disk._opened)
    reader = SegmentReader(folder)
    stored = reader.open(key)
    reader.forget(writer.segment)
    reader.forget(writer.segment)
    assert stored.read(0, 6) == b"object"
    stored.close()
    assert len(disk._opened) == before


def _begin_anew(folder: SegmentFolder, name: str) -> None:
    """Make a spare file of a segment, and a segment of that."""
    folder.recycle(name)
    assert folder.spares()
    append(SegmentWriter(folder), b"new" * 10_000)


@pytest.mark.parametrize("become", [_begin_anew])
def test_a_reader_of_a_recycled_segment_gets_nothing_of_another_object(
    folder: SegmentFolder, writer: SegmentWriter, reader: SegmentReader, become: Callable[[SegmentFolder, str], None]
) -> None:
    keys = append(writer, b"old" * 10_000, b"old" * 2_000)
    name = writer.segment
    reading = [reader.open(key) for key in keys]
    erase(folder, name, [place_of(key)[1] for key in keys])
    folder.disk.close(writer._segment.descriptor)  # type: ignore[union-attr]
    become(folder, name)
    for each in reading:
        with pytest.raises(NoSuchObject):
            each.read(0, 100)
