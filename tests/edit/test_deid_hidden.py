"""gateway/edit/deid/hidden.py, imaging/residue.py, imaging/icc.py: what lies in and behind the pixels, and is not one.

Whether the pixels are the same is for readers to say that are not ours: imagecodecs, pydicom, DCMTK.
"""

from __future__ import annotations

import io
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_fragments, generate_frames
from pydicom.uid import UID

from gateway.dicom.uids import transfer_syntax
from gateway.edit.deid.hidden import Overwritten
from gateway.errors import DataSetError, EditError
from gateway.imaging import icc
from gateway.imaging.codestream import parse_jpeg
from gateway.imaging.encode import encode_frame
from gateway.imaging.image import Image
from gateway.imaging.residue import Blank, residue
from tests.edit.test_deid_objects import apply, item, whole
from tests.support import peers
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE, decode, encode, instance

WORD = b"DOE^JANE"
JPEG_LOSSLESS, JPEG_LS, J2K, HTJ2K, JPEG_XL, RECOMPRESSED, RLE, FRAMES_UNCOMPRESSED, FRAMES_DEFLATED = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.70", "4.80", "4.90", "4.201", "4.110", "4.111", "5", "1.98", "8.1")
)
PIXELS = np.random.default_rng(1).integers(0, 250, (64, 64)).astype("u1")
DEEP = np.random.default_rng(2).integers(0, 4000, (64, 64)).astype("<u2")
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(payload)) + payload


def jpeg(stream: bytes, *more: bytes) -> bytes:
    """A JPEG or JPEG-LS stream with words wherever it has room for them that no decoder minds."""
    hidden = [
        segment(0xFE, b"comment " + WORD),
        segment(0xE0, b"JFXX\0\x10" + WORD),
        segment(0xE1, b"Exif\0\0" + WORD),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + worded(ICC)),
        segment(0xED, b"Photoshop 3.0\0" + WORD),
        segment(0xEF, WORD),
        *more,
    ]
    stream = stream[:2] + b"".join(hidden) + stream[2:]
    scan = stream.rindex(b"\xff\xda")
    return stream[:scan] + segment(0xFE, WORD) + stream[scan:] + WORD + b"\xff\xd9" + WORD


def j2k(stream: bytes) -> bytes:
    """With comments in the main header and in that of a tile-part, and words behind its end."""
    comment = b"\xff\x64" + struct.pack(">HH", 4 + len(WORD), 1) + WORD
    sot = stream.index(b"\xff\x90\0\x0a")
    part = int.from_bytes(stream[sot + 6 : sot + 10], "big") + len(comment)
    head = stream[:sot] + comment + stream[sot : sot + 6] + struct.pack(">I", part) + stream[sot + 10 : sot + 12]
    return head + comment + stream[sot + 12 :] + WORD


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def jp2(stream: bytes) -> bytes:
    header = box(b"ihdr", struct.pack(">IIHBBBB", 64, 64, 1, 7, 7, 0, 0)) + box(b"colr", b"\2\0\0" + worded(ICC))
    start = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    middle = box(b"jp2h", header + box(b"res ", WORD)) + box(b"xml ", WORD) + box(b"uuid", bytes(16) + WORD)
    return start + middle + box(b"jp2c", j2k(stream)) + box(b"xml ", WORD)


def jxl(stream: bytes, *boxes: bytes) -> bytes:
    """A file with metadata around a bare stream in two parts."""
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes)
    start += box(b"Exif", bytes(4) + WORD) + box(b"xml ", WORD)
    parts = box(b"jxlp", bytes(4) + stream[:50]) + box(b"jumb", WORD)
    return start + parts + box(b"jxlp", b"\x80\0\0\1" + stream[50:] + WORD) + box(b"Exif", WORD)


def rle(*segments: bytes) -> bytes:
    """With words in what is left of the header, before the first segment, and behind each."""
    offsets, at = [], 64 + len(WORD)
    for each in segments:
        offsets.append(at)
        at += len(each)
    head = struct.pack(f"<{1 + len(offsets)}I", len(offsets), *offsets)
    return head + (WORD * 8)[: 64 - len(head)] + WORD + b"".join(segments)


