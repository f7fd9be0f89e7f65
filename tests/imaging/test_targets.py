"""Data sets in every transfer syntax that there is an encoder for: read by pydicom and DCMTK with the same pixels."""

from __future__ import annotations

import contextlib
import random
import subprocess
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragmented_frames, parse_basic_offsets
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from gateway.dicom import part10, uids
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging import derived, spool
from gateway.imaging import encapsulate as encapsulation
from gateway.imaging import transcode as transcoding
from gateway.imaging.decode import DECODABLE
from gateway.imaging.encode import ENCODERS, LOSSLESS
from gateway.imaging.pixels import VIDEO, locate_pixels
from gateway.imaging.transcode import SOURCES, TARGETS, forms, transcode
from gateway.imaging.workspace import Workspace
from tests.support import peers
from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNCOMPRESSED,
    encode,
    instance,
    sample,
)
from tests.support.datasets import decode as pydicom_reads

JPEG_LL, JPEG_LS, JPEG_LS_NEAR, J2K, J2K_LOSSY, HTJ2K, RLE = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "5")
)
MPEG2 = "1.2.840.10008.1.2.4.100"
SAMPLES = [
    *("CT_small.dcm", "MR_small.dcm", "emri_small.dcm", "emri_small_big_endian.dcm", "SC_rgb_16bit_2frame.dcm"),
    *("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_ybr_full_422_uncompressed.dcm", "color-pl.dcm"),
    *("examples_palette.dcm", "rtdose.dcm", "liver.dcm", "image_dfl.dcm", "MR_small_implicit.dcm"),
    *("emri_small_RLE.dcm", "examples_jpeg2k.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm"),
]
NOT_EVERYWHERE = {
    "CT_small.dcm": "signed",
    "MR_small.dcm": "signed",
    "MR_small_implicit.dcm": "signed",
    "MR_small_jpeg_ls_lossless.dcm": "signed",
    "SC_ybr_full_422_uncompressed.dcm": "YBR_FULL",
    "rtdose.dcm": "32 bits",
    "liver.dcm": "single bits",
}
"""What some codec does not take, and why."""
PROGRAMS = {
    "1.2.840.10008.1.2.4.50": "dcmdjpeg",
    "1.2.840.10008.1.2.4.51": "dcmdjpeg",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    JPEG_LL: "dcmdjpeg",
    JPEG_LS: "dcmdjpls",
    JPEG_LS_NEAR: "dcmdjpls",
    RLE: "dcmdrle",
}


def decode(data: bytes, syntax: str) -> Dataset:
    """What pydicom reads, transfer syntaxes that it does not know yet too."""
    return pydicom_reads(data, EXPLICIT if uids.TRANSFER_SYNTAXES[syntax].encapsulated else syntax)


def made(data: bytes, source: str, target: str, **options: object) -> bytes:
    read = lambda at, size: data[at : at + size]  # noqa: E731
    pieces = list(transcode(read, 0, len(data), source, target, **options))  # type: ignore[arg-type]
    assert max(map(len, pieces), default=0) <= (1 << 20) + (64 << 10)
    return b"".join(pieces)


def native(data: bytes, syntax: str) -> list[bytes]:
    read = lambda at, size: data[at : at + size]  # noqa: E731
    pixels = locate_pixels(read, 0, len(data), syntax)
    assert pixels is not None
    return [pixels.native(read, number) for number in range(len(pixels))]


def parts(path: Path) -> tuple[str, bytes]:
    data = path.read_bytes()
    meta = part10.read_header(lambda at, size: data[at : at + size])
    return meta.transfer_syntax_uid, data[meta.data_set_offset :]


def as_file(data: bytes, syntax: str, path: Path) -> Path:
    data_set = decode(data, syntax)
    header = part10.file_header(
        sop_class_uid=data_set.SOPClassUID, sop_instance_uid=data_set.SOPInstanceUID, transfer_syntax_uid=syntax
    )
    path.write_bytes(header + data)
    return path


def values(data_set: Dataset, pixels: bytes) -> np.ndarray:
    """Samples by Bits Stored, colour by pixel."""
    allocated, stored = data_set.BitsAllocated, data_set.BitsStored
    found = np.frombuffer(pixels, f"<{'i' if data_set.get('PixelRepresentation') else 'u'}{allocated // 8}")
    found = found[
        : data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * int(data_set.get("NumberOfFrames") or 1)
    ]
    if data_set.SamplesPerPixel == 3 and data_set.get("PlanarConfiguration"):
        found = found.reshape(-1, 3, data_set.Rows * data_set.Columns).transpose(0, 2, 1).reshape(-1)
    return ((found << (allocated - stored)) >> (allocated - stored)).astype(np.int64)


