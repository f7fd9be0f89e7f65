"""Walking over the frames of a segment: for recovery, reindex, and the check of an archive. Everything blocks.

what is found at the end of the last good frame          what it is
------------------------------------------------------   ------------------------------------------------------
a  the end of the file, or no room for a header           the end
b  anything that is no frame, and no good frame after it
   says that more was synced                              the torn end of a crash: never acknowledged
c  the same, and a later frame says that more was synced  damage: reported; the walk goes on at the later frame
d  a header, but its lengths lead out of the file         as b or c
e  a header, and a wrong checksum of what follows         as b or c
f  an erased frame                                        skipped
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from isal import isal_zlib

from gateway.storage.disk import Disk
from gateway.storage.segments.frame import (
    BLOCK_BYTES,
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    FrameHeader,
    FrameKind,
    parse_frame_header,
    segment_id_of,
)

Read = Callable[[int, int], bytes]
"""Reads (length, offset) of a segment; fewer bytes only at its end."""
_PIECE_BYTES: Final = 1 << 20


class SegmentScan:
    """A segment that is open for reading, for who walks over its frames."""

    def __init__(self, disk: Disk, descriptor: int, name: str) -> None:
        """`descriptor` stays its caller's. Raises: OSError."""
        self._disk = disk
        self._descriptor = descriptor
        self.size = disk.fstat(descriptor).st_size
        self.segment_id = segment_id(self.read, name)
        """None if it has no header: then it has no frames either."""

    def read(self, length: int, offset: int) -> bytes:
        """Read of the file; fewer bytes only at its end. Raises: OSError."""
        return self._disk.read(self._descriptor, length, offset)

    def header(self, offset: int) -> FrameHeader | None:
        """The header of the frame at an offset, if there is one. Raises: OSError."""
        if self.segment_id is None:
            return None
        return parse_frame_header(self.read(FRAME_HEADER_BYTES, offset), self.segment_id, offset)

    def notes(self, frame: FrameHeader) -> bytes:
        """Read the notes of an object. Raises: OSError."""
        return self.read(frame.notes_length, frame.offset + FRAME_HEADER_BYTES)

    def walk(self, start: int = SEGMENT_HEADER_BYTES) -> Iterator[FrameHeader | Damage]:
        """Yield the frames from `start` on, and what is damaged, as `frames`. Raises: OSError."""
        return iter(()) if self.segment_id is None else frames(self.read, self.segment_id, self.size, start)

    def trusted(self) -> Iterator[FrameHeader]:
        """Yield the frames, as `trusted`. Raises: OSError."""
        return iter(()) if self.segment_id is None else trusted(self.read, self.segment_id, self.size)


class Damage(NamedTuple):
    """Bytes of a segment that were synced, and are no frames any more."""

    start: int
    end: int


def segment_id(read: Read, name: str) -> bytes | None:
    """The id of a segment; None if it has no header. Raises: OSError."""
    return segment_id_of(read(SEGMENT_HEADER_BYTES, 0), name)


def frames(read: Read, own_id: bytes, size: int, start: int = SEGMENT_HEADER_BYTES) -> Iterator[FrameHeader | Damage]:
    """Yield the good frames of a segment of `size` bytes from `start` on, erased ones too, and what is damaged between
    them. Raises: OSError."""
    at = start
    while at + BLOCK_BYTES <= size:
        frame = _good(read, own_id, at, size)
        if frame is None:
            later = _later(read, own_id, at, size)
            if later is None:
                return  # b
            yield Damage(at, later.offset)  # c
            frame = later
        yield frame
        at = frame.end


def _good(read: Read, own_id: bytes, at: int, size: int) -> FrameHeader | None:
    """The frame at an offset, if all of it is there and right."""
    frame = parse_frame_header(read(FRAME_HEADER_BYTES, at), own_id, at)
    if frame is None or frame.end > size:
        return None
    if frame.kind is FrameKind.ERASED or is_whole(read, frame):
        return frame
    return None


def is_whole(read: Read, frame: FrameHeader) -> bool:
    """Whether the bytes of a frame have its checksum. Raises: OSError."""
    checksum, at = 0, frame.offset + FRAME_HEADER_BYTES
    end = frame.object_offset + frame.object_length
    while at < end:
        data = read(min(_PIECE_BYTES, end - at), at)
        if not data:
            return False
        checksum = isal_zlib.crc32(data, checksum)
        at += len(data)
    return checksum == frame.checksum


def _later(read: Read, own_id: bytes, bad: int, size: int) -> FrameHeader | None:
    """The first good frame behind the offset of a bad one that was made after the bad one had been synced.

    Frames are looked for at every block. Nothing but a frame of this segment can pass: the id is random and has never
    left this machine, and a copy of a frame stands at another offset.
    """
    for at in range(bad + BLOCK_BYTES, size - BLOCK_BYTES + 1, BLOCK_BYTES):
        frame = parse_frame_header(read(FRAME_HEADER_BYTES, at), own_id, at)
        if frame is not None and frame.synced_up_to > bad and _good(read, own_id, at, size):
            return frame
    return None


def trusted(read: Read, own_id: bytes, size: int) -> Iterator[FrameHeader]:
    """Yield the frames of a segment of `size` bytes, erased ones too, for who reads their objects anyway: checksums are
    computed only of frames of which no later one says that they were synced. Raises: OSError."""
    doubtful = list[FrameHeader]()
    at = SEGMENT_HEADER_BYTES
    while at + BLOCK_BYTES <= size:
        frame = parse_frame_header(read(FRAME_HEADER_BYTES, at), own_id, at)
        if frame is None or frame.end > size:
            frame = _later(read, own_id, at, size)
            if frame is None:
                break
        while doubtful and doubtful[0].end <= frame.synced_up_to:
            yield doubtful.pop(0)
        doubtful.append(frame)
        at = frame.end
    yield from (frame for frame in doubtful if frame.kind is FrameKind.ERASED or is_whole(read, frame))
