"""Picture files as pixels: every kind of PNG and JPEG against Pillow, and what announces more than it may."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.errors import DataSetError
from gateway.imaging import picture_file
from gateway.imaging.picture_file import JPEG, MAX_DECODED_BYTES, MAX_SIDE, PAM, PNG, decode

RANDOM = np.random.default_rng(1)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = RANDOM.integers(0, 1 << 16, (5, 7, 4), dtype=np.uint16)
DEEP_RGB = np.ascontiguousarray(DEEP[..., :3])


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def announcing(columns: int, rows: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file of a few bytes that announces any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PNGS = {
    "grey": (saved(Image.fromarray(GREY)), GREY),
    "grey with alpha": (saved(Image.fromarray(np.dstack([GREY, RGB[..., 1]]), "LA")), GREY),
    "grey with a transparent value": (saved(Image.fromarray(GREY), transparency=3), GREY),
    "single bits": (saved(Image.fromarray(GREY > 99)), np.where(GREY > 99, 255, 0).astype("u1")),
    "RGB": (saved(Image.fromarray(RGB)), RGB),
    "RGB with alpha": (saved(Image.fromarray(np.dstack([RGB, GREY]), "RGBA")), RGB),
    "palette": (
        saved(Image.fromarray(RGB).convert("P")),
        np.asarray(Image.fromarray(RGB).convert("P").convert("RGB")),
    ),
    "palette of two bits with a transparent entry": (
        saved(Image.fromarray(RGB).quantize(3), transparency=0),
        np.asarray(Image.fromarray(RGB).quantize(3).convert("RGB")),
    ),
    "grey of 16 bits": (saved(Image.fromarray(DEEP[..., 0])), DEEP[..., 0]),
    "RGB of 16 bits": (imagecodecs.png_encode(DEEP_RGB), DEEP_RGB),
    "RGB of 16 bits with alpha": (imagecodecs.png_encode(DEEP), DEEP[..., :3]),
}


@pytest.mark.parametrize("name", PNGS)
def test_png(name: str) -> None:
    data, pixels = PNGS[name]
    picture = decode(PNG, data)
    assert (picture.rows, picture.columns) == pixels.shape[:2]
    assert picture.samples_per_pixel == (3 if pixels.ndim == 3 else 1)
    assert picture.bits_allocated == 8 * pixels.dtype.itemsize
    assert picture.pixels == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    assert picture_file.announced(PNG, data).decoded_bytes >= len(picture.pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(mode: str, progressive: bool) -> None:
    data = saved(Image.fromarray(RGB).convert(mode), "JPEG", progressive=progressive, subsampling=0)
    picture = decode(JPEG, data)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    found = np.frombuffer(picture.pixels, np.uint8).reshape(expected.shape)
    assert np.abs(found.astype(int) - expected).max() <= 2  # two decoders
    assert picture_file.is_baseline_jpeg(data) is not progressive


def test_jpeg_whose_components_are_rgb() -> None:
    data = imagecodecs.jpeg8_encode(RGB, 100, colorspace="RGB", outcolorspace="RGB")
    found = np.frombuffer(decode(JPEG, data).pixels, np.uint8).reshape(RGB.shape)
    assert np.abs(found.astype(int) - RGB).max() <= 4


@pytest.mark.parametrize("pixels", [GREY, RGB, DEEP[..., 0], DEEP_RGB, DEEP])
def test_pam(pixels: np.ndarray[Any, Any]) -> None:
    rows, columns = pixels.shape[:2]
    depth, greatest = pixels[0, 0].size, (1 << 8 * pixels.dtype.itemsize) - 1
    head = f"P7\n# made here\nWIDTH {columns}\nHEIGHT {rows}\nDEPTH {depth}\nMAXVAL {greatest}\nTUPLTYPE X\nENDHDR\n"
    picture = decode(PAM, head.encode() + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())
    kept = pixels[..., :3] if depth == 4 else pixels
    assert picture.pixels == kept.astype(pixels.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        *((kind, b"") for kind in picture_file.READABLE),
        *((kind, b"x" * 100) for kind in picture_file.READABLE),
        (PNG, PNGS["RGB"][0][:-30]),
        (PNG, announcing(7, 5)),
        (PNG, announcing(7, 5, colour=5)),
        (PNG, announcing(0, 5)),
        (PNG, announcing(MAX_SIDE + 1, 1)),
        (PNG, announcing(MAX_SIDE, MAX_SIDE)),
        (JPEG, saved(Image.fromarray(RGB), "JPEG")[:-50]),
        (JPEG, saved(Image.fromarray(RGB).convert("CMYK"), "JPEG")),
        (JPEG, imagecodecs.jpeg8_encode(np.ascontiguousarray(DEEP[..., 0] >> 4), 90, bitspersample=12)),
        (PAM, b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nMAXVAL 255\nENDHDR\nxxx"),
        (PAM, b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nENDHDR\nxxxx"),
        (PAM, b"P7\nWIDTH -2\nHEIGHT 2\nDEPTH 1\nMAXVAL 255\nENDHDR\nxxxx"),
        (PAM, b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 5\nMAXVAL 255\nENDHDR\n" + bytes(20)),
        (PAM, b"P7\nWIDTH 65535\nHEIGHT 65535\nDEPTH 1\nMAXVAL 255\nENDHDR\n"),
    ],
)
def test_what_is_no_picture_is_refused(kind: str, data: bytes) -> None:
    with pytest.raises(DataSetError):
        decode(kind, data)


def test_a_picture_that_announces_too_much_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "png_decode", lambda data: pytest.fail("it was decoded"))
    side = int((MAX_DECODED_BYTES / 4) ** 0.5) + 1
    with pytest.raises(DataSetError, match="more than"):
        decode(PNG, announcing(side, side))


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(PNGS)),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 16),
)
def test_broken_files_are_refused_or_decoded(name: str, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(PNGS[name][0])
    for at, value in changes:
        data[at % len(data)] = value
    try:
        decode(PNG, bytes(data[: max(1, length)]))
    except DataSetError:
        pass
