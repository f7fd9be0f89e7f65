"""Overlay planes (PS3.3 C.9.2): graphics of one bit per pixel, beside the pixels or in their unused bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.render.grey import SampleLayout
from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_GROUPS: Final = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN, _FRAME_ORIGIN = 0x10, 0x11, 0x15, 0x40, 0x50, 0x51
_BITS_ALLOCATED, _BIT_POSITION, _DATA = 0x100, 0x102, 0x3000


@dataclass(frozen=True, slots=True)
class Overlay:
    """One plane for one frame: a mask, `(rows, columns)` of bool at the size of the image."""

    mask: Array
    is_region: bool
    """Whether the plane is a region of interest rather than graphics."""


def has_overlays(header: Header) -> bool:
    return any(group << 16 | _TYPE in header or group << 16 | _DATA in header for group in _GROUPS)


def overlays(header: Header, frame: int, layout: SampleLayout, pixels: Array) -> Iterator[Overlay]:
    """Yield the planes of a frame, from 0. A malformed plane is omitted: the image does not depend on it."""
    for group in _GROUPS:
        base = group << 16
        if base | _TYPE not in header and base | _DATA not in header:
            continue
        data = header.data(base | _DATA)
        if data:
            mask = _from_data(header, base, frame, data, pixels.shape[0], pixels.shape[1])
        elif pixels.dtype.kind == "u" and layout.bits_allocated > 1:
            mask = _from_pixels(header, base, layout, pixels)
        else:
            mask = None
        if mask is not None and mask.any():
            yield Overlay(mask, header.text(base | _TYPE) == "R")


def draw(display: Array, plane: Overlay) -> None:
    """Draw a plane into `(rows, columns[, 3])` uint8: graphics in white, a region in the opposite grey, as DCMTK
    does."""
    import numpy as np

    if plane.is_region and display.ndim == 2:
        display[plane.mask] = np.where(display[plane.mask] > 127, 0, 255)
    else:
        display[plane.mask] = 255


def _from_data(header: Header, base: int, frame: int, data: bytes, rows: int, columns: int) -> Array | None:
    import numpy as np

    height, width = header.integer(base | _ROWS, 0), header.integer(base | _COLUMNS, 0)
    first = header.integer(base | _FRAME_ORIGIN, 1) - 1
    number = frame - first
    if height <= 0 or width <= 0 or not 0 <= number < max(1, header.integer(base | _FRAMES, 1)):
        return None
    start, count = number * height * width, height * width
    if (start + count + 7) // 8 > len(data):
        return None
    bits = np.unpackbits(np.frombuffer(data[start // 8 : (start + count + 7) // 8], "u1"), bitorder="little")
    plane = bits[start % 8 : start % 8 + count].reshape(height, width).astype(bool)
    origin = [int(value) - 1 for value in header.numbers(base | _ORIGIN)] or [0, 0]
    if len(origin) != 2:
        return None
    mask = np.zeros((rows, columns), bool)
    top, left = max(origin[0], 0), max(origin[1], 0)
    part = plane[top - origin[0] :, left - origin[1] :][: max(rows - top, 0), : max(columns - left, 0)]
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


def _from_pixels(header: Header, base: int, layout: SampleLayout, pixels: Array) -> Array | None:
    """The plane in an unused bit of the samples (retired; PS3.5-2004 §8.1.2)."""
    import numpy as np

    bit = header.integer(base | _BIT_POSITION, 0)
    used = range(layout.high_bit + 1 - layout.bits_stored, layout.high_bit + 1)
    if pixels.ndim != 2 or not 0 < bit < layout.bits_allocated or bit in used:
        return None
    return np.asarray(pixels >> bit & 1).astype(bool)
