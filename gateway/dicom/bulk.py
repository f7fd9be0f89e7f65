"""Bulk data: the values to which the metadata of `json.py` refer, located and read.

A path locates an element: `7FE00010`, or `00880200/0/7FE00010` in the first item of a sequence.
Values are returned as PS3.18 §8.7.3.3.1 wants them: little endian, without padding or splitting; text in UTF-8, which
agrees with Specific Character Set in the metadata. Frames are read by `imaging`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from struct import Struct, unpack
from typing import Final, NamedTuple

from gateway.dicom.charset import TEXT_VRS, character_set, decode
from gateway.dicom.json import CHARSET, INFLATE_LIMIT, MAX_INLINE_BYTES, is_bulk
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.source import CHUNK, Inflated, Inflater, Read, Window
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.dicom.walk import ITEM, SEQUENCE_DELIMITATION, Event, Kind, place, walk
from gateway.errors import DataSetError, TruncatedDataSet

_FLOATS: Final = {"FL": "f", "FD": "d"}
MAX_FRAGMENTS: Final = 1 << 20
MAX_LINE_BYTES: Final = 16 << 20
"""Bytes of text between two line ends. Longer lines are cut there, which may cost a letter."""
_item: Final = Struct("<HHI").unpack_from


class Value(NamedTuple):
    """The value of one element. `start` is an offset in the data set, inflated if it is deflated."""

    path: str
    tag: int
    vr: str
    start: int
    length: int
    """Length in bytes; undefined for fragments."""
    fragments: bool
    """Whether the value is a sequence of fragments (PS3.5 A.4)."""
    word: int
    """Bytes of a word whose byte order is to be swapped."""
    terms: bytes | None = None
    """Specific Character Set in force at the element."""

    @property
    def is_foreign_text(self) -> bool:
        """Whether the value is text in another character set than UTF-8, for `text_pieces` to read."""
        return self.vr in TEXT_VRS and not self.fragments and character_set(self.terms).codec != "utf_8"


class DataSet(NamedTuple):
    """A stored data set: the reader of its object, its start and end there, and its encoding."""

    read: Read
    start: int
    end: int
    transfer_syntax_uid: str
    inflated: Read | None = None
    """Reader of the values of a deflated data set, in ascending order."""

    def for_many(self) -> DataSet:
        """A copy of the data set for reading many values in order: it is inflated once for all, not for each."""
        if not transfer_syntax(self.transfer_syntax_uid).deflated:
            return self
        return self._replace(inflated=Inflated(self.read, self.start, self.end, INFLATE_LIMIT))

    def opened(self) -> tuple[Read, int, int | None]:
        """A forward reader of the elements, with their start and end."""
        if transfer_syntax(self.transfer_syntax_uid).deflated:
            return Inflater(self.read, self.start, self.end, INFLATE_LIMIT), 0, None
        return self.read, self.start, self.end


def bulk_values(data_set: DataSet) -> Iterator[Value]:
    """Every value that becomes a BulkDataURI, in data set order. Raises as `walk` does.

    To read a value, call `DataSet.opened` again.
    """
    read, start, end = data_set.opened()
    window = Window(read, start, end)
    try:
        for path, event, terms in _placed(window, start, data_set):
            kind, tag, vr, _start, value_start, length, syntax = event
            if length and kind in (Kind.ELEMENT, Kind.FRAGMENTS):
                bulk = is_bulk(kind, tag, vr, length)
                if not bulk and vr in _FLOATS:
                    value = window.read(value_start, length - length % WORD_SIZES[vr])
                    order = ">" if syntax.big_endian else "<"
                    numbers = unpack(f"{order}{len(value) // WORD_SIZES[vr]}{_FLOATS[vr]}", value)
                    bulk = length % WORD_SIZES[vr] == 0 and not all(map(isfinite, numbers))
                if bulk:
                    yield _value(path, event, terms)
    except TruncatedDataSet:
        return  # As in metadata: truncated pixel data is reported when it is read.


def value_at(data_set: DataSet, path: str) -> Value | None:
    """The value of the element at a path, bulk or not; the last one if a tag occurs twice, None if there is none."""
    read, start, end = data_set.opened()
    value = None
    first = int(path[:8], 16)
    try:
        for at, event, terms in _placed(Window(read, start, end), start, data_set):
            if value is not None and "/" not in at and event.tag > first:
                break
            if at == path and event.kind in (Kind.ELEMENT, Kind.FRAGMENTS):
                value = _value(at, event, terms)
    except TruncatedDataSet:
        if value is None:
            raise
    return value


def value_pieces(data_set: DataSet, value: Value, first: int, stop: int) -> Iterator[bytes]:
    """The bytes from `first` to before `stop` of a value without fragments, in pieces of about 1 MiB.

    Raises: TruncatedDataSet when the data set ends before `stop`.
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