def packed(plane: np.ndarray) -> bytes:
    return bytes(imagecodecs.packbits_encode(plane, axis=-1)) + b"\x07" + WORD


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15) + WORD


def worded(profile: bytes) -> bytes:
    """An ICC profile with words in its header, in descriptions, in a tag of nobody knows what, and between tags."""
    places = range(132, 132 + 12 * profile[131], 12)
    tags = [(profile[at : at + 4], *struct.unpack_from(">II", profile, at + 4)) for at in places]
    made = [(name, profile[start : start + length]) for name, start, length in tags if name != b"desc"]
    wide = WORD.decode().encode("utf-16-be")
    made += [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", len(WORD) + 1) + WORD + bytes(79)),
        (b"dmnd", b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(wide), 28) + wide),
        (b"priv", b"priv\0\0\0\0" + WORD),
    ]
    body, table, first = b"", b"", 132 + 12 * len(made) + len(WORD)
    for name, content in made:
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", first + len(body), len(padded))
        body += padded
    head = struct.pack(">I", first + len(body)) + profile[4:48] + WORD + profile[56:80] + WORD[:4] + bytes(16) + WORD
    return head + bytes(20) + struct.pack(">I", len(made)) + table + WORD + body


@cache
def frames() -> dict[str, tuple[str, np.ndarray, bytes]]:
    baseline = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
    plain = bytes(imagecodecs.jpeg2k_encode(PIXELS, 0, codecformat="J2K", reversible=True))
    lossless = bytes(imagecodecs.jpeg8_encode(DEEP, lossless=True, bitspersample=12))
    simple = encode_frame(DEEP.tobytes(), Image(64, 64, 1, "MONOCHROME2", 16, 12, False, 1), transfer_syntax(JPEG_LS))
    planes = [(DEEP >> 8).astype("u1"), (DEEP & 255).astype("u1")]
    again = bytes(imagecodecs.jpegxl_encode_jpeg(baseline[:2] + segment(0xFE, WORD) + baseline[2:]))
    thumbnail = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\2\1" + b"ABCDEF")
    return {
        "JPEG": (JPEG_BASELINE, PIXELS, jpeg(baseline, thumbnail, segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + WORD))),
        "JPEG lossless": (JPEG_LOSSLESS, DEEP, jpeg(lossless)),
        "JPEG-LS": (JPEG_LS, DEEP, jpeg(bytes(imagecodecs.jpegls_encode(DEEP)), segment(0xE8, WORD))),
        "JPEG-LS without SPIFF": (JPEG_LS, DEEP, simple[:2] + segment(0xFE, WORD) + simple[2:] + WORD),
        "JPEG 2000": (J2K, PIXELS, j2k(plain)),
        "JPEG 2000 in JP2": (J2K, PIXELS, jp2(plain)),
        "HTJ2K": (HTJ2K, PIXELS, j2k(bytes(imagecodecs.htj2k_encode(PIXELS, reversible=True)))),
        "JPEG XL": (JPEG_XL, PIXELS, bytes(imagecodecs.jpegxl_encode(PIXELS, lossless=True)) + WORD),
        "JPEG XL of 12 bits": (JPEG_XL, DEEP, bytes(imagecodecs.jpegxl_encode(DEEP, lossless=True)) + WORD),
        "JPEG XL in its file": (JPEG_XL, PIXELS, jxl(bytes(imagecodecs.jpegxl_encode(PIXELS, lossless=True)))),
        "a recompressed JPEG": (RECOMPRESSED, PIXELS, again),
        "RLE": (RLE, DEEP, rle(*map(packed, planes))),
        "deflated": (FRAMES_DEFLATED, DEEP, deflated(DEEP.tobytes())),
        "uncompressed": (FRAMES_UNCOMPRESSED, DEEP, DEEP.tobytes() + WORD),
    }


