"""What the header of a JPEG or JPEG-LS stream says, before anything is decoded: size, depth, colour.

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
_MAX_SCANS: Final = 100
"""Scans of one frame: one for each component, ten or so where it is progressive."""


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
    check_end(data)
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise DataSetError(f"a JPEG stream of more than {_MAX_SCANS} scans, each of which costs a pass over the image")
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


def check_end(data: bytes) -> None:
    """Both kinds end with FFD9; padding may follow."""
    if not data[-_TAIL:].rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise DataSetError("the compressed frame is cut short: it does not end with its end marker")
