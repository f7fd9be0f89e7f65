"""Clearing of rectangles in pixels and overlay planes (PS3.15 E.3.1). numpy is imported at its first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.dicom import uids
from gateway.edit.deid.areas import Area
from gateway.errors import EditError
from gateway.imaging.encode import LOSSLESS
from gateway.imaging.image import Image
from gateway.imaging.transcode import SOURCES, Alter

_JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.70"
_INSTEAD: Final = {
    "1.2.840.10008.1.2.4.50": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.51": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.111": "1.2.840.10008.1.2.4.110",
}
"""Lossless targets for lossy syntaxes, so that no quality is lost a second time."""
LOSSY: Final = frozenset(_INSTEAD)
NEUTRAL: Final = 128
"""Neutral value of Cb and Cr."""


def target_of(transfer_syntax_uid: str) -> str:
    """The transfer syntax for the changed pixels of an object: its own where that is possible without loss.

    Raises: EditError when the pixels cannot be decoded, as in video.
    """
    target = _INSTEAD.get(transfer_syntax_uid, transfer_syntax_uid)
    if transfer_syntax_uid not in SOURCES or (uids.transfer_syntax(target).encapsulated and target not in LOSSLESS):
        raise EditError(f"PixelData: pixels in {uids.name_of(transfer_syntax_uid)} cannot be changed here")
    return target


def without(areas: Sequence[Area], stored_bits_only: int | None) -> Alter:
    """An alteration that blackens `areas` of a frame, and clears the bits outside `stored_bits_only`, a mask of the
    pixels."""

    def alter(frame: bytes, image: Image) -> bytes:
        import numpy as np

        if image.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
            plane = bits[: image.rows * image.columns].reshape(image.rows, image.columns)
            for left, top, width, height in areas:
                plane[top : top + height, left : left + width] = 0
            return np.packbits(bits, bitorder="little").tobytes()
        kind = "f" if image.floating else "u"
        values = np.frombuffer(frame, f"<{kind}{image.bits_allocated // 8}").reshape(
            image.rows, image.columns, image.samples_per_pixel
        )
        values = values.copy()
        if stored_bits_only is not None and not image.floating:
            values &= stored_bits_only
        black = (
            [0, NEUTRAL, NEUTRAL]
            if image.samples_per_pixel == 3 and image.photometric_interpretation.startswith("YBR")
            else 0
        )
        for left, top, width, height in areas:
            values[top : top + height, left : left + width] = black
        return values.tobytes()

    return alter


def clear_plane(
    data: bytes, rows: int, columns: int, frames: int, origin: tuple[int, int], areas: Sequence[Area]
) -> bytes:
    """Clear `areas` of the image in Overlay Data, in little endian; `origin`: row and column, from 1.

    The planes of all frames follow one another bit by bit (PS3.3 C.9.2).
    """
    import numpy as np

    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    count = min(frames, len(bits) // max(1, rows * columns))
    planes = bits[: count * rows * columns].reshape(count, rows, columns)
    for left, top, width, height in areas:
        first, column = top - origin[0] + 1, left - origin[1] + 1
        planes[:, max(first, 0) : max(first + height, 0), max(column, 0) : max(column + width, 0)] = 0
    return np.packbits(bits, bitorder="little").tobytes()
