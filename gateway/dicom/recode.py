"""Re-encoding the elements of a stored data set (PS3.5 Annex A), in pieces, in bounded memory.

Values and their order stay; group lengths are dropped (retired, and wrong by then), values of odd length are padded,
sequences and items get undefined length. Pixels are neither decoded nor encoded here: `gateway.imaging` does that, and
supplies them in `ElementChanges`.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from struct import Struct
from typing import Final

from gateway.dicom.source import CHUNK, Inflater, Read, Window
from gateway.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    Syntax,
    transfer_syntax,
)
from gateway.dicom.walk import SHORT_VRS, UNDEFINED, Event, Kind, end_of_fragments, place, walk
from gateway.errors import DataSetError, TruncatedDataSet, UnsupportedTransferSyntax

WORD_SIZES: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes of a word of each VR whose byte order is swapped (PS3.5 §7.3). Other VRs have none."""

_CODES: Final = {2: "H", 4: "I", 8: "Q"}
_SHORT_NAMES: Final = frozenset(SHORT_VRS.values())
_TEXT: Final = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT"
_TEXT_PADDING: Final = frozenset(_TEXT.split())
_PIECE_BYTES: Final = 64 << 10
"""Small elements are joined until they reach this many bytes."""
_INFLATE_LIMIT: Final = 1 << 62

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_SHORT: Final = {False: Struct("<HH2sH").pack, True: Struct(">HH2sH").pack}
_LONG: Final = {False: Struct("<HH2sHI").pack, True: Struct(">HH2sHI").pack}
_BARE: Final = {False: Struct("<HHI").pack, True: Struct(">HHI").pack}


def swapped(value: bytes, size: int) -> bytes:
    """`value` with the bytes of each word of `size` reversed; an incomplete word at the end stays."""
    whole = len(value) - len(value) % size
    words = array(_CODES[size], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A replacement of pixel data: a value of `length` bytes, little endian, in pieces.

    A `length` of None means fragments: everything from the first item to the delimiter of the sequence.
    """

    vr: str
    length: int | None
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Addition:
    """A new element: a value of even length, little endian."""

    tag: int
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True)
class ElementChanges:
    """ElementChanges to elements, nested ones too, by the offset at which they start."""

    values: Mapping[int, bytes | None] = field(default_factory=dict)
    """New values, of even length, little endian; None drops the element."""
    pixels: Mapping[int, Pixels] = field(default_factory=dict)
    """New pixels. Required for fragments, which cannot be copied."""
    before: Mapping[int, Sequence[Addition]] = field(default_factory=dict)
    """Elements to insert before an element."""


_NO_CHANGES: Final = ElementChanges()
SOURCES: Final = frozenset(
    syntax.uid
    for syntax in (
        EXPLICIT_VR_LITTLE_ENDIAN,
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    )
)
"""Transfer syntaxes that can be converted into each other without decoding pixels."""


def to_explicit_little_endian(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Re-encode the data set that `read` reads from `start` to `end` as Explicit VR Little Endian; as `recode`."""
    return recode(read, start, end, transfer_syntax_uid, EXPLICIT_VR_LITTLE_ENDIAN.uid)


def recode(
    read: Read, start: int, end: int, transfer_syntax_uid: str, target_uid: str, changes: ElementChanges | None = None
) -> Iterator[bytes]:
    """Re-encode the data set that `read` reads from `start` to `end`, in pieces of at most 1 MiB.

    Source and target are SOURCES; equal ones are copied unchanged. With `changes` they may be encapsulated too.
    Raises: UnsupportedTransferSyntax at once for any other; DataSetError or TruncatedDataSet on the way for a
    malformed or truncated data set.
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


def evened(read: Read, start: int, end: int, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Copy the data set that `read` reads from `start` to `end`, padded to even length if its length is odd.

    Some value then has an odd length, which "shall be padded" (PS3.5 §7.1.1): all such values are, as in `recode`; a
    null is appended to a deflated data set (A.5), and to a malformed one, whose elements cannot be told apart.
    In pieces of at most 1 MiB. Raises: TruncatedDataSet when `read` returns less.
    """
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if (end - start) & 1 == 0:
        return _copy(read, start, end)
    if syntax is not None and not syntax.deflated:
        try:
            check(read, start, end, syntax.uid)
            return _recode(Window(read, start, end), start, syntax, syntax, _NO_CHANGES)
        except DataSetError:
            pass
    return chain(_copy(read, start, end), (b"\0",))


def check(read: Read, start: int, end: int, transfer_syntax_uid: str) -> None:
    """Walk the whole data set once, without its large values. Raises as `recode` would on the way."""
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


def _recode(window: Window, start: int, source: Syntax, target: Syntax, changes: ElementChanges) -> Iterator[bytes]:
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
            # A value that becomes UN for its length is little endian in any data set (PS3.5 §6.2.2).
            turn = coding.big_endian != (big_endian and not (vr in _SHORT_NAMES and length > 0xFFFE))
            out += header(tag, vr, length + (length & 1), target)
            if length <= _PIECE_BYTES:
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
        elif source is target and source.encapsulated:
            yield bytes(out)
            out.clear()
            stop = end_of_fragments(window, tag, value_start, coding)
            for at in range(position, stop, CHUNK):
                yield window.read(at, min(CHUNK, stop - at))
        else:
            raise DataSetError(f"{place(tag, position)}: fragments in {source.name} (PS3.5 A.4)")
        if len(out) >= _PIECE_BYTES:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)


def _turned(value: bytes, vr: str, turn: bool) -> bytes:
    size = WORD_SIZES.get(vr, 1) if turn else 1
    return swapped(value, size) if size > 1 else value


def bare(tag: int, length: int, target: Syntax) -> bytes:
    """The header of an item or delimiter."""
    return _BARE[target.big_endian](tag >> 16, tag & 0xFFFF, length)


def header(tag: int, vr: str, length: int, target: Syntax) -> bytes:
    """The header of an element."""
    if target.implicit:
        return _BARE[False](tag >> 16, tag & 0xFFFF, length)
    if vr not in _SHORT_NAMES:
        return _LONG[target.big_endian](tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    if length <= 0xFFFE:
        return _SHORT[target.big_endian](tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
    # Too long for the short form: "the Value Representation UN shall be used" (PS3.5 §6.2.2).
    return _LONG[target.big_endian](tag >> 16, tag & 0xFFFF, b"UN", 0, length)


def _check_within(event: Event, window: Window) -> None:
    stop = event.value_start + event.length
    if window.end is not None and stop > window.end:
        where = place(event.tag, event.start)
        raise TruncatedDataSet(f"{where}: it ends at offset {stop}, but the data set at {window.end}")
