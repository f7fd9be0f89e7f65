"""A stored data set as Explicit VR Little Endian (PS3.5 A.2), in pieces, with memory that does not grow with it.

Only the encoding of elements changes: values and their order stay, group lengths go (retired, and wrong by then),
values of odd length are padded, sequences and items come out with undefined length. Pixel data that is compressed is
not for here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Final

from gateway.dicom.source import CHUNK, Inflater, Read, Window
from gateway.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Syntax,
    transfer_syntax,
)
from gateway.dicom.walk import SHORT_VRS, UNDEFINED, Kind, place, walk
from gateway.errors import DataSetError, TruncatedDataSet, UnsupportedTransferSyntax

WORD_SIZES: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes that byte ordering turns round together, by VR (PS3.5 §7.3). VRs that are not here have none."""

_CODES: Final = {2: "H", 4: "I", 8: "Q"}
_SHORT_NAMES: Final = frozenset(SHORT_VRS.values())
_TEXT: Final = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT"
_TEXT_PADDING: Final = frozenset(_TEXT.split())
_PIECE: Final = 64 << 10
"""Small elements are gathered until they make this many bytes."""
_INFLATE_LIMIT: Final = 1 << 62

_short_header = Struct("<HH2sH").pack
_long_header = Struct("<HH2sHI").pack
_item_header = Struct("<HHI").pack
_ITEM: Final = _item_header(0xFFFE, 0xE000, UNDEFINED)
_ITEM_END: Final = _item_header(0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = _item_header(0xFFFE, 0xE0DD, 0)


def swapped(value: bytes, size: int) -> bytes:
    """`value` with the bytes of each word of `size` turned round; a rest that is no word stays."""
    whole = len(value) - len(value) % size
    words = array(_CODES[size], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


def to_explicit_little_endian(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end`, as Explicit VR Little Endian, in pieces of 1 MiB at most.

    From Implicit VR Little Endian, Explicit VR Big Endian, and Deflated; from Explicit VR Little Endian itself
    unchanged. UnsupportedTransferSyntax at once for any other; DataSetError or TruncatedDataSet on the way where the
    data set is malformed or cut short.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax is EXPLICIT_VR_LITTLE_ENDIAN:
        return _copy(read, start, end)
    if syntax is DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _inflate(read, start, end)
    if syntax is IMPLICIT_VR_LITTLE_ENDIAN or syntax is EXPLICIT_VR_BIG_ENDIAN:
        return _recode(read, start, end, syntax)
    raise UnsupportedTransferSyntax(f"{syntax.name} cannot be re-encoded as Explicit VR Little Endian")


def _copy(read: Read, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = read(start, min(CHUNK, end - start))
        if not piece:
            raise TruncatedDataSet(f"the data set ends at offset {start}, not at {end}")
        start += len(piece)
        yield piece


def _inflate(read: Read, start: int, end: int) -> Iterator[bytes]:
    inflater = Inflater(read, start, end, _INFLATE_LIMIT)
    while piece := inflater.more(CHUNK):
        yield piece


def _recode(read: Read, start: int, end: int, syntax: Syntax) -> Iterator[bytes]:
    window = Window(read, start, end)
    out = bytearray()
    for kind, tag, vr, position, value_start, length, coding in walk(window, start, syntax):
        if kind is Kind.ELEMENT:
            if tag & 0xFFFF == 0:
                continue
            size = WORD_SIZES.get(vr, 1) if coding.big_endian else 1
            out += _header(tag, vr, length + (length & 1))
            if length <= _PIECE:
                value = window.read(value_start, length)
                out += swapped(value, size) if size > 1 else value
            else:
                yield bytes(out)
                out.clear()
                for piece in _copy(read, value_start, _within(tag, position, value_start + length, end)):
                    yield swapped(piece, size) if size > 1 else piece
            if length & 1:
                out += b" " if vr in _TEXT_PADDING else b"\0"
        elif kind is Kind.SEQUENCE:
            out += _long_header(tag >> 16, tag & 0xFFFF, b"SQ", 0, UNDEFINED)
        elif kind is Kind.ITEM:
            out += _ITEM
        elif kind is Kind.ITEM_END:
            out += _ITEM_END
        elif kind is Kind.SEQUENCE_END:
            out += _SEQUENCE_END
        else:
            raise DataSetError(f"{place(tag, position)}: fragments in {syntax.name} (PS3.5 A.4)")
        if len(out) >= _PIECE:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)


def _header(tag: int, vr: str, length: int) -> bytes:
    if vr not in _SHORT_NAMES:
        return _long_header(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    if length <= 0xFFFE:
        return _short_header(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
    # Longer than the short form can say: "the Value Representation UN shall be used" (PS3.5 §6.2.2).
    return _long_header(tag >> 16, tag & 0xFFFF, b"UN", 0, length)


def _within(tag: int, position: int, stop: int, end: int) -> int:
    if stop > end:
        raise TruncatedDataSet(f"{place(tag, position)}: it ends at offset {stop}, but the data set at {end}")
    return stop
