"""The end of a data set, found by lengths alone while its bytes arrive: whether it ends between two elements, and the
length of its pixel data.

No value is read or copied, except the last bytes of encapsulated pixel data. The meaning of values is not here; errors
in bytes that are no data set are reported by `walk.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final

from gateway.dicom.source import CHUNK, Read
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import (
    ITEM,
    ITEM_DELIMITATION,
    LONG_VRS,
    MAX_DEPTH,
    PIXEL_DATA,
    SEQUENCE_DELIMITATION,
    SHORT_VRS,
    UNDEFINED,
    is_padding,
    looks_like_text,
    place,
)
from gateway.errors import DataSetError, TruncatedDataSet

Buffer = bytes | bytearray | memoryview

TAIL_BYTES: Final = 4096
"""Trailing bytes of encapsulated pixel data that are retained: some writers leave buffer contents behind a stream."""
MAX_INFLATED_BYTES: Final = 1 << 30
"""Inflated bytes after which a deflated data set is no longer followed to its end."""
PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, PIXEL_DATA))
"""Float, Double Float and plain Pixel Data."""

_HEADER: Final = 12
"""Bytes of the longest header of an element."""
_PIECE: Final = 16 << 10
_EXPLICIT: Final = {False: Struct("<HH2sH").unpack_from, True: Struct(">HH2sH").unpack_from}
_PAIR_LENGTH: Final = {False: Struct("<HHI").unpack_from, True: Struct(">HHI").unpack_from}
_LENGTH: Final = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}


class _Inside(IntEnum):
    """A container of undefined length that is being read."""

    SEQUENCE = 0
    ITEM = 1
    FRAGMENTS = 2


class Extent:
    """Follows the elements of one data set from offset `position`, a boundary between two at its top level.

    Memory is bounded by MAX_DEPTH, TAIL_BYTES and the header of one element.
    """

    __slots__ = (
        *("_big_endian", "_carry", "_fragments_end", "_last", "_recent", "_stack", "_start", "_top"),
        *("fragment_bytes", "fragments", "last_fragment", "next", "over"),
        *("pixel_length", "pixel_tag", "syntax", "tail"),
    )

    def __init__(self, syntax: Syntax, position: int = 0) -> None:
        self.syntax = syntax
        self.next = position
        """The offset of the next header."""
        self.pixel_tag = 0
        """The element with pixels at the top level; 0 if none has arrived."""
        self.pixel_length = 0
        """Bytes of the pixel data; UNDEFINED for fragments."""
        self.fragments = -1
        """Fragments so far: the first item is the Basic Offset Table (PS3.5 A.4)."""
        self.fragment_bytes = 0
        self.last_fragment = 0
        """Bytes of the last fragment."""
        self.tail = b""
        """The end of the last fragment, at most TAIL_BYTES, once all have arrived."""
        self._big_endian = syntax.big_endian
        self._start = position
        self._stack: list[tuple[_Inside, bool]] = []
        """Open containers, outermost first; with each, whether its elements have implicit VR."""
        self._top = (0, position)
        """Tag and offset of the element at the top level."""
        self._last = (0, position, position, 0)
        """Tag and offset of the last header, offset and length of its value."""
        self._carry = b""
        """The beginning of a header that continues in the next view."""
        self._recent = b""
        """The last bytes before the next views, while fragments arrive."""
        self._fragments_end = False
        self.over = False
        """Whether the rest, however long, is irrelevant: it is padding, or is no data set."""

    def feed(self, views: Sequence[Buffer], offset: int, most: int = 1 << 62) -> bool:
        """Continue with the bytes at `offset`: those after the last ones, or from `next` on, or from before it.

        False after `most` headers, if there are more: call again with the same bytes.
        """
        start = offset
        if offset <= self.next:
            self._carry = b""  # These bytes are passed again.
        for index, view in enumerate(views):
            stop = start + len(view)
            while self.next < stop and not self.over:
                if most == 0:
                    return False
                at = self.next - start
                whole = self._carry + bytes(view[:_HEADER]) if self._carry else view
                passed = self._pass(whole, 0 if self._carry else at)
                if not passed:
                    self._carry = bytes(whole if self._carry else view[at:])
                    break
                self._carry = b""
                most -= 1  # Only skipped headers count: a header in many small views would never end.
                if self._fragments_end:
                    self._fragments_end = False
                    self.tail = self._before(views, index, at)[-self.last_fragment :] if self.last_fragment else b""
                self.next += passed
            start = stop
        if self._stack and self._stack[-1][0] is _Inside.FRAGMENTS:
            self._recent = self._before(views, len(views), 0)
        return True

    def finish(self, size: int) -> None:
        """Check the end, after `size` bytes. Raises: TruncatedDataSet, with the place, inside an element."""
        if self.over:
            return
        tag, start, value_start, length = self._last
        if self.next > size:
            if self._stack:
                tag, start = self._top
                raise TruncatedDataSet(f"cut short in {place(tag, start)}: it ends at offset {size}, inside an item")
            present = max(0, size - value_start)
            raise TruncatedDataSet(f"cut short in {place(tag, start)}: {present} of {length} bytes")
        if self._stack:
            raise TruncatedDataSet(f"cut short in {place(*self._top)}: its end is missing")
        if self.next < size and (self.next == self._start or not is_padding(self._carry)):
            raise TruncatedDataSet(f"cut short at offset {size}, in the header of the element at {self.next}")

    def _before(self, views: Sequence[Buffer], index: int, at: int) -> bytes:
        """The last bytes before offset `at` of a view; a negative offset is in the views before it."""
        pieces = [bytes(views[index][max(0, at - TAIL_BYTES) : at])] if at > 0 else []
        size = len(pieces[0]) if pieces else at
        while size < TAIL_BYTES and index > 0:
            index -= 1
            pieces.append(bytes(views[index][size - TAIL_BYTES :]))
            size += len(pieces[-1])
        if size < TAIL_BYTES:
            pieces.append(self._recent)
        joined = b"".join(reversed(pieces))
        return joined[:at][-TAIL_BYTES:] if at < 0 else joined[-TAIL_BYTES:]

    def _pass(self, buffer: Buffer, at: int) -> int:
        """Parse the header at `at`; returns the bytes from there to the next, 0 if it is incomplete or invalid."""
        if len(buffer) - at < 8:
            return 0
        inside, implicit = self._stack[-1] if self._stack else (_Inside.ITEM, self.syntax.implicit)
        big_endian = self._big_endian and not implicit
        group, number, length = _PAIR_LENGTH[big_endian](buffer, at)
        tag: int = group << 16 | number
        passed: int = 8
        if inside is _Inside.ITEM and group != 0xFFFE:
            return self._element(buffer, at, tag, length, implicit)
        self._last = (tag, self.next, self.next + 8, length)
        if tag == ITEM and inside is _Inside.FRAGMENTS and length != UNDEFINED:
            if self._is_pixels():
                self.fragments += 1
                if self.fragments:
                    self.fragment_bytes += length
                    self.last_fragment = length
            passed += length
        elif tag == ITEM and inside is _Inside.SEQUENCE:
            if length == UNDEFINED:
                self._stack.append((_Inside.ITEM, implicit))
            else:
                passed += length
        elif self._stack and tag == (ITEM_DELIMITATION if inside is _Inside.ITEM else SEQUENCE_DELIMITATION):
            self._fragments_end = inside is _Inside.FRAGMENTS and self._is_pixels()
            self._stack.pop()
        else:
            self.over = True
            passed = 0
        return passed

    def _element(self, buffer: Buffer, at: int, tag: int, length: int, implicit: bool) -> int:
        """Parse the header of an element; `length` as in Implicit VR. Returns as `_pass`."""
        size, vr = 8, "UN"
        if not implicit:
            _, _, code, short = _EXPLICIT[self._big_endian](buffer, at)
            if code in SHORT_VRS:
                vr, length = SHORT_VRS[code], short
            elif code in LONG_VRS or (code.isalpha() and code.isupper()):
                # Any VR to come has the long form (PS3.5 §7.1.2).
                if len(buffer) - at < 12:
                    return 0
                size, vr = 12, LONG_VRS.get(code, "UN")
                (length,) = _LENGTH[self._big_endian](buffer, at + 8)
            elif looks_like_text(code):
                length = short
            elif self._big_endian:
                self.over = True
                return 0
            # Otherwise an element with implicit VR among explicit ones, as `walk.py` reads it too.
        if not self._stack:
            if not self._at_top(tag, length):
                self.over = True
                return 0
            self._top = (tag, self.next)
            if tag in PIXELS:
                self.pixel_tag, self.pixel_length = tag, length
        self._last = (tag, self.next, self.next + size, length)
        if length != UNDEFINED:
            return size + length
        if vr not in ("OB", "OW", "SQ", "UN") or len(self._stack) >= 2 * MAX_DEPTH:
            self.over = True
            return 0
        fragments = tag == PIXEL_DATA or vr in ("OB", "OW")
        inside = _Inside.FRAGMENTS if fragments else _Inside.SEQUENCE
        # UN of undefined length is implicit little endian, whatever the data set's encoding (PS3.5 §6.2.2).
        self._stack.append((inside, implicit or (vr == "UN" and not fragments)))
        return size

    def _is_pixels(self) -> bool:
        """Whether the open container is the pixel data, and not that of an icon, or other fragments."""
        return len(self._stack) == 1 and self._top[0] == self.pixel_tag

    def _at_top(self, tag: int, length: int) -> bool:
        """Whether the tag is an element in order: not zeros that pad the end, nor bytes left behind pixel data."""
        if tag == 0 and length == 0 and self.next > self._start:
            return False
        return tag >> 16 != 0xFFFF and (tag > self.pixel_tag or self.pixel_tag == 0)


class InflatedExtent:
    """The extent of a deflated data set, inflated piece by piece as it arrives (PS3.5 A.5)."""

    def __init__(self, syntax: Syntax) -> None:
        self.extent = Extent(syntax)
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._size = 0

    def feed(self, views: Sequence[Buffer]) -> None:
        """Continue with the next bytes. Raises: DataSetError if they are no deflate stream."""
        for view in views:
            data: Buffer = view
            while not self._inflate.eof and self._size <= MAX_INFLATED_BYTES:
                try:
                    piece = self._inflate.decompress(data, CHUNK)
                except zlib.error as error:
                    raise DataSetError(f"corrupt deflate stream at inflated offset {self._size}: {error}") from None
                self.extent.feed([piece], self._size)
                self._size += len(piece)
                data = self._inflate.unconsumed_tail
                if not data and len(piece) < CHUNK:
                    break

    def finish(self) -> None:
        """Check the end. Raises: TruncatedDataSet as `Extent.finish`, and if the stream is incomplete."""
        if self._size > MAX_INFLATED_BYTES:
            return
        if not self._inflate.eof:
            raise TruncatedDataSet(f"cut short: the deflate stream ends early, at inflated offset {self._size}")
        self.extent.finish(self._size)


def check_end(read: Read, start: int, end: int, syntax: Syntax) -> None:
    """Check that the data set that `read` reads from `start` to `end` ends between elements. Blocks.

    Reads headers alone, but a deflated data set whole. Raises: TruncatedDataSet when it ends inside an element;
    DataSetError for a corrupt deflate stream.
    """
    size = end - start
    if syntax.deflated:
        inflated = InflatedExtent(syntax)
        for at in range(0, size, CHUNK):
            inflated.feed([read(start + at, min(CHUNK, size - at))])
        inflated.finish()
        return
    extent, at = Extent(syntax), 0
    while at < size and not extent.over and (piece := read(start + at, min(_PIECE, size - at))):
        extent.feed([piece], at)
        at = max(at + len(piece), extent.next)
    extent.finish(size)
