"""What is encoded comes back: exactly, or nearly where a loss was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import UnsupportedTransferSyntax
from gateway.imaging import encode
from gateway.imaging.codestream import parse_jpeg
from gateway.imaging.decode import DECODABLE, decode_frame
from gateway.imaging.encode import ENCODERS, LOSSLESS, encode_frame, photometric
from gateway.imaging.image import Image
from gateway.imaging.jpeg2000 import parse_jpeg2000
from gateway.imaging.jpegxl import parse_jpegxl

LOSSY = sorted(uid for uid, encoder in ENCODERS.items() if encoder.with_loss is not None)
J2K, HTJ2K, RPCL, RLE = (f"1.2.840.10008.1.2.{end}" for end in ("4.90", "4.201", "4.202", "5"))


def grey(allocated: int, stored: int, signed: bool = False, rows: int = 8, columns: int = 8) -> Image:
    return Image(rows, columns, 1, "MONOCHROME2", allocated, stored, signed, 1)


def coloured(allocated: int, stored: int, space: str = "RGB", rows: int = 8, columns: int = 8) -> Image:
    return Image(rows, columns, 3, space, allocated, stored, False, 1)


def round_trip(pixels: bytes, image: Image, uid: str, quality: int | None = None) -> bytes:
    syntax = TRANSFER_SYNTAXES[uid]
    data = encode_frame(pixels, image, syntax, quality)
    stored = replace(image, photometric_interpretation=photometric(image, syntax, quality))
    assert stored.decoded_photometric(syntax) == ("RGB" if uid.endswith((".50", ".51")) and image.samples_per_pixel == 3
                                                  else image.photometric_interpretation)  # fmt: skip
    return decode_frame(data + b"\0" * (len(data) & 1), syntax, stored)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Image, bytes]:
    """Any image that is not large, noisy or smooth, within its bits or above them."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    allocated = draw(st.sampled_from((1, 8, 8, 16, 16, 16, 32, 64)))
    stored = draw(st.integers(1, allocated))
    signed = draw(st.booleans()) and allocated > 1
    samples = draw(st.sampled_from((1, 1, 3))) if allocated > 1 else 1
    space = draw(
        st.sampled_from(("RGB", "YBR_FULL") if samples == 3 else ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))
    )
    image = Image(rows, columns, samples, space, allocated, stored, signed, 1)
    noise = np.random.default_rng(draw(st.integers(0, 1000)))
    if allocated == 1:
        return image, np.packbits(noise.integers(0, 2, rows * columns, np.uint8), bitorder="little").tobytes()
    kind = np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}")
    least, most = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    if draw(st.integers(0, 5)) == 0:
        least, most = int(np.iinfo(kind).min), int(np.iinfo(kind).max)  # an overlay in the upper bits
    shape = (rows, columns, samples)
    values = noise.integers(least, most, shape, kind, endpoint=True)
    if allocated <= 32 and draw(st.booleans()):
        ramp = np.linspace(least, most, rows * columns * samples).reshape(shape)
        values = np.clip(ramp, least, most).astype(kind)
    return image, values.tobytes()


@pytest.mark.parametrize("uid", sorted(LOSSLESS))
@settings(max_examples=60, deadline=None)
@given(frame=frames())
def test_without_loss(uid: str, frame: tuple[Image, bytes]) -> None:
    image, pixels = frame
    try:
        after = round_trip(pixels, image, uid)
    except UnsupportedTransferSyntax:
        return
    assert after == pixels


@pytest.mark.case("few bits in large elements are JPEG 2000 for every imagecodecs")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stored", [1, 7, 8, 9, 16])
def test_few_bits_in_large_elements(stored: int, signed: bool) -> None:
    """imagecodecs 2026.10 refuses 16-bit arrays of up to 8 bits a sample."""
    image = grey(16, stored, signed)
    least, most = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    pixels = np.array([least, most] * 32, "<i2" if signed else "<u2").tobytes()
    assert round_trip(pixels, image, J2K) == pixels


