"""Picking elements out of a buffer: `pick`, the one fast pass over the header of every received instance.

Walking whole data sets, nested items included, is in walk.py; text, JSON and re-encoding have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from struct import Struct
from typing import Final, NamedTuple

from gateway.dicom.dictionary import implicit_vr
from gateway.dicom.source import Window, inflate
from gateway.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Syntax,
    transfer_syntax,
)
from gateway.dicom.walk import (
    LONG_VRS,
    MAX_DEPTH,
    PIXEL_DATA,
    SHORT_VRS,
    UNDEFINED,
    end_of_fragments,
    end_of_items,
    is_padding,
    looks_like_text,
    place,
)
from gateway.errors import DataSetError, TruncatedDataSet

__all__ = ["EVERY_TAG", "Element", "inflate", "pick"]

Buffer = bytes | bytearray | memoryview


class Element(NamedTuple):
    """One element as it is encoded in a buffer."""

    tag: int
    """0xggggeeee."""
    vr: str
    """Two letters, from the dictionary if the bytes have none or UN; 'UN' if unknown."""
    value: bytes
    """The value field as encoded; of undefined length: the bytes before the delimiter."""
    start: int
    """Offset of the element in the data set."""
    value_start: int
    length: int
    """Length of `value` in bytes."""
    undefined_length: bool = False
    syntax: Syntax = EXPLICIT_VR_LITTLE_ENDIAN
    """The encoding of numbers and items in `value`. UN is implicit little endian in any data set (PS3.5 §6.2.2)."""


_make: Callable[..., Element] = tuple.__new__
_FIRST_GROUP: Final = 0x00080000
"""Elements below need a check: the command group, group 0002, and zeros that pad the end."""


def pick(buffer: Buffer, transfer_syntax_uid: str, tags: Container[int], stop: int) -> tuple[dict[int, Element], int]:
    """The elements of `tags` at the top level, in one pass that ends before the first tag above `stop`.

    Returns the elements by tag, in data set order, and the offset of the first tag above `stop`; `len(buffer)` if the
    data set ends cleanly before it. Values are copies that do not retain the buffer. If a tag occurs twice, the last
    counts. A deflated data set must be inflated first.

    Raises: TruncatedDataSet when the buffer ends earlier, inside an element: more bytes may help; DataSetError when
    they cannot: a group 0002 element, broken nesting; UnsupportedTransferSyntax for an unknown one.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    data = buffer if type(buffer) is bytes else memoryview(buffer)
    if syntax.implicit:
        return _pick_implicit(data, tags, stop)
    return _pick_explicit(data, syntax, tags, stop, _FIRST_GROUP)


def pick_file_meta(buffer: Buffer) -> tuple[dict[int, Element], int]:
    """All elements of group 0002 at the start of `buffer`, and the offset where another group begins.

    Raises as `pick`.
    """
    return _pick_explicit(memoryview(buffer), EXPLICIT_VR_LITTLE_ENDIAN, EVERY_TAG, 0x0002FFFF, 0x00020000)


EVERY_TAG: Final = range(1 << 32)


_HEADERS: Final = {False: Struct("<HH2sH").unpack_from, True: Struct(">HH2sH").unpack_from}
_LENGTHS: Final = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}
_TAGS: Final = {False: Struct("<HH").unpack_from, True: Struct(">HH").unpack_from}
_IMPLICIT_HEADER: Final = Struct("<HHI").unpack_from


