"""The frames of encapsulated pixel data (PS3.5 A.4): the fragments of each, and their bytes.

The content of frames is not here.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from gateway.dicom.source import Read, Window
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import ITEM, SEQUENCE_DELIMITATION, place
from gateway.errors import DataSetError
from gateway.imaging.image import MAX_FRAME_BYTES

MAX_FRAGMENTS: Final = 1 << 20
"""Fragments of one element. Each costs 16 bytes for as long as its frames may be read, each frame another 8."""
_STARTS: Final = (b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP  ", b"\xff\x0a", b"\0\0\0\x0cJXL ")
"""First bytes of a JPEG, JPEG 2000 or JPEG XL stream, bare or in a file format."""
_RLE: Final = "1.2.840.10008.1.2.5"

_item = struct.Struct("<HHI").unpack_from


class Frames:
    """The places of the frames of one element. `read` a frame by its number, from 0."""

    __slots__ = ("_bounds", "_lengths", "_offsets")

    def __init__(self, offsets: array[int], lengths: array[int], bounds: array[int]) -> None:
        self._offsets = offsets
        self._lengths = lengths
        self._bounds = bounds
        """The first fragment of each frame, and the number of fragments."""

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def pieces(self, number: int) -> list[tuple[int, int]]:
        """Offset and length of each fragment of a frame."""
        first, stop = self._bounds[number : number + 2]
        return list(zip(self._offsets[first:stop], self._lengths[first:stop], strict=True))

    def read(self, read: Read, number: int) -> bytes:
        """The joined fragments of a frame. Raises: DataSetError if longer than MAX_FRAME_BYTES, or truncated."""
        pieces = self.pieces(number)
        size = sum(length for _, length in pieces)
        if size > MAX_FRAME_BYTES:
            raise DataSetError(f"frame {number + 1} has {size} bytes, more than {MAX_FRAME_BYTES}")
        data = b"".join([read(offset, length) for offset, length in pieces])
        if len(data) < size:
            raise DataSetError(f"frame {number + 1} is cut short")
        return data


def locate(read: Read, value_start: int, end: int, syntax: Syntax, frames: int, extended: bytes = b"") -> Frames:
    """The frames in the fragments at `value_start`, of which there must be `frames`.

    By Extended Offset Table (`extended`, the value of (7FE0,0001)), by Basic Offset Table, one fragment each, all
    fragments for one frame, or by the first bytes of a stream: the first that fits. Raises: DataSetError if none does.
    """
    starts, lengths, basic = _fragments(read, value_start, end)
    count = len(starts)
    if count == 0:
        raise DataSetError("pixel data without a fragment")
    bounds: Sequence[int]
    if frames == 1:
        bounds = (0,)
    elif count == frames:
        bounds = range(count)
    else:
        bounds = (
            _by_table(starts, struct.unpack(f"<{len(extended) // 8}Q", extended[: len(extended) // 8 * 8]), frames)
            or _by_table(starts, struct.unpack(f"<{len(basic) // 4}I", basic[: len(basic) // 4 * 4]), frames)
            or _by_beginning(read, starts, lengths, syntax)
        )
    if len(bounds) != frames:
        raise DataSetError(f"{frames} frames cannot be told apart in {count} fragments (PS3.5 A.4)")
    return Frames(array("Q", (start + 8 for start in starts)), lengths, array("Q", (*bounds, count)))


def _fragments(read: Read, value_start: int, end: int) -> tuple[array[int], array[int], bytes]:
    """Offsets of the fragments' items, lengths of their values, and the Basic Offset Table."""
    window = Window(read, value_start, end)
    starts, lengths = array("Q"), array("Q")
    basic: bytes | None = None
    position = value_start
    while True:
        index = window.need(position, 8)
        group, number, length = _item(window.buffer, index)
        tag = group << 16 | number
        if tag == SEQUENCE_DELIMITATION:
            return starts, lengths, basic or b""
        if tag != ITEM or position + 8 + length > end:
            raise DataSetError(f"{place(tag, position)}: not a fragment (PS3.5 A.4)")
        if basic is None:
            if length > 4 * MAX_FRAGMENTS:
                raise DataSetError(f"a Basic Offset Table of {length} bytes")
            basic = window.read(position + 8, length)
        elif len(starts) == MAX_FRAGMENTS:
            raise DataSetError(f"pixel data in more than {MAX_FRAGMENTS} fragments")
        else:
            starts.append(position)
            lengths.append(length)
        position += 8 + length


def _by_table(starts: array[int], table: tuple[int, ...], frames: int) -> list[int]:
    """Indices of the first fragments, by offsets from the first; an empty list if the table does not fit."""
    if len(table) != frames:
        return []
    bounds: list[int] = []
    for offset in table:
        index = bisect_left(starts, starts[0] + offset)
        if index == len(starts) or starts[index] != starts[0] + offset or (bounds and index <= bounds[-1]):
            return []
        bounds.append(index)
    return bounds if bounds[0] == 0 else []


def _by_beginning(read: Read, starts: array[int], lengths: array[int], syntax: Syntax) -> list[int]:
    if syntax.uid == _RLE:
        return []  # "each frame shall be encoded in one and only one Fragment" (PS3.5 A.4.2)
    return [
        index
        for index, (start, length) in enumerate(zip(starts, lengths, strict=True))
        if read(start + 8, min(8, length)).startswith(_STARTS)
    ]