def text_pieces(data_set: DataSet, value: Value) -> Iterator[bytes]:
    """A value that `is_foreign_text` as UTF-8, without the padding at its end, in pieces of at most MAX_LINE_BYTES.

    Pieces end with lines, where code extensions are reset (PS3.5 §6.1.2.5.3) and which are no part of any letter.
    Raises: TruncatedDataSet as in `value_pieces`.
    """
    rest = b""
    for piece in value_pieces(data_set, value, 0, value.length):
        rest += piece
        cut = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= MAX_LINE_BYTES else 0)
        if cut and cut < value.length:
            yield _utf_8(rest[:cut], value)
            rest = rest[cut:]
    yield _utf_8(rest, value)


def _utf_8(text: bytes, value: Value) -> bytes:
    return decode(text, value.terms, value.vr).encode()


def fragments_of(data_set: DataSet, value: Value) -> Iterator[tuple[int, int]]:
    """Offset and length of each fragment of a sequence of them, the Basic Offset Table first (PS3.5 A.4).

    DataSetError where one is none; TruncatedDataSet where the data set ends before.
    """
    window = Window(data_set.read, value.start, data_set.end)
    position = value.start
    for _number in range(MAX_FRAGMENTS + 1):
        index = window.need(position, 8)
        group, element, length = _item(window.buffer, index)
        tag = group << 16 | element
        if tag == SEQUENCE_DELIMITATION:
            return
        if tag != ITEM or position + 8 + length > data_set.end:
            break
        yield position + 8, length
        position += 8 + length
    raise DataSetError(f"{place(tag, position)}: not a fragment, or too many of them (PS3.5 A.4)")


class FragmentStream:
    """The value of a sequence of fragments as one stream, without the Basic Offset Table."""

    def __init__(self, data_set: DataSet, value: Value) -> None:
        """Index the fragments, with 16 bytes for each. Raises: DataSetError for an item that is no fragment."""
        self._read = data_set.read
        self._starts, self._lengths = array("Q"), array("Q")
        for start, length in islice(fragments_of(data_set, value), 1, None):
            self._starts.append(start)
            self._lengths.append(length)
        self.length = sum(self._lengths)
        """Length of the stream in bytes."""

    def pieces(self, first: int, stop: int) -> Iterator[bytes]:
        """The bytes of the stream from `first` to before `stop`, in pieces of at most 1 MiB."""
        position = 0
        for start, length in zip(self._starts, self._lengths, strict=True):
            for at in range(max(first - position, 0), min(stop - position, length), CHUNK):
                size = min(CHUNK, min(stop - position, length) - at)
                piece = self._read(start + at, size)
                if len(piece) < size:
                    raise TruncatedDataSet("the object ends inside a fragment")
                yield piece
            position += length


def _value(path: str, event: Event, terms: bytes | None) -> Value:
    word = WORD_SIZES.get(event.vr, 1) if event.syntax.big_endian else 1
    return Value(path, event.tag, event.vr, event.value_start, event.length, event.kind is Kind.FRAGMENTS, word, terms)


def _placed(window: Window, start: int, data_set: DataSet) -> Iterator[tuple[str, Event, bytes | None]]:
    """The events of elements, with their paths and the Specific Character Set in force."""
    syntax = transfer_syntax(data_set.transfer_syntax_uid)
    prefix = ""
    terms: bytes | None = None
    outer: list[tuple[str, bytes | None]] = []
    items: list[int] = []
    for event in walk(window, start, EXPLICIT_VR_LITTLE_ENDIAN if syntax.deflated else syntax):
        if event.kind is Kind.ELEMENT or event.kind is Kind.FRAGMENTS:
            if event.tag == CHARSET and event.length <= MAX_INLINE_BYTES:
                terms = window.read(event.value_start, event.length)
            yield f"{prefix}{event.tag:08X}", event, terms
        elif event.kind is Kind.SEQUENCE:
            yield f"{prefix}{event.tag:08X}", event, terms
            outer.append((prefix, terms))
            items.append(0)
            prefix = f"{prefix}{event.tag:08X}/"
        elif event.kind is Kind.ITEM:
            outer.append((prefix, terms))
            prefix = f"{prefix}{items[-1]}/"
            items[-1] += 1
        else:
            prefix, terms = outer.pop()
            if event.kind is Kind.SEQUENCE_END:
                items.pop()
