"""Frames of stored objects: where they stand, that only they are read, what they hold."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended

from gateway.dicom import part10
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import DataSetError, UnsupportedTransferSyntax
from gateway.imaging.pixels import PixelData, locate_pixels
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UNCOMPRESSED, encode, instance

RLE = "1.2.840.10008.1.2.5"
J2K = "1.2.840.10008.1.2.4.90"
MPEG2 = "1.2.840.10008.1.2.4.100"


class Object:
    """A data set that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        piece = self.data[offset : offset + length]
        self.bytes_read += len(piece)
        return piece

    def pixels(self, syntax: str = EXPLICIT) -> PixelData:
        found = locate_pixels(self.read, 0, len(self.data), syntax)
        assert found is not None
        return found


def of(data_set: Dataset, syntax: str = EXPLICIT) -> tuple[Object, PixelData]:
    stored = Object(encode(data_set, syntax))
    return stored, stored.pixels(syntax)


def frames_of(stored: Object, pixels: PixelData) -> list[bytes]:
    return [pixels.native(stored.read, number) for number in range(len(pixels))]


def picture(values: np.ndarray, **more: object) -> Dataset:
    """A data set whose pixels are `values`: frames, rows, columns and, for colour, 3 samples."""
    frames, rows, columns = values.shape[:3]
    bits = values.itemsize * 8
    data_set = instance(
        frames=frames, rows=rows, columns=columns, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1
    )
    if values.ndim == 4:
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation, data_set.PlanarConfiguration = 3, "RGB", 0
    data_set.PixelData = values.tobytes() + b"\0" * (values.nbytes & 1)
    for keyword, value in more.items():
        setattr(data_set, keyword, value)
    return data_set


def noise(kind: str, *shape: int) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer(np.random.default_rng(1).bytes(size), kind).reshape(shape)


