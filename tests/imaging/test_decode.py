"""Codecs that no sample file shows: the pixels that were encoded come back, and what is broken is refused."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import GatewayError
from gateway.imaging.decode import decode_frame
from gateway.imaging.image import Image

HTJ2K = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.201"]
LOSSLESS = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.70"]


def picture(kind: str, samples: int = 1) -> tuple[np.ndarray, Image]:
    shape = (64, 48, 3) if samples == 3 else (64, 48)
    pixels = (np.random.default_rng(1).normal(100, 30, shape)).astype(kind)
    bits = 8 * pixels.itemsize
    return pixels, Image(64, 48, samples, "RGB" if samples == 3 else "MONOCHROME2", bits, bits, kind[0] == "i", 1)


@pytest.mark.parametrize(("kind", "samples"), [("u1", 1), ("u2", 1), ("i2", 1), ("u1", 3)])
def test_high_throughput_jpeg_2000(kind: str, samples: int) -> None:
    pixels, image = picture(kind, samples)
    assert decode_frame(imagecodecs.htj2k_encode(pixels, reversible=True), HTJ2K, image) == pixels.tobytes()


@pytest.mark.parametrize(("kind", "samples"), [("u1", 1), ("u2", 1), ("u1", 3)])
def test_lossless_jpeg(kind: str, samples: int) -> None:
    pixels, image = picture(kind, samples)
    if samples == 3:
        data = imagecodecs.jpeg8_encode(pixels, lossless=True, colorspace="RGB", outcolorspace="RGB")
    else:
        data = imagecodecs.jpeg8_encode(pixels, lossless=True)
    assert decode_frame(data, LOSSLESS, image) == pixels.tobytes()


@pytest.mark.parametrize("syntax", [HTJ2K, LOSSLESS])
def test_broken_streams_are_decoded_or_refused(syntax: object) -> None:
    """Some decoders crash on these, and some swallow their errors."""
    pixels, image = picture("u2")
    encode = imagecodecs.htj2k_encode if syntax is HTJ2K else imagecodecs.jpeg8_encode
    data = encode(pixels, reversible=True) if syntax is HTJ2K else encode(pixels, lossless=True)
    source = random.Random(1)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(source.choice((1, 2, 20))):
            broken[source.randrange(len(data))] = source.randrange(256)
        try:
            assert len(decode_frame(bytes(broken), syntax, image)) == image.frame_size
        except GatewayError:
            refused += 1
    assert refused


@pytest.mark.parametrize("number", [53, 55])
@pytest.mark.parametrize("samples", [1, 3])
def test_progressive_jpeg(number: int, samples: int) -> None:
    """Retired, and still about."""
    y, x = np.mgrid[0:64, 0:48].astype(np.uint8)
    pixels = x * 2 + y if samples == 1 else np.stack((x, y, x + y), axis=2)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", progressive=True, quality=95)
    image = Image(64, 48, samples, "YBR_FULL_422" if samples == 3 else "MONOCHROME2", 8, 8, False, 1)
    syntax = TRANSFER_SYNTAXES[f"1.2.840.10008.1.2.4.{number}"]
    found = np.frombuffer(decode_frame(file.getvalue(), syntax, image), np.uint8).reshape(pixels.shape)
    assert np.abs(found.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("number", [92, 93])
def test_jpeg_2000_part_2_with_a_stream_for_each_frame(number: int) -> None:
    pixels, image = picture("u2")
    syntax = TRANSFER_SYNTAXES[f"1.2.840.10008.1.2.4.{number}"]
    data = imagecodecs.jpeg2k_encode(pixels, 0, codecformat="J2K", reversible=True)
    assert decode_frame(data, syntax, image) == pixels.tobytes()


@pytest.mark.parametrize("number", [110, 111, 112])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(number: int, container: bool) -> None:
    """Bare, and in the file format that a recompressed JPEG needs (ISO 18181-2)."""
    syntax = TRANSFER_SYNTAXES[f"1.2.840.10008.1.2.4.{number}"]
    for kind, samples in (("u1", 1), ("u2", 1), ("u1", 3)):
        pixels, image = picture(kind, samples)
        data = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container)
        assert decode_frame(data, syntax, image) == pixels.tobytes()


def test_jpeg_xl_made_of_a_jpeg() -> None:
    pixels, image = picture("u1", 3)
    jpeg = imagecodecs.jpeg8_encode(pixels // 4 * 4, 90)
    image = replace(image, photometric="YBR_FULL_422")
    before = decode_frame(jpeg, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"], image)
    data = imagecodecs.jpegxl_encode_jpeg(jpeg)
    after = decode_frame(data, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.111"], image)
    difference = np.frombuffer(before, np.uint8).astype(int) - np.frombuffer(after, np.uint8)
    assert np.abs(difference).mean() < 3
