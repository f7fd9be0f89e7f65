"""The pipeline of PS3.4 Annex N for one decoded frame and its header, from stored values to 8 bits.

Pure: bytes and attributes in, an array of grey or RGB out. `imaging/pixels.py` decodes, `picture.py` writes files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.imaging.image import Image
from gateway.render import colour, grey, labels
from gateway.render.grey import SampleLayout, Window
from gateway.render.header import Header
from gateway.render.overlay import Overlay, draw, overlays
from gateway.render.viewport import Cut, Viewport, cut, pixel_aspect

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

HIGH_BIT: Final = 0x00280102
MONOCHROME: Final = {"MONOCHROME1": True, "MONOCHROME2": False}
"""Whether the least value is white."""


def render(
    header: Header,
    image: Image,
    photometric: str,
    frame: int,
    data: bytes,
    *,
    window: Window | None = None,
    viewport: Viewport | None = None,
    square: bool = True,
) -> Array:
    """Render the `image.frame_size` bytes of a frame, from 0, to uint8 of `(rows, columns)` or `(rows, columns, 3)`.

    `photometric` is that of `data`. `square`: pixels that are not square are resampled to square ones. Raises:
    DataSetError for unknown pixels; BadRequest for a viewport outside the image.
    """
    pixels = samples(image, data)
    layout = layout_of(header, image)
    part = cut(viewport, image.rows, image.columns, pixel_aspect(header, frame) if square else 1.0)
    display = displayed(header, photometric, frame, layout, pixels, part, window)
    planes = [Overlay(part.of(plane.mask), plane.is_region) for plane in overlays(header, frame, layout, pixels)]
    if planes:
        display = display.copy()
        for plane in planes:
            draw(display, plane)
    return _scaled(display, part)


def samples(image: Image, data: bytes) -> Array:
    """The samples of a frame, `(rows, columns[, 3])`, unsigned or floating point."""
    import numpy as np

    shape = (
        (image.rows, image.columns)
        if image.samples_per_pixel == 1
        else (image.rows, image.columns, image.samples_per_pixel)
    )
    if image.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")
        return bits[: math.prod(shape)].reshape(shape)
    kind = "f" if image.floating else "u"
    return np.frombuffer(data, f"<{kind}{image.bits_allocated // 8}").reshape(shape)


def layout_of(header: Header, image: Image) -> SampleLayout:
    """The layout of the samples of an image."""
    high_bit = header.integer(HIGH_BIT, image.bits_stored - 1)
    if not image.bits_stored - 1 <= high_bit < image.bits_allocated:
        high_bit = image.bits_stored - 1
    return SampleLayout(image.bits_allocated, image.bits_stored, high_bit, image.signed)


def displayed(
    header: Header, photometric: str, frame: int, layout: SampleLayout, pixels: Array, part: Cut, window: Window | None
) -> Array:
    """A part of the samples as greys or colours of 8 bits, without overlays."""
    if pixels.ndim == 3:
        return colour.to_rgb(photometric, layout, part.of(pixels))
    if photometric == colour.PALETTE:
        return colour.from_palette(header, layout, part.of(pixels))
    if photometric not in MONOCHROME:
        raise DataSetError(f"one sample of {photometric[:20] or 'no photometric interpretation'} cannot be rendered")
    if window is None and pixels.dtype.kind == "u" and layout.bits_allocated in (8, 16) and labels.is_label_map(header):
        return labels.coloured(header, part.of(pixels))
    pipeline = grey.pipeline(header, frame, layout, pixels, inverse=MONOCHROME[photometric], window=window)
    display = grey.show(pipeline, layout, part.of(pixels))
    if pixels.dtype.kind == "u" and colour.is_supplemented(header, layout):
        return colour.supplement(header, layout, part.of(pixels), display)
    return display


def _scaled(display: Array, part: Cut) -> Array:
    import numpy as np
    from PIL import Image as Pillow

    if part.mirrored:
        display = display[:, ::-1]
    if part.upside_down:
        display = display[::-1]
    if display.shape[:2] == (part.height, part.width):
        return display
    picture = Pillow.fromarray(np.ascontiguousarray(display))
    factors = max(1, picture.width // part.width), max(1, picture.height // part.height)
    if factors != (1, 1):
        picture = picture.reduce(factors)  # the mean of a block of pixels: six times as fast as resize alone
    if picture.size != (part.width, part.height):
        picture = picture.resize((part.width, part.height), Pillow.Resampling.BILINEAR)
    return np.asarray(picture)
