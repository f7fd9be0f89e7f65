"""Following headers that resemble each other, as those of a series do, instead of walking through each.

A `Layout` is one header taken apart: runs of bytes that all headers like it have in common, and between them the
elements whose values differ. A run holds whole elements, and of the one behind it the tag and VR. Where the runs are
there, as far apart as the lengths between them say, `elements.pick` would find the same elements, with other values in
those few. What is anything else is left to `pick`, which also says what is wrong with it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from gateway.dicom.elements import EVERY_TAG, Element, pick, undefined_extent
from gateway.dicom.uids import Syntax, transfer_syntax
from gateway.dicom.walk import SHORT_VRS
from gateway.errors import DataSetError

_CHARSET: Final = 0x00080005
"""It decides how others are read: with another one, no header is like this."""
_SHORT: Final = {False: Struct("<H").unpack_from, True: Struct(">H").unpack_from}
_LONG: Final = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}
_make: Callable[..., Element] = tuple.__new__


class _Step(NamedTuple):
    """A run, and the element behind it whose value may differ."""

    run: bytes
    """Up to its length; of undefined length: up to its items."""
    size: int
    """Bytes from where the run begins to the value."""
    header: int
    """Bytes from the element's tag to the value."""
    field: int
    """Bytes of the length before the value; 0 for undefined length."""
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    """Reads the length."""
    tag: int
    vr: str
    coding: Syntax
    value: bytes | None
    """As in the first header; None where nobody wants it."""


class Layout:
    """How a header is laid out, and which values differ in those like it. Any thread may call, at any time."""

    def __init__(self, header: bytes, transfer_syntax_uid: str, tags: frozenset[int], stop: int) -> None:
        """`header`: all up to the first tag above `stop`, where `pick` ended, and the four bytes of that tag."""
        self.header = header
        self._syntax = transfer_syntax(transfer_syntax_uid)
        self._tags = tags
        self._stop = stop
        self._starts: Sequence[int] | None = None
        """Where the elements begin, and the tag behind them: found when it is needed. Empty for a header that no other
        is like."""
        self._differing: dict[int, _Step] = {}
        """By place among the elements; the run is here the beginning of the element alone."""
        self._steps: tuple[list[_Step], bytes] = [], header
        """And the run behind the last of them."""

    def follow(self, data: bytes) -> dict[int, Element] | None:
        """Those elements of `tags` that have other values than in the first header; None where it is not alike.

        Together with the others of the first header, whose offsets may differ, they are what `pick` would find.
        """
        changed: dict[int, Element] = {}
        position = 0
        steps, last = self._steps
        try:
            for run, size, header, field, unpack, tag, vr, coding, before in steps:
                if not data.startswith(run, position):
                    return None
                value_start = position + size
                if field:
                    (length,) = unpack(data, value_start - field)
                    position = value_start + length
                else:
                    length, position = undefined_extent(data, tag, vr, value_start - header, value_start, coding)
                if before is not None:
                    value = data[value_start : value_start + length]
                    if value != before:
                        start = value_start - header
                        changed[tag] = _make(Element, (tag, vr, value, start, value_start, length, not field, coding))
        except (struct.error, DataSetError):
            return None
        # Where a value is cut short, or has become one of undefined length, nothing is behind it.
        return changed if data.startswith(last, position) else None

    def widen(self, data: bytes) -> bool:
        """Learn that a header that could not be followed is alike. False where other than values differ."""
        header = self.header
        if self._starts is None:
            self._starts = self._find_starts()
        starts = self._starts
        if not starts:
            return False
        differing = dict(self._differing)
        place = position = 0
        while not data.startswith(header[starts[place] :], position):
            same = self._same(starts, place, data, position)
            position += starts[same] - starts[place]
            if same == len(starts) - 1:
                return False
            step = differing.get(same) or self._step(header[starts[same] : starts[same + 1]])
            if step is None or not data.startswith(step.run, position):
                return False
            element = self._first(data[position:], step.tag)
            if element is None or element.undefined_length != (not step.field):
                return False
            position += _end(element)
            differing[same] = step
            place = same + 1
        self._differing = differing
        self._steps = self._cut(starts, differing)
        return True

    def _cut(self, starts: Sequence[int], differing: dict[int, _Step]) -> tuple[list[_Step], bytes]:
        steps = []
        begin = 0
        for place, step in sorted(differing.items()):
            run = self.header[begin : starts[place]] + step.run
            steps.append(step._replace(run=run, size=len(run) + step.field))
            begin = starts[place + 1]
        return steps, self.header[begin:]

    def _find_starts(self) -> Sequence[int]:
        found, _ = pick(self.header, self._syntax.uid, EVERY_TAG, self._stop)
        starts = array("I", [0])
        for element in found.values():
            if element.start != starts[-1]:
                return ()  # A tag occurs twice.
            starts.append(_end(element))
        return starts

    def _same(self, starts: Sequence[int], place: int, data: bytes, position: int) -> int:
        """The place of the first element, from `place` on, that is not what stands at `position` and after."""
        start, high = starts[place], len(starts) - 1
        while place < high:
            middle = (place + high + 1) // 2
            if data.startswith(self.header[start : starts[middle]], position):
                place = middle
            else:
                high = middle - 1
        return place

    def _first(self, data: bytes, tag: int) -> Element | None:
        """The element of that tag that `data` begins with."""
        try:
            element = pick(data, self._syntax.uid, EVERY_TAG, tag)[0].get(tag)
        except DataSetError:
            return None
        return element if element is not None and element.start == 0 else None

    def _step(self, raw: bytes) -> _Step | None:
        """For this element, if its value may differ: it is plain, and does not decide how others are read."""
        (element,) = pick(raw, self._syntax.uid, EVERY_TAG, self._stop)[0].values()
        tag, vr, value, _start, header, _length, undefined, coding = element
        if tag == _CHARSET:
            return None
        field, code, implicit = 4, raw[4:6], self._syntax.implicit
        if undefined:
            if not implicit and code != b"SQ":
                return None
            field = 0
        elif not implicit and header == 8:
            if code not in SHORT_VRS:
                return None
            field = 2
        unpack = (_SHORT if field == 2 else _LONG)[self._syntax.big_endian]
        run = raw[: header - field]
        return _Step(run, header, header, field, unpack, tag, vr, coding, value if tag in self._tags else None)


def _end(element: Element) -> int:
    return element.value_start + element.length + (8 if element.undefined_length else 0)
