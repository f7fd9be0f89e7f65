"""Parsing JPEG and JPEG-LS streams before decoding: marker segments, the end, size, depth and colour.

Decoders allocate what a stream declares and silently decode a truncated one: both are checked here first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.errors import DataSetError

SOI: Final = b"\xff\xd8"
SOS: Final = 0xDA
EOI: Final = 0xD9
_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
"""Markers of a frame header: SOF0 to SOF15, and JPEG-LS's SOF55."""
_WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_MARKER: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The end of entropy-coded data, in which FF is followed by 0, or in JPEG-LS by a zero bit; RST0 to RST7 are data."""
_MAX_SCANS: Final = 100
"""Scans of one frame: one for each component, some ten if it is progressive."""
_MAX_SEGMENTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Codestream:
    """One compressed frame as described in its own header."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits of a sample."""
    signed: bool = False
    is_rgb: bool | None = None
    """Whether a JPEG stream of three components is RGB, if it says so: Adobe's marker, component names, JFIF."""
    length: int | None = None
    """Bytes up to the end of the image, if the stream marks it: devices leave arbitrary bytes behind it."""


class Segment(NamedTuple):
    """A marker segment of a stream: offsets of its marker and of its end."""

    marker: int
    """The second byte of the marker in JPEG, both bytes in JPEG 2000."""
    start: int
    stop: int


def jpeg_segments(data: bytes) -> Iterator[Segment]:
    """Yield the marker segments between SOI and EOI, in order, and EOI itself (ISO 10918-1 B.1.1).

    A scan includes its entropy-coded data. Raises: DataSetError if the stream is broken, or ends before EOI.
    """
    if not data.startswith(SOI):
        raise DataSetError("not a JPEG stream: it does not begin with SOI")
    at = len(SOI)
    for _ in range(_MAX_SEGMENTS):
        if at + 2 > len(data):
            break
        if data[at] != 0xFF:
            raise DataSetError(f"broken JPEG stream: no marker at {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == EOI or marker in _WITHOUT_LENGTH:
            yield Segment(marker, at, at + 2)
            if marker == EOI:
                return
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            raise DataSetError(f"broken JPEG stream: a segment of {length} bytes at {at}")
        stop = at + 2 + length
        if marker == SOS:
            after = _MARKER.search(data, stop)
            if after is None:
                break
            stop = after.start()
        if stop > len(data):
            break
        yield Segment(marker, at, stop)
        at = stop
    else:
        raise DataSetError(f"a JPEG stream of more than {_MAX_SEGMENTS} segments")
    raise DataSetError("the compressed frame is cut short: it ends before its end marker")


def parse_jpeg(data: bytes) -> Codestream:
    """Parse the frame header of JPEG or JPEG-LS (ISO 10918-1 B.2.2, 14495-1 C.2.2), and find the end of the image.

    Raises: DataSetError if there is no frame header, the image is truncated, or decoding takes too many passes.
    """
    header, rgb, adobe, jfif, scans, end = b"", None, None, False, 0, 0
    for marker, start, end in jpeg_segments(data):
        if marker in _FRAMES and not header:
            header = data[start + 4 : end]
            if len(header) < 6 or len(header) < 6 + 3 * header[5]:
                break
            names = header[6 : 6 + 3 * header[5] : 3]
            rgb = (not adobe) if adobe is not None else True if names in (b"RGB", b"rgb") else False if jfif else None
        elif marker == 0xEE and data[start + 4 : start + 9] == b"Adobe" and end - start >= 16:
            adobe = data[start + 15]
        elif marker == 0xE0 and data[start + 4 : start + 9] == b"JFIF\0" and end - start >= 18:
            jfif = True
        elif marker == SOS:
            scans += 1
            if not header:
                break
            if scans > _MAX_SCANS:
                raise DataSetError(
                    f"a JPEG stream of more than {_MAX_SCANS} scans, each of which costs a pass over the image"
                )
    if not header or not scans:
        raise DataSetError("broken JPEG stream: no frame header, or no scan behind it")
    rows, columns = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    return Codestream(rows, columns, header[5], header[0], is_rgb=rgb, length=end)