READERS: dict[str, Callable[[bytes], Any]] = {
    JPEG_BASELINE: imagecodecs.jpeg8_decode,
    JPEG_LOSSLESS: imagecodecs.jpeg8_decode,
    JPEG_LS: imagecodecs.jpegls_decode,
    J2K: imagecodecs.jpeg2k_decode,
    HTJ2K: imagecodecs.jpeg2k_decode,
    JPEG_XL: imagecodecs.jpegxl_decode,
    RECOMPRESSED: imagecodecs.jpegxl_decode,
    FRAMES_DEFLATED: lambda data: zlib.decompressobj(-15).decompress(data),
    FRAMES_UNCOMPRESSED: lambda data: data[: DEEP.nbytes],
}
"""Decoders of one frame that are not ours; RLE is read by pydicom and DCMTK below."""


def described(pixels: np.ndarray, **values: Any) -> Dataset:
    bits = 12 if pixels.itemsize == 2 else 8
    depth = {"BitsAllocated": 8 * pixels.itemsize, "BitsStored": bits, "HighBit": bits - 1}
    return instance(**{"rows": 64, "columns": 64, **depth, **values})


def compressed(name: str, count: int = 1) -> tuple[str, bytes]:
    syntax, pixels, frame = frames()[name]
    values = {"PixelData": encapsulate([frame] * count), "NumberOfFrames": count}
    # pydicom writes all encapsulated transfer syntaxes alike, and does not know some of them.
    return syntax, encode(described(pixels, **values), RLE)


def cleaned(data: bytes, syntax: str) -> bytes:
    after = whole(apply(data, syntax, burned_in="ignore"))
    for word in (WORD, WORD.decode().encode("utf-16-be"), WORD[:4]):
        assert word in data or word != WORD
        assert word not in after
    return after


@pytest.mark.case("broken 03 what lies in and behind the pixels is taken out, and they stay the same")
@pytest.mark.parametrize("name", frames())
@pytest.mark.parametrize("count", [1, 3])
def test_words_in_and_behind_a_frame(name: str, count: int) -> None:
    syntax, data = compressed(name, count)
    before, after = decode(data, RLE), decode(cleaned(data, syntax), RLE)
    assert len(after.PixelData) == len(before.PixelData), "no offset moves"
    pairs = zip(*[generate_frames(each.PixelData, number_of_frames=count) for each in (before, after)], strict=True)
    for one, two in pairs:
        if syntax != RLE:
            read = READERS[syntax]
            assert np.array_equal(np.asarray(read(one)), np.asarray(read(two)))
    if name == "JPEG":
        assert after.PixelData.count(b"Adobe\0\x64\0\0\0\0\0") == count
        assert after.PixelData.count(b"JFIF\0\1") >= count


@pytest.mark.parametrize("name", ["JPEG", "JPEG lossless", "JPEG 2000", "JPEG 2000 in JP2", "HTJ2K", "RLE"])
def test_pydicom_reads_the_same_pixels(name: str) -> None:
    syntax, data = compressed(name, 2)

    def pixels(data: bytes) -> np.ndarray:
        read = decode(data, RLE)
        read.file_meta = FileMetaDataset()
        read.file_meta.TransferSyntaxUID = UID(syntax)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read.pixel_array

    try:
        before = pixels(data)
    except RuntimeError as error:
        pytest.skip(f"no plugin of pydicom's decodes it: {error}")
    assert np.array_equal(before, pixels(cleaned(data, syntax)))


