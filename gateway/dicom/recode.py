"""A stored data set as Explicit or Implicit VR Little Endian (PS3.5 A.1, A.2), in pieces, in memory that does not grow.

Only the encoding of elements changes: values and their order stay, group lengths go (retired, and wrong by then),
values of odd length are padded, sequences and items come out with undefined length. Pixel data that is compressed is
not decoded here: `gateway.imaging` does, and says in `Changes` what stands in its place.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from gateway.dicom.walk import SHORT_VRS, UNDEFINED, Event, Kind, place, walk
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


@dataclass(frozen=True, slots=True)
class Pixels:
    """What stands in the place of pixel data that was compressed: a value of `length` bytes, in pieces."""

    vr: str
    length: int
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of elements, nested ones too, by the offset at which they start."""

    values: Mapping[int, bytes | None] = field(default_factory=dict)
    """Other values, of even length; None leaves the element out."""
    pixels: Callable[[Event], Pixels] | None = None
    """Asked for each element whose value is fragments. Without it they are an error."""


_NO_CHANGES: Final = Changes()
TARGETS: Final = frozenset((EXPLICIT_VR_LITTLE_ENDIAN.uid, IMPLICIT_VR_LITTLE_ENDIAN.uid))
"""What can be made here."""
SOURCES: Final = TARGETS | {EXPLICIT_VR_BIG_ENDIAN.uid, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.uid}
"""What it can be made from without decoding pixels."""


def to_explicit_little_endian(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end`, as Explicit VR Little Endian; as `recode`."""
    return recode(read, start, end, transfer_syntax_uid, EXPLICIT_VR_LITTLE_ENDIAN.uid)


def recode(
    read: Read, start: int, end: int, transfer_syntax_uid: str, target_uid: str, changes: Changes | None = None
) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end` in another transfer syntax, in pieces of 1 MiB at most.

    From SOURCES to TARGETS; where both are the same unchanged. With `changes` from an encapsulated one too.
    UnsupportedTransferSyntax at once for any other; DataSetError or TruncatedDataSet on the way where the data set
    is malformed or cut short.
    """
    source, target = transfer_syntax(transfer_syntax_uid), transfer_syntax(target_uid)
    if target.uid not in TARGETS or (source.uid not in SOURCES and changes is None):
        raise UnsupportedTransferSyntax(f"{source.name} cannot be re-encoded as {target.name}")
    if changes is None and source is target:
        return _copy(read, start, end)
    if source is DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        inflater = Inflater(read, start, end, _INFLATE_LIMIT)
        if changes is None and target is EXPLICIT_VR_LITTLE_ENDIAN:
            return _inflate(inflater)
        return _recode(Window(inflater, 0, None), 0, source, target, changes or _NO_CHANGES)
    return _recode(Window(read, start, end), start, source, target, changes or _NO_CHANGES)


def check(read: Read, start: int, end: int, transfer_syntax_uid: str) -> None:
    """Go through the whole data set once, without its large values: raises what `recode` would raise on the way."""
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        for _event in walk(Window(Inflater(read, start, end, _INFLATE_LIMIT), 0, None), 0, syntax):
            pass
    else:
        for _event in walk(Window(read, start, end), start, syntax):
            pass


def _copy(read: Read, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = read(start, min(CHUNK, end - start))
        if not piece:
            raise TruncatedDataSet(f"the data set ends at offset {start}, not at {end}")
        start += len(piece)
        yield piece


def _inflate(inflater: Inflater) -> Iterator[bytes]:
    while piece := inflater.more(CHUNK):
        yield piece


def _recode(window: Window, start: int, source: Syntax, target: Syntax, changes: Changes) -> Iterator[bytes]:
    out = bytearray()
    values = changes.values
    for event in walk(window, start, source):
        kind, tag, vr, position, value_start, length, coding = event
        if kind is Kind.ELEMENT:
            if tag & 0xFFFF == 0:
                continue
            if position in values:
                value = values[position]
                if value is not None:
                    out += _header(tag, vr, len(value), target) + value
                continue
            size = WORD_SIZES.get(vr, 1) if coding.big_endian else 1
            out += _header(tag, vr, length + (length & 1), target)
            if length <= _PIECE:
                value = window.read(value_start, length)
                out += swapped(value, size) if size > 1 else value
            else:
                yield bytes(out)
                out.clear()
                _check_within(event, window)
                for at in range(value_start, value_start + length, CHUNK):
                    value = window.read(at, min(CHUNK, value_start + length - at))
                    yield swapped(value, size) if size > 1 else value
            if length & 1:
                out += b" " if vr in _TEXT_PADDING else b"\0"
        elif kind is Kind.SEQUENCE:
            out += _header(tag, "SQ", UNDEFINED, target)
        elif kind is Kind.ITEM:
            out += _ITEM
        elif kind is Kind.ITEM_END:
            out += _ITEM_END
        elif kind is Kind.SEQUENCE_END:
            out += _SEQUENCE_END
        elif changes.pixels is not None:
            pixels = changes.pixels(event)
            out += _header(tag, pixels.vr, pixels.length + (pixels.length & 1), target)
            yield bytes(out)
            out.clear()
            yield from pixels.pieces
            if pixels.length & 1:
                out += b"\0"
        else:
            raise DataSetError(f"{place(tag, position)}: fragments in {source.name} (PS3.5 A.4)")
        if len(out) >= _PIECE:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)


def _header(tag: int, vr: str, length: int, target: Syntax) -> bytes:
    if target.implicit:
        return _item_header(tag >> 16, tag & 0xFFFF, length)
    if vr not in _SHORT_NAMES:
        return _long_header(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    if length <= 0xFFFE:
        return _short_header(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
    # Longer than the short form can say: "the Value Representation UN shall be used" (PS3.5 §6.2.2).
    return _long_header(tag >> 16, tag & 0xFFFF, b"UN", 0, length)


def _check_within(event: Event, window: Window) -> None:
    stop = event.value_start + event.length
    if window.end is not None and stop > window.end:
        where = place(event.tag, event.start)
        raise TruncatedDataSet(f"{where}: it ends at offset {stop}, but the data set at {window.end}")