def test_whatever_is_encoded_is_decoded() -> None:
    assert ENCODERS.keys() <= DECODABLE


@pytest.mark.parametrize("uid", sorted(LOSSLESS))
def test_what_each_takes(uid: str) -> None:
    """No codec says no to the images that there are most of."""
    for image in (grey(8, 8), grey(16, 12), grey(16, 16), coloured(8, 8)):
        encode.check(image, TRANSFER_SYNTAXES[uid])
    xl = uid.endswith((".110", ".112"))
    for image in (grey(16, 12, signed=True), grey(16, 16, signed=True), coloured(8, 8, "YBR_FULL")):
        if xl:
            with pytest.raises(UnsupportedTransferSyntax):
                encode.check(image, TRANSFER_SYNTAXES[uid])
        else:
            encode.check(image, TRANSFER_SYNTAXES[uid])


def smooth(image: Image) -> np.ndarray:
    """A ramp with a hill on it, over most of the range."""
    y, x = np.mgrid[0 : image.rows, 0 : image.columns] / max(image.rows, image.columns)
    values = 0.2 + 0.5 * x + 0.2 * np.exp(-((y - 0.5) ** 2) * 20)
    values = values * (1 << image.bits_stored) - (1 << image.bits_stored - 1 if image.signed else 0)
    kind = f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}"
    if image.samples_per_pixel == 3:
        values = np.stack((values, values[::-1], values * 0.7), axis=2)
    return np.ascontiguousarray(values).astype(kind)


@pytest.mark.parametrize("quality", [50, 90, 100])
@pytest.mark.parametrize("uid", LOSSY)
@pytest.mark.parametrize(
    "image",
    [
        grey(8, 8, rows=60, columns=80),
        grey(16, 12, rows=60, columns=80),
        grey(16, 16, rows=60, columns=80),
        grey(16, 12, signed=True, rows=60, columns=80),
        coloured(8, 8, rows=60, columns=80),
    ],
    ids=lambda image: f"{image.samples_per_pixel}x{image.bits_stored}{'s' if image.signed else ''}",
)
def test_with_loss(image: Image, uid: str, quality: int) -> None:
    syntax = TRANSFER_SYNTAXES[uid]
    try:
        encode.check(image, syntax, quality)
    except UnsupportedTransferSyntax:
        assert (
            image.signed
            or (uid.endswith(".50") and image.bits_stored > 8)
            or (uid.endswith(".51") and image.bits_stored > 12)
        )
        return
    before = smooth(image)
    after = np.frombuffer(round_trip(before.tobytes(), image, uid, quality), before.dtype).reshape(before.shape)
    allowed = {50: 0.08, 90: 0.035, 100: 0.03}[quality] * (1 << image.bits_stored)
    assert np.abs(after.astype(np.int64) - before).max() <= allowed
    assert np.abs(after.astype(np.int64) - before).mean() <= allowed / 4