def _pick_explicit(
    data: bytes | memoryview, syntax: Syntax, tags: Container[int], stop: int, low: int
) -> tuple[dict[int, Element], int]:
    unpack = _HEADERS[syntax.big_endian]
    unpack_length = _LENGTHS[syntax.big_endian]
    short = SHORT_VRS
    make = _make
    size = len(data)
    last = size - 8
    found: dict[int, Element] = {}
    position = 0
    while position <= last:
        group, number, code, length = unpack(data, position)
        tag = group << 16 | number
        if not low <= tag <= stop:
            if tag > stop or low < _FIRST_GROUP:
                return found, position  # any other group ends File Meta Information
            if _is_end(data, position, tag):
                return found, size
        vr = short.get(code)
        coding = syntax
        undefined = False
        if vr is not None:
            value_start = position + 8
            end = value_start + length
        elif code in LONG_VRS or (code.isalpha() and code.isupper()):
            # Any VR to come has the long form (PS3.5 §7.1.2).
            value_start = position + 12
            if value_start > size:
                raise _truncated(tag, position, value_start, size)
            (length,) = unpack_length(data, position + 8)
            vr = LONG_VRS.get(code, "UN")
            if vr == "UN":
                vr = implicit_vr(tag)
                coding = IMPLICIT_VR_LITTLE_ENDIAN
            end = value_start + length
            if length == UNDEFINED:
                undefined = True
                length, end = undefined_extent(data, tag, vr, position, value_start, coding)
                if coding.implicit:
                    vr = "OB" if tag == PIXEL_DATA else "SQ"
        elif looks_like_text(code):
            # "??" and the like: known writers use the short form with it.
            value_start = position + 8
            vr = implicit_vr(tag)
            end = value_start + length
        elif syntax.big_endian:
            raise DataSetError(f"{place(tag, position)}: no VR but {code!r} (PS3.5 §7.1.2)")
        else:
            # An element with implicit VR among explicit ones: DCMTK and pydicom read it too.
            value_start = position + 8
            (length,) = unpack_length(data, position + 4)
            vr = implicit_vr(tag)
            coding = IMPLICIT_VR_LITTLE_ENDIAN
            end = value_start + length
            if length == UNDEFINED:
                undefined = True
                vr = "SQ"
                length, end = undefined_extent(data, tag, vr, position, value_start, coding)
        if end > size:
            raise _truncated(tag, position, end, size)
        if tag in tags:
            value = bytes(data[value_start : value_start + length])
            found[tag] = make(Element, (tag, vr, value, position, value_start, length, undefined, coding))
        position = end
    return found, _finish(data, position, stop, syntax.big_endian)


def _pick_implicit(data: bytes | memoryview, tags: Container[int], stop: int) -> tuple[dict[int, Element], int]:
    unpack = _IMPLICIT_HEADER
    make = _make
    syntax = IMPLICIT_VR_LITTLE_ENDIAN
    size = len(data)
    last = size - 8
    found: dict[int, Element] = {}
    position = 0
    while position <= last:
        group, number, length = unpack(data, position)
        tag = group << 16 | number
        if not _FIRST_GROUP <= tag <= stop:
            if tag > stop:
                return found, position
            if _is_end(data, position, tag):
                return found, size
        value_start = position + 8
        end = value_start + length
        undefined = length == UNDEFINED
        if undefined:
            length, end = undefined_extent(data, tag, "UN", position, value_start, syntax)
        if end > size:
            raise _truncated(tag, position, end, size)
        if tag in tags:
            vr = "SQ" if undefined else implicit_vr(tag)
            value = bytes(data[value_start : value_start + length])
            found[tag] = make(Element, (tag, vr, value, position, value_start, length, undefined, syntax))
        position = end
    return found, _finish(data, position, stop, False)


def _is_end(data: bytes | memoryview, position: int, tag: int) -> bool:
    """Whether a tag below group 0008 is padding at the end; False if it is allowed. Raises: DataSetError otherwise."""
    if tag == 0 and position > 0 and is_padding(data[position : position + 8]):
        return True
    if tag >> 16 == 0x0002:
        raise DataSetError(f"{place(tag, position)}: File Meta Information inside the data set (PS3.10 §7.1)")
    if tag >> 16 == 0x0000:
        raise DataSetError(f"{place(tag, position)}: a command element inside the data set (PS3.7 §6.3.1)")
    return False


