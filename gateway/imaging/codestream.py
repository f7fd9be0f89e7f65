"""What the header of a JPEG or JPEG 2000 stream says, before anything is decoded: size, depth, colour.

Decoders allocate what a stream declares and decode what is cut short without a word: both are looked at here first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import DataSetError

_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
"""Markers of a frame header: SOF0 to SOF15, and JPEG-LS's SOF55."""
_WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_TAIL: Final = 64


@dataclass(frozen=True, slots=True)
class Codestream:
    """One compressed frame as its own header has it."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits of a sample."""
    signed: bool = False
    is_rgb: bool | None = None
    """Of a JPEG stream of three components, where it says so itself: Adobe's marker, component names, JFIF."""


def parse_jpeg(data: bytes) -> Codestream:
    """The frame header of JPEG or JPEG-LS (ISO 10918-1 B.2.2, 14495-1 C.2.2). DataSetError where there is none."""
    if data[:2] != b"\xff\xd8":
        raise DataSetError("not a JPEG stream: it does not begin with SOI")
    _check_end(data)
    at, adobe, jfif = 2, None, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise DataSetError(f"broken JPEG stream: no marker at {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if marker in _FRAMES:
            if len(segment) < 6 + 3 * segment[5] if len(segment) > 5 else True:
                break
            names = segment[6 : 6 + 3 * segment[5] : 3]
            rgb = (not adobe) if adobe is not None else True if names in (b"RGB", b"rgb") else False if jfif else None
            size = (int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"))
            return Codestream(*size, segment[5], segment[0], is_rgb=rgb)
        if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            adobe = segment[11]
        elif marker == 0xE0 and segment[:4] == b"JFIF":
            jfif = True
        elif marker == 0xDA or length < 2:
            break
        at += 2 + length
    raise DataSetError("broken JPEG stream: no frame header")


def parse_jpeg2000(data: bytes) -> Codestream:
    """The SIZ segment (ISO 15444-1 A.5.1), of a bare stream or one in the JP2 file format. DataSetError."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 1 << 20)
    if start < 0 or len(data) < start + 43:
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    _check_end(data)
    siz = data[start + 4 :]

    def number(at: int) -> int:
        return int.from_bytes(siz[at : at + 4], "big")

    depth = siz[38]
    return Codestream(
        rows=number(8) - number(16),
        columns=number(4) - number(12),
        samples=int.from_bytes(siz[36:38], "big"),
        precision=(depth & 0x7F) + 1,
        signed=depth & 0x80 != 0,
    )


def _check_end(data: bytes) -> None:
    """Both kinds end with FFD9; padding may follow."""
    if not data[-_TAIL:].rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise DataSetError("the compressed frame is cut short: it does not end with its end marker")
