"""Compressed data sets as uncompressed ones: the same pixels as pydicom and DCMTK decode, the rest as it was."""

from __future__ import annotations

import subprocess
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from gateway.dicom import part10, recode, uids
from gateway.errors import DataSetError, GatewayError, UnsupportedTransferSyntax
from gateway.imaging import transcode as transcoding
from gateway.imaging.transcode import SOURCES, transcode
from tests.support import peers
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    decode,
    encode,
    instance,
    read_sample,
    sample,
)

COMPRESSED = [
    *("693_J2KI.dcm", "GDCMJ2K_TextGBR.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG-lossy.dcm", "JPEG-LL.dcm"),
    *("JPEG2000.dcm", "JPEGLSNearLossless_08.dcm"),
    *("JPEGLSNearLossless_16.dcm", "JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"),
    *("MR_small_jpeg_ls_lossless.dcm", "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm"),
    *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm"),
    *("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm"),
    *("SC_rgb_gdcm_KY.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_jpeg.dcm"),
    *("SC_rgb_jpeg_app14_dcmd.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm"),
    *("SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_2frame.dcm"),
    *("SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_small_odd_jpeg.dcm", "examples_jpeg2k.dcm"),
    *("examples_ybr_color.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm"),
    # pydicom-data
    *("693_J2KR.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "OBXXXX1A_rle.dcm", "OBXXXX1A_rle_2frame.dcm"),
    *("US1_J2KI.dcm", "US1_J2KR.dcm", "bad_sequence.dcm", "emri_small_RLE.dcm"),
    *("emri_small_jpeg_2k_lossless.dcm", "emri_small_jpeg_ls_lossless.dcm", "explicit_VR-UN.dcm"),
]
NOT_BY_DCMTK = {"SC_rgb_jpeg.dcm": "an element without VR"}
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def native(data: bytes, syntax: str, target: str = EXPLICIT) -> bytes:
    return b"".join(transcode(lambda at, size: data[at : at + size], 0, len(data), syntax, target))


def parts(path: Path) -> tuple[str, bytes]:
    """Transfer syntax and data set bytes of a file."""
    data = path.read_bytes()
    meta = part10.read_header(lambda at, size: data[at : at + size])
    return meta.transfer_syntax_uid, data[meta.data_set_offset :]


def pixels_of(data_set: Dataset, data: bytes) -> np.ndarray:
    bits, signed = data_set.BitsAllocated, data_set.get("PixelRepresentation", 0)
    kind = f"<{'i' if signed else 'u'}{bits // 8}"
    count = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * int(data_set.get("NumberOfFrames") or 1)
    return np.frombuffer(data, kind)[:count]


class TestPixels:
    @pytest.mark.parametrize("name", COMPRESSED)
    def test_equal_to_pydicom(self, name: str) -> None:
        syntax, data = parts(sample(name))
        found = decode(native(data, syntax), EXPLICIT)
        before = read_sample(sample(name))
        if not get_decoder(UID(syntax)).is_available or "Extended12" in UID(syntax).keyword:
            pytest.skip("no plugin of pydicom's that is free enough decodes it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lossy_color = before.SamplesPerPixel == 3 and UID(syntax) in (
                pydicom.uid.JPEGBaseline8Bit,
                pydicom.uid.JPEGExtended12Bit,
            )
            expected, _ = get_decoder(UID(syntax)).as_array(before, as_rgb=lossy_color)
        ours = pixels_of(found, found.PixelData).astype(np.int64)
        theirs = expected.reshape(-1).astype(np.int64)
        assert ours.shape == theirs.shape
        # Codecs round colours and cosines each in their way.
        assert np.abs(ours - theirs).max() <= (2 if lossy_color else 0)
        assert found.get("PlanarConfiguration", 0) == 0
        assert found.PhotometricInterpretation in ("RGB", "MONOCHROME2", "PALETTE COLOR")

    @pytest.mark.interop
    @pytest.mark.parametrize("name", [*COMPRESSED, pytest.param("color3d_jpeg_baseline.dcm", marks=pytest.mark.slow)])
    def test_equal_to_dcmtk(self, name: str, tmp_path: Path) -> None:
        syntax, data = parts(sample(name))
        keyword = UID(syntax).keyword
        program = "dcmdrle" if keyword.startswith("RLE") else "dcmdjpls" if keyword.startswith("JPEGLS") else "dcmdjpeg"
        if "2000" in keyword:
            pytest.skip("DCMTK has no JPEG 2000")
        target = tmp_path / "decoded.dcm"
        done = subprocess.run([peers.need(program), str(sample(name)), str(target)], capture_output=True, check=False)
        if name in NOT_BY_DCMTK:
            assert done.returncode
            pytest.skip(NOT_BY_DCMTK[name])
        assert done.returncode == 0, done.stderr
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(target)
        ours = decode(native(data, syntax), EXPLICIT)
        assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation
        one, other = (pixels_of(each, each.PixelData).astype(np.int64) for each in (ours, theirs))
        if theirs.get("PlanarConfiguration", 0) == 1:
            other = other.reshape(-1, 3, theirs.Rows * theirs.Columns).transpose(0, 2, 1).reshape(-1)
        assert np.abs(one - other).max() <= (2 if theirs.SamplesPerPixel == 3 and "JPEGBase" in keyword else 1)


class TestDataSet:
    """Everything around the pixels."""

    @pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
    @pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "examples_ybr_color.dcm"])
    def test_only_the_pixels_change(self, name: str, target: str) -> None:
        syntax, data = parts(sample(name))
        before, after = decode(data, syntax), decode(native(data, syntax, target), target)
        changed = {"PixelData", "PhotometricInterpretation"}
        assert [e.tag for e in after] == [e.tag for e in before if e.tag.element]
        for element in after:
            if element.keyword not in changed and not element.tag.is_private:
                assert element.value == before[element.tag].value, element

    @pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
    def test_uncompressed_ones_are_only_encoded_anew(self, target: str) -> None:
        for syntax in sorted(recode.SOURCES):
            data_set = instance(ReferencedImageSequence=[Dataset()])
            data_set.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
            after = decode(native(encode(data_set, syntax), syntax, target), target)
            if syntax == uids.EXPLICIT_VR_BIG_ENDIAN.uid:
                after.PixelData = data_set.PixelData  # pydicom writes it as it is given
            assert after == data_set

    def test_an_icon_inside_is_decoded_too(self) -> None:
        syntax, data = parts(sample("SC_rgb_dcmtk_+eb+cy+np.dcm"))
        data_set = decode(data, syntax)
        icon = Dataset()
        for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"):
            setattr(icon, keyword, getattr(data_set, keyword))
        icon.PlanarConfiguration = 0
        icon.PixelData = data_set.PixelData
        icon["PixelData"].VR = "OB"
        icon["PixelData"].is_undefined_length = True
        data_set.IconImageSequence = [icon]
        after = decode(native(encode(data_set, syntax), syntax), EXPLICIT)
        assert after.IconImageSequence[0].PixelData == after.PixelData
        assert after.IconImageSequence[0].PhotometricInterpretation == "RGB"

    def test_one_without_pixels(self) -> None:
        data_set = instance(PixelData=None)
        assert decode(native(encode(data_set, RLE), RLE), EXPLICIT) == data_set