@pytest.mark.parametrize(
    ("name", "program"),
    [("JPEG", "dcmdjpeg"), ("JPEG lossless", "dcmdjpeg"), ("JPEG-LS without SPIFF", "dcmdjpls"), ("RLE", "dcmdrle")],
)
def test_dcmtk_reads_the_same_pixels(name: str, program: str, tmp_path: Path) -> None:
    syntax, data = compressed(name, 2)

    def pixels(data: bytes, file: str) -> bytes:
        read = decode(data, RLE)
        read.file_meta = FileMetaDataset()
        read.file_meta.TransferSyntaxUID = UID(syntax)
        read["PixelData"].VR, read["PixelData"].is_undefined_length = "OB", True
        read.save_as(tmp_path / file, enforce_file_format=True)
        back = tmp_path / f"{file}.out"
        done = subprocess.run(
            [peers.need(program), tmp_path / file, back], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return bytes(pydicom.dcmread(back).PixelData)

    assert pixels(data, "before.dcm") == pixels(cleaned(data, syntax), "after.dcm")


class TestFragments:
    """PS3.5 A.4."""

    def test_a_fragment_that_is_no_frame(self) -> None:
        stream = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
        stream += b"\0" * (len(stream) & 1)
        for count in (1, 2):
            pixels = encapsulate([stream] * count, has_bot=False)
            pixels += struct.pack("<HHI", 0xFFFE, 0xE000, len(WORD)) + WORD
            data = encode(described(PIXELS, PixelData=pixels, NumberOfFrames=count), RLE)
            after = decode(cleaned(data, JPEG_BASELINE), RLE)
            found = list(generate_fragments(after.PixelData))[-count - 1 :]
            assert found == [*[stream] * count, bytes(len(WORD))]

    def test_frames_over_several_fragments(self) -> None:
        frame = frames()["JPEG"][2]
        data = encode(
            described(PIXELS, PixelData=encapsulate([frame] * 2, fragments_per_frame=7), NumberOfFrames=2), RLE
        )
        after = decode(cleaned(data, JPEG_BASELINE), RLE)
        for found in generate_frames(after.PixelData, number_of_frames=2):
            assert np.array_equal(imagecodecs.jpeg8_decode(found), imagecodecs.jpeg8_decode(frame))

    @pytest.mark.parametrize("length", [8, 16])
    def test_a_table_of_words_instead_of_offsets(self, length: int) -> None:
        stream = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
        pixels = encapsulate([stream] * 2, has_bot=False)[8:]
        pixels = struct.pack("<HHI", 0xFFFE, 0xE000, length) + (WORD * 2)[:length] + pixels
        data = encode(described(PIXELS, PixelData=pixels, NumberOfFrames=2), RLE)
        after = decode(cleaned(data, JPEG_BASELINE), RLE)
        right = encapsulate([stream] * 2)[8:16]
        assert after.PixelData[8 : 8 + length] == (right if length == 8 else bytes(length))

    def test_extended_tables(self) -> None:
        stream = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
        pixels, offsets, lengths = encapsulate_extended([stream] * 2)
        for table in (offsets, WORD * 2):
            values = {"ExtendedOffsetTable": table, "ExtendedOffsetTableLengths": WORD * 3, "NumberOfFrames": 2}
            data = encode(described(PIXELS, PixelData=pixels, **values), RLE)
            after = decode(cleaned(data, JPEG_BASELINE), RLE)
            assert after.ExtendedOffsetTable == offsets
            assert "ExtendedOffsetTableLengths" not in after
        assert lengths

    def test_pixels_of_an_item(self) -> None:
        """As of an icon, where it is kept."""
        icon = described(PIXELS, PixelData=encapsulate([frames()["JPEG"][2]]))
        icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            delattr(icon, keyword)
        data = encode(described(PIXELS, PixelData=encapsulate([frames()["JPEG"][2]]), WaveformSequence=[icon]), RLE)
        cleaned(data, JPEG_BASELINE)

    @pytest.mark.parametrize("syntax", [JPEG_BASELINE, J2K, JPEG_LS, JPEG_XL, RLE, FRAMES_DEFLATED])
    def test_what_cannot_be_looked_into_does_not_pass(self, syntax: str) -> None:
        data = encode(described(PIXELS, PixelData=encapsulate([b"\xff\xd8 DOE^JANE"])), RLE)
        with pytest.raises(EditError, match=r"\(7FE0,0010\).*frame 1 cannot be separated"):
            apply(data, syntax, burned_in="ignore")

    def test_a_stream_of_defined_length_does_not_pass(self) -> None:
        data = encode(described(PIXELS, PixelData=frames()["JPEG"][2] + bytes(5000)))
        with pytest.raises(EditError, match="defined length"):
            apply(data, JPEG_BASELINE, burned_in="ignore")

    @pytest.mark.case("pixels stay whole where the box around them is said to be shorter than they are")
    @pytest.mark.parametrize("missing", [2, 500])
    def test_a_box_that_ends_inside_its_stream(self, missing: int) -> None:
        """A decoder goes by the stream; boxes that seem to begin in the middle of it are pixels."""
        stream = bytes(imagecodecs.jpeg2k_encode(PIXELS, codecformat="J2K", reversible=True))
        file = jp2(stream)
        at = file.index(b"jp2c") - 4
        length = int.from_bytes(file[at : at + 4], "big") - len(WORD) - missing
        frame = file[:at] + struct.pack(">I", length) + file[at + 4 :]
        data = encode(described(PIXELS, PixelData=encapsulate([frame])), RLE)
        after = next(generate_frames(decode(cleaned(data, J2K), RLE).PixelData, number_of_frames=1))
        assert WORD not in after
        assert np.array_equal(imagecodecs.jpeg2k_decode(after[after.index(b"\xff\x4f\xff\x51") :]), PIXELS)

    @pytest.mark.case("a segment of any length is emptied, one that is cut short too")
    @pytest.mark.parametrize("marker", [0xE0, 0xE2, 0xE8, 0xEE])
    @pytest.mark.parametrize(
        "payload", [b"JFIF\0\1\2\0\0\1\0\1\0\0", b"Adobe\0\x64\0\0\0\0\1", b"SPIFF\0", b"mrfx\1", b"\0\0\0\1ab"]
    )
    def test_what_is_cut_short(self, marker: int, payload: bytes) -> None:
        stream = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
        for length in range(len(payload) + 1):
            frame = stream[:2] + segment(marker, payload[:length]) + stream[2:]
            found = residue(frame, transfer_syntax(JPEG_BASELINE), Image(64, 64, 1, "MONOCHROME2", 8, 8, False, 1))
            assert all(6 <= start < stop <= 6 + length for start, stop, _value in found)

    @pytest.mark.case("a segment that is nearly JFIF's says nothing of colour, before and after it is emptied")
    @pytest.mark.parametrize("payload", [b"JFIF!\1\2\0\0\1\0\1\0\0", b"JFIF\0\1\2"])
    def test_what_is_nearly_jfif(self, payload: bytes) -> None:
        stream = bytes(imagecodecs.jpeg8_encode(PIXELS, 90))
        without = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
        frame = without[:2] + segment(0xE0, payload) + without[2:]
        found = residue(frame, transfer_syntax(JPEG_BASELINE), Image(64, 64, 1, "MONOCHROME2", 8, 8, False, 1))
        assert found == [Blank(6, 6 + len(payload))]
        emptied = frame[:6] + bytes(len(payload)) + frame[6 + len(payload) :]
        assert parse_jpeg(frame) == parse_jpeg(emptied)


class TestNative:
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
    @pytest.mark.parametrize(("rows", "frames"), [(16, 1), (15, 3), (1, 1)])
    def test_bytes_behind_the_last_pixel(self, syntax: str, rows: int, frames: int) -> None:
        """In big endian too, where the last pixel of an odd number stands behind the padding."""
        pixels = np.arange(rows * 15 * frames, dtype="u1").tobytes()
        tail = bytes(len(pixels) & 1) + WORD * 2
        values = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels + tail}
        source = instance(rows=rows, columns=15, frames=frames, **values)
        if syntax == BIG_ENDIAN:
            source.PixelData = np.frombuffer(source.PixelData, "<u2").byteswap().tobytes()
        data = encode(source, syntax)
        after = decode(whole(apply(data, syntax, burned_in="ignore")), EXPLICIT if syntax == DEFLATED else syntax)
        found = bytes(after.PixelData)
        if syntax == BIG_ENDIAN:
            found = np.frombuffer(found, "<u2").byteswap().tobytes()
        assert found == pixels + bytes(len(tail))

    def test_pixels_are_not_touched_where_there_is_nothing_behind_them(self) -> None:
        data = encode(instance(rows=100, columns=100))
        after = whole(apply(data, burned_in="ignore"))
        assert after[-20_000:] == data[-20_000:]