class TestUncompressed:
    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    @pytest.mark.parametrize("kind", ["<u1", "<u2"])
    def test_each_frame(self, kind: str, syntax: str) -> None:
        values = noise(kind, 3, 5, 7)
        data = values.tobytes() + b"\0" * (values.nbytes & 1)
        if syntax == BIG_ENDIAN:  # words, whatever the pixels are (PS3.5 §7.3)
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
        stored, pixels = of(picture(values, PixelData=data), syntax)
        assert frames_of(stored, pixels) == [frame.tobytes() for frame in values]
        assert pixels.stored(stored.read, 2) == values[2].tobytes()

    def test_colour_by_plane(self) -> None:
        values = noise("<u2", 2, 4, 6, 3)
        planes = values.transpose(0, 3, 1, 2).tobytes()
        stored, pixels = of(picture(values, PixelData=planes, PlanarConfiguration=1))
        assert frames_of(stored, pixels) == [frame.tobytes() for frame in values]
        assert pixels.stored(stored.read, 1) == planes[len(planes) // 2 :]

    def test_colour_of_which_half_is_left_out(self) -> None:
        """Y Y CB CR for every two pixels (PS3.3 C.7.6.3.1.2)."""
        values = noise("<u1", 2, 4, 6, 3)
        half = values.copy()
        half[:, :, 1::2, 1:] = half[:, :, ::2, 1:]
        data = b"".join(bytes((*a, b[0], *a[1:])[i] for i in (0, 3, 1, 2)) for a, b in half.reshape(-1, 2, 3).tolist())
        stored, pixels = of(picture(values, PixelData=data, PhotometricInterpretation="YBR_FULL_422"))
        assert frames_of(stored, pixels) == [frame.tobytes() for frame in half]
        assert pixels.image.decoded_photometric(pixels.syntax) == "YBR_FULL"

    def test_colour_that_only_says_so(self) -> None:
        values = noise("<u1", 2, 4, 6, 3)
        stored, pixels = of(picture(values, PhotometricInterpretation="YBR_FULL_422"))
        assert frames_of(stored, pixels) == [frame.tobytes() for frame in values]

    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    @pytest.mark.parametrize(("rows", "columns"), [(3, 3), (4, 4), (5, 7), (1, 1)])
    def test_single_bits(self, rows: int, columns: int, syntax: str) -> None:
        """Frames begin anywhere in a byte (PS3.5 §8.1.1), and are given from a byte's lowest bit."""
        bits = noise("<u1", 5, rows, columns) & 1
        data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
        data += b"\0" * (len(data) & 1)
        if syntax == BIG_ENDIAN:
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
        data_set = picture(bits, PixelData=data, BitsAllocated=1, BitsStored=1, HighBit=0)
        stored, pixels = of(data_set, syntax)
        assert pixels.image.frame_size == (rows * columns + 7) // 8
        for found, expected in zip(frames_of(stored, pixels), bits, strict=True):
            assert found == np.packbits(expected.reshape(-1), bitorder="little").tobytes()

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
    @pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
    def test_numbers_with_a_point(self, keyword: str, kind: str, syntax: str) -> None:
        values = np.random.default_rng(1).normal(0, 1e6, (2, 3, 4)).astype(kind)
        data_set = picture(values)
        del data_set.PixelData, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation
        setattr(data_set, keyword, values.tobytes())
        stored, pixels = of(data_set, syntax)
        assert pixels.image.floating
        assert frames_of(stored, pixels) == [frame.tobytes() for frame in values]

    def test_a_value_without_fragments_in_a_compressed_syntax_is_no_picture(self) -> None:
        """PS3.5 A.4: nobody knows what its bytes are."""
        stored = Object(encode(picture(noise("<u1", 2, 4, 4))))
        with pytest.raises(UnsupportedTransferSyntax, match="of defined length"):
            stored.pixels(J2K)

    def test_only_those_of_the_data_set_itself(self) -> None:
        icon = picture(noise("<u1", 1, 2, 2))
        stored = Object(encode(instance(PixelData=None, IconImageSequence=[icon])))
        assert locate_pixels(stored.read, 0, len(stored.data), EXPLICIT) is None


class TestReading:
    """One frame costs one frame, whatever stands before and behind it."""

    FRAMES, SIZE = 1000, 16384

    def frames(self) -> list[bytes]:
        return [bytes([number & 0xFF]) * self.SIZE for number in range(self.FRAMES)]

    def large(self) -> Dataset:
        return instance(frames=1, rows=128, columns=128, BitsAllocated=8, BitsStored=8, NumberOfFrames=self.FRAMES)

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
    def test_uncompressed(self, syntax: str) -> None:
        data_set = self.large()
        data_set.PixelData = b"".join(self.frames())
        stored, pixels = of(data_set, syntax)
        assert pixels.native(stored.read, 777) == self.frames()[777]
        assert stored.bytes_read < self.SIZE + (256 << 10)

    @pytest.mark.parametrize("table", ["extended", "basic", "none"])
    def test_fragments(self, table: str) -> None:
        data_set = self.large()
        if table == "extended":
            data_set.PixelData, offsets, lengths = encapsulate_extended(self.frames())
            data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
        else:
            data_set.PixelData = encapsulate(self.frames(), has_bot=table == "basic")
        stored, pixels = of(data_set, J2K)
        assert stored.bytes_read < self.FRAMES * 300 + (256 << 10)
        before = stored.bytes_read
        assert pixels.stored(stored.read, 777) == self.frames()[777]
        assert stored.bytes_read == before + self.SIZE

    def test_deflated_data_goes_by_in_bounded_pieces(self) -> None:
        data_set = self.large()
        data_set.PixelData = b"".join(self.frames())
        stored, pixels = of(data_set, DEFLATED)
        assert pixels.native(stored.read, 999) == self.frames()[999]
        assert pixels.native(stored.read, 1) == self.frames()[1]

    def test_video_is_one_stream(self) -> None:
        data_set = self.large()
        data_set.PixelData = encapsulate([b"\0\0\1\xb3" + b"video!"], has_bot=False)
        stored, pixels = of(data_set, MPEG2)
        assert len(pixels) == 1
        assert pixels.stored(stored.read, 0) == b"\0\0\1\xb3video!"
        with pytest.raises(UnsupportedTransferSyntax):
            pixels.native(stored.read, 0)


class TestLiars:
    """A DataSetError, and no memory for what is only said to be there."""

    def refuse(self, syntax: str = EXPLICIT, **values: object) -> None:
        stored = Object(encode(instance(**values), syntax))
        with pytest.raises(DataSetError):
            stored.pixels(syntax).native(stored.read, 0)
        assert stored.bytes_read < 1 << 20

    def test_more_pixels_than_there_can_be(self) -> None:
        self.refuse(Rows=65535, Columns=65535, NumberOfFrames=2**31 - 1)
        self.refuse(Rows=65535, Columns=65535)
        self.refuse(RLE, Rows=65535, Columns=16, PixelData=encapsulate([b"\1" + bytes(63)]))

    def test_attributes_that_make_no_sense(self) -> None:
        self.refuse(BitsStored=17)
        self.refuse(BitsStored=0)
        self.refuse(BitsAllocated=12)
        self.refuse(SamplesPerPixel=4)
        self.refuse(Rows=0)
        self.refuse(Columns=None)
        self.refuse(PixelData=b"")
        self.refuse(Columns=4, Rows=4, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=1,
                    BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(6))  # fmt: skip
        self.refuse(Columns=3, Rows=3, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", BitsAllocated=8,
                    BitsStored=8, PixelData=bytes(18))  # fmt: skip

    def test_more_frames_than_there_are(self) -> None:
        """Those that are there can be read."""
        stored, pixels = of(instance(frames=2, NumberOfFrames=2**31 - 1))
        assert len(pixels) == 2
        assert len(pixels.native(stored.read, 1)) == 512
        for number in (2, 2**31 - 2, -1):
            with pytest.raises(DataSetError):
                pixels.native(stored.read, number)

    def test_a_value_past_the_end(self) -> None:
        data = encode(instance(frames=4))
        stored = Object(data[:-100])
        assert len(stored.pixels()) == 3

    def test_a_fragment_past_the_end(self) -> None:
        data = encode(instance(PixelData=encapsulate([bytes(100)] * 3), NumberOfFrames=3), J2K)
        for cut in (1, 8, 9, 60, 200):
            with pytest.raises(DataSetError):
                Object(data[:-cut]).pixels(J2K)
        size = data.rindex(b"\xfe\xff\x00\xe0") + 4
        with pytest.raises(DataSetError):
            Object(data[:size] + b"\xfe\xff\xff\xff" + data[size + 4 :]).pixels(J2K)

    def test_fragments_where_none_may_be(self) -> None:
        data = encode(instance(PixelData=encapsulate([bytes(100)])), J2K)
        with pytest.raises(DataSetError, match="A\\.4"):
            Object(data).pixels(EXPLICIT)

    def test_a_stored_object_that_became_shorter(self) -> None:
        for syntax, pixel_data in ((EXPLICIT, bytes(512)), (J2K, encapsulate([bytes(100)]))):
            stored, pixels = of(instance(PixelData=pixel_data), syntax)
            stored.data = stored.data[:-120]
            with pytest.raises(DataSetError):
                pixels.stored(stored.read, 0)


def stored_values(data: bytes, pixels: PixelData) -> np.ndarray:
    """Samples of a frame by Bits Stored: what lies above is not part of them."""
    image = pixels.image
    if image.bits_allocated == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: image.frame_bits].astype(np.int64)
    kind = "f" if image.floating else "i" if image.signed else "u"
    values = np.frombuffer(data, f"<{kind}{image.bits_allocated // 8}")
    if kind == "f":
        return values
    shift = image.bits_allocated - image.bits_stored
    return ((values << shift) >> shift).astype(np.int64)


