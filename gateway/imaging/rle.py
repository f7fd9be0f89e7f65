"""The segments of a frame in RLE Lossless (PS3.5 Annex G): byte planes, each packed by itself.

Devices leave spare bytes behind a segment, to make its length even or from a buffer of fixed size: a segment ends
where its plane is complete. The meaning of planes is in `decode.py`.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Final

from gateway.errors import DataSetError
from gateway.imaging.image import Image

HEADER_BYTES: Final = 64
_MAX_SEGMENTS: Final = 15
_MAX_SPARE_BYTES: Final = 4096
"""Bytes that a segment may decode to beyond its plane before it is followed run by run."""
_NO_OPERATION: Final = 128
"""The control byte with neither literal bytes nor a byte to repeat."""


def bounds(data: bytes, count: int) -> list[tuple[int, int]]:
    """Start and end of each of `count` segments, with spare bytes. Raises: DataSetError if they are not in order."""
    numbers = struct.unpack_from("<16I", data) if len(data) >= HEADER_BYTES else (0,)
    if numbers[0] != count or count > _MAX_SEGMENTS:
        raise DataSetError(f"RLE: {numbers[0]} segments, where {count} are expected")
    starts = (*numbers[1 : count + 1], len(data))
    if starts[0] < HEADER_BYTES or any(start >= stop for start, stop in pairwise(starts)):
        raise DataSetError("RLE: the frame is cut short, or its segments do not follow one another")
    return list(pairwise(starts))


def plane(segment: bytes, size: int) -> bytes:
    """Decode the first `size` bytes of a segment. Raises: DataSetError if it has fewer."""
    import imagecodecs

    try:
        plane = bytes(imagecodecs.packbits_decode(segment, out=size + _MAX_SPARE_BYTES))
    except RuntimeError:  # ImcdError: more bytes follow, or the last bytes are no run.
        plane = b""
    if len(plane) < size:
        plane = bytes(imagecodecs.packbits_decode(segment[: used(segment, size)], out=size + _MAX_SPARE_BYTES))
    return plane[:size]


def is_filled(segment: bytes, size: int) -> bool:
    """Whether a segment decodes to a plane of `size` bytes and no more, a byte of padding aside."""
    import imagecodecs

    try:
        return len(imagecodecs.packbits_decode(segment, out=size)) == size
    except RuntimeError:
        return False


def bits_size(segment: bytes, image: Image) -> int:
    """The size of a plane of single bits: packed as without compression, or by some writers one byte for each."""
    pixels = image.rows * image.columns
    try:
        return pixels if max(plane(segment, pixels)) == 1 else image.frame_size
    except DataSetError:
        return image.frame_size


def used(segment: bytes, size: int) -> int:
    """The number of bytes of a segment that decode to `size` bytes. Raises: DataSetError if all of it is too short."""
    at = made = 0
    while made < size and at < len(segment):
        control = segment[at]
        at += control + 2 if control < _NO_OPERATION else 1 if control == _NO_OPERATION else 2
        if at > len(segment):
            break
        made += control + 1 if control < _NO_OPERATION else 0 if control == _NO_OPERATION else 257 - control
    if made < size:
        raise DataSetError(f"RLE: the frame is cut short: a segment of {made} bytes, where {size} are expected")
    return at
