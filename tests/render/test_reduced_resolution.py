"""Thumbnails of JPEG 2000 from a smaller decoding look like those from all of it."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.encaps import encapsulate

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError
from gateway.imaging.image import Image
from gateway.render import rendering
from gateway.render.reduced_resolution import reduced_frame
from gateway.render.rendering import RenderOptions, open_subject, thumbnail
from gateway.render.viewport import Viewport
from tests.support.datasets import encode, instance

J2K = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.90"]
OPTIONS = RenderOptions(media_type="image/png", viewport=Viewport(100, 100))


def scene(kind: str, samples: int = 1) -> Any:
    y, x = np.mgrid[:896, :800]
    plain = 1000 * np.sin(x / 90) * np.cos(y / 70) + (0 if kind == "<i2" else 1000)
    if kind == "u1":
        plain = plain / 8
    pixels = plain.astype(kind)
    return np.stack([pixels, pixels[::-1], 255 - pixels], -1) if samples == 3 else pixels


@pytest.mark.parametrize(("kind", "samples"), [("u1", 1), ("<u2", 1), ("<i2", 1), ("u1", 3)])
def test_like_the_whole(kind: str, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = scene(kind, samples)
    bits = 8 * pixels.itemsize
    stream = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0, mct=samples == 3)
    values = {
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "YBR_RCT" if samples == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(kind == "<i2"),
        "PixelData": encapsulate([stream]),
    }
    data = encode(instance(rows=896, columns=800, **values), J2K.uid)

    def read(at: int, length: int) -> bytes:
        return data[at : at + length]

    made = open_subject(read, 0, len(data), J2K.uid)
    found = reduced_frame(made.pixels.stored(read, 0), J2K, made.pixels.image, 9)
    assert found is not None
    assert (found[0].rows, found[0].columns) == (112, 100)
    quick = thumbnail(made, read, 0, OPTIONS)
    monkeypatch.setattr(rendering, "reduced_frame", lambda *_: None)
    slow = thumbnail(made, read, 0, OPTIONS)
    quick, slow = (np.asarray(Pillow.open(io.BytesIO(each))).astype(int) for each in (quick, slow))
    assert quick.shape == slow.shape
    assert np.abs(quick - slow).mean() < 5  # the smaller picture is that of the corners, not of the middles


def test_another_image_than_is_said() -> None:
    stream = imagecodecs.jpeg2k_encode(scene("u1"), codecformat="j2k", reversible=True)
    with pytest.raises(DataSetError):
        reduced_frame(stream, J2K, Image(1000, 1000, 1, "MONOCHROME2", 8, 8, False, 1), 4)


def test_what_is_broken_or_small_is_left_to_the_decoder() -> None:
    stream = imagecodecs.jpeg2k_encode(scene("u1"), codecformat="j2k", reversible=True)
    image = Image(896, 800, 1, "MONOCHROME2", 8, 8, False, 1)
    assert reduced_frame(stream, J2K, image, 4) is not None
    assert reduced_frame(stream, J2K, image, 1.9) is None
    broken = stream[:300] + bytes(len(stream) - 600) + stream[-300:]
    reduced_frame(broken, J2K, image, 4)  # a picture or none, but no error of another kind
