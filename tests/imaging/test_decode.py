"""Codecs that no sample file shows: the pixels that were encoded come back, and what is broken is refused."""

from __future__ import annotations

import random

import imagecodecs
import numpy as np
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