class TestIcc:
    """ICC.1:2022."""

    @pytest.mark.case("broken 03 a colour profile keeps its colours and loses its words")
    def test_words_of_a_profile(self) -> None:
        profile = worded(ICC)
        data = encode(instance(ICCProfile=profile, OpticalPathSequence=[item(ICCProfile=profile)]))
        after = decode(cleaned(data, EXPLICIT))
        for found in (after.ICCProfile, after.OpticalPathSequence[0].ICCProfile):
            picture = np.random.default_rng(1).integers(0, 255, (8, 8, 3)).astype("u1")
            assert np.array_equal(self.shown(found, picture), self.shown(profile, picture))
            assert len(found) == len(profile) + (len(profile) & 1)

    def shown(self, profile: bytes, picture: np.ndarray) -> np.ndarray:
        """By LittleCMS."""
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(source, target, "RGB", "LAB")
        return np.asarray(ImageCms.applyTransform(Pillow.fromarray(picture), transform))

    @pytest.mark.parametrize("profile", [b"ZQICCPROFILE " + WORD, worded(ICC)[:-4], WORD * 40])
    def test_what_is_no_profile_is_nothing(self, profile: bytes) -> None:
        after = decode(cleaned(encode(instance(ICCProfile=profile)), EXPLICIT))
        assert not after.ICCProfile

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(ICC) - 1), st.integers(0, 255)), max_size=20))
    def test_any_profile_keeps_its_length(self, changes: list[tuple[int, int]]) -> None:
        profile = bytearray(worded(ICC))
        for at, value in changes:
            profile[at] = value
        assert len(icc.without_words(bytes(profile))) == len(profile)


