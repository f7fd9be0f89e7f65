"""Thumbnails of grey frames are made of fewer values, look like those made of all, and are read in bands."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.imaging.pixels import PixelData, locate_pixels
from gateway.render.downsampling import downsampled
from gateway.render.grey import SampleLayout
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, encode, instance

PLAIN = SampleLayout(16, 16, 15, True)


class Object:
    """A data set that remembers the longest piece that was read of it."""

    def __init__(self, values: np.ndarray, syntax: str = EXPLICIT, **more: object) -> None:
        bits = values.itemsize * 8
        attributes = {
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(values.dtype.kind == "i"),
            "PixelData": values.tobytes(),
            **more,
        }
        frames, rows, columns = values.shape
        self.data = encode(instance(frames=frames, rows=rows, columns=columns, **attributes), syntax)
        self.longest = 0
        found = locate_pixels(self.read, 0, len(self.data), syntax)
        assert found is not None
        self.pixels: PixelData = found
        self.longest = 0

    def read(self, offset: int, length: int) -> bytes:
        self.longest = max(self.longest, length)
        return self.data[offset : offset + length]

    def downsampled(self, layout: SampleLayout, factor: float, frame: int = 0) -> np.ndarray:
        found = downsampled(self.pixels, layout, self.read, frame, factor)
        assert found is not None
        image, data = found
        kind = f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}"
        return np.frombuffer(data, kind).reshape(image.rows, image.columns)


def noise(kind: str, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, (2, 301, 403)).astype(kind)


@pytest.mark.parametrize(("kind", "low", "high"), [("u1", 0, 256), ("<u2", 0, 65536), ("<i2", -32768, 32768)])
def test_the_mean_of_four(kind: str, low: int, high: int) -> None:
    values = noise(kind, low, high)
    bits = values.itemsize * 8
    stored = Object(values)
    small = stored.downsampled(SampleLayout(bits, bits, bits - 1, kind == "<i2"), 2.9, frame=1)
    corners = values[1, :300, :402].astype(int).reshape(150, 2, 201, 2)
    assert np.array_equal(small, corners.sum(axis=(1, 3)) + 2 >> 2)


def test_larger_squares_are_thinned() -> None:
    values = noise("<i2", -1000, 1000)
    small = Object(values).downsampled(PLAIN, 6.5)
    some = values[0, :300, :402][::3, ::3].astype(int).reshape(50, 2, 67, 2)
    assert np.array_equal(small, some.sum(axis=(1, 3)) + 2 >> 2)


def test_what_stands_above_the_stored_bits_does_not_count() -> None:
    values = noise("<i2", -2048, 2048)
    dirty = (values & 0x0FFF) | 0x5000
    small = Object(dirty, BitsStored=12, HighBit=11).downsampled(SampleLayout(16, 12, 11, True), 2)
    assert np.array_equal(small, Object(values).downsampled(PLAIN, 2))


@pytest.mark.parametrize("syntax", [BIG_ENDIAN, DEFLATED])
def test_the_same_in_any_syntax(syntax: str) -> None:
    values = noise("<i2", -1000, 1000)
    pixels = values.byteswap().tobytes() if syntax == BIG_ENDIAN else values.tobytes()
    small = Object(values, syntax, PixelData=pixels).downsampled(PLAIN, 2, frame=1)
    assert np.array_equal(small, Object(values).downsampled(PLAIN, 2, frame=1))


def test_a_frame_is_never_read_whole() -> None:
    stored = Object(np.zeros((1, 2000, 2000), "<i2"))
    stored.downsampled(PLAIN, 7)
    assert 0 < stored.longest <= 64 << 10


def test_left_to_the_long_way() -> None:
    stored = Object(noise("<i2", 0, 9))
    assert downsampled(stored.pixels, PLAIN, stored.read, 0, 1.9) is None
    assert downsampled(stored.pixels, SampleLayout(16, 12, 15, True), stored.read, 0, 4) is None
