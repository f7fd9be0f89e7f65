"""What the headers of a JPEG 2000 stream say, before anything is decoded (ISO 15444-1 Annex A).

A decoder makes a structure for each tile, precinct and code-block, whether any data are there or not: 196 bytes that
announced 4096 by 4096 pixels in precincts of 2 by 2 took OpenJPEG 9 GB and 44 seconds. So they are counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import DataSetError
from gateway.imaging.codestream import Codestream, check_end

_START: Final = b"\xff\x4f\xff\x51"
_SOT, _SOD, _COD, _COC, _EOC = 0xFF90, 0xFF93, 0xFF52, 0xFF53, 0xFFD9
_MAX_TILES: Final = 4096
_MAX_SEGMENTS: Final = 1 << 16
_BLOCKS: Final = 1 << 18
"""Code-blocks and precincts that any image may have; larger ones one for each 1024 samples: usual is 4096."""
_MAX_SAMPLES: Final = 1 << 27
"""Samples of a frame; while it is decoded each takes some 8 bytes, whatever its depth."""


@dataclass(frozen=True, slots=True)
class _Style:
    """Coding style of one or all components: what COD and COC have in common."""

    levels: int
    block: tuple[int, int]
    """Exponents of width and height."""
    precincts: bytes

    def pieces(self, samples: int) -> float:
        """Code-blocks and precincts of an image of so many samples, roughly."""
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
    """The codestream, without the boxes of the JP2 file format before it. DataSetError where there is none."""
    start = 0 if data.startswith(_START) else data.find(_START, 0, 1 << 20)
    if start < 0:
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    return data[start:] if start else data


def parse_jpeg2000(data: bytes) -> Codestream:
    """Size, samples and depth of a bare stream (SIZ, A.5.1).

    DataSetError where it is broken, cut short, or would cost more to decode than its pixels are worth.
    """
    if not data.startswith(_START) or len(data) < 43:
        raise DataSetError("not a JPEG 2000 stream: no SOC and SIZ")
    check_end(data)
    siz = data[4 : 4 + int.from_bytes(data[4:6], "big")]

    def number(at: int) -> int:
        return int.from_bytes(siz[at : at + 4], "big")

    samples = int.from_bytes(siz[36:38], "big")
    components = siz[38 : 38 + 3 * samples]
    if len(components) != 3 * samples or not samples or set(components[1::3]) | set(components[2::3]) != {1}:
        raise DataSetError("a JPEG 2000 stream whose components have not all the size of the image")
    if len(set(components[::3])) != 1:
        raise DataSetError("a JPEG 2000 stream whose components have different depths")
    found = Codestream(
        rows=number(8) - number(16),
        columns=number(4) - number(12),
        samples=samples,
        precision=(components[0] & 0x7F) + 1,
        signed=components[0] & 0x80 != 0,
    )
    _check_cost(data, found, (number(20), number(24)), (number(28), number(32)))
    return found


def _check_cost(data: bytes, stream: Codestream, tile: tuple[int, int], origin: tuple[int, int]) -> None:
    right, bottom = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12))
    if stream.rows <= 0 or stream.columns <= 0 or 0 in tile:
        raise DataSetError("a JPEG 2000 stream of no size")
    total = stream.rows * stream.columns * stream.samples
    tiles = -(-(right - origin[0]) // tile[0]) * -(-(bottom - origin[1]) // tile[1])
    if total > _MAX_SAMPLES or tiles > _MAX_TILES:
        raise DataSetError(f"a JPEG 2000 stream of {total} samples in {tiles} tiles, which is too much to decode")
    for style in _styles(data, stream.samples):
        if style.levels > 32 or min(style.block) > 10 or style.pieces(total) > max(_BLOCKS, total // 1024):
            raise DataSetError("a JPEG 2000 stream in more pieces than its pixels are worth")


def _styles(data: bytes, samples: int) -> Iterator[_Style]:
    """Those of the main header and of the headers of tile-parts."""
    at, next_part = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker, length = (int.from_bytes(data[at + skip : at + skip + 2], "big") for skip in (0, 2))
        if marker == _SOD:
            if next_part <= at:
                return  # up to the end
            at = next_part
            continue
        if marker == _EOC or at + 4 > len(data):
            return
        if marker < 0xFF00 or length < 2:
            raise DataSetError(f"broken JPEG 2000 stream: no marker at {at}")
        segment = data[at + 4 : at + 2 + length]
        if marker == _SOT and len(segment) >= 8:
            size = int.from_bytes(segment[2:6], "big")
            next_part = at + size if size else 0
        elif marker == _COD:
            yield _style(segment[:1], segment[5:])
        elif marker == _COC:
            skip = 1 if samples < 257 else 2
            yield _style(segment[skip : skip + 1], segment[skip + 1 :])
        at += 2 + length
    raise DataSetError(f"a JPEG 2000 stream with more than {_MAX_SEGMENTS} marker segments")


def _style(flags: bytes, parameters: bytes) -> _Style:
    if not flags or len(parameters) < 5:
        raise DataSetError("broken JPEG 2000 stream: a coding style that is cut short")
    levels, width, height = parameters[:3]
    precincts = parameters[5 : 6 + levels] if flags[0] & 1 else b""
    return _Style(min(levels, 33), ((width & 15) + 2, (height & 15) + 2), precincts)