@settings(deadline=None)
@given(
    st.binary(max_size=60),
    st.lists(st.integers(0, 60), max_size=8, unique=True).map(sorted),
    st.integers(0, 60),
    st.integers(0, 60),
    st.booleans(),
)
def test_overwritten_at_any_place_and_in_any_pieces(
    data: bytes, ends: list[int], offset: int, length: int, zeros: bool
) -> None:
    pairs = [(start, stop) for start, stop in zip(ends[::2], ends[1::2], strict=False) if stop <= len(data)]
    blanks = [Blank(start, stop, b"" if zeros else bytes(range(start, stop))) for start, stop in pairs]
    expected = bytearray(data)
    for start, stop, value in blanks:
        expected[start:stop] = value or bytes(stop - start)
    read = Overwritten(lambda at, size: data[at : at + size], blanks)
    assert read(offset, length) == expected[offset : offset + length]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(name for name in frames() if "XL" not in name and "recompressed" not in name)),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=20),
    st.integers(0, 1 << 16),
)
def test_of_a_broken_frame_it_is_told_or_lies_in_the_frame(
    name: str, changes: list[tuple[int, int]], length: int
) -> None:
    syntax, pixels, frame = frames()[name]
    broken = bytearray(frame)
    for at, value in changes:
        broken[at % len(broken)] = value
    data = bytes(broken[: max(1, length % (2 * len(broken)))])
    bits = 8 * pixels.itemsize
    try:
        found = residue(data, transfer_syntax(syntax), Image(64, 64, 1, "MONOCHROME2", bits, bits, False, 1))
    except DataSetError:
        return
    assert all(0 <= start < stop <= len(data) and len(value) in (0, stop - start) for start, stop, value in found)