def multi_frame(frames: list[bytes], **options: bool) -> Dataset:
    """Of frames of 64 by 64 grey pixels."""
    data_set = instance(frames=len(frames), rows=64, columns=64, BitsAllocated=16, BitsStored=16, HighBit=15)
    data_set.PixelData = encapsulate(frames, **options)
    return data_set


class TestFrames:
    def rle_frames(self) -> tuple[list[bytes], bytes]:
        source = read_sample(sample("MR_small_RLE.dcm"))
        (frame,) = pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1)
        syntax, data = parts(sample("MR_small_RLE.dcm"))
        return [frame] * 3, decode(native(data, syntax), EXPLICIT).PixelData

    def j2k_frames(self) -> tuple[list[bytes], bytes]:
        source = read_sample(sample("MR_small_jp2klossless.dcm"))
        (frame,) = pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1)
        syntax, data = parts(sample("MR_small_jp2klossless.dcm"))
        return [frame] * 3, decode(native(data, syntax), EXPLICIT).PixelData

    @pytest.mark.parametrize("options", [{"has_bot": True}, {"has_bot": False}])
    def test_one_fragment_each(self, options: dict[str, bool]) -> None:
        frames, pixels = self.rle_frames()
        data = encode(multi_frame(frames, **options), RLE)
        assert decode(native(data, RLE), EXPLICIT).PixelData == pixels * 3

    @pytest.mark.parametrize("has_bot", [True, False])
    def test_several_fragments_each(self, has_bot: bool) -> None:
        """With a Basic Offset Table by it, without by how a stream begins."""
        frames, pixels = self.j2k_frames()
        syntax = "1.2.840.10008.1.2.4.90"
        data_set = multi_frame(frames)
        data_set.PixelRepresentation = 1
        data_set.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=has_bot)
        assert decode(native(encode(data_set, syntax), syntax), EXPLICIT).PixelData == pixels * 3

    def test_an_extended_offset_table(self) -> None:
        frames, pixels = self.j2k_frames()
        syntax = "1.2.840.10008.1.2.4.90"
        data_set = multi_frame(frames)
        data_set.PixelRepresentation = 1
        data_set.PixelData, offsets, lengths = pydicom.encaps.encapsulate_extended(frames)
        data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
        after = decode(native(encode(data_set, syntax), syntax), EXPLICIT)
        assert after.PixelData == pixels * 3
        assert "ExtendedOffsetTable" not in after
        assert "ExtendedOffsetTableLengths" not in after

    def test_frames_that_cannot_be_told_apart(self) -> None:
        frames, _ = self.rle_frames()
        data_set = multi_frame(frames)
        data_set.NumberOfFrames = 2
        with pytest.raises(DataSetError, match="2 frames"):
            native(encode(data_set, RLE), RLE)


