"""gateway/storage/segments/scan.py: its table of cases, by their letters."""

from __future__ import annotations

import pytest

from gateway.storage.segments.erasure import erase
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameHeader, FrameKind
from gateway.storage.segments.scan import Damage, frames, segment_id, trusted
from gateway.storage.segments.writer import SegmentWriter
from tests.storage.segments.conftest import append
from tests.support.memory_disk import MemoryDisk


class Written:
    """A segment of three batches of two frames, as bytes to break."""

    def __init__(self, folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
        for batch in range(3):
            append(writer, b"%d" % batch * 5000, b"%d" % batch * 100)
        self.name = writer.segment
        self.data = bytearray(disk.files(folder.path)[folder.path_of(self.name)])
        self.all = [frame for frame in self.walk() if isinstance(frame, FrameHeader)]
        assert len(self.all) == 6

    def read(self, length: int, offset: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def walk(self, start: int = 4096) -> list[FrameHeader | Damage]:
        own_id = segment_id(self.read, self.name)
        assert own_id is not None
        return list(frames(self.read, own_id, len(self.data), start))

    def trusted(self) -> list[FrameHeader]:
        own_id = segment_id(self.read, self.name)
        assert own_id is not None
        return list(trusted(self.read, own_id, len(self.data)))

    def flip(self, offset: int) -> None:
        self.data[offset] ^= 1


@pytest.fixture
def written(folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> Written:
    return Written(folder, writer, disk)


def test_a_the_end(written: Written) -> None:
    del written.data[written.all[-1].end :]
    assert written.walk() == written.all
    assert written.walk(start=written.all[2].offset) == written.all[2:]


@pytest.mark.parametrize("at", [4, 5])
@pytest.mark.parametrize("where", ["header", "object"])
def test_b_and_e_a_torn_end(written: Written, at: int, where: str) -> None:
    """Of the last batch any block may be missing: a whole frame after a torn one was not acknowledged either."""
    frame = written.all[at]
    written.flip(frame.offset + 30 if where == "header" else frame.object_offset + 50)
    assert written.walk() == written.all[:at]
    assert written.trusted() == [each for each in written.all if each is not frame][: at if where == "header" else 5]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
@pytest.mark.parametrize("where", ["header", "object"])
def test_c_damage(written: Written, at: int, where: str) -> None:
    """Later frames say that it was synced: what stood there is lost, and the rest is read."""
    frame = written.all[at]
    written.flip(frame.offset + 30 if where == "header" else frame.object_offset + 50)
    found = written.walk()
    (damage,) = [each for each in found if isinstance(each, Damage)]
    assert damage.start == frame.offset
    after = [each for each in written.all if each.offset >= damage.end]
    assert found == [*written.all[:at], damage, *after]
    assert after[0].synced_up_to > damage.start


def test_d_lengths_that_lead_out_of_the_file(written: Written) -> None:
    last = written.all[-1]
    written.data[last.offset : last.offset + 68] = last._replace(object_length=1 << 40).encode()
    assert written.walk() == written.all[:-1]


def test_f_erased_frames(folder: SegmentFolder, written: Written, disk: MemoryDisk) -> None:
    erase(folder, written.name, [written.all[0].offset, written.all[5].offset])
    written.data[:] = disk.files(folder.path)[folder.path_of(written.name)]
    kinds = [frame.kind for frame in written.walk() if isinstance(frame, FrameHeader)]
    assert kinds == [FrameKind.ERASED, *[FrameKind.INSTANCE] * 4, FrameKind.ERASED]
    assert [frame.kind for frame in written.trusted()] == kinds


def test_objects_may_hold_frames(folder: SegmentFolder, writer: SegmentWriter, disk: MemoryDisk) -> None:
    """A segment inside an instance, and of the same segment what was written before."""
    append(writer, b"first")
    copy = disk.files(folder.path)[folder.path_of(writer.segment)][:16384]
    append(writer, bytes(4096 - 68 - 2) + copy)
    append(writer, b"last")
    data = disk.files(folder.path)[folder.path_of(writer.segment)]
    own_id = segment_id(lambda length, at: data[at : at + length], writer.segment)
    assert own_id is not None
    found = list(frames(lambda length, at: data[at : at + length], own_id, len(data)))
    assert [frame.object_length for frame in found if isinstance(frame, FrameHeader)] == [5, 4026 + 16384, 4]


def test_trusted_frames_are_those_of_a_walk(written: Written) -> None:
    assert written.trusted() == written.all