class TestEverySyntax:
    @pytest.mark.filterwarnings("ignore:Invalid value")
    @pytest.mark.parametrize("target", sorted(TARGETS))
    @pytest.mark.parametrize("name", SAMPLES)
    def test_the_same_pixels_and_the_rest_as_it_was(self, name: str, target: str) -> None:
        source, data = parts(sample(name))
        try:
            out = made(data, source, target)
        except UnsupportedTransferSyntax:
            assert name in NOT_EVERYWHERE
            return
        assert len(out) % 2 == 0 or source == target
        assert native(out, target) == native(data, source)
        before, after = decode(data, source), decode(out, target)
        may_change = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
        assert [e.tag for e in after if e.tag.element] == [e.tag for e in before if e.tag.element]
        for element in after:
            if element.keyword not in may_change and not element.tag.is_private and not element.VR.startswith("O"):
                assert element.value == before[element.tag].value, element

    @pytest.mark.parametrize("target", sorted(LOSSLESS))
    def test_pydicom_reads_it(self, target: str) -> None:
        try:
            get_decoder(UID(target))
        except NotImplementedError:
            pytest.skip("pydicom does not decode it")
        if not get_decoder(UID(target)).is_available:
            pytest.skip("no plugin of pydicom's decodes it")
        for name in ("emri_small.dcm", "SC_rgb_16bit_2frame.dcm", "CT_small.dcm", "color-pl.dcm"):
            source, data = parts(sample(name))
            after = decode(made(data, source, target), target)
            after.file_meta = pydicom.dataset.FileMetaDataset()
            after.file_meta.TransferSyntaxUID = target
            found, _ = get_decoder(UID(target)).as_array(after, raw=True)
            expected = values(by_pixel(after), b"".join(native(data, source)))
            assert (found.astype(np.int64).reshape(-1) == expected).all()

    @pytest.mark.interop
    @pytest.mark.parametrize("target", sorted(PROGRAMS))
    @pytest.mark.parametrize(
        "name",
        ["CT_small.dcm", "emri_small.dcm", "SC_rgb_small_odd.dcm", "color-pl.dcm", "SC_ybr_full_uncompressed.dcm"],
    )
    def test_dcmtk_reads_it(self, name: str, target: str, tmp_path: Path) -> None:
        source, data = parts(sample(name))
        quality = None if target in LOSSLESS else 95
        try:
            out = made(data, source, target, quality=quality)
        except UnsupportedTransferSyntax:
            assert name == "CT_small.dcm" or target == "1.2.840.10008.1.2.4.50"
            return
        there, back = as_file(out, target, tmp_path / "in.dcm"), tmp_path / "out.dcm"
        program = [peers.need(PROGRAMS[target])]
        if program[0].endswith("dcmdjpeg") and quality is None:
            program.append("--conv-never")  # or it makes RGB of YBR_FULL
        done = subprocess.run([*program, str(there), str(back)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "E: " not in done.stderr
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(back)
        ours = b"".join(native(out, target))
        found, expected = values(theirs, theirs.PixelData), values(by_pixel(theirs), ours)
        assert np.abs(found - expected).max() <= (2 if quality else 0)


def by_pixel(data_set: Dataset) -> Dataset:
    """The same description, but for colour by pixel, which ours always is."""
    copy = Dataset()
    copy.update(data_set)
    copy.PlanarConfiguration = 0
    return copy


@settings(max_examples=80, deadline=None)
@given(
    chain=st.lists(st.sampled_from(sorted(TARGETS)), min_size=1, max_size=3),
    source=st.sampled_from(UNCOMPRESSED),
    frames=st.integers(1, 4),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    bits=st.sampled_from(((8, 8), (8, 5), (16, 12), (16, 16), (32, 32))),
    signed=st.booleans(),
    coloured=st.booleans(),
    seed=st.integers(0, 100),
)
def test_any_image_through_any_syntaxes(
    chain: list[str],
    source: str,
    frames: int,
    rows: int,
    columns: int,
    bits: tuple[int, int],
    signed: bool,
    coloured: bool,
    seed: int,
) -> None:
    """One after the other, where they take it, and back: the frames are what they were."""
    allocated, stored = bits
    signed = signed and not coloured
    least, most = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    shape = (frames, rows, columns, 3 if coloured else 1)
    pixels = np.random.default_rng(seed).integers(least, most, shape, kind, endpoint=True)
    data_set = instance(frames=frames, rows=rows, columns=columns, PixelRepresentation=int(signed))
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = allocated, stored, stored - 1
    if coloured:
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation, data_set.PlanarConfiguration = 3, "RGB", 0
    data_set.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes & 1)
    data_set["PixelData"].VR = "OW" if allocated > 8 else "OB"
    data = made(encode(data_set), EXPLICIT, source)
    for target in chain:
        try:
            data, source = made(data, source, target), target
        except UnsupportedTransferSyntax:
            pass
    assert native(data, source) == [frame.tobytes() for frame in pixels]


class TestEncapsulation:
    """PS3.5 A.4."""

    def frames(self, count: int = 5) -> bytes:
        noise = np.random.default_rng(1).integers(0, 4096, (count, 32, 32), np.uint16)
        noise[:, ::2] = 7  # so that frames have other lengths, odd ones too
        return encode(instance(frames=count, rows=32, columns=32, PixelData=noise.tobytes()))

    @pytest.mark.parametrize("target", [JPEG_LL, JPEG_LS, J2K, RLE, HTJ2K])
    def test_a_basic_offset_table(self, target: str) -> None:
        after = decode(made(self.frames(), EXPLICIT, target), target)
        offsets = parse_basic_offsets(after.PixelData)
        assert len(offsets) == 5
        starts, at = [], 0
        for (fragment,) in generate_fragmented_frames(after.PixelData, number_of_frames=5):
            assert len(fragment) % 2 == 0
            starts.append(at)
            at += 8 + len(fragment)
        assert offsets == starts
        assert after["PixelData"].VR == "OB"

    def test_an_extended_one_where_the_basic_one_is_too_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encapsulation, "_MAX_OFFSET", 1000)
        data = self.frames()
        out = made(data, EXPLICIT, JPEG_LL)
        after = decode(out, JPEG_LL)
        assert parse_basic_offsets(after.PixelData) == []
        extended = after.ExtendedOffsetTable, after.ExtendedOffsetTableLengths
        found = list(pydicom.encaps.generate_frames(after.PixelData, extended_offsets=extended))
        read = lambda at, size: out[at : at + size]  # noqa: E731
        pixels = locate_pixels(read, 0, len(out), JPEG_LL)
        assert pixels is not None
        for number, frame in enumerate(found):
            assert pixels.stored(read, number).startswith(frame)
        assert native(out, JPEG_LL) == native(data, EXPLICIT)
        monkeypatch.undo()
        again = decode(made(out, JPEG_LL, JPEG_LS), JPEG_LS)
        assert "ExtendedOffsetTable" not in again
        assert "ExtendedOffsetTableLengths" not in again

    def test_planar_configuration(self) -> None:
        """1 for RLE, whose planes are its nature (PS3.5 G.2), 0 for the rest (Table 8.2.1-1, 8.2.3-1)."""
        source, data = parts(sample("SC_rgb_16bit_2frame.dcm"))
        for target in sorted(LOSSLESS):
            after = decode(made(data, source, target), target)
            assert after.PlanarConfiguration == (1 if target == RLE else 0)

    @pytest.mark.parametrize(
        ("target", "expected"), [(J2K, "YBR_RCT"), (HTJ2K, "YBR_RCT"), (JPEG_LS, "RGB"), (RLE, "RGB")]
    )
    def test_photometric_interpretation(self, target: str, expected: str) -> None:
        source, data = parts(sample("SC_rgb_16bit_2frame.dcm"))
        there = made(data, source, target)
        assert decode(there, target).PhotometricInterpretation == expected
        assert decode(made(there, target, EXPLICIT), EXPLICIT).PhotometricInterpretation == "RGB"

    def test_attributes_that_are_missing_are_put_in(self) -> None:
        values = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
        data_set = instance(rows=8, columns=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", BitsAllocated=8,
                            BitsStored=8, HighBit=7, PixelData=values.tobytes())  # fmt: skip
        after = decode(made(encode(data_set), EXPLICIT, RLE), RLE)
        assert after.PlanarConfiguration == 1
        tags = [element.tag for element in after]
        assert tags == sorted(tags)


