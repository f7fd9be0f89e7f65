"""One decoded frame and its header to a picture: the pipeline of PS3.4 Annex N, from stored values to 8 bits.

Pure: bytes and attributes in, an array of grey or RGB out. Decoding is `pixels.py`'s, files of pictures `picture.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.imaging import colour, grey
from gateway.imaging.grey import Window, Words
from gateway.imaging.header import Header
from gateway.imaging.image import Image
from gateway.imaging.overlay import Overlay, draw, overlays
from gateway.imaging.viewport import Cut, Viewport, cut, pixel_aspect

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
    """uint8 of `(rows, columns)` or `(rows, columns, 3)` for the `image.frame_size` bytes of a frame, from 0.

    `photometric` is that of `data`. With `square`, pixels that are higher than wide, or wider than high, come out
    square. DataSetError for pixels that cannot be understood, BadRequest for a viewport that does not fit the image.
    """
    pixels = samples(image, data)
    words = words_of(header, image)
    part = cut(viewport, image.rows, image.columns, pixel_aspect(header, frame) if square else 1.0)
    shown = _shown(header, photometric, frame, words, pixels, part, window)
    planes = [Overlay(part.of(plane.mask), plane.is_region) for plane in overlays(header, frame, words, pixels)]
    if planes:
        shown = shown.copy()
        for plane in planes:
            draw(shown, plane)
    return _scaled(shown, part)


def samples(image: Image, data: bytes) -> Array:
    """`(rows, columns[, 3])` of a frame as unsigned words, or floating point."""
    import numpy as np

    shape = (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)
    if image.allocated == 1:
        return np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[: image.rows * image.columns].reshape(shape)
    kind = "f" if image.floating else "u"
    return np.frombuffer(data, f"<{kind}{image.allocated // 8}").reshape(shape)


def words_of(header: Header, image: Image) -> Words:
    """Where the values stand in the words of an image."""
    high_bit = header.integer(HIGH_BIT, image.stored - 1)
    if not image.stored - 1 <= high_bit < image.allocated:
        high_bit = image.stored - 1
    return Words(image.allocated, image.stored, high_bit, image.signed)


def _shown(
    header: Header, photometric: str, frame: int, words: Words, pixels: Array, part: Cut, window: Window | None
) -> Array:
    if pixels.ndim == 3:
        return colour.to_rgb(photometric, words, part.of(pixels))
    if photometric == colour.PALETTE:
        return colour.from_palette(header, words, part.of(pixels))
    if photometric not in MONOCHROME:
        raise DataSetError(f"one sample of {photometric[:20] or 'no photometric interpretation'} is not shown here")
    pipeline = grey.pipeline(header, frame, words, pixels, inverse=MONOCHROME[photometric], window=window)
    shown = grey.show(pipeline, words, part.of(pixels))
    if pixels.dtype.kind == "u" and colour.is_supplemented(header, words):
        return colour.supplement(header, words, part.of(pixels), shown)
    return shown


def _scaled(shown: Array, part: Cut) -> Array:
    import numpy as np
    from PIL import Image as Pillow

    if part.mirrored:
        shown = shown[:, ::-1]
    if part.upside_down:
        shown = shown[::-1]
    if shown.shape[:2] == (part.height, part.width):
        return shown
    picture = Pillow.fromarray(np.ascontiguousarray(shown))
    factors = max(1, picture.width // part.width), max(1, picture.height // part.height)
    if factors != (1, 1):
        picture = picture.reduce(factors)  # the mean of so many pixels: six times as quick as the rest of the way
    if picture.size != (part.width, part.height):
        picture = picture.resize((part.width, part.height), Pillow.Resampling.BILINEAR)
    return np.asarray(picture)
