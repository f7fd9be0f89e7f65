"""Parsing JPEG 2000 streams before decoding: marker segments, the end, size and depth.

ISO 15444-1 Annex A; high-throughput streams (ISO 15444-15) have the same structure.

A decoder allocates a structure for each tile, precinct and code-block, whether it has data or not: 196 bytes that
announced 4096 by 4096 pixels in precincts of 2 by 2 took OpenJPEG 9 GB and 44 seconds. So they are counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.dicom.source import Read
from gateway.errors import DataSetError
from gateway.imaging.codestream import Codestream, Segment

_START: Final = b"\xff\x4f\xff\x51"
_SOT, _SOD, _COD, _COC, _EOC = 0xFF90, 0xFF93, 0xFF52, 0xFF53, 0xFFD9
COMMENT: Final = 0xFF64
_FILE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_MAX_BOXES: Final = 1000
_MAX_TILES: Final = 4096
_MAX_SEGMENTS: Final = 1 << 16
_MAX_BLOCKS: Final = 1 << 18
"""Code-blocks and precincts of any image; larger images may have one for each 1024 samples: usual is 4096."""
_MAX_SAMPLES: Final = 1 << 27
"""Samples of a frame; during decoding each takes some 8 bytes, whatever its depth."""


@dataclass(frozen=True, slots=True)
class _Style:
    """Coding style of one or all components: the common part of COD and COC."""

    levels: int
    block: tuple[int, int]
    """Exponents of width and height."""
    precincts: bytes

    def pieces(self, samples: int) -> float:
        """Code-blocks and precincts of an image of `samples` samples, roughly."""
        total = 0.0
        for resolution in range(self.levels + 1):
            exponents = list(self.block)
            if self.precincts:
                size = self.precincts[min(resolution, len(self.precincts) - 1)]
                halved = 1 if resolution else 0
                for axis, exponent in enumerate((size & 15, size >> 4)):
                    exponents[axis] = min(exponents[axis], max(0, exponent - halved))
            total += samples / 4 ** (self.levels - resolution) / 2 ** sum(exponents)
        return total


def bare(data: bytes) -> bytes:
    """The codestream without the boxes of the JP2 file format. Raises: DataSetError if there is none.

    DICOM does not allow these boxes (PS3.5 A.4.4), but some writers include them.
    """
    if data.startswith(_START):
        return data
    start, _stop = in_file(lambda at, length: data[at : at + length], len(data))
    if not data.startswith(_START, start):
        start = data.find(_START, 0, 1 << 20)
    if start < 0:
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    return data[start:]


def in_file(read: Read, size: int) -> tuple[int, int]:
    """Start and end of the codestream in a JP2 file of `size` bytes (ISO 15444-1 I.4, I.5.4).

    The whole range if it is no such file, or has no codestream.
    """
    at = 0
    for _ in range(_MAX_BOXES if read(0, len(_FILE)) == _FILE else 0):
        if at + 8 > size:
            break
        head = read(at, min(16, size - at))
        length, kind, body = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1:
            length, body = int.from_bytes(head[8:16], "big"), body + 8
        stop = at + length if length else size
        if stop < body:
            break
        if kind == b"jp2c":
            return body, min(stop, size)
        at = stop
    return 0, size


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the marker segments of a bare stream behind SOC, in order, and EOC itself (ISO 15444-1 A.2).

    SOD includes the data of its tile-part. Raises: DataSetError if the stream is broken, or ends before EOC.
    """
    if not data.startswith(_START):
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    at, next_part = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker, length = (int.from_bytes(data[at + skip : at + skip + 2], "big") for skip in (0, 2))
        if marker == _EOC:
            yield Segment(marker, at, at + 2)
            return
        if at + 4 > len(data):
            break
        if marker == _SOD:
            # A tile-part of length 0 goes up to EOC, and its data contain no EOC (A.4.2, B.10.1).
            stop = next_part if next_part > at else data.find(b"\xff\xd9", at + 2)
            if not 0 <= stop < len(data):
                break
        elif marker < 0xFF00 or length < 2:
            raise DataSetError(f"broken JPEG 2000 stream: no marker at {at}")
        else:
            stop = at + 2 + length
        if marker == _SOT:
            size = int.from_bytes(data[at + 6 : at + 10], "big")
            next_part = at + size if size else 0
        yield Segment(marker, at, stop)
        at = stop
    else:
        raise DataSetError(f"a JPEG 2000 stream with more than {_MAX_SEGMENTS} marker segments")
    raise DataSetError("the compressed frame is cut short: it ends before its end marker")


def parse_jpeg2000(data: bytes) -> Codestream:
    """Parse size, samples and depth of a bare stream (SIZ, A.5.1), and find its end.

    Raises: DataSetError if it is broken, truncated, or too expensive to decode for its pixels.
    """
    if not data.startswith(_START) or len(data) < 43:
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    siz = data[4 : 4 + int.from_bytes(data[4:6], "big")]

    def number(at: int) -> int:
        return int.from_bytes(siz[at : at + 4], "big")

    samples = int.from_bytes(siz[36:38], "big")
    components = siz[38 : 38 + 3 * samples]
    if len(components) != 3 * samples or not samples or set(components[1::3]) | set(components[2::3]) != {1}:
        raise DataSetError("a JPEG 2000 stream whose components have not all the size of the image")
    if len(set(components[::3])) != 1:
        raise DataSetError("a JPEG 2000 stream whose components have different depths")
    stream = Codestream(
        rows=number(8) - number(16),
        columns=number(4) - number(12),
        samples=samples,
        precision=(components[0] & 0x7F) + 1,
        signed=components[0] & 0x80 != 0,
    )
    total = _check_size(data, stream, (number(20), number(24)), (number(28), number(32)))
    end = 0
    for marker, start, end in segments(data):
        if marker in (_COD, _COC):
            style = _style_of(marker, data[start + 4 : end], samples)
            if style.levels > 32 or min(style.block) > 10 or style.pieces(total) > max(_MAX_BLOCKS, total // 1024):
                raise DataSetError("a JPEG 2000 stream in more pieces than its pixels are worth")
    return replace(stream, length=end)


def _check_size(data: bytes, stream: Codestream, tile: tuple[int, int], origin: tuple[int, int]) -> int:
    """The number of samples of a stream. Raises: DataSetError if samples or tiles are too many to decode."""
    right, bottom = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12))
    if stream.rows <= 0 or stream.columns <= 0 or 0 in tile:
        raise DataSetError("a JPEG 2000 stream of no size")
    total = stream.rows * stream.columns * stream.samples
    tiles = -(-(right - origin[0]) // tile[0]) * -(-(bottom - origin[1]) // tile[1])
    if total > _MAX_SAMPLES or tiles > _MAX_TILES:
        raise DataSetError(f"a JPEG 2000 stream of {total} samples in {tiles} tiles, which is too much to decode")
    return total


def _style_of(marker: int, segment: bytes, samples: int) -> _Style:
    """The style in a COD or COC segment; components are numbered in one byte or two."""
    if marker == _COD:
        return _style(segment[:1], segment[5:])
    skip = 1 if samples < 257 else 2
    return _style(segment[skip : skip + 1], segment[skip + 1 :])


def _style(flags: bytes, parameters: bytes) -> _Style:
    if not flags or len(parameters) < 5:
        raise DataSetError("broken JPEG 2000 stream: a coding style that is cut short")
    levels, width, height = parameters[:3]
    precincts = parameters[5 : 6 + levels] if flags[0] & 1 else b""
    return _Style(min(levels, 33), ((width & 15) + 2, (height & 15) + 2), precincts)
