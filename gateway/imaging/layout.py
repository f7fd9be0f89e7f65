"""How uncompressed pixels lie in a value (PS3.3 C.7.6.3.1, PS3.5 §8.1), and the one way in which they are given here.

That way is: frames from a byte boundary, little endian, colour by pixel, nothing subsampled. No compressed frames here.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import DataSetError
from gateway.imaging.image import Image


def stored_bits(image: Image, length: int) -> int:
    """Bits of a frame in an uncompressed value of `length` bytes.

    A third less for YBR_FULL_422, which has a CB and a CR for every two pixels; some that say so have them for each.
    """
    if image.samples != 3 or not image.photometric.endswith("_422") or image.allocated != 8:
        return image.frame_bits
    if length >= image.native_size:
        return image.frame_bits
    if image.columns & 1:
        raise DataSetError(f"{image.photometric} with {image.columns} columns, an odd number (PS3.3 C.7.6.3.1.2)")
    return image.frame_bits // 3 * 2


def cut(read: Callable[[int, int], bytes], bits: int, number: int) -> bytes:
    """Frame `number` of frames of `bits`, which follow each other without a gap; `read` gives bytes of the value.

    A frame that does not begin with a byte is moved so that it does (PS3.5 §8.1.1).
    """
    first = bits * number
    start, shift = divmod(first, 8)
    stop = (first + bits + 7) // 8
    data = read(start, stop - start)
    rest = bits % 8
    if not shift and not rest:
        return data
    whole = int.from_bytes(data, "little") >> shift & (1 << bits) - 1
    return whole.to_bytes((bits + 7) // 8, "little")


def by_pixel(data: bytes, image: Image, bits: int) -> bytes:
    """A frame of `bits` as `image` and its value have it, as it is given here: `image.frame_size` bytes."""
    if image.samples != 3:
        return data
    if bits != image.frame_bits:
        return _full(data)
    if image.planar:
        return interleaved(data, image.allocated // 8)
    return data


def interleaved(planes: bytes, size: int) -> bytes:
    """Three planes of samples of `size` bytes as the samples of each pixel side by side."""
    import numpy as np

    return np.frombuffer(planes, f"<u{size}").reshape(3, -1).T.tobytes()


def _full(data: bytes) -> bytes:
    """Y Y CB CR for every two pixels as Y CB CR for each (PS3.3 C.7.6.3.1.2)."""
    import numpy as np

    pairs = np.frombuffer(data, np.uint8).reshape(-1, 4)
    return pairs[:, (0, 2, 3, 1, 2, 3)].tobytes()