class TestMemory:
    def test_frames_wait_in_a_file_that_goes_away(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 1000)
        data = TestEncapsulation().frames()
        expected = made(data, EXPLICIT, JPEG_LL)
        assert made(data, EXPLICIT, JPEG_LL, workspace=Workspace(tmp_path)) == expected
        half = transcode(
            lambda at, size: data[at : at + size], 0, len(data), EXPLICIT, JPEG_LL, workspace=Workspace(tmp_path)
        )
        while not next(half):
            pass
        half.close()  # type: ignore[attr-defined]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("source", "target"), [(EXPLICIT, RLE), (RLE, EXPLICIT), (RLE, JPEG_LL)])
    def test_each_frame_is_reserved_alone_and_given_back(self, source: str, target: str) -> None:
        data = TestEncapsulation().frames()
        if source != EXPLICIT:
            data = made(data, EXPLICIT, source)
        taken: list[int] = []
        inside = 0

        @contextlib.contextmanager
        def reserved(size: int) -> Iterator[None]:
            nonlocal inside
            assert not inside, "who waits for memory has none"
            taken.append(size)
            inside += 1
            yield
            inside -= 1

        for _piece in transcode(
            lambda at, size: data[at : at + size], 0, len(data), source, target, workspace=Workspace(reserved=reserved)
        ):
            assert not inside, "whoever reads slowly holds none"
        frame = pydicom_reads(data, source)
        assert len(taken) >= frame.NumberOfFrames
        assert min(taken) >= 2 * frame.Rows * frame.Columns * frame.BitsAllocated // 8

    def test_too_many_bytes_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "MAX_SPOOL_BYTES", 5000)
        with pytest.raises(DataSetError, match="5000"):
            made(TestEncapsulation().frames(), EXPLICIT, JPEG_LL)

    @pytest.mark.parametrize(("source", "target"), [(EXPLICIT, RLE), (DEFLATED, RLE), (RLE, EXPLICIT), (RLE, DEFLATED)])
    def test_one_frame_bounds_it(
        self, source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """64 frames of 256 KiB each, of which a few are there at once."""
        monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 1 << 20)
        monkeypatch.setattr(transcoding, "MAX_RETAINED_BYTES", 1 << 20)
        frame = np.random.default_rng(1).integers(0, 255, (512, 512), np.uint8)
        data_set = instance(frames=64, rows=512, columns=512, BitsAllocated=8, BitsStored=8, HighBit=7)
        data_set.PixelData = frame.tobytes() * 64
        data_set["PixelData"].VR = "OB"
        data = encode(data_set)
        if source != EXPLICIT:
            data = made(data, EXPLICIT, source)
        read = lambda at, size: data[at : at + size]  # noqa: E731
        tracemalloc.start()
        try:
            total = sum(map(len, transcode(read, 0, len(data), source, target, workspace=Workspace(tmp_path))))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert total > 14 << 20
        assert peak < 7 << 20


