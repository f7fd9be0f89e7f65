"""Small data sets out of bytes: the identifiers of requests and answers, as the attributes that encode.py writes.

The whole data set is in memory by then, bounded by whoever received it. Headers of stored instances are picked by
elements.py; JSON comes from json.py.
"""

from __future__ import annotations

from struct import unpack
from typing import Any, Final

from gateway.dicom.charset import TEXT_VRS, decode_values
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.dicom.recode import WORD_SIZES, swapped
from gateway.dicom.source import Window, inflate
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, Syntax, transfer_syntax
from gateway.dicom.walk import Kind, walk

INFLATE_LIMIT: Final = 16 << 20
"""Bytes to which a deflated identifier may inflate."""
_CHARSET: Final = 0x00080005


def decode_data_set(data: bytes, transfer_syntax_uid: str) -> DataSet:
    """The attributes of a data set, items of sequences included, group lengths and fragments left out.

    Text that its data set names no character set for is taken as UTF-8 where the bytes are that, otherwise as
    Latin-1: so it is meant by those who send it. A number field of odd size comes out as UN.

    Raises DataSetError, TruncatedDataSet, UnsupportedTransferSyntax.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        data, syntax = inflate(data, INFLATE_LIMIT), EXPLICIT_VR_LITTLE_ENDIAN
    window = Window.over(data)
    current: DataSet = {}
    charset: bytes | None = None
    # Of the containers around: the sequence and its items so far, and the data set it is in with its character set.
    sequences: list[tuple[int, list[DataSet]]] = []
    outer: list[tuple[DataSet, bytes | None]] = []
    for kind, tag, vr, _start, value_start, length, coding in walk(window, 0, syntax):
        if kind is Kind.ELEMENT:
            if not tag & 0xFFFF:
                continue
            value = window.read(value_start, length)
            if tag == _CHARSET:
                charset = value
            current[tag] = _attribute(vr, value, charset, coding)
        elif kind is Kind.SEQUENCE:
            sequences.append((tag, []))
        elif kind is Kind.ITEM:
            outer.append((current, charset))
            current = {}
        elif kind is Kind.ITEM_END:
            sequences[-1][1].append(current)
            current, charset = outer.pop()
        elif kind is Kind.SEQUENCE_END:
            tag, items = sequences.pop()
            current[tag] = Attribute("SQ", items)
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
    term: bytes | str | None = charset
    if not charset and vr in TEXT_VRS and not value.isascii() and _is_utf8(value):
        term = "ISO_IR 192"
    texts: list[Any] = list(decode_values(value, term, vr))
    return Attribute(vr, [] if texts == [""] else texts)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
