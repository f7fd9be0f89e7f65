"""A data set as a flat stream of events, whatever its nesting: the basis of JSON and re-encoding.

One loop with a stack of its own, so that no input can exhaust Python's; nesting is bounded by MAX_DEPTH. Values are
not read here: an event gives their place. The fast pass over a header is in elements.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from gateway.dicom.dictionary import PIXEL_SIGNED, implicit_vr
from gateway.dicom.source import Window
from gateway.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN, Syntax
from gateway.errors import DataSetError, TruncatedDataSet

MAX_DEPTH: Final = 128
"""Nested sequences. Real objects stay under 30; each level costs a sender 8 bytes."""

_SHORT: Final = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"
_LONG: Final = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
SHORT_VRS: Final[dict[bytes, str]] = {vr.encode(): vr for vr in _SHORT.split()}
"""VRs with a length of 16 bits (PS3.5 Table 7.1-2)."""
LONG_VRS: Final[dict[bytes, str]] = {vr.encode(): vr for vr in _LONG.split()}
"""VRs with two reserved bytes and a length of 32 bits (PS3.5 Table 7.1-1)."""

ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
PIXEL_REPRESENTATION: Final = 0x00280103
UNDEFINED: Final = 0xFFFFFFFF


class Kind(IntEnum):
    """The kind of an event."""

    ELEMENT = 0
    """An element with a value of defined length."""
    FRAGMENTS = 1
    """An element whose value is a sequence of fragments (PS3.5 A.4), which are skipped."""
    SEQUENCE = 2
    ITEM = 3
    ITEM_END = 4
    SEQUENCE_END = 5


class Event(NamedTuple):
    kind: Kind
    tag: int
    vr: str
    start: int
    """Offset of the element, item or delimiter; of an end without delimiter, the offset after it."""
    value_start: int
    length: int
    """Length of the value in bytes; UNDEFINED for undefined length."""
    syntax: Syntax
    """The encoding of the value, or of the items inside."""


_make = tuple.__new__
_NOWHERE: Final = 1 << 63
_PAIR_LENGTH: Final = {False: Struct("<HHI").unpack_from, True: Struct(">HHI").unpack_from}
_EXPLICIT: Final = {False: Struct("<HH2sH").unpack_from, True: Struct(">HH2sH").unpack_from}
_LENGTH: Final = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}


def place(tag: int, offset: int) -> str:
    """The place of an element, as in every error of this package: `(0008,0018) at offset 12`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) at offset {offset}"


def is_padding(data: bytes | memoryview) -> bool:
    """Whether the bytes are zeros, which some writers leave after the data set."""
    return not any(data)


def looks_like_text(code: bytes) -> bool:
    """Whether two bytes in the place of a VR are at least printable."""
    return 0x20 <= code[0] < 0x7F and 0x20 <= code[1] < 0x7F


def walk(window: Window, start: int, syntax: Syntax) -> Iterator[Event]:
    """Events of the data set at `start`, up to the end of the window.

    Raises: TruncatedDataSet when the data set ends inside an element: in a value only after its event, so
    that the elements before are not lost; DataSetError for bytes that are no data set.
    """
    return _walk(window, start, syntax, in_items=False, end=_NOWHERE)


def walk_items(data: bytes, syntax: Syntax) -> Iterator[Event]:
    """Events of the items in the value of a sequence, without those of the sequence itself."""
    return _walk(Window.over(data), 0, syntax, in_items=True, end=len(data))


def behind_meta(window: Window, start: int, syntax: Syntax) -> int:
    """The offset behind elements of group 0002 at the beginning of a data set, in its own encoding.

    They are not allowed there; Orthanc puts (0002,0003) into the identifiers of its queries for instances.
    """
    position = start
    while not window.ended(position):
        tag, _vr, value_start, length, _coding = _header(window, position, syntax, False)
        if tag >> 16 != 0x0002 or length == UNDEFINED:
            break
        _check_fits(window, tag, position, value_start + length, _NOWHERE)
        position = value_start + length
    return position


