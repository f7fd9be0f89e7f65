"""Bulk data: the values that the metadata of `json.py` points at instead of holding them, found again and read.

A path says where an element stands: `7FE00010`, or `00880200/0/7FE00010` for one in the first item of a sequence.
Values come as PS3.18 §8.7.3.3.1 wants them: little endian, without padding or taking apart. Frames are `imaging`'s.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import isfinite
from struct import Struct, unpack
from typing import Final, NamedTuple

from gateway.dicom.json import INFLATE_LIMIT, is_bulk
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.source import CHUNK, Inflated, Inflater, Read, Window
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.dicom.walk import ITEM, SEQUENCE_DELIMITATION, Event, Kind, place, walk
from gateway.errors import DataSetError, TruncatedDataSet

_FLOATS: Final = {"FL": "f", "FD": "d"}
MAX_FRAGMENTS: Final = 1 << 20
_item: Final = Struct("<HHI").unpack_from


class Value(NamedTuple):
    """The value of one element. `start` is an offset of what the data set is read by: inflated where it is deflated."""

    path: str
    tag: int
    vr: str
    start: int
    length: int
    """Bytes; of fragments undefined."""
    fragments: bool
    """It is a sequence of fragments (PS3.5 A.4)."""
    word: int
    """Bytes that are to be turned round together."""


class DataSet(NamedTuple):
    """A stored data set: what reads the object it is in, where it starts and ends there, and how it is encoded."""

    read: Read
    start: int
    end: int
    transfer_syntax_uid: str
    inflated: Read | None = None
    """What reads values where the data set is deflated, in the order in which they stand."""

    def for_many(self) -> DataSet:
        """The same for reading many values one after the other: inflated once for all of them, not for each."""
        if not transfer_syntax(self.transfer_syntax_uid).deflated:
            return self
        return self._replace(inflated=Inflated(self.read, self.start, self.end, INFLATE_LIMIT))

    def opened(self) -> tuple[Read, int, int | None]:
        """What reads the elements forward, and from where to where."""
        if transfer_syntax(self.transfer_syntax_uid).deflated:
            return Inflater(self.read, self.start, self.end, INFLATE_LIMIT), 0, None
        return self.read, self.start, self.end


def bulk_values(data_set: DataSet) -> Iterator[Value]:
    """Every value that becomes a BulkDataURI, in the order in which they stand. Raises as `walk` does.

    Whoever reads them does so by `DataSet.opened` again.
    """
    read, start, end = data_set.opened()
    window = Window(read, start, end)
    try:
        for path, event in _placed(window, start, data_set):
            kind, tag, vr, _start, value_start, length, syntax = event
            if length and kind in (Kind.ELEMENT, Kind.FRAGMENTS):
                bulk = is_bulk(kind, tag, vr, length)
                if not bulk and vr in _FLOATS:
                    value = window.read(value_start, length - length % WORD_SIZES[vr])
                    order = ">" if syntax.big_endian else "<"
                    numbers = unpack(f"{order}{len(value) // WORD_SIZES[vr]}{_FLOATS[vr]}", value)
                    bulk = length % WORD_SIZES[vr] == 0 and not all(map(isfinite, numbers))
                if bulk:
                    yield _value(path, event)
    except TruncatedDataSet:
        return  # as metadata: what the pixel data is cut short by is found when it is read


def value_at(data_set: DataSet, path: str) -> Value | None:
    """The value of the element at a path, bulk or not; of a tag that occurs twice the last. None where none is."""
    read, start, end = data_set.opened()
    found = None
    first = int(path[:8], 16)
    try:
        for at, event in _placed(Window(read, start, end), start, data_set):
            if found is not None and "/" not in at and event.tag > first:
                break
            if at == path and event.kind in (Kind.ELEMENT, Kind.FRAGMENTS):
                found = _value(at, event)
    except TruncatedDataSet:
        if found is None:
            raise
    return found


def value_pieces(data_set: DataSet, value: Value, first: int, stop: int) -> Iterator[bytes]:
    """The bytes from `first` to before `stop` of a value that is no fragments, in pieces of about 1 MiB.

    TruncatedDataSet where the data set ends before.
    """
    read, _start, end = data_set.opened()
    read = data_set.inflated or read
    if end is not None and value.start + stop > end:
        raise TruncatedDataSet(f"{value.path}: the data set ends inside it")
    word = value.word
    for at in range(first // word * word, stop, CHUNK):
        upto = min(at + CHUNK, -(-stop // word) * word, value.length)
        piece = read(value.start + at, upto - at)
        if len(piece) < upto - at:
            raise TruncatedDataSet(f"{value.path}: the data set ends inside it")
        if word > 1:
            piece = swapped(piece, word)
        yield piece[max(first - at, 0) : stop - at]


class Fragments:
    """The value of a sequence of fragments as the one stream that they make, the Basic Offset Table left out."""

    def __init__(self, data_set: DataSet, value: Value) -> None:
        """Goes from fragment to fragment, which takes 16 bytes for each. DataSetError where one is none."""
        self._read = data_set.read
        self._starts, self._lengths = array("Q"), array("Q")
        window = Window(data_set.read, value.start, data_set.end)
        position, basic = value.start, True
        while True:
            index = window.need(position, 8)
            group, element, length = _item(window.buffer, index)
            tag = group << 16 | element
            if tag == SEQUENCE_DELIMITATION:
                break
            if tag != ITEM or position + 8 + length > data_set.end or len(self._starts) == MAX_FRAGMENTS:
                raise DataSetError(f"{place(tag, position)}: not a fragment, or too many of them (PS3.5 A.4)")
            if not basic:
                self._starts.append(position + 8)
                self._lengths.append(length)
            basic = False
            position += 8 + length
        self.length = sum(self._lengths)
        """Bytes of the stream."""

    def pieces(self, first: int, stop: int) -> Iterator[bytes]:
        """Its bytes from `first` to before `stop`, in pieces of 1 MiB at most."""
        position = 0
        for start, length in zip(self._starts, self._lengths, strict=True):
            for at in range(max(first - position, 0), min(stop - position, length), CHUNK):
                size = min(CHUNK, min(stop - position, length) - at)
                piece = self._read(start + at, size)
                if len(piece) < size:
                    raise TruncatedDataSet("the object ends inside a fragment")
                yield piece
            position += length


def _value(path: str, event: Event) -> Value:
    word = WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
    return Value(path, event.tag, event.vr, event.value_start, event.length, event.kind is Kind.FRAGMENTS, word)


def _placed(window: Window, start: int, data_set: DataSet) -> Iterator[tuple[str, Event]]:
    """The events of elements, with their paths."""
    syntax = transfer_syntax(data_set.transfer_syntax_uid)
    prefix = ""
    outer: list[str] = []
    items: list[int] = []
    for event in walk(window, start, EXPLICIT_VR_LITTLE_ENDIAN if syntax.deflated else syntax):
        if event.kind is Kind.ELEMENT or event.kind is Kind.FRAGMENTS:
            yield f"{prefix}{event.tag:08X}", event
        elif event.kind is Kind.SEQUENCE:
            yield f"{prefix}{event.tag:08X}", event
            outer.append(prefix)
            items.append(0)
            prefix = f"{prefix}{event.tag:08X}/"
        elif event.kind is Kind.ITEM:
            outer.append(prefix)
            prefix = f"{prefix}{items[-1]}/"
            items[-1] += 1
        else:
            prefix = outer.pop()
            if event.kind is Kind.SEQUENCE_END:
                items.pop()
