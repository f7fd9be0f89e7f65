"""Downsampling of grey frames before any look-up, so that a thumbnail costs a thumbnail's work.

Values are averaged where the pipeline would average greys. An uncompressed frame is read in bands, with one in memory
at a time. `reduced_resolution.py` has JPEG 2000, whose streams hold smaller images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.dicom.source import Read
from gateway.imaging.image import Image
from gateway.imaging.pixels import PixelData
from gateway.render.grey import SampleLayout

_BAND: Final = 64 << 10
"""Bytes: small enough for a processor's cache, and for malloc to serve without new pages."""


def downsampled(
    pixels: PixelData, layout: SampleLayout, read: Read, frame: int, factor: float
) -> tuple[Image, bytes] | None:
    """Decode a frame, from 0, at most `factor` times smaller; returns its Image and bytes.

    Each pixel is the mean of four, spread over the square that it stands for. None for colours, for samples that are
    not plain values, and for a factor below two. Raises DataSetError like `PixelData.native`.
    """
    import numpy as np

    image = pixels.image
    step = int(factor) // 2
    if not step or image.samples_per_pixel != 1 or image.floating or image.bits_allocated not in (8, 16):
        return None
    if layout.high_bit != layout.bits_stored - 1:
        return None
    side = 2 * step
    rows, columns = image.rows // side, image.columns // side
    kind = f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}"
    small = np.empty((rows, columns), kind)
    unused = image.bits_allocated - layout.bits_stored
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