@pytest.mark.parametrize("uid", LOSSY)
def test_a_lower_quality_is_shorter(uid: str) -> None:
    image = grey(8, 8, rows=128, columns=128)
    pixels = (smooth(image) + np.random.default_rng(1).integers(0, 8, (128, 128), np.uint8)).tobytes()
    sizes = [len(encode_frame(pixels, image, TRANSFER_SYNTAXES[uid], quality)) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < image.frame_size


class TestStreams:
    """What stands in them besides pixels."""

    @pytest.mark.parametrize("uid", [J2K, HTJ2K, RPCL])
    @pytest.mark.parametrize("signed", [True, False])
    def test_precision_is_bits_stored(self, uid: str, signed: bool) -> None:
        image = grey(16, 12, signed)
        stream = parse_jpeg2000(encode_frame(smooth(image).tobytes(), image, TRANSFER_SYNTAXES[uid]))
        assert (stream.precision, stream.signed) == (12, signed)

    @pytest.mark.parametrize(("stored", "expected"), [(12, 12), (10, 10), (16, 16), (1, 2)])
    def test_precision_of_lossless_jpeg(self, stored: int, expected: int) -> None:
        image = grey(16, stored)
        data = encode_frame(bytes(128), image, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.70"])
        assert parse_jpeg(data).precision == expected
        assert parse_jpeg(data).rows == 8

    def test_jpeg_xl_is_a_bare_stream(self) -> None:
        for stored in (8, 12, 13, 16):
            image = grey(16, stored)
            data = encode_frame(smooth(image).tobytes(), image, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.110"])
            assert data[:2] == b"\xff\x0a"
            assert parse_jpegxl(data).precision == stored

    @pytest.mark.parametrize(("space", "transformed"), [("RGB", 1), ("YBR_FULL", 0)])
    @pytest.mark.parametrize("uid", [J2K, HTJ2K, RPCL])
    def test_colours_are_transformed_where_it_is_said(self, uid: str, space: str, transformed: int) -> None:
        """YBR_RCT where the stream has a multiple component transformation (ISO 15444-1 A.6.1), and only there."""
        image = coloured(8, 8, space)
        data = encode_frame(smooth(image).tobytes(), image, TRANSFER_SYNTAXES[uid])
        style = data.index(b"\xff\x52")
        assert data[style + 8] == transformed
        assert photometric(image, TRANSFER_SYNTAXES[uid]) == ("YBR_RCT" if transformed else space)

    @pytest.mark.parametrize(("rows", "columns"), [(512, 512), (64, 64), (65, 10), (3000, 1000), (1, 1)])
    def test_rpcl_options(self, rows: int, columns: int) -> None:
        """PS3.5 §10.18: RPCL, TLM, and a lowest resolution of 64 at most."""
        image = grey(8, 8, rows=rows, columns=columns)
        data = encode_frame(bytes(rows * columns), image, TRANSFER_SYNTAXES[RPCL])
        style = data.index(b"\xff\x52")
        order, levels = data[style + 5], data[style + 9]
        assert order == 2
        assert min(rows, columns) >> levels <= 64
        assert b"\xff\x55" in data[: style + 200]

    def test_rle_rows_are_encoded_one_by_one(self) -> None:
        """PS3.5 G.3.1; and segments have an even length (G.4)."""
        image = grey(8, 8, rows=3, columns=5)
        data = encode_frame(bytes([7]) * 15, image, TRANSFER_SYNTAXES[RLE])
        assert data[:8] == b"\1\0\0\0\x40\0\0\0"
        assert data[64:] == bytes((256 - 4, 7)) * 3

    def test_no_spiff_header(self) -> None:
        image = grey(8, 8)
        data = encode_frame(bytes(64), image, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.80"])
        assert data[:4] == b"\xff\xd8\xff\xf7"


class TestRefusals:
    @pytest.mark.parametrize(
        ("image", "uid", "quality"),
        [
            (grey(8, 8), "1.2.840.10008.1.2.4.50", None),  # cannot but lose
            (grey(16, 12), "1.2.840.10008.1.2.4.50", 90),
            (grey(16, 13), "1.2.840.10008.1.2.4.51", 90),
            (grey(8, 8), J2K, 90),
            (grey(16, 16, signed=True), "1.2.840.10008.1.2.4.81", 90),
            (replace(grey(8, 8), photometric_interpretation="PALETTE COLOR"), "1.2.840.10008.1.2.4.91", 90),
            (grey(32, 32), J2K, None),
            (grey(1, 1), RLE, None),
            (replace(grey(32, 32), floating=True), RLE, None),
            (coloured(8, 8, "HSV"), J2K, None),
            (grey(8, 8), "1.2.840.10008.1.2.4.100", None),
            (grey(8, 8), "1.2.840.10008.1.2.4.111", None),
        ],
    )
    def test_what_cannot_be(self, image: Image, uid: str, quality: int | None) -> None:
        with pytest.raises(UnsupportedTransferSyntax):
            encode_frame(bytes(image.frame_size), image, TRANSFER_SYNTAXES[uid], quality)
