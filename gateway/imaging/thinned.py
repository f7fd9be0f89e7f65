"""Grey frames at a fraction of their size, before anything is looked up: a thumbnail costs a thumbnail's work.

Values are averaged where the rest of the way would have averaged greys. Read in bands, so that of an uncompressed frame
never more than one is in memory. JPEG 2000, which holds smaller pictures itself, is `reduced.py`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.dicom.source import Read
from gateway.imaging.grey import Words
from gateway.imaging.image import Image
from gateway.imaging.pixels import PixelData

_BAND: Final = 64 << 10
"""Bytes: small enough to stay in a processor's cache, and to be handed out by malloc without new pages."""


def thinned(pixels: PixelData, words: Words, read: Read, frame: int, factor: float) -> tuple[Image, bytes] | None:
    """A decoded frame, from 0, `factor` times smaller at most, and the Image that it then is.

    Of each square of pixels the mean of four, spread over it. None where it is not made so: of colours, of words that
    are not plain values, and of what is not twice as large as it needs to be. DataSetError as `PixelData.native`.
    """
    import numpy as np

    image = pixels.image
    step = int(factor) // 2
    if not step or image.samples != 1 or image.floating or image.allocated not in (8, 16):
        return None
    if words.high_bit != words.stored - 1:
        return None
    side = 2 * step
    rows, columns = image.rows // side, image.columns // side
    kind = f"<{'i' if image.signed else 'u'}{image.allocated // 8}"
    small = np.empty((rows, columns), kind)
    unused = image.allocated - words.stored
    band = max(1, _BAND // (image.frame_size // image.rows * side)) * side
    top = 0
    for data in pixels.bands(read, frame, band):
        values = np.frombuffer(data, kind).reshape(-1, image.columns)
        values = values[: len(values) // side * side : step, : columns * side : step]
        if unused:
            values = (values << unused) >> unused
        lines = np.add(values[::2], values[1::2], dtype="i4")
        mean = (lines[:, ::2] + lines[:, 1::2] + 2) >> 2
        small[top : top + len(mean)] = mean
        top += len(mean)
    return replace(image, rows=rows, columns=columns, frames=1), small.tobytes()
