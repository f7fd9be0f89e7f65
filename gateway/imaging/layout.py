"""The layout of uncompressed pixels in a value (PS3.3 C.7.6.3.1, PS3.5 §8.1), and conversion to the native layout.

Native frames begin with a byte, are little endian, colour by pixel, not subsampled. No compressed frames here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gateway.errors import DataSetError
from gateway.imaging.image import Image

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def stored_bits(image: Image, length: int) -> int:
    """Bits of a frame in an uncompressed value of `length` bytes.

    A third less for YBR_FULL_422, which has a CB and a CR for every two pixels; some writers of it have them for each.
    """
    if (
        image.samples_per_pixel != 3
        or not image.photometric_interpretation.endswith("_422")
        or image.bits_allocated != 8
    ):
        return image.frame_bits
    if length >= image.native_size:
        return image.frame_bits
    if image.columns & 1:
        raise DataSetError(
            f"{image.photometric_interpretation} with {image.columns} columns, an odd number (PS3.3 C.7.6.3.1.2)"
        )
    return image.frame_bits // 3 * 2


def cut(read: Callable[[int, int], bytes], bits: int, number: int) -> bytes:
    """Frame `number` of consecutive frames of `bits` bits each; `read` returns bytes of the value.

    A frame that does not begin with a byte is shifted so that it does (PS3.5 §8.1.1).
    """
    first = bits * number
    start, shift = divmod(first, 8)
    stop = (first + bits + 7) // 8
    data = read(start, stop - start)
    remainder = bits % 8
    if not shift and not remainder:
        return data
    whole = int.from_bytes(data, "little") >> shift & (1 << bits) - 1
    return whole.to_bytes((bits + 7) // 8, "little")


def packed(pixels: Array) -> bytes:
    """Pack pixels, 0 or not, as single bits, the first in the lowest bit of its byte (PS3.5 §8.1.1)."""
    import numpy as np

    return np.packbits(pixels.reshape(-1) != 0, bitorder="little").tobytes()


def joined(frames: Iterable[bytes], image: Image) -> Iterator[bytes]:
    """Join decoded frames to one value, without gaps, also for single bits.

    If frames do not fill their bytes, the next begins in the last byte of the one before (PS3.5 §8.1.1).
    """
    remainder = image.frame_bits % 8
    if not remainder:
        yield from frames
        return
    pending = bits = 0
    for frame in frames:
        pending |= (int.from_bytes(frame, "little") & (1 << image.frame_bits) - 1) << bits
        whole, bits = divmod(bits + image.frame_bits, 8)
        yield (pending & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        pending >>= 8 * whole
    if bits:
        yield pending.to_bytes(1, "little")


def by_pixel(data: bytes, image: Image, bits: int) -> bytes:
    """Convert a stored frame of `bits` bits to the native layout: `image.frame_size` bytes."""
    if image.samples_per_pixel != 3:
        return data
    if bits != image.frame_bits:
        return _full(data)
    if image.planar:
        if image.bits_allocated % 8:
            raise DataSetError(f"colour by plane with {image.bits_allocated} bits allocated cannot be read")
        return interleaved(data, image.bits_allocated // 8)
    return data


def interleaved(planes: bytes, size: int) -> bytes:
    """Interleave three planes of samples of `size` bytes, colour by pixel."""
    import numpy as np

    return np.frombuffer(planes, f"<u{size}").reshape(3, -1).T.tobytes()


def _full(data: bytes) -> bytes:
    """Convert Y Y CB CR for every two pixels to Y CB CR for each (PS3.3 C.7.6.3.1.2)."""
    import numpy as np

    pairs = np.frombuffer(data, np.uint8).reshape(-1, 4)
    return pairs[:, (0, 2, 3, 1, 2, 3)].tobytes()
