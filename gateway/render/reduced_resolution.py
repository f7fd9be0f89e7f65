"""JPEG 2000 at reduced resolution: a stream holds smaller images, and a thumbnail needs only one of those.

Pillow decodes, since imagecodecs has no such option. Unusual streams are left to `decode.py`, at full resolution.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, Final

from gateway.dicom.uids import Syntax
from gateway.imaging.decode import checked
from gateway.imaging.image import Image
from gateway.imaging.jpeg2000 import bare, parse_jpeg2000

SYNTAXES: Final = frozenset(("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"))
_MAX_LEVELS: Final = 5


def reduced_frame(data: bytes, syntax: Syntax, image: Image, factor: float) -> tuple[Image, bytes] | None:
    """Decode a frame at a half, a quarter, … of its size, at most `factor` times smaller; returns its Image and bytes.

    None where that is not possible. Raises: DataSetError when the stream does not match `image`.
    """
    from PIL import Image as Pillow

    levels = min(int(factor).bit_length() - 1, _MAX_LEVELS)
    if levels < 1 or syntax.uid not in SYNTAXES:
        return None
    data = bare(data)
    stream = checked(parse_jpeg2000(data), image)
    if stream.signed != image.signed or (image.samples_per_pixel, image.bits_allocated) not in (
        (1, 8),
        (1, 16),
        (3, 8),
    ):
        return None
    try:
        opened: Any = Pillow.open(io.BytesIO(data), formats=("JPEG2000",))
        with opened:
            opened.reduce = levels
            opened.load()
            return _as_stored(opened, stream.precision, image)
    except (OSError, ValueError, SyntaxError):  # Pillow is stricter than other decoders
        return None


def _as_stored(opened: object, precision: int, image: Image) -> tuple[Image, bytes] | None:
    """Convert to stored values: Pillow moves grey to the top of 16 bits and takes the sign away."""
    import numpy as np

    pixels = np.asarray(opened)
    small = replace(image, rows=pixels.shape[0], columns=pixels.shape[1], frames=1)
    if image.samples_per_pixel == 3:
        return (small, pixels.tobytes()) if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,) else None
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        return None
    values = pixels.astype("i4") >> (8 * pixels.itemsize - precision)
    if image.signed:
        values -= 1 << (precision - 1)
    return small, values.astype(f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}").tobytes()
