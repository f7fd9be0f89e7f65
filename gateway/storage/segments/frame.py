"""The format of segments and frames, as bytes: made here and parsed here, and nowhere else.

A segment is a file `segments/<name>`, written from front to end by one process:

    +-----------------+ 0
    | segment header  |  4096 bytes
    +-----------------+ 4096
    | frame           |  one instance; a multiple of 4096 bytes, so that a direct write needs no byte of another frame
    +-----------------+
    | frame           |
    +-----------------+
    : anything        :  zeros, what was never written, or what a power cut left of a frame
    +-----------------+

    segment header                           frame
    +--------------------------+ 0           +--------------------------+ 0
    | magic           8 bytes  |             | magic           4 bytes  |
    | format          u16      |             | kind            u8       |
    | name           16 bytes  |             | format          u8       |
    | id             16 bytes  |             | reserved        u16      |
    | CRC-32 of it    u32      |             | notes length    u32      |
    +--------------------------+ 46          | segment id     16 bytes  |
    | zeros                    |             | own offset      u64      |
    +--------------------------+ 4096        | object length   u64      |
                                             | synced up to    u64      |
                                             | written at      f64      |
                                             | CRC-32 of what follows u32
                                             | CRC-32 of it    u32      |
                                             +--------------------------+ 68
                                             | notes: a JSON object     |
                                             +--------------------------+
                                             | object: a Part 10 file   |
                                             +--------------------------+
                                             | zeros up to 4096 bytes   |
                                             +--------------------------+

Integers are little endian. A frame counts only if its segment id, its own offset and both checksums agree: an object
may hold anything, copies of our own frames too, and those have another offset or another id, which is random and new
whenever a file becomes a segment. `synced up to` is the offset up to which the segment was synced when the frame was
made: a bad frame before that of a later one is damage, one after all of them is the torn end of a crash.

CRC-32 is that of zlib, so that the standard library can check a segment; libdeflate computes it in 6 us for 512 KB,
zlib in 230. CRC-32C would need a package for either.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 4096
SEGMENT_HEADER_BYTES: Final = BLOCK_BYTES
NAME_LENGTH: Final = 16

_FORMAT: Final = 1
_SEGMENT: Final = struct.Struct("<8sH16s16s")
_SEGMENT_MAGIC: Final = b"\x89DGSEG\r\n"
_FRAME: Final = struct.Struct("<4sBBHI16sQQQdI")
_FRAME_MAGIC: Final = b"DGF\n"
_CRC: Final = struct.Struct("<I")
FRAME_HEADER_BYTES: Final = _FRAME.size + _CRC.size


class FrameKind(IntEnum):
    """The kind of a frame."""

    INSTANCE = 1
    ERASED = 2
    """Its bytes are gone, or about to be; only the header remains, so that the next frame can be found."""


class FrameHeader(NamedTuple):
    """The header of one frame. Lengths and offsets are bytes."""

    kind: FrameKind
    segment_id: bytes
    offset: int
    """Of the frame itself in its segment."""
    notes_length: int
    object_length: int
    synced_up_to: int
    written_at: float
    """Seconds since 1970; of an object that was moved, when it was first written."""
    checksum: int
    """CRC-32 of notes and object."""

    @property
    def object_offset(self) -> int:
        """The offset of the object in the segment."""
        return self.offset + FRAME_HEADER_BYTES + self.notes_length

    @property
    def length(self) -> int:
        """Bytes of the frame, with its padding."""
        return frame_length(self.notes_length, self.object_length)

    @property
    def end(self) -> int:
        """The offset of the next frame."""
        return self.offset + self.length

    def encode(self) -> bytes:
        made = _FRAME.pack(
            _FRAME_MAGIC,
            self.kind,
            _FORMAT,
            0,
            self.notes_length,
            self.segment_id,
            self.offset,
            self.object_length,
            self.synced_up_to,
            self.written_at,
            self.checksum,
        )
        return made + _CRC.pack(zlib.crc32(made))


def frame_length(notes_length: int, object_length: int) -> int:
    """Bytes of a frame, with its padding."""
    return -(-(FRAME_HEADER_BYTES + notes_length + object_length) // BLOCK_BYTES) * BLOCK_BYTES


def encode_segment_header(name: str, segment_id: bytes) -> bytes:
    """The first block of a segment."""
    made = _SEGMENT.pack(_SEGMENT_MAGIC, _FORMAT, name.encode("ascii"), segment_id)
    return (made + _CRC.pack(zlib.crc32(made))).ljust(SEGMENT_HEADER_BYTES, b"\0")


def segment_id_of(data: bytes, name: str) -> bytes | None:
    """The id in the first block of the segment `name`; None if that is no header of this segment."""
    if len(data) < _SEGMENT.size + _CRC.size:
        return None
    magic, version, own, segment_id = _SEGMENT.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _SEGMENT.size)
    if magic != _SEGMENT_MAGIC or version != _FORMAT or zlib.crc32(data[: _SEGMENT.size]) != checksum:
        return None
    return segment_id if own == name.encode("ascii") else None


def parse_frame_header(data: bytes, segment_id: bytes, offset: int) -> FrameHeader | None:
    """The header of the frame at `offset` of a segment; None if there is none. The lengths in it are not trusted
    yet."""
    if len(data) < FRAME_HEADER_BYTES:
        return None
    magic, kind, version, _, notes, own_id, own_offset, length, synced, at, checksum = _FRAME.unpack_from(data)
    (own,) = _CRC.unpack_from(data, _FRAME.size)
    if magic != _FRAME_MAGIC or version != _FORMAT or (own_id, own_offset) != (segment_id, offset):
        return None
    if zlib.crc32(data[: _FRAME.size]) != own or kind not in FrameKind.__members__.values():
        return None
    return FrameHeader(FrameKind(kind), own_id, own_offset, notes, length, synced, at, checksum)