NOT_AS_PYDICOM = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "its stream says 3 722 445 056 columns",
    "MR_truncated.dcm": "one frame, cut short",
    "OT-PAL-8-face.dcm": "no file of PS3.10: without preamble",
    "badVR.dcm": "Number of Frames is '1A'",
    "meta_missing_tsyntax.dcm": "names no transfer syntax",
    "nested_priv_SQ.dcm": "Pixel Data without Image Pixel attributes",
    "rtdose_expb.dcm": "words of OW have 16 bits (PS3.5 §7.3), as DCMTK reads them; pydicom turns 32 round",
    "rtdose_expb_1frame.dcm": "the same",
}


def sample_files() -> list[str]:
    from pydicom.data import get_testdata_files

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted({str(path) for path in get_testdata_files("*") if str(path).endswith(".dcm")})


@pytest.mark.parametrize("path", [pytest.param(path, id=Path(path).name) for path in sample_files()])
@pytest.mark.filterwarnings("ignore")
def test_every_sample_as_pydicom_has_it(path: str) -> None:
    """Each file of pydicom's and pydicom-data's with pixels that pydicom can decode."""
    stored = Object(Path(path).read_bytes())
    name = Path(path).name
    try:
        data_set = pydicom.dcmread(path, force=True)
        has_pixels = "PixelData" in data_set or "FloatPixelData" in data_set
        syntax = data_set.file_meta.get("TransferSyntaxUID")
    except Exception:
        pytest.skip("pydicom does not read it")
    if not has_pixels or name in NOT_AS_PYDICOM:
        pytest.skip(NOT_AS_PYDICOM.get(name, "no pixels"))
    meta = part10.read_header(stored.read)
    pixels = locate_pixels(stored.read, meta.data_set_offset, len(stored.data), syntax)
    assert pixels is not None
    lossy = pixels.image.samples_per_pixel == 3 and syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
    frames = frames_of(stored, pixels)
    assert {len(frame) for frame in frames} == {pixels.image.frame_size}
    try:
        theirs, _ = pydicom.pixels.get_decoder(syntax).as_array(data_set, as_rgb=lossy)
    except RuntimeError:
        pytest.skip("no plugin of pydicom's decodes it")
    for frame, expected in zip(frames, theirs.reshape(len(frames), -1), strict=True):
        difference = np.abs(stored_values(frame, pixels) - expected.astype(np.int64)).max()
        # Codecs round colours and cosines each in their way.
        assert difference <= (2 if lossy else 0)


@pytest.mark.parametrize("syntax", sorted(TRANSFER_SYNTAXES))
def test_no_syntax_is_taken_for_another(syntax: str) -> None:
    """Whatever is said about plain bytes, it is an error or pixels."""
    for data in (
        encode(instance()),
        encode(instance(), IMPLICIT),
        encode(instance(PixelData=encapsulate([b"xy"])), J2K),
    ):
        stored = Object(data)
        try:
            found = locate_pixels(stored.read, 0, len(data), syntax)
            if found is not None:
                found.native(stored.read, 0)
        except DataSetError:
            pass