class TestFailures:
    """Whatever is wrong is said before the first byte."""

    def refuse(self, data: bytes, syntax: str) -> GatewayError:
        pieces = transcode(lambda at, size: data[at : at + size], 0, len(data), syntax, EXPLICIT)
        with pytest.raises(DataSetError) as caught:
            assert not any(pieces)
        return caught.value

    def test_a_broken_stream(self) -> None:
        syntax, data = parts(sample("JPEG2000-embedded-sequence-delimiter.dcm"))
        assert "too much" in str(self.refuse(data, syntax))

    @pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm"])
    def test_a_frame_that_is_cut_short(self, name: str) -> None:
        """Decoders fill up the rest in silence."""
        syntax, data = parts(sample(name))
        data_set = decode(data, syntax)
        (frame,) = pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=1)
        data_set.PixelData = encapsulate([frame[: len(frame) // 2 * 2 // 2]])
        assert "end marker" in str(self.refuse(encode(data_set, syntax), syntax))

    def test_another_size_than_the_data_set_says(self) -> None:
        syntax, data = parts(sample("JPEG2000.dcm"))
        data_set = decode(data, syntax)
        data_set.Rows = 65535
        assert "65535" in str(self.refuse(encode(data_set, syntax), syntax))

    def test_the_last_of_many_frames(self) -> None:
        frames, _ = TestFrames().rle_frames()
        data_set = multi_frame([*frames, frames[0][:100]])
        self.refuse(encode(data_set, RLE), RLE)

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94", "1.2.3"])
    def test_what_is_not_decoded_here(self, syntax: str) -> None:
        assert syntax not in SOURCES
        with pytest.raises(UnsupportedTransferSyntax):
            native(encode(instance(), EXPLICIT), syntax)

    def test_hostile_streams_raise_what_is_expected(self) -> None:
        """Any byte of a small compressed data set changed: pixels or an error of ours, and nothing else."""
        syntax, data = parts(sample("MR_small_jp2klossless.dcm"))
        start = data.index(b"\xe0\x7f\x10\x00")
        for at in range(start, min(len(data), start + 200)):
            broken = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            try:
                native(broken, syntax)
            except GatewayError:
                pass


@pytest.mark.case("case 07 compressed frames of single bits are joined without gaps")
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("room", [0, 1 << 20])
def test_frames_of_single_bits_follow_one_another_without_a_gap(
    target: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PS3.5 §8.1.1: frames of 13 by 7 pixels do not fill their bytes."""
    monkeypatch.setattr(transcoding, "MAX_RETAINED_BYTES", room)
    pixels = np.random.default_rng(1).random((5, 13, 7)) > 0.5
    values = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    deflated = [zlib.compress(np.packbits(each, bitorder="little").tobytes(), wbits=-15) for each in pixels]
    # pydicom does not know the transfer syntax, and writes all encapsulated ones alike.
    data = encode(instance(frames=5, rows=13, columns=7, PixelData=encapsulate(deflated), **values), RLE)
    after = decode(native(data, DEFLATED_FRAMES, target), target)
    value = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    assert after.PixelData == value + b"\0" * (len(value) & 1)
    after.file_meta = FileMetaDataset()
    after.file_meta.TransferSyntaxUID = UID(target)
    assert (after.pixel_array == pixels).all()
