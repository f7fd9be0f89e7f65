"""Comparing headers with a similar one, such as those of a series, instead of parsing each.

A `HeaderTemplate` is one header split up: runs of bytes that all similar headers share, and between
them the elements whose values differ. A run holds whole elements, and the tag and VR of the one behind it. If a header
has the runs at the distances given by the lengths between them, `elements.pick` would find the same elements, with
other values in those few. Any other header is left to `pick`, which also reports its errors.
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
"""Decides how other elements are read: a header with another value is never similar."""
_SHORT: Final = {False: Struct("<H").unpack_from, True: Struct(">H").unpack_from}
_LONG: Final = {False: Struct("<I").unpack_from, True: Struct(">I").unpack_from}
_make: Callable[..., Element] = tuple.__new__


class _Step(NamedTuple):
    """A run, and the element behind it whose value may differ."""

    run: bytes
    """The bytes before the element's length; of undefined length: before its items."""
    size: int
    """Bytes from the start of the run to the value."""
    header: int
    """Bytes from the element's tag to the value."""
    field: int
    """Bytes of the length before the value; 0 for undefined length."""
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    """Parses the length."""
    tag: int
    vr: str
    coding: Syntax
    value: bytes | None
    """The value in the first header; None if the tag is not wanted."""


class HeaderTemplate:
    """The layout of a header, and the values that differ in similar ones. For any thread, at any time."""

    def __init__(self, header: bytes, transfer_syntax_uid: str, tags: frozenset[int], stop: int) -> None:
        """`header`: all up to the first tag above `stop`, where `pick` ended, and the four bytes of that tag."""
        self.header = header
        self._syntax = transfer_syntax(transfer_syntax_uid)
        self._tags = tags
        self._stop = stop
        self._starts: Sequence[int] | None = None
        """Offsets of the elements and of the tag behind them, computed on demand. Empty for a header that cannot be a
        template."""
        self._differing: dict[int, _Step] = {}
        """Elements whose values differ, by index; here a run is the beginning of the element alone."""
        self._steps: tuple[list[_Step], bytes] = [], header
        """Steps of `follow`, and the run behind the last of them."""

    def follow(self, data: bytes) -> tuple[dict[int, Element], int] | None:
        """Elements of `tags` whose values differ from the first header; None if the header is not similar.

        Together with the other elements of the first header, whose offsets may differ, they are what `pick` would
        return; so is the offset returned with them.
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
        # Behind a truncated value, or one that has become of undefined length, the last run is missing.
        return (changed, position + len(last) - 4) if data.startswith(last, position) else None

    def widen(self, data: bytes) -> bool:
        """Extend the template to a header that `follow` rejected. False if more than values differ."""
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
        elements, _ = pick(self.header, self._syntax.uid, EVERY_TAG, self._stop)
        starts = array("I", [0])
        for element in elements.values():
            if element.start != starts[-1]:
                return ()  # A tag occurs twice.
            starts.append(_end(element))
        return starts

    def _same(self, starts: Sequence[int], place: int, data: bytes, position: int) -> int:
        """The index of the first element, from `place` on, that differs from the bytes at `position` and after."""
        start, high = starts[place], len(starts) - 1
        while place < high:
            middle = (place + high + 1) // 2
            if data.startswith(self.header[start : starts[middle]], position):
                place = middle
            else:
                high = middle - 1
        return place

    def _first(self, data: bytes, tag: int) -> Element | None:
        """The element of a tag at the beginning of `data`; None if there is another."""
        try:
            element = pick(data, self._syntax.uid, EVERY_TAG, tag)[0].get(tag)
        except DataSetError:
            return None
        return element if element is not None and element.start == 0 else None

    def _step(self, raw: bytes) -> _Step | None:
        """The step for an element whose value may differ; None if it is not plain, or decides how others are read."""
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
