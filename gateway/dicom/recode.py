"""A stored data set in another encoding of its elements (PS3.5 Annex A), in pieces, in memory that does not grow.

Values and their order stay, group lengths go (retired, and wrong by then), values of odd length are padded, sequences
and items come out with undefined length. Pixels are neither decoded nor encoded here: `gateway.imaging` does, and says
in `Changes` what stands in their place.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
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

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_SHORT: Final = {False: Struct("<HH2sH").pack, True: Struct(">HH2sH").pack}
_LONG: Final = {False: Struct("<HH2sHI").pack, True: Struct(">HH2sHI").pack}
_BARE: Final = {False: Struct("<HHI").pack, True: Struct(">HHI").pack}


def swapped(value: bytes, size: int) -> bytes:
    """`value` with the bytes of each word of `size` turned round; a rest that is no word stays."""
    whole = len(value) - len(value) % size
    words = array(_CODES[size], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


@dataclass(frozen=True, slots=True)
class Pixels:
    """What stands in the place of pixel data: a value of `length` bytes, little endian, in pieces.

    Or with a `length` of None fragments: all from the first item to the delimiter of the sequence.
    """

    vr: str
    length: int | None
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Addition:
    """An element that was not there: a value of even length, little endian."""

    tag: int
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of elements, nested ones too, by the offset at which they start."""

    values: Mapping[int, bytes | None] = field(default_factory=dict)
    """Other values, of even length, little endian; None leaves the element out."""
    pixels: Mapping[int, Pixels] = field(default_factory=dict)
    """Other pixels. Fragments need them: as they are they are an error."""
    before: Mapping[int, Sequence[Addition]] = field(default_factory=dict)
    """What comes before an element."""


_NO_CHANGES: Final = Changes()
SOURCES: Final = frozenset(
    syntax.uid
    for syntax in (
        EXPLICIT_VR_LITTLE_ENDIAN,
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    )
)
"""What can be made into each other without decoding pixels."""


def to_explicit_little_endian(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end`, as Explicit VR Little Endian; as `recode`."""
    return recode(read, start, end, transfer_syntax_uid, EXPLICIT_VR_LITTLE_ENDIAN.uid)


def recode(
    read: Read, start: int, end: int, transfer_syntax_uid: str, target_uid: str, changes: Changes | None = None
) -> Iterator[bytes]:
    """The data set that `read` gives from `start` to `end` in another transfer syntax, in pieces of 1 MiB at most.

    From and to SOURCES; where both are the same unchanged. With `changes` from and to encapsulated ones too.
    UnsupportedTransferSyntax at once for any other; DataSetError or TruncatedDataSet on the way where the data set
    is malformed or cut short.
    """
    source, target = transfer_syntax(transfer_syntax_uid), transfer_syntax(target_uid)
    if changes is None and source is target:
        return _copy(read, start, end)
    if changes is None and not {source.uid, target.uid} <= SOURCES:
        raise UnsupportedTransferSyntax(f"{source.name} cannot be re-encoded as {target.name}")
    if target is DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _deflate(recode(read, start, end, source.uid, EXPLICIT_VR_LITTLE_ENDIAN.uid, changes))
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


def _deflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A raw deflate stream, padded to even length (PS3.5 A.5)."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in pieces:
        out = deflate.compress(piece)
        length += len(out)
        if out:
            yield out
    out = deflate.flush()
    yield out + b"\0" * (length + len(out) & 1)


def _recode(window: Window, start: int, source: Syntax, target: Syntax, changes: Changes) -> Iterator[bytes]:
    out = bytearray()
    values = changes.values
    big_endian = target.big_endian
    item, item_end = bare(_ITEM, UNDEFINED, target), bare(_ITEM_END, 0, target)
    sequence_end = bare(_SEQUENCE_END, 0, target)
    for event in walk(window, start, source):
        kind, tag, vr, position, value_start, length, coding = event
        # An end without a delimiter has the offset of what follows.
        begins = kind is Kind.ELEMENT or kind is Kind.FRAGMENTS or kind is Kind.SEQUENCE
        if begins and position in changes.before:
            for added in changes.before[position]:
                out += header(added.tag, added.vr, len(added.value), target)
                out += _turned(added.value, added.vr, big_endian)
        if begins and position in changes.pixels:
            pixels = changes.pixels[position]
            padding = (pixels.length or 0) & 1
            out += header(tag, pixels.vr, UNDEFINED if pixels.length is None else pixels.length + padding, target)
            yield bytes(out)
            out.clear()
            for piece in pixels.pieces:
                yield _turned(piece, pixels.vr, big_endian)
            out += b"\0" * padding
        elif kind is Kind.ELEMENT:
            if tag & 0xFFFF == 0:
                continue
            if position in values:
                value = values[position]
                if value is not None:
                    out += header(tag, vr, len(value), target) + _turned(value, vr, big_endian)
                continue
            # What becomes UN for its length is little endian in any data set (PS3.5 §6.2.2).
            turn = coding.big_endian != (big_endian and not (vr in _SHORT_NAMES and length > 0xFFFE))
            out += header(tag, vr, length + (length & 1), target)
            if length <= _PIECE:
                out += _turned(window.read(value_start, length), vr, turn)
            else:
                yield bytes(out)
                out.clear()
                _check_within(event, window)
                for at in range(value_start, value_start + length, CHUNK):
                    yield _turned(window.read(at, min(CHUNK, value_start + length - at)), vr, turn)
            if length & 1:
                out += b" " if vr in _TEXT_PADDING else b"\0"
        elif kind is Kind.SEQUENCE:
            out += header(tag, "SQ", UNDEFINED, target)
        elif kind is Kind.ITEM:
            out += item
        elif kind is Kind.ITEM_END:
            out += item_end
        elif kind is Kind.SEQUENCE_END:
            out += sequence_end
        else:
            raise DataSetError(f"{place(tag, position)}: fragments in {source.name} (PS3.5 A.4)")
        if len(out) >= _PIECE:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)


def _turned(value: bytes, vr: str, turn: bool) -> bytes:
    size = WORD_SIZES.get(vr, 1) if turn else 1
    return swapped(value, size) if size > 1 else value


def bare(tag: int, length: int, target: Syntax) -> bytes:
    """An item or delimiter."""
    return _BARE[target.big_endian](tag >> 16, tag & 0xFFFF, length)


def header(tag: int, vr: str, length: int, target: Syntax) -> bytes:
    """An element, up to its value."""
    if target.implicit:
        return _BARE[False](tag >> 16, tag & 0xFFFF, length)
    if vr not in _SHORT_NAMES:
        return _LONG[target.big_endian](tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    if length <= 0xFFFE:
        return _SHORT[target.big_endian](tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
    # Longer than the short form can say: "the Value Representation UN shall be used" (PS3.5 §6.2.2).
    return _LONG[target.big_endian](tag >> 16, tag & 0xFFFF, b"UN", 0, length)


def _check_within(event: Event, window: Window) -> None:
    stop = event.value_start + event.length
    if window.end is not None and stop > window.end:
        where = place(event.tag, event.start)
        raise TruncatedDataSet(f"{where}: it ends at offset {stop}, but the data set at {window.end}")
