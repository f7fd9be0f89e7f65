"""Decoding small data sets to the attributes that encode.py encodes: identifiers of requests and responses, and
selected attributes of stored instances.

An identifier is in memory, bounded by its receiver; of an instance only selected attributes are read. The few
attributes read of every received instance are picked by elements.py; JSON comes from json.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from struct import unpack
from typing import Any, Final

from gateway.dicom.charset import TEXT_VRS, decode_values, presumed
from gateway.dicom.elements import Element
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.source import Inflater, Read, Window, inflate
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import Event, Kind, behind_meta, walk, walk_items
from gateway.errors import DataSetError

INFLATE_LIMIT: Final = 16 << 20
"""Bytes to which a deflated identifier may inflate."""
_CHARSET: Final = 0x00080005

Keep = Callable[[int, int], bool]
"""Whether an attribute is selected, by its tag and length; the length of a sequence may be UNDEFINED."""
Watch = Callable[[Event, Window], bool]
"""Is called with the elements and fragments of the data set itself. True ends the reading."""


def decode_data_set(data: bytes, transfer_syntax_uid: str) -> DataSet:
    """The attributes of a data set, including items of sequences, without group lengths, fragments and group 0002.

    Text without a character set is taken as UTF-8 if the bytes are valid, otherwise as Latin-1, as senders mean it. A
    number field of odd size is returned as UN.

    Raises: DataSetError; TruncatedDataSet; UnsupportedTransferSyntax.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        data, syntax = inflate(data, INFLATE_LIMIT), EXPLICIT_VR_LITTLE_ENDIAN
    window = Window.over(data)
    return _decode(window, walk(window, behind_meta(window, 0, syntax), syntax), lambda _tag, _length: True, 1 << 32)


def read_data_set(
    read: Read,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    keep: Keep,
    *,
    most: int,
    inflate_limit: int,
    watch: Watch | None = None,
) -> DataSet:
    """The attributes selected by `keep` of the data set that `read` reads from `start` to `end`.

    A sequence that is not selected is skipped with its items; in a selected one `keep` selects again. Raises as
    `decode_data_set`, and DataSetError for more than `most` selected attributes.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        window = Window(Inflater(read, start, end, inflate_limit), 0, None)
        return _decode(window, walk(window, 0, EXPLICIT_VR_LITTLE_ENDIAN), keep, most, watch)
    window = Window(read, start, end)
    return _decode(window, walk(window, start, syntax), keep, most, watch)


def decode_elements(elements: Mapping[int, Element], keep: Keep, *, most: int) -> DataSet:
    """The attributes of picked elements; of sequences those selected by `keep`. Raises as `read_data_set`."""
    charset = elements[_CHARSET].value if _CHARSET in elements else None
    data_set: DataSet = {}
    for tag, element in elements.items():
        if element.vr == "SQ":
            window = Window.over(element.value)
            around = Event(Kind.SEQUENCE, tag, "SQ", 0, 0, element.length, element.syntax)
            items = walk_items(element.value, element.syntax)
            data_set |= _decode(window, chain((around,), items, (around._replace(kind=Kind.SEQUENCE_END),)), keep, most)
        else:
            data_set[tag] = _attribute(element.vr, element.value, charset, element.syntax)
    return data_set


def _decode(window: Window, events: Iterable[Event], keep: Keep, most: int, watch: Watch | None = None) -> DataSet:
    current: DataSet = {}
    charset: bytes | None = None
    # The enclosing containers: each sequence with its items so far, and its data set with the character set there.
    sequences: list[tuple[int, list[DataSet]]] = []
    outer: list[tuple[DataSet, bytes | None]] = []
    unwanted = count = 0  # nesting depth inside a skipped sequence; attributes so far
    for event in events:
        kind, tag, vr, _start, value_start, length, coding = event
        if kind is Kind.ELEMENT or kind is Kind.FRAGMENTS:
            if unwanted:
                continue
            if watch is not None and not outer and watch(event, window):
                break
            if kind is Kind.FRAGMENTS or not tag & 0xFFFF or not keep(tag, length):
                continue
            value = window.read(value_start, length)
            if tag == _CHARSET:
                charset = value
            current[tag] = _attribute(vr, value, charset, coding)
            count += 1
        elif kind is Kind.SEQUENCE:
            if unwanted or not keep(tag, length):
                unwanted += 1
            else:
                sequences.append((tag, []))
        elif kind is Kind.SEQUENCE_END and unwanted:
            unwanted -= 1
        elif unwanted:
            continue
        elif kind is Kind.ITEM:
            outer.append((current, charset))
            current = {}
            count += 1
        elif kind is Kind.ITEM_END:
            sequences[-1][1].append(current)
            current, charset = outer.pop()
        elif kind is Kind.SEQUENCE_END:
            tag, items = sequences.pop()
            current[tag] = Attribute("SQ", items)
        if count > most:
            raise DataSetError(f"more than {most} attributes")
    return current


def _attribute(vr: str, value: bytes, charset: bytes | None, syntax: Syntax) -> Attribute:
    if not value:
        return Attribute(vr, [])
    order = ">" if syntax.big_endian else "<"
    if vr in NUMBERS or vr == "AT":
        size = 4 if vr == "AT" else WORD_SIZES[vr]
        if len(value) % size:
            return Attribute("UN", [value])
        if vr == "AT":
            words = unpack(f"{order}{len(value) // 2}H", value)
            return Attribute(vr, [words[at] << 16 | words[at + 1] for at in range(0, len(words), 2)])
        return Attribute(vr, list(unpack(f"{order}{len(value) // size}{NUMBERS[vr]}", value)))
    if vr in BINARY:
        return Attribute(vr, [swapped(value, WORD_SIZES[vr]) if syntax.big_endian and vr in WORD_SIZES else value])
    term = presumed(charset, value) if vr in TEXT_VRS else charset
    texts: list[Any] = list(decode_values(value, term, vr))
    return Attribute(vr, [] if texts == [""] else texts)
