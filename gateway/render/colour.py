"""Colour images: palettes, YBR and deep RGB converted to RGB of 8 bits (PS3.3 C.7.6.3.1.2).

`image.decoded_photometric` gives the colour space of decoded pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.render.grey import SampleLayout
from gateway.render.header import Header
from gateway.render.lut import palette

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PALETTE: Final = "PALETTE COLOR"
_PIXEL_PRESENTATION: Final = 0x00089205
_RED_DESCRIPTOR: Final = 0x00281101


def from_palette(header: Header, layout: SampleLayout, pixels: Array) -> Array:
    """Map palette indices to `(rows, columns, 3)` uint8. Raises DataSetError without a usable palette."""
    import numpy as np

    if pixels.dtype.kind == "f" or layout.bits_allocated > 16:
        raise DataSetError(f"palette indices of {layout.bits_allocated} bits (PS3.3 C.7.6.3.1.5)")
    first, colours = palette(header)
    index = np.clip(layout.values(np.arange(1 << layout.bits_allocated)) - first, 0, len(colours) - 1)
    return np.asarray(np.take(colours[index], pixels, axis=0))


def is_supplemented(header: Header, layout: SampleLayout) -> bool:
    """Whether a monochrome image has colours for some of its values (PS3.3 C.8.13.3.1.1, C.7.9.1: "Supplemental")."""
    presentation = header.text(_PIXEL_PRESENTATION)
    return presentation in ("COLOR", "MIXED") and _RED_DESCRIPTOR in header and layout.bits_allocated <= 16


def supplement(header: Header, layout: SampleLayout, pixels: Array, grey: Array) -> Array:
    """`(rows, columns, 3)`: colours for values from the palette's first one on, `grey` for those below."""
    import numpy as np

    first, colours = palette(header)
    values = layout.values(pixels) - first
    return np.asarray(
        np.where(
            (values >= 0)[..., np.newaxis],
            colours[np.clip(values, 0, len(colours) - 1)],
            grey[..., np.newaxis],
        )
    )


def to_rgb(photometric: str, layout: SampleLayout, pixels: Array) -> Array:
    """Convert pixels of three samples to `(rows, columns, 3)` uint8. Raises DataSetError for an unknown colour
    space."""
    if layout.bits_stored > 8:
        pixels = layout.values(pixels) >> (layout.bits_stored - 8)
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
    raise DataSetError(f"three samples of {photometric[:20] or 'no photometric interpretation'} cannot be rendered")


def _from_partial(pixels: Array) -> Array:
    """Convert partial-range YBR: luminance 16 to 235, chrominance 16 to 240 around 128 (ITU-R BT.601)."""
    import numpy as np

    y, b, r = (pixels[..., index].astype("f4") for index in range(3))
    y, b, r = (y - 16.0) * (255.0 / 219.0), (b - 128.0) * (255.0 / 224.0), (r - 128.0) * (255.0 / 224.0)
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=-1)
    return np.rint(np.clip(rgb, 0.0, 255.0)).astype("u1")
