"""Frames that are broken or lie: a DataSetError or pixels, in bounded memory and time, never the end of a process."""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError
from gateway.imaging.decode import decode_frame
from gateway.imaging.encode import ENCODERS, encode_frame
from gateway.imaging.image import Image

J2K, JPEG, LS, XL, RLE, DEFLATED = (
    TRANSFER_SYNTAXES[f"1.2.840.10008.1.2.{end}"] for end in ("4.90", "4.50", "4.80", "4.110", "5", "8.1")
)
COMPRESSED = sorted(ENCODERS.keys() - {"1.2.840.10008.1.2.1.98"})


@pytest.mark.fuzz
@pytest.mark.parametrize("uid", COMPRESSED)
def test_broken_frames_do_not_end_a_process(uid: str, tmp_path: Path) -> None:
    last = tmp_path / "last"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.support.streams", uid, "1", "5000", str(last)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:], last.read_bytes().hex())


def large(side: int) -> Image:
    return Image(side, side, 1, "MONOCHROME2", 8, 8, False, 1)


def refuse(data: bytes, syntax: object, image: Image, match: str) -> None:
    before = time.monotonic()
    with pytest.raises(DataSetError, match=match):
        decode_frame(data, syntax, image)  # type: ignore[arg-type]
    assert time.monotonic() - before < 1


class TestJpeg2000:
    SIDE = 2048

    def stream(self) -> bytearray:
        return bytearray(encode_frame(bytes(self.SIDE**2), large(self.SIDE), J2K))

    def with_precincts(self, size: int) -> bytes:
        data = self.stream()
        at = data.index(b"\xff\x52")
        style = bytes([data[at + 4] | 1]) + bytes(data[at + 5 : at + 14]) + bytes([size] * (data[at + 9] + 1))
        data[at : at + 14] = b"\xff\x52" + (2 + len(style)).to_bytes(2, "big") + style
        return bytes(data)

    def test_as_it_is(self) -> None:
        assert decode_frame(bytes(self.stream()), J2K, large(self.SIDE)) == bytes(self.SIDE**2)

    def test_precincts_of_two_pixels(self) -> None:
        """OpenJPEG takes 2 GB for them, of 196 bytes."""
        refuse(self.with_precincts(0x11), J2K, large(self.SIDE), "pieces")

    def test_precincts_of_two_pixels_in_the_style_of_a_component(self) -> None:
        data = self.with_precincts(0x11)
        at = data.index(b"\xff\x52")
        style = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        component = b"\0\1" + style[9:]
        plain = bytes(self.stream())
        end = plain.index(b"\xff\x52") + 14
        component = b"\xff\x53" + (2 + len(component)).to_bytes(2, "big") + component
        refuse(plain[:end] + component + plain[end:], J2K, large(self.SIDE), "pieces")
        # The same in the header of a tile-part.
        start = plain.index(b"\xff\x90") + 12
        refuse(plain[:start] + component + plain[start:], J2K, large(self.SIDE), "pieces")

    def test_code_blocks_of_four_pixels(self) -> None:
        data = self.stream()
        at = data.index(b"\xff\x52")
        data[at + 10 : at + 12] = b"\0\0"
        refuse(bytes(data), J2K, large(self.SIDE), "pieces")

    def test_tiles_of_one_pixel(self) -> None:
        data = self.stream()
        at = data.index(b"\xff\x51")
        data[at + 22 : at + 30] = (1).to_bytes(4, "big") * 2
        refuse(bytes(data), J2K, large(self.SIDE), "tiles")

    def test_a_component_smaller_than_the_image(self) -> None:
        data = self.stream()
        at = data.index(b"\xff\x51")
        data[at + 41] = 2
        refuse(bytes(data), J2K, large(self.SIDE), "size of the image")

    def test_more_samples_than_are_worth_it(self) -> None:
        image = Image(16384, 16384, 1, "MONOCHROME2", 8, 8, False, 1)
        data = self.stream()
        at = data.index(b"\xff\x51")
        data[at + 6 : at + 14] = (16384).to_bytes(4, "big") * 2
        data[at + 22 : at + 30] = (16384).to_bytes(4, "big") * 2
        refuse(bytes(data), J2K, image, "too much")

    def test_in_the_file_format(self) -> None:
        """Which DICOM does not have, and some writers do."""
        pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
        image = Image(64, 64, 1, "MONOCHROME2", 16, 16, False, 1)
        data = imagecodecs.jpeg2k_encode(pixels, 0, codecformat="JP2", reversible=True)
        assert data[4:8] == b"jP  "
        assert decode_frame(data, J2K, image) == pixels.tobytes()


def test_a_jpeg_stream_of_many_scans() -> None:
    image = large(64)
    data = encode_frame(bytes(64 * 64), image, JPEG, 90)
    at = data.index(b"\xff\xda")
    refuse(data[:at] + data[at:-2] * 200 + b"\xff\xd9", JPEG, image, "scans")


def test_another_size_than_the_data_set_says() -> None:
    for uid in COMPRESSED:
        syntax = TRANSFER_SYNTAXES[uid]
        if syntax in (RLE, DEFLATED):
            continue
        quality = None if ENCODERS[uid].without_loss else 90
        data = encode_frame(bytes(64 * 64), large(64), syntax, quality)
        refuse(data, syntax, large(65), "by 6[45]")


@pytest.mark.parametrize("uid", COMPRESSED)
def test_a_frame_that_is_cut_short(uid: str) -> None:
    """Whatever is left of it: some decoders fill up the rest in silence."""
    syntax = TRANSFER_SYNTAXES[uid]
    image = large(64)
    pixels = np.random.default_rng(1).integers(0, 256, 64 * 64, np.uint8).tobytes()
    data = encode_frame(pixels, image, syntax, None if ENCODERS[uid].without_loss else 90)
    for left in (0, 1, 10, 64, len(data) // 2, len(data) - 70):
        with pytest.raises(DataSetError):
            decode_frame(data[:left], syntax, image)


def test_frames_that_inflate_to_more() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(bytes(50 << 20)) + deflate.flush()
    refuse(data, DEFLATED, large(64), "inflates to more")


class TestJpegXl:
    """Flags of the header (ISO 18181-1 Annex D) that cost memory, or turn the picture."""

    def header(self, *fields: tuple[int, int]) -> bytes:
        """`fields` are values and bits, after the signature and a size of 64 by 64."""
        number = at = 0
        for value, bits in ((1, 1), (7, 5), (1, 3), (0, 1), *fields):
            number |= value << at
            at += bits
        return b"\xff\x0a" + number.to_bytes(40, "little")

    @pytest.mark.parametrize(
        "fields",
        [
            ((1, 1), (1, 3)),  # extra fields, orientation
            ((1, 1), (0, 3), (0, 1), (1, 1)),  # a preview
            ((1, 1), (0, 3), (0, 1), (0, 1), (1, 1)),  # an animation
            ((0, 1), (1, 1)),  # floating point
            ((0, 1), (0, 1), (0, 2), (0, 1), (3, 2), (4095, 12)),  # 4096 more channels
            ((0, 1), (0, 1), (0, 2), (0, 1), (0, 2), (1, 1), (0, 1), (1, 1)),  # a profile
        ],
    )
    def test_what_no_image_has(self, fields: tuple[tuple[int, int], ...]) -> None:
        refuse(self.header(*fields), XL, large(64), "JPEG XL stream")

    def test_a_file_without_an_end(self) -> None:
        refuse(b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\1jxlp" + bytes(8), XL, large(64), "no stream")
        refuse(b"\0\0\0\x0cJXL \r\n\x87\n", XL, large(64), "no stream")