class TestFailures:
    """Said before the first byte."""

    def refuse(self, data: bytes, source: str, target: str, kind: type[Exception] = DataSetError) -> None:
        with pytest.raises(kind):
            assert not any(transcode(lambda at, size: data[at : at + size], 0, len(data), source, target))

    @pytest.mark.parametrize("target", [JPEG_LS, J2K, RLE])
    def test_liars(self, target: str) -> None:
        for lie in ({"NumberOfFrames": 2}, {"NumberOfFrames": 2**31 - 1}, {"Rows": 65535}, {"BitsStored": 17},
                    {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1}):  # fmt: skip
            self.refuse(encode(instance(**lie)), EXPLICIT, target)

    @pytest.mark.parametrize("target", [J2K, EXPLICIT, DEFLATED])
    def test_more_frames_than_fragments(self, target: str) -> None:
        frames = decode(made(encode(instance(frames=3)), EXPLICIT, RLE), RLE)
        frames.NumberOfFrames = 2**31 - 1
        self.refuse(encode(frames, RLE), RLE, target)

    def test_what_has_no_pixels_cannot_be_compressed(self) -> None:
        self.refuse(encode(instance(PixelData=None)), EXPLICIT, J2K, UnsupportedTransferSyntax)
        floats = instance(rows=2, columns=2, BitsAllocated=32, PixelData=None)
        floats.FloatPixelData = bytes(16)
        self.refuse(encode(floats), EXPLICIT, RLE, UnsupportedTransferSyntax)

    def test_video_stays_as_it_is(self) -> None:
        data = encode(instance(PixelData=encapsulate([b"video!"])), MPEG2)
        assert made(data, MPEG2, MPEG2) == data
        for target in (EXPLICIT, J2K):
            self.refuse(data, MPEG2, target, UnsupportedTransferSyntax)
            self.refuse(encode(instance()), EXPLICIT, MPEG2, UnsupportedTransferSyntax)

    def test_fragments_that_are_no_pixel_data(self) -> None:
        data_set = instance()
        data_set.add_new(0x00420011, "OB", encapsulate([b"document"]))
        data_set[0x00420011].is_undefined_length = True
        self.refuse(encode(data_set), EXPLICIT, J2K)

    def test_hostile_data_sets(self) -> None:
        """Any byte changed: a data set that is whole, or an error of ours."""
        icon = instance(rows=8, columns=8, PixelData=bytes(128))
        data = encode(instance(rows=8, columns=8, PixelData=bytes(128), IconImageSequence=[icon]))
        source = random.Random(1)
        for syntax, start in ((EXPLICIT, data), (JPEG_LS, made(data, EXPLICIT, JPEG_LS))):
            for _ in range(400):
                broken = bytearray(start)
                for _ in range(source.choice((1, 3))):
                    broken[source.randrange(len(broken))] = source.randrange(256)
                for target in (JPEG_LL, EXPLICIT, BIG_ENDIAN):
                    try:
                        made(bytes(broken), syntax, target)
                    except DataSetError:
                        pass


