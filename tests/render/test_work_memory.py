"""render/rendering.py: what a picture takes while it is made is said before, and is not far from it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gateway.render.rendering import RenderOptions, open_subject, render_frame
from tests.support.datasets import EXPLICIT, encode
from tests.web.test_rendered import image

SIDE = 1000


@pytest.mark.case("item 1 a frame's memory is reserved by its real size")
@pytest.mark.parametrize(("samples", "bits"), [(1, 8), (1, 16), (3, 8)])
def test_what_it_takes(samples: int, bits: int):
    source = image("1.1", "1.1.1", "1.1.1.1")
    source.Rows = source.Columns = SIDE
    source.SamplesPerPixel = samples
    source.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    source.PlanarConfiguration = 0 if samples == 3 else None
    source.BitsAllocated = source.BitsStored = bits
    source.HighBit = bits - 1
    values = np.arange(SIDE * SIDE * samples) % (1 << bits)
    source.PixelData = values.astype(f"<u{bits // 8}").tobytes()
    data = encode(source, EXPLICIT)

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    found = open_subject(read, 0, len(data), EXPLICIT)
    render_frame(found, read, 0, RenderOptions())  # imports take memory, too
    tracemalloc.start()
    render_frame(found, read, 0, RenderOptions())
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.work_bytes / 4 < peak <= found.work_bytes