def end_of_items(window: Window, value_start: int, syntax: Syntax) -> int:
    """The offset after the delimiter of a sequence of undefined length, whose items start at `value_start`."""
    (last,) = deque(_walk(window, value_start, syntax, in_items=True, end=_NOWHERE), maxlen=1)
    return last.start + 8  # the walk ends with the delimiter or raises


def end_of_fragments(window: Window, tag: int, value_start: int, syntax: Syntax) -> int:
    """The offset after the delimiter of encapsulated pixel data, whose fragments start at `value_start`."""
    unpack = _PAIR_LENGTH[syntax.big_endian]
    position = value_start
    while True:
        index = window.need(position, 8)
        group, number, length = unpack(window.buffer, index)
        item = group << 16 | number
        if item == SEQUENCE_DELIMITATION:
            return position + 8
        if item != ITEM or length == UNDEFINED:
            raise DataSetError(f"{place(item, position)}: not a fragment of {place(tag, value_start)} (PS3.5 A.4)")
        position += 8 + length


def _walk(window: Window, start: int, syntax: Syntax, *, in_items: bool, end: int) -> Iterator[Event]:
    make = _make
    element = Kind.ELEMENT
    # The container that is being read: its end (_NOWHERE: at its delimiter, or with the data set), whether it
    # holds items or elements, its encoding, its tag, and whether its pixels are signed. Outer ones are on the stack.
    stack: list[tuple[int, bool, Syntax, int, bool]] = []
    outer = ITEM
    signed = False
    part = in_items
    position = start
    while True:
        if position >= end:
            if position > end:
                raise DataSetError(f"{place(outer, end)}: what it holds goes on past its length")
            if not stack:
                return
            kind = Kind.SEQUENCE_END if in_items else Kind.ITEM_END
            yield make(Event, (kind, outer, "", position, position, 0, syntax))
            end, in_items, syntax, outer, signed = stack.pop()
            continue
        if not stack and not part and window.ended(position):
            return
        buffer = window.buffer
        index = position - window.base
        if not syntax.implicit and 0 <= index <= len(buffer) - 8:
            # The common header, inlined because a call for each element is a third of the time.
            group, number, code, length = _EXPLICIT[syntax.big_endian](buffer, index)
            vr = SHORT_VRS.get(code, "")
            tag, value_start, coding = group << 16 | number, position + 8, syntax
        else:
            vr = ""
        if not vr:
            tag, vr, value_start, length, coding = _header(window, position, syntax, in_items or bool(stack))

        if tag >> 16 == 0xFFFE:
            if in_items and tag == ITEM:
                yield make(Event, (Kind.ITEM, tag, "", position, value_start, length, syntax))
                stack.append((end, in_items, syntax, outer, signed))
                inner = _NOWHERE if length == UNDEFINED else value_start + length
                if inner > end and length != UNDEFINED:
                    raise DataSetError(f"{place(tag, position)}: the item ends past its sequence")
                end, in_items, outer = inner, False, ITEM
                position = value_start
            elif in_items and tag == SEQUENCE_DELIMITATION:
                # Also if the sequence has a length: some writers give both.
                if end == _NOWHERE or value_start == end:
                    yield make(Event, (Kind.SEQUENCE_END, outer, "", position, value_start, 0, syntax))
                    if not stack:
                        return
                    end, in_items, syntax, outer, signed = stack.pop()
                position = value_start
            elif not in_items and tag == ITEM_DELIMITATION and stack:
                if end == _NOWHERE or value_start == end:
                    yield make(Event, (Kind.ITEM_END, outer, "", position, value_start, 0, syntax))
                    end, in_items, syntax, outer, signed = stack.pop()
                position = value_start
            else:
                raise DataSetError(f"{place(tag, position)}: a delimiter or item where none may stand (PS3.5 §7.5)")
            continue
        if in_items:
            raise DataSetError(f"{place(tag, position)}: an element where {place(outer, start)} must have an item")
        if tag < 0x00080000 and not stack:
            if tag == 0 and position > start and length == 0:
                return  # zeros that pad the end
            if tag >> 16 in (0x0000, 0x0002):
                raise DataSetError(f"{place(tag, position)}: group {tag >> 16:04X} inside the data set")

        if length == UNDEFINED and (vr in ("OB", "OW") or tag == PIXEL_DATA):
            vr = vr if vr in ("OB", "OW") and not coding.implicit else "OB"
            yield make(Event, (Kind.FRAGMENTS, tag, vr, position, value_start, length, coding))
            position = end_of_fragments(window, tag, value_start, coding)
        elif vr == "SQ" or length == UNDEFINED:
            if len(stack) >= 2 * MAX_DEPTH:
                raise DataSetError(f"{place(tag, position)}: more than {MAX_DEPTH} sequences inside one another")
            yield make(Event, (Kind.SEQUENCE, tag, "SQ", position, value_start, length, coding))
            stack.append((end, in_items, syntax, outer, signed))
            inner = _NOWHERE if length == UNDEFINED else value_start + length
            if inner != _NOWHERE:
                _check_fits(window, tag, position, inner, end)
            end, in_items, syntax, outer = inner, True, coding, tag
            position = value_start
        else:
            if coding.implicit:
                if tag == PIXEL_REPRESENTATION and length == 2:
                    signed = window.buffer[window.need(value_start, 2)] == 1
                elif signed and tag in PIXEL_SIGNED:
                    vr = "SS"
            yield make(Event, (element, tag, vr, position, value_start, length, coding))
            _check_fits(window, tag, position, value_start + length, end)
            position = value_start + length