def undefined_extent(
    data: bytes | memoryview, tag: int, vr: str, start: int, value_start: int, syntax: Syntax
) -> tuple[int, int]:
    """Length of the content and offset after the delimiter, for an element of undefined length. Raises as `pick`."""
    if vr in ("OB", "OW") or tag == PIXEL_DATA:
        end = end_of_fragments(Window.over(data), tag, value_start, syntax)
    elif vr in ("SQ", "UN") or syntax.implicit:
        skip = skip_implicit_items if syntax.implicit else skip_explicit_items
        end = skip(data, value_start, syntax.big_endian)
        if end < 0:
            end = end_of_items(Window.over(data), value_start, syntax)
    else:
        raise DataSetError(f"{place(tag, start)}: undefined length with VR {vr} (PS3.5 §7.1.1)")
    return end - 8 - value_start, end


def skip_explicit_items(data: bytes | memoryview, position: int, big_endian: bool) -> int:
    """The offset after the delimiter of a sequence of undefined length; -1 for anything but the plain case.

    Only containers of undefined length are entered, where sequences and items alternate: an even depth expects an
    item, an odd one an element. Errors are reported by walk.py.
    """
    unpack = _HEADERS[big_endian]
    unpack_length = _LENGTHS[big_endian]
    short = SHORT_VRS
    last = len(data) - 12
    depth = 0
    while position <= last:
        group, number, code, length = unpack(data, position)
        if group == 0xFFFE:
            (length,) = unpack_length(data, position + 4)
            position += 8
            if depth & 1:
                if number != 0xE00D:
                    return -1
                depth -= 1
            elif number == 0xE0DD:
                if depth == 0:
                    return position
                depth -= 1
            elif number != 0xE000:
                return -1
            elif length == UNDEFINED:
                depth += 1
            else:
                position += length
        elif not depth & 1:
            return -1
        elif code in short:
            position += 8 + length
        elif code in LONG_VRS:
            (length,) = unpack_length(data, position + 8)
            position += 12
            if length != UNDEFINED:
                position += length
            elif code == b"SQ" and depth < 2 * MAX_DEPTH - 1:
                depth += 1
            else:
                return -1
        else:
            return -1
    return -1


def skip_implicit_items(data: bytes | memoryview, position: int, _big_endian: bool) -> int:
    """The offset after the delimiter of a sequence in Implicit VR Little Endian; otherwise as `skip_explicit_items`."""
    unpack = _IMPLICIT_HEADER
    last = len(data) - 8
    depth = 0
    while position <= last:
        group, number, length = unpack(data, position)
        position += 8
        if group == 0xFFFE:
            if depth & 1:
                if number != 0xE00D:
                    return -1
                depth -= 1
            elif number == 0xE0DD:
                if depth == 0:
                    return position
                depth -= 1
            elif number != 0xE000:
                return -1
            elif length == UNDEFINED:
                depth += 1
            else:
                position += length
        elif not depth & 1:
            return -1
        elif length != UNDEFINED:
            position += length
        elif depth < 2 * MAX_DEPTH - 1 and group != 0x7FE0:
            depth += 1
        else:
            return -1
    return -1


def _finish(data: bytes | memoryview, position: int, stop: int, big_endian: bool) -> int:
    """The offset to report when fewer than the 8 bytes of the next header remain."""
    left = len(data) - position
    if left == 0 or (position > 0 and is_padding(data[position:])):
        return len(data)
    if left >= 4:
        group, number = _TAGS[big_endian](data, position)
        if group << 16 | number > stop:
            return position
    raise TruncatedDataSet(f"the data set ends at offset {len(data)}, inside the element header at {position}")


def _truncated(tag: int, start: int, end: int, size: int) -> TruncatedDataSet:
    return TruncatedDataSet(f"{place(tag, start)}: it ends at offset {end}, but the bytes at {size}")
