"""Headers of one or two series as hypothesis draws them: alike, but for what makes them not quite so.

Encoded here, element by element, so that they may be as wrong as headers are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from gateway.dicom.uids import transfer_syntax
from tests.support.datasets import CT, DEFLATED, EXPLICIT

_LONG = {"OB", "OW", "SQ", "UN", "UT"}


@dataclass(frozen=True)
class Row:
    """An element; the value of a sequence is its items."""

    tag: int
    vr: str
    value: bytes | tuple[tuple[Row, ...], ...]
    undefined: bool = False


def _text(tag: int, vr: str, text: str) -> Row:
    return Row(tag, vr, text.encode() + (b"\0" if vr == "UI" else b" ") * (len(text) % 2))


def rows(series: str = "1.2.3.4", number: int = 1) -> list[Row]:
    """A slice of a series: what differs from one to the next, and what does not."""
    source = ((_text(0x00081150, "UI", CT), _text(0x00081155, "UI", f"1.2.9.{number}")),)
    request = ((_text(0x00400009, "SH", "S1"), _text(0x00401001, "SH", "R1")),)
    return [
        _text(0x00080005, "CS", "ISO_IR 100"),
        _text(0x00080008, "CS", "ORIGINAL\\PRIMARY"),
        _text(0x00080016, "UI", CT),
        _text(0x00080018, "UI", f"{series}.{number}"),
        _text(0x00080020, "DA", "20260102"),
        _text(0x00080030, "TM", "101112"),
        _text(0x00080033, "TM", f"1011{number % 60:02}"),
        _text(0x00080060, "CS", "CT"),
        Row(0x00081140, "SQ", source, undefined=True),
        Row(0x00082112, "SQ", source),
        Row(0x00100010, "PN", "Müller^Jörg".encode("latin-1") + b" "),
        _text(0x00100020, "LO", "P1"),
        Row(0x00191010, "UN", b"\1\2\3\4"),
        _text(0x0020000D, "UI", series.rpartition(".")[0]),
        _text(0x0020000E, "UI", series),
        _text(0x00200011, "IS", "1"),
        _text(0x00200013, "IS", str(number)),
        _text(0x00200032, "DS", f"-1.5\\2\\{number * 1.25}"),
        _text(0x00201041, "DS", f"{number * 1.25}"),
        _text(0x00280004, "CS", "MONOCHROME2"),
        Row(0x00280010, "US", b"\2\0"),
        Row(0x00291010, "OB", bytes(40)),
        Row(0x00400275, "SQ", request, undefined=True),
        Row(0x7FE00010, "OW", bytes(range(16))),
    ]


def encode_rows(rows: list[Row], syntax_uid: str) -> bytes:
    """As they stand, in order or not. Numbers are not turned round for big endian."""
    syntax = transfer_syntax(syntax_uid)
    order = ">" if syntax.big_endian else "<"
    parts = []
    for row in rows:
        value = (
            row.value if isinstance(row.value, bytes) else b"".join(_item(item, row, syntax_uid) for item in row.value)
        )
        length = len(value)
        if row.undefined:
            length, value = 0xFFFFFFFF, value + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
        head = struct.pack(f"{order}HH", row.tag >> 16, row.tag & 0xFFFF)
        if syntax.implicit:
            head += struct.pack("<I", length)
        elif row.vr in _LONG or row.undefined:
            head += struct.pack(f"{order}2s2xI", row.vr.encode(), length)
        else:
            head += struct.pack(f"{order}2sH", row.vr.encode(), length)
        parts.append(head + value)
    return b"".join(parts)


def _item(item: tuple[Row, ...], row: Row, syntax_uid: str) -> bytes:
    order = ">" if transfer_syntax(syntax_uid).big_endian else "<"
    content = encode_rows(list(item), syntax_uid)
    if not row.undefined:
        return struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(content)) + content
    end = struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + end


_VALUES = st.one_of(
    st.sampled_from([b"", b"1 ", b"2 ", b"10", b"1.2\0", b"1.2.5 ", b"ISO_IR 192", b"x" * 64, b"y" * 9000, b"\x1b$B"]),
    st.binary(max_size=12),
)
_VRS = st.sampled_from(["LO", "UI", "IS", "DS", "US", "SQ", "UN", "OB", "UT", "??", "ZZ", "\x10\0"])
_TAGS = st.sampled_from(
    [0x00041200, 0x00080018, 0x00080022, 0x00100021, 0x00185100, 0x00191011, 0x0020000E, 0x00204000]
)
_PLACES = st.integers(0, len(rows()) - 1)


@st.composite
def _edit(draw: st.DrawFn, found: list[Row]) -> None:
    """One change to a header."""
    place = draw(_PLACES) % len(found)
    row = found[place]
    match draw(st.sampled_from(["value", "value", "value", "items", "add", "remove", "vr", "swap", "undefined"])):
        case "value":
            found[place] = replace(row, value=draw(_VALUES), undefined=False)
        case "items":
            if not isinstance(row.value, bytes):
                found[place] = replace(row, value=row.value * draw(st.integers(0, 3)))
        case "add":
            found.insert(place, Row(draw(_TAGS), draw(_VRS), draw(_VALUES)))
        case "remove":
            if len(found) > 1:
                del found[place]
        case "vr":
            found[place] = replace(row, vr=draw(_VRS))
        case "swap":
            found[place - 1], found[place] = found[place], found[place - 1]
        case "undefined":
            found[place] = replace(row, undefined=not row.undefined)


@st.composite
def headers(draw: st.DrawFn, syntax: str) -> bytes:
    """One header of the series that others are drawn of."""
    found = rows(draw(st.sampled_from(["1.2.3.4", "1.2.3.40"])), draw(st.sampled_from([1, 2, 9, 10, 99, 100, 1000])))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        draw(_edit(found))
    data = encode_rows(found, EXPLICIT if syntax == DEFLATED else syntax)
    match draw(st.sampled_from(["", "", "", "", "cut", "byte", "zeros"])):
        case "cut":
            data = data[: draw(st.integers(0, len(data)))]
        case "byte":
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
        case "zeros":
            data += bytes(draw(st.integers(1, 20)))
    return data
