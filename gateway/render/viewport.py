"""Viewports: the region of an image that is rendered, its size and its orientation (PS3.18 §8.3.5.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import BadRequest
from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_SIDE: Final = 8192
"""Pixels of the width or height of a viewport."""
MAX_JPEG_SIDE: Final = 65500
"""Pixels of the width or height of an image: the limit of JPEG encoders."""
MAX_OUTPUT_PIXELS: Final = 1 << 27
"""Pixels of an unscaled image; the largest frames of whole slide scanners are far smaller."""
_PIXEL_ASPECT_RATIO: Final = 0x00280034
PIXEL_SPACING: Final = 0x00280030
_SPACINGS: Final = (PIXEL_SPACING, 0x00181164, 0x00182010)
"""Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing: between rows, between columns."""
PIXEL_MEASURES_SEQUENCE: Final = 0x00289110


@dataclass(frozen=True, slots=True)
class Viewport:
    """The size to fit an image into, and the region of the image to render; None for the rest of the image."""

    width: int
    height: int
    x: float = 0.0
    y: float = 0.0
    region_width: float | None = None
    """Negative: mirrored left to right."""
    region_height: float | None = None
    """Negative: mirrored top to bottom."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A viewport applied to one image: its region in whole pixels, and the size of the output."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int
    mirrored: bool = False
    upside_down: bool = False

    @property
    def step(self) -> int:
        """The stride of pixels that suffices before scaling: about three for each output pixel."""
        return max(1, min((self.right - self.left) // self.width, (self.bottom - self.top) // self.height) // 3)

    def of(self, pixels: Array) -> Array:
        """The region, downsampled by `step`."""
        return pixels[self.top : self.bottom : self.step, self.left : self.right : self.step]


def cut(viewport: Viewport | None, rows: int, columns: int, aspect: float) -> Cut:
    """Apply a viewport to an image, preserving proportions: pixels `aspect` times as high as wide come out square.

    Raises: BadRequest when the region is not inside the image, or the output would be too large.
    """
    left, top, right, bottom = 0, 0, columns, rows
    if viewport is not None:
        width = viewport.region_width if viewport.region_width is not None else columns - viewport.x
        height = viewport.region_height if viewport.region_height is not None else rows - viewport.y
        left, top = int(viewport.x), int(viewport.y)
        right, bottom = round(viewport.x + abs(width)), round(viewport.y + abs(height))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        if right > columns or bottom > rows:
            raise BadRequest(
                f"viewport: the region from {left},{top} to {right},{bottom} is not inside of "
                f"an image of {columns} by {rows} pixels"
            )
    wide, high = float(right - left), float(bottom - top)
    wide, high = (wide, high * aspect) if aspect >= 1.0 else (wide / aspect, high)
    scale = min(viewport.width / wide, viewport.height / high) if viewport is not None else 1.0
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    if max(size) > MAX_JPEG_SIDE or size[0] * size[1] > MAX_OUTPUT_PIXELS:
        raise BadRequest(f"an image of {size[0]} by {size[1]} pixels is too large; request a viewport")
    return Cut(
        *(left, top, right, bottom, *size),
        mirrored=viewport is not None and (viewport.region_width or 0) < 0,
        upside_down=viewport is not None and (viewport.region_height or 0) < 0,
    )


def pixel_aspect(header: Header, frame: int) -> float:
    """The height of a pixel divided by its width; 1.0 without a plausible value."""
    pairs = [header.numbers(_PIXEL_ASPECT_RATIO)]
    pairs += [header.group(PIXEL_MEASURES_SEQUENCE, frame).numbers(_SPACINGS[0])]
    pairs += [header.numbers(tag) for tag in _SPACINGS[1:]]
    for pair in pairs:
        if len(pair) == 2 and min(pair) > 0:
            ratio = pair[0] / pair[1]
            return ratio if 0.1 <= ratio <= 10.0 and abs(ratio - 1.0) > 0.01 else 1.0
    return 1.0