def _check_fits(window: Window, tag: int, start: int, stop: int, end: int) -> None:
    if stop > end:
        raise DataSetError(f"{place(tag, start)}: it ends at offset {stop}, but its item at {end}")
    if window.end is not None and stop > window.end:
        raise TruncatedDataSet(f"{place(tag, start)}: it ends at offset {stop}, but the data set at {window.end}")


def _header(window: Window, position: int, syntax: Syntax, nested: bool) -> tuple[int, str, int, int, Syntax]:
    """Tag, VR, start and length of the value, and its encoding, of the element or item at `position`."""
    try:
        index = window.need(position, 8)
    except TruncatedDataSet:
        left = (window.end or position) - position
        if not nested and 0 < left < 8 and is_padding(window.buffer[window.need(position, left) :]):
            return 0, "UN", position + 8, 0, syntax
        raise
    if syntax.implicit:
        group, number, length = _PAIR_LENGTH[False](window.buffer, index)
        tag = group << 16 | number
        return tag, implicit_vr(tag), position + 8, length, syntax
    group, number, code, length = _EXPLICIT[syntax.big_endian](window.buffer, index)
    tag = group << 16 | number
    vr = SHORT_VRS.get(code)
    if vr is not None:
        return tag, vr, position + 8, length, syntax
    if group == 0xFFFE:
        return tag, "", position + 8, _LENGTH[syntax.big_endian](window.buffer, index + 4)[0], syntax
    if code in LONG_VRS or (code.isalpha() and code.isupper()):
        # Any VR to come has the long form (PS3.5 §7.1.2).
        index = window.need(position, 12)
        (length,) = _LENGTH[syntax.big_endian](window.buffer, index + 8)
        vr = LONG_VRS.get(code, "UN")
        if vr == "UN":
            # The content is Implicit VR Little Endian, whatever the data set's encoding (PS3.5 §6.2.2).
            return tag, implicit_vr(tag), position + 12, length, IMPLICIT_VR_LITTLE_ENDIAN
        if length == UNDEFINED and vr not in ("SQ", "OB", "OW"):
            raise DataSetError(f"{place(tag, position)}: undefined length with VR {vr} (PS3.5 §7.1.1)")
        return tag, vr, position + 12, length, syntax
    if looks_like_text(code):
        return tag, implicit_vr(tag), position + 8, length, syntax
    if syntax.big_endian:
        if tag == 0 and length == 0 and not any(code):
            return tag, "UN", position + 8, 0, syntax
        raise DataSetError(f"{place(tag, position)}: no VR but {code!r} (PS3.5 §7.1.2)")
    # An element with implicit VR among explicit ones: DCMTK and pydicom read it too.
    (length,) = _LENGTH[False](window.buffer, index + 4)
    return tag, implicit_vr(tag), position + 8, length, IMPLICIT_VR_LITTLE_ENDIAN