class TestIcons:
    @pytest.mark.parametrize("target", [J2K, RLE, EXPLICIT, BIG_ENDIAN])
    def test_they_become_uncompressed_and_stay_right(self, target: str) -> None:
        """ "May be compressed or not" in any encapsulated syntax (PS3.5 A.4)."""
        source, data = parts(sample("SC_rgb_16bit_2frame.dcm"))
        icon = decode(data, source)
        data_set = decode(made(data, source, JPEG_LS), JPEG_LS)
        small = Dataset()
        for keyword in (
            *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
            *("HighBit", "PixelRepresentation", "NumberOfFrames"),
        ):
            setattr(small, keyword, getattr(icon, keyword))
        small.PlanarConfiguration = 0
        small.PixelData = data_set.PixelData
        small["PixelData"].VR = "OB"
        small["PixelData"].is_undefined_length = True
        data_set.IconImageSequence = [small]
        after = decode(made(encode(data_set, JPEG_LS), JPEG_LS, target), target)
        (found,) = after.IconImageSequence
        expected = icon.PixelData
        if target == BIG_ENDIAN:
            expected = np.frombuffer(expected, "<u2").astype(">u2").tobytes()
        assert found.PixelData == expected
        assert found.PhotometricInterpretation == "RGB"
        assert found.PlanarConfiguration == 0

    def test_uncompressed_ones_stay(self) -> None:
        icon = instance(rows=4, columns=4)
        data = encode(instance(IconImageSequence=[icon]))
        after = decode(made(data, EXPLICIT, J2K), J2K)
        assert after.IconImageSequence[0].PixelData == icon.PixelData


