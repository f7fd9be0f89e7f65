"""Frames as the value of encapsulated pixel data (PS3.5 A.4): fragments, with a table of the frames' offsets."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Final

from gateway.dicom.recode import Addition
from gateway.imaging.spool import Spool

_MAX_OFFSET: Final = 0xFFFFFFFF
_PIECE_BYTES: Final = 512 << 10
_item = Struct("<HHI").pack
_DELIMITER: Final = _item(0xFFFE, 0xE0DD, 0)


def offsets(lengths: array[int]) -> array[int]:
    """The offset of each frame's item from the first (PS3.5 A.4): one fragment a frame, of even length."""
    table, at = array("Q"), 0
    for length in lengths:
        table.append(at)
        at += 8 + length + (length & 1)
    return table


def extended(lengths: array[int]) -> list[Addition]:
    """The Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8), if an offset is too large for the basic one."""
    table = offsets(lengths)
    if not table or table[-1] <= _MAX_OFFSET:
        return []
    return [
        Addition(0x7FE00001, "OV", _little_endian(table)),
        Addition(0x7FE00002, "OV", _little_endian(lengths)),
    ]


def fragments(spool: Spool) -> Iterator[bytes]:
    """The value from the Basic Offset Table, which is empty if there is an extended one, to the delimiter.

    In pieces of half a MiB or so: a sender may go to a thread for each.
    """
    table = offsets(spool.lengths)
    basic = array("I", table) if table and table[-1] <= _MAX_OFFSET else array("I")
    out = bytearray(_item(0xFFFE, 0xE000, 4 * len(basic)) + _little_endian(basic))
    for length, pieces in zip(spool.lengths, spool.frames(), strict=True):
        out += _item(0xFFFE, 0xE000, length + (length & 1))
        for piece in pieces:
            out += piece
            if len(out) >= _PIECE_BYTES:
                yield bytes(out)
                out.clear()
        out += b"\0" * (length & 1)
    yield bytes(out + _DELIMITER)


def one_fragment(data: bytes) -> bytes:
    """The value for one compressed frame: an empty Basic Offset Table, the frame, the delimiter."""
    size = len(data) + (len(data) & 1)
    return b"".join((_item(0xFFFE, 0xE000, 0), _item(0xFFFE, 0xE000, size), data, b"\0" * (len(data) & 1), _DELIMITER))


def _little_endian(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()
