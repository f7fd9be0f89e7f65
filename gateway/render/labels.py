"""Label maps (PS3.3 A.51 with Segmentation Type LABELMAP): pixels that number segments, shown in segment colours.

As greys the first of a few segments would be black on black. A segment has its recommended colour, else one that
differs from its neighbours'; the background is black.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any, Final

from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_SEGMENTATION_TYPE: Final = 0x00620001
_SEGMENT_SEQUENCE: Final = 0x00620002
_SEGMENT_NUMBER: Final = 0x00620004
_RECOMMENDED_CIELAB: Final = 0x0062000D
_PIXEL_PADDING_VALUE: Final = 0x00280120
_GOLDEN: Final = 0.618034
"""Fraction of the hue circle between consecutive labels: the first dozens are all distinct."""
_D50: Final = (0.96422, 1.0, 0.82521)
_TO_RGB: Final = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
"""Convert from XYZ under D50, the colours of DICOM (PS3.3 C.10.7.1.1), to linear sRGB."""


def is_label_map(header: Header) -> bool:
    """Whether the pixels are segment numbers."""
    return header.text(_SEGMENTATION_TYPE).upper() == "LABELMAP"


def coloured(header: Header, pixels: Array) -> Array:
    """Colour labels of 8 or 16 bits, unsigned: `(rows, columns, 3)` uint8."""
    import numpy as np

    table = np.zeros((1 << 8 * pixels.itemsize, 3), "u1")
    recommended = {
        int(number): _from_cielab(lab)
        for item in header.items(_SEGMENT_SEQUENCE)
        if (number := item.number(_SEGMENT_NUMBER)) is not None and len(lab := item.numbers(_RECOMMENDED_CIELAB)) == 3
    }
    background = header.integer(_PIXEL_PADDING_VALUE, 0)
    for label in np.unique(pixels).tolist():
        if label != background:
            table[label] = recommended.get(label) or _by_number(label)
    return np.asarray(np.take(table, pixels, axis=0))


def _by_number(label: int) -> tuple[int, ...]:
    return tuple(round(255 * each) for each in colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, 0.75, 1.0))


def _from_cielab(scaled: list[float]) -> tuple[int, ...]:
    """Convert L* from 0 to 100, a* and b* from -128 to 127, each scaled to 16 bits (PS3.3 C.10.7.1.1)."""
    lightness, a, b = scaled[0] * 100 / 65535, scaled[1] * 255 / 65535 - 128, scaled[2] * 255 / 65535 - 128
    middle = (lightness + 16) / 116
    parts = (middle + a / 500, middle, middle - b / 200)
    xyz = [
        white * (part**3 if part > 6 / 29 else (part - 4 / 29) * 3 * (6 / 29) ** 2)
        for white, part in zip(_D50, parts, strict=True)
    ]
    linear = [min(max(sum(k * v for k, v in zip(row, xyz, strict=True)), 0.0), 1.0) for row in _TO_RGB]
    return tuple(round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)) for v in linear)
