"""Codecs that no sample file shows: the pixels that were encoded come back, and what is broken is refused."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import openjpeg
import PIL.Image
import pytest
from pydicom.pixels.encoders import RLELosslessEncoder as pydicom_encoder

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError, GatewayError
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
    image = replace(image, photometric_interpretation="YBR_FULL_422")
    before = decode_frame(jpeg, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"], image)
    data = imagecodecs.jpegxl_encode_jpeg(jpeg)
    after = decode_frame(data, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.111"], image)
    difference = np.frombuffer(before, np.uint8).astype(int) - np.frombuffer(after, np.uint8)
    assert np.abs(difference).mean() < 3


TAILS = [b"\0", b"\x00\xd3\x0c\x99\xfa", b"\x28\xa2\x8a\x28", b"\xff", b"\xff\xd8\xff\xd9", bytes(range(256)) * 9]
"""What devices leave behind an image: buffers are longer than what they hold."""


def streams() -> list[tuple[str, bytes]]:
    pixels, _ = picture("u1")
    return [
        ("1.2.840.10008.1.2.4.50", imagecodecs.jpeg8_encode(pixels, 90)),
        ("1.2.840.10008.1.2.4.70", imagecodecs.jpeg8_encode(pixels, lossless=True)),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode(pixels)),
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode(pixels, 0, codecformat="J2K", reversible=True)),
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode(pixels, 0, codecformat="JP2", reversible=True)),
        ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode(pixels, reversible=True)),
        ("1.2.840.10008.1.2.4.110", imagecodecs.jpegxl_encode(pixels, lossless=True)),
    ]


@pytest.mark.case("file 02 what stands behind the end of a compressed image is passed over")
@pytest.mark.parametrize(("uid", "data"), streams())
@pytest.mark.parametrize("tail", TAILS)
def test_bytes_behind_the_end_of_the_image(uid: str, data: bytes, tail: bytes) -> None:
    _, image = picture("u1")
    syntax = TRANSFER_SYNTAXES[uid]
    assert decode_frame(bytes(data) + tail, syntax, image) == decode_frame(bytes(data), syntax, image)


@pytest.mark.parametrize(("uid", "data"), streams())
def test_an_end_in_what_follows_does_not_make_a_whole_image_of_half_of_it(uid: str, data: bytes) -> None:
    _, image = picture("u1")
    if uid.endswith("110"):
        return  # it has no end marker
    with pytest.raises(DataSetError, match=r"cut short|decoded"):
        decode_frame(bytes(data[: len(data) // 2]), TRANSFER_SYNTAXES[uid], image)


def test_an_end_marker_inside_a_segment_is_none() -> None:
    """As in the thumbnail that a camera puts into APP1."""
    pixels, image = picture("u1")
    data = imagecodecs.jpeg8_encode(pixels, 90)
    thumbnail = b"\xff\xe1" + (2 + len(data)).to_bytes(2, "big") + data
    syntax = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]
    assert decode_frame(data[:2] + thumbnail + data[2:], syntax, image) == decode_frame(data, syntax, image)
    with pytest.raises(DataSetError, match="cut short"):
        decode_frame(data[:2] + thumbnail + data[2:-200], syntax, image)


def rle(*segments: bytes) -> bytes:
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


class TestRle:
    """PS3.5 Annex G."""

    SYNTAX = TRANSFER_SYNTAXES["1.2.840.10008.1.2.5"]

    @pytest.mark.case("file 02 spare bytes at the end of an RLE segment are passed over")
    @pytest.mark.parametrize("spare", [b"\0", b"\0\0", b"\x80\x80", b"\0\5\7", b"\x7f\1", b"\xff", b"\xff\3" * 3000])
    def test_spare_bytes_behind_a_segment(self, spare: bytes) -> None:
        pixels, image = picture("u2")
        planes = ((pixels >> 8).astype("u1"), (pixels & 255).astype("u1"))
        packed = [bytes(imagecodecs.packbits_encode(plane, axis=-1)) for plane in planes]
        for data in (rle(packed[0] + spare, packed[1] + spare), rle(packed[0], packed[1] + spare)):
            assert decode_frame(data, self.SYNTAX, image) == pixels.tobytes()

    def test_a_segment_that_lacks_a_byte(self) -> None:
        pixels, image = picture("u1")
        packed = bytes(imagecodecs.packbits_encode(pixels, axis=-1))
        for data in (rle(packed[:-1]), rle(packed, b"\0\0"), rle(packed)[:64], b"", rle()):
            with pytest.raises(DataSetError, match="RLE"):
                decode_frame(data, self.SYNTAX, image)

    @pytest.mark.parametrize("kind", ["u1", "u2"])
    @pytest.mark.parametrize("samples", [1, 3])
    def test_planes_and_bytes_in_their_order(self, kind: str, samples: int) -> None:
        pixels = np.random.default_rng(1).integers(0, 1 << 31, (64, 48, samples)).astype(kind)
        bits = 8 * pixels.itemsize
        image = Image(64, 48, samples, "RGB" if samples == 3 else "MONOCHROME2", bits, bits, False, 1)
        data = pydicom_encoder.encode(
            pixels.squeeze(),
            rows=64,
            columns=48,
            samples_per_pixel=samples,
            number_of_frames=1,
            bits_allocated=bits,
            bits_stored=bits,
            pixel_representation=0,
            photometric_interpretation=image.photometric_interpretation,
            **({"planar_configuration": 0} if samples == 3 else {}),
        )
        assert decode_frame(data, self.SYNTAX, image) == pixels.tobytes()


class TestSingleBits:
    """PS3.5 §8.2.2, §8.2.4, §8.2.16 with Bits Allocated 1: eight pixels a byte once they are decoded (§8.1.1)."""

    PIXELS = np.random.default_rng(1).random((61, 43)) > 0.5
    IMAGE = Image(61, 43, 1, "MONOCHROME2", 1, 1, False, 1)
    PACKED = np.packbits(PIXELS.reshape(-1), bitorder="little").tobytes()

    def forms(self) -> dict[str, tuple[str, bytes]]:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        one, bytes_of = self.PIXELS, self.PIXELS.astype("u1")
        options: dict[str, Any] = {"codecformat": "J2K", "reversible": True}
        return {
            "deflated": ("8.1", deflate.compress(self.PACKED) + deflate.flush()),
            "uncompressed": ("1.98", self.PACKED),
            "RLE, packed": ("5", rle(bytes(imagecodecs.packbits_encode(np.frombuffer(self.PACKED, "u1"))) + b"\0")),
            "RLE, a byte for each": ("5", rle(bytes(imagecodecs.packbits_encode(bytes_of, axis=-1)))),
            "JPEG 2000 by OpenJPEG, as highdicom has it": ("4.90", openjpeg.encode(one, bits_stored=1)),
            "JPEG 2000, 8 bits": ("4.90", imagecodecs.jpeg2k_encode(bytes_of, 0, **options)),
            "JPEG 2000, white": ("4.90", imagecodecs.jpeg2k_encode(bytes_of * 255, 0, **options)),
            "JPEG-LS": ("4.80", imagecodecs.jpegls_encode(bytes_of)),
            "HTJ2K": ("4.201", imagecodecs.htj2k_encode(bytes_of, reversible=True)),
        }

    @pytest.mark.case("case 07 compressed frames of single bits are decoded")
    def test_decoded(self) -> None:
        for name, (uid, data) in self.forms().items():
            assert decode_frame(data, TRANSFER_SYNTAXES["1.2.840.10008.1.2." + uid], self.IMAGE) == self.PACKED, name

    def test_what_is_deeper_is_no_single_bit(self) -> None:
        data = imagecodecs.jpeg2k_encode(self.PIXELS.astype("u2"), 0, codecformat="J2K", reversible=True)
        with pytest.raises(DataSetError, match="16 bits"):
            decode_frame(data, TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.90"], self.IMAGE)


def test_jpeg_2000_in_a_file_with_boxes_behind_it() -> None:
    """JP2 boxes, which no transfer syntax has and some writers put in (PS3.5 A.4.4)."""
    pixels, image = picture("u1")
    data = bytes(imagecodecs.jpeg2k_encode(pixels, 0, codecformat="JP2", reversible=True))
    # A box before the stream that holds another one, and one behind it.
    box = b"uuid" + bytes(16) + imagecodecs.jpeg2k_encode(pixels[:5, :5].copy(), 0, codecformat="J2K", reversible=True)
    box = (4 + len(box)).to_bytes(4, "big") + box
    at = data.index(b"jp2c") - 4
    stream = (len(data) - at).to_bytes(4, "big") + data[at + 4 :]
    assert decode_frame(data[:at] + box + stream + box, HTJ2K, image) == pixels.tobytes()