class TestLoss:
    """PS3.3 C.7.6.1.1.5: another image, which says so."""

    def lossy(self, data_set: Dataset, target: str = J2K_LOSSY, quality: int = 80, key: bytes = b"k") -> Dataset:
        return decode(made(encode(data_set), EXPLICIT, target, quality=quality, key=key), target)

    def test_it_says_so(self) -> None:
        before = instance(rows=64, columns=64, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
        after = self.lossy(before)
        assert after.ImageType == ["DERIVED", "PRIMARY", "AXIAL"]
        assert after.LossyImageCompression == "01"
        assert after.LossyImageCompressionMethod == "ISO_15444_1"
        length = len(next(pydicom.encaps.generate_frames(after.PixelData, number_of_frames=1)))
        assert float(after.LossyImageCompressionRatio) == pytest.approx(64 * 64 * 2 / length, rel=0.02)
        (reference,) = after.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
        assert after.DerivationDescription
        tags = [element.tag for element in after]
        assert tags == sorted(tags)

    def test_a_uid_of_its_own_and_always_the_same(self) -> None:
        before = instance()
        one = self.lossy(before).SOPInstanceUID
        assert (
            one
            == self.lossy(before).SOPInstanceUID
            == derived.sop_instance_uid(before.SOPInstanceUID, J2K_LOSSY, 80, b"k")
        )
        assert uids.is_valid_uid(one)
        others = {
            self.lossy(before, quality=81).SOPInstanceUID,
            self.lossy(before, JPEG_LS_NEAR).SOPInstanceUID,
            self.lossy(before, key=b"other").SOPInstanceUID,
            self.lossy(instance()).SOPInstanceUID,
            before.SOPInstanceUID,
            one,
        }
        assert len(others) == 6

    def test_a_second_loss_is_added_to_the_first(self) -> None:
        first = self.lossy(instance(rows=64, columns=64, DerivationDescription="by hand"))
        data = encode(first, J2K_LOSSY)
        second = decode(made(data, J2K_LOSSY, JPEG_LS_NEAR, quality=50), JPEG_LS_NEAR)
        assert second.LossyImageCompressionMethod == ["ISO_15444_1", "ISO_14495_1"]
        assert len(second.LossyImageCompressionRatio) == 2
        assert second.DerivationDescription == "by hand"
        assert len(second.SourceImageSequence) == 1

    def test_only_where_it_is_asked_for(self) -> None:
        after = decode(made(encode(instance()), EXPLICIT, J2K_LOSSY), J2K_LOSSY)
        assert "LossyImageCompression" not in after
        with pytest.raises(UnsupportedTransferSyntax):
            made(encode(instance()), EXPLICIT, JPEG_BASELINE)
        with pytest.raises(UnsupportedTransferSyntax):
            made(encode(instance()), EXPLICIT, IMPLICIT, quality=90)

    @pytest.mark.parametrize("space", ["RGB", "YBR_FULL"])
    def test_colours_of_baseline_jpeg(self, space: str) -> None:
        y, x = np.mgrid[0:64, 0:64].astype(np.uint8)
        pixels = np.stack((x * 3, y * 3, x + y), axis=2)
        before = instance(rows=64, columns=64, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes())
        before.SamplesPerPixel, before.PhotometricInterpretation, before.PlanarConfiguration = 3, space, 0
        there = made(encode(before), EXPLICIT, JPEG_BASELINE, quality=95)
        assert decode(there, JPEG_BASELINE).PhotometricInterpretation == "YBR_FULL_422"
        (found,) = native(there, JPEG_BASELINE)
        if space == "YBR_FULL":
            pixels = pydicom.pixels.convert_color_space(pixels, "YBR_FULL", "RGB")
        difference = np.abs(np.frombuffer(found, np.uint8).reshape(64, 64, 3).astype(int) - pixels)
        assert difference.mean() < 3


class TestForms:
    """In which of the accepted syntaxes something can be given."""

    def test_as_it_lies_there_first(self) -> None:
        for uid in uids.TRANSFER_SYNTAXES:
            assert forms(uid, (IMPLICIT, EXPLICIT, J2K, uid))[0] == uid

    def test_best_first(self) -> None:
        assert forms(JPEG_BASELINE, (IMPLICIT, J2K, EXPLICIT)) == [EXPLICIT, IMPLICIT, J2K]
        assert forms(EXPLICIT, (RLE, JPEG_LS)) == [JPEG_LS, RLE]

    def test_nothing_that_loses(self) -> None:
        assert forms(EXPLICIT, (JPEG_BASELINE,)) == []
        assert forms(EXPLICIT, (J2K_LOSSY,)) == [J2K_LOSSY]  # which need not

    def test_what_is_not_decoded(self) -> None:
        for uid in (*VIDEO, "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.65"):
            assert forms(uid, (*UNCOMPRESSED, J2K)) == []
        assert forms("1.2.3", (EXPLICIT, "1.2.3")) == ["1.2.3"]

    def test_every_source_has_every_target(self) -> None:
        for uid in SOURCES:
            assert set(forms(uid, uids.TRANSFER_SYNTAXES)) == TARGETS | {uid}
        assert ENCODERS.keys() - {"1.2.840.10008.1.2.4.111"} <= DECODABLE
