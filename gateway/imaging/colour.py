"""Colour images: palettes, YBR and deep RGB to RGB of 8 bits (PS3.3 C.7.6.3.1.2).

Which colours decoded pixels are in is `image.decoded_photometric`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.imaging.grey import Words
from gateway.imaging.header import Header
from gateway.imaging.lut import palette

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PALETTE: Final = "PALETTE COLOR"
_PIXEL_PRESENTATION: Final = 0x00089205
_RED_DESCRIPTOR: Final = 0x00281101


def from_palette(header: Header, words: Words, pixels: Array) -> Array:
    """`(rows, columns, 3)` uint8 for indices. DataSetError without a palette that can be used."""
    import numpy as np

    if pixels.dtype.kind == "f" or words.allocated > 16:
        raise DataSetError(f"palette indices of {words.allocated} bits (PS3.3 C.7.6.3.1.5)")
    first, colours = palette(header)
    index = np.clip(words.values(np.arange(1 << words.allocated)) - first, 0, len(colours) - 1)
    return np.asarray(np.take(colours[index], pixels, axis=0))


def is_supplemented(header: Header, words: Words) -> bool:
    """Whether a monochrome image has colours for some of its values (PS3.3 C.8.13.3.1.1, C.7.9.1: "Supplemental")."""
    presentation = header.text(_PIXEL_PRESENTATION)
    return presentation in ("COLOR", "MIXED") and _RED_DESCRIPTOR in header and words.allocated <= 16


def supplement(header: Header, words: Words, pixels: Array, grey: Array) -> Array:
    """`(rows, columns, 3)`: colours for the values from the palette's first one on, grey as it is for those below."""
    import numpy as np

    first, colours = palette(header)
    values = words.values(pixels) - first
    return np.asarray(
        np.where(
            (values >= 0)[..., np.newaxis],
            colours[np.clip(values, 0, len(colours) - 1)],
            grey[..., np.newaxis],
        )
    )


def to_rgb(photometric: str, words: Words, pixels: Array) -> Array:
    """`(rows, columns, 3)` uint8 for pixels of three samples. DataSetError for colours that are not known here."""
    if words.stored > 8:
        pixels = words.values(pixels) >> (words.stored - 8)
    pixels = pixels.astype("u1", copy=False)
    if photometric == "RGB":
        return pixels
    if photometric.startswith("YBR_FULL"):
        import numpy as np
        from PIL import Image

        rows, columns = pixels.shape[:2]
        image = Image.frombuffer("YCbCr", (columns, rows), pixels.tobytes(), "raw", "YCbCr", 0, 1)
        return np.asarray(image.convert("RGB"))
    if photometric.startswith("YBR_PARTIAL"):
        return _from_partial(pixels)
    raise DataSetError(f"three samples of {photometric[:20] or 'no photometric interpretation'} are not shown here")


def _from_partial(pixels: Array) -> Array:
    """Luminance from 16 to 235, chrominance from 16 to 240 around 128 (ITU-R BT.601)."""
    import numpy as np

    y, b, r = (pixels[..., index].astype("f4") for index in range(3))
    y, b, r = (y - 16.0) * (255.0 / 219.0), (b - 128.0) * (255.0 / 224.0), (r - 128.0) * (255.0 / 224.0)
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=-1)
    return np.rint(np.clip(rgb, 0.0, 255.0)).astype("u1")
