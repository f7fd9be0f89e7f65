"""Stored values to what is shown: PS3.4 Annex N.2, PS3.3 C.7.6.3, C.7.9, C.9.2, C.11."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from gateway.errors import BadRequest, DataSetError
from gateway.imaging.image import Image
from gateway.imaging.pixels import Finder
from gateway.render import picture
from gateway.render.grey import Window
from gateway.render.header import Header, read_header
from gateway.render.lut import palette
from gateway.render.pipeline import render, samples
from gateway.render.viewport import Viewport
from tests.support.datasets import DEFLATED, EXPLICIT, IMPLICIT, encode


def header(transfer_syntax: str = EXPLICIT, /, **values: Any) -> Header:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return read(encode(data_set, transfer_syntax), transfer_syntax)


def read(data: bytes, transfer_syntax: str = EXPLICIT) -> Header:
    def part(at: int, length: int) -> bytes:
        return data[at : at + length]

    return read_header(part, 0, len(data), transfer_syntax, Finder(part, 0, len(data), transfer_syntax))


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def show(
    pixels: Any,
    photometric: str = "MONOCHROME2",
    *,
    stored: int = 0,
    frame: int = 0,
    window: Window | None = None,
    viewport: Viewport | None = None,
    syntax: str = EXPLICIT,
    **values: Any,
) -> Any:
    """What is shown of an array, as nested lists."""
    pixels = np.asarray(pixels)
    if pixels.ndim == 1:
        pixels = pixels[np.newaxis]
    bits = 8 * pixels.itemsize
    image = Image(
        *(pixels.shape[0], pixels.shape[1], 3 if pixels.ndim == 3 else 1, photometric, bits, stored or bits),
        *(pixels.dtype.kind == "i", 1),
        floating=pixels.dtype.kind == "f",
    )
    described = header(syntax, **values)
    return render(described, image, photometric, frame, pixels.tobytes(), window=window, viewport=viewport).tolist()


def words(*values: int) -> Any:
    return np.array(values, "<u2")


def lut(first: int, entries: list[int], bits: int = 16, **more: Any) -> Dataset:
    made = item(LUTDescriptor=[len(entries), first, bits], LUTData=struct.pack(f"<{len(entries)}H", *entries), **more)
    made["LUTDescriptor"].VR, made["LUTData"].VR = "US", "OW"
    return made


class TestModalityLut:
    """C.11.1."""

    def test_slope_and_intercept(self):
        assert show(words(1049, 1050), RescaleSlope=2, RescaleIntercept=-2000, window=Window(100, 2)) == [[0, 255]]

    def test_table(self):
        table = lut(10, [0, 500, 1000])
        assert show(
            words(0, 10, 11, 12, 13), ModalityLUTSequence=[table], window=Window(500, 1000, "LINEAR_EXACT")
        ) == [[0, 0, 128, 255, 255]]

    @pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED])
    def test_in_any_syntax(self, syntax: str):
        table = lut(10, [0, 500, 1000])
        shown = show(
            words(10, 11), syntax=syntax, ModalityLUTSequence=[table], window=Window(500, 1000, "LINEAR_EXACT")
        )
        assert shown == [[0, 128]]

    def test_of_a_frame(self):
        groups = [
            item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=intercept)])
            for intercept in (0, -100)
        ]
        window = Window(50, 100, "LINEAR_EXACT")
        for frame, expected in enumerate(([0, 255], [0, 0])):
            assert show(words(0, 100), frame=frame, PerFrameFunctionalGroupsSequence=groups, window=window) == [
                expected
            ]

    def test_what_is_no_number_is_not_there(self):
        data = encode(item(RescaleSlope=12, RescaleIntercept=0)).replace(b"12", b"x ")
        assert read(data).number(0x00281053) is None
        assert read(data).number(0x00281052) == 0


class TestVoiLut:
    """C.11.2."""

    def test_the_formula_of_linear(self):
        """C.11.2.1.2.1: c=2048, w=4096 leaves 12 bits as they are; w=1 is a threshold."""
        ramp = np.arange(4096, dtype="<u2")
        shown = np.array(show(ramp, window=Window(2048, 4096)))
        assert (shown == np.rint(ramp / 4095 * 255)).all()
        assert show(words(99, 100, 101), window=Window(100, 1)) == [[0, 255, 255]]

    def test_exact_and_sigmoid(self):
        assert show(words(0, 50, 100, 200), window=Window(50, 100, "LINEAR_EXACT")) == [[0, 128, 255, 255]]
        shown = show(words(0, 50, 100), window=Window(50, 100, "SIGMOID"))
        assert shown == [[round(255 / (1 + np.exp(2))), 128, round(255 / (1 + np.exp(-2)))]]
        assert show(words(0, 50), WindowCenter=50, WindowWidth=100, VOILUTFunction="SIGMOID")[0][0] == 30

    def test_the_first_window_of_several(self):
        assert show(words(0, 99), WindowCenter=[50, 5000], WindowWidth=[100, 1], SamplesPerPixel=1) == [[0, 255]]

    def test_a_window_goes_before_a_table_and_a_wish_before_both(self):
        values = {"VOILUTSequence": [lut(0, [255, 0], 8)], "WindowCenter": 1, "WindowWidth": 1}
        assert show(words(0, 1), **values) == [[0, 255]]
        assert show(words(0, 1), **values, window=Window(5, 1)) == [[0, 0]]
        assert show(words(0, 1), VOILUTSequence=[lut(0, [255, 0], 8)]) == [[255, 0]]

    def test_of_a_frame(self):
        shared = [item(FrameVOILUTSequence=[item(WindowCenter=5, WindowWidth=1)])]
        frames = [item(FrameVOILUTSequence=[item(WindowCenter=7, WindowWidth=1)]), Dataset()]
        values = {"SharedFunctionalGroupsSequence": shared, "PerFrameFunctionalGroupsSequence": frames}
        assert show(words(5, 6, 7), frame=0, **values) == [[0, 0, 255]]
        assert show(words(5, 6, 7), frame=1, **values) == [[255, 255, 255]]

    def test_without_any_what_is_there_is_spread(self):
        assert show(words(1000, 1500, 2000)) == [[0, 128, 255]]
        assert show(words(7, 7)) == [[128, 128]]
        assert show(np.array([-500, 0, 500], "<i2")) == [[0, 128, 255]]

    def test_padding_is_not_counted(self):
        padded = np.array([-2000, -500, 0, 500], "<i2")
        assert show(padded, PixelRepresentation=1, PixelPaddingValue=-2000) == [[0, 0, 128, 255]]
        assert show(
            np.array([-2000, -1900, -500, 500], "<i2"),
            PixelRepresentation=1,
            PixelPaddingValue=-2000,
            PixelPaddingRangeLimit=-1900,
        ) == [[0, 0, 0, 255]]

    def test_eight_bits_are_meant_as_they_are(self):
        assert show(np.array([10, 100], "u1")) == [[10, 100]]
        assert show(np.array([0, 50, 100], "u1"), MaximumFractionalValue=100) == [[0, 128, 255]]

    @pytest.mark.parametrize("width", [0, -5])
    def test_a_width_that_cannot_be(self, width: int):
        assert show(words(0, 100), WindowCenter=1, WindowWidth=width) == [[0, 255]]


class TestPresentation:
    def test_inverse(self):
        assert show(np.array([0, 255], "u1"), "MONOCHROME1") == [[255, 0]]
        assert show(np.array([0, 255], "u1"), PresentationLUTShape="INVERSE") == [[255, 0]]
        assert show(np.array([0, 255], "u1"), "MONOCHROME1", PresentationLUTShape="INVERSE") == [[255, 0]]

    def test_table(self):
        assert show(np.array([0, 128, 255], "u1"), PresentationLUTSequence=[lut(0, [255, 10, 0], 8)]) == [[255, 10, 0]]


class TestWords:
    """PS3.5 §8.1.1."""

    def test_signed_in_fewer_bits(self):
        assert show(np.array([0x0800, 0x0000, 0x07FF], "<i2"), stored=12) == [[0, 128, 255]]

    def test_what_is_in_unused_bits_is_not_pixels(self):
        assert show(words(0xF000, 0xF800, 0x0FFF), stored=12, window=Window(2048, 4096)) == [[0, 128, 255]]

    def test_high_bit(self):
        assert show(words(0x0000, 0xFFF0), stored=12, HighBit=15, window=Window(2048, 4096)) == [[0, 255]]

    @pytest.mark.parametrize("kind", ["<u4", "<i4", "<u8", "<i8", "<f4", "<f8"])
    def test_wide_words(self, kind: str):
        assert show(np.array([0, 500, 1000], kind)) == [[0, 128, 255]]
        assert show(np.array([0, 500, 1000], kind), window=Window(250, 500, "LINEAR_EXACT")) == [[0, 255, 255]]

    def test_floats_that_are_none(self):
        assert show(np.array([np.nan, 0, np.inf, 10], "<f4")) == [[0, 0, 255, 255]]

    @pytest.mark.parametrize("slope", ["1e300", "-1e300", "1e-300", "0"])
    @pytest.mark.parametrize(("width", "function"), [("1e-300", "LINEAR_EXACT"), ("1e-300", "SIGMOID"), (None, None)])
    def test_numbers_that_nobody_means(self, slope: str, width: str | None, function: str | None):
        values = {"RescaleSlope": slope, "RescaleIntercept": "-1e300"}
        if width is not None:
            values |= {"WindowCenter": "1e300", "WindowWidth": width, "VOILUTFunction": str(function)}
        for pixels in (words(0, 65535), np.array([0, 1e308, np.inf], "<f8"), np.array([0, 2**63], "<u8")):
            assert show(pixels, **values)

    def test_single_bits(self):
        image = Image(1, 10, 1, "MONOCHROME2", 1, 1, False, 1)
        assert render(header(), image, "MONOCHROME2", 0, b"\x05\x02").tolist() == [[255, 0, 255, 0, 0, 0, 0, 0, 0, 255]]


class TestColour:
    """C.7.6.3.1.2."""

    def test_ybr(self):
        assert show(np.array([[[255, 128, 128], [76, 85, 255]]], "u1"), "YBR_FULL") == [[[255, 255, 255], [254, 0, 0]]]
        assert show(np.array([[[235, 128, 128], [16, 128, 128]]], "u1"), "YBR_PARTIAL_422") == [[[255] * 3, [0] * 3]]

    def test_deep(self):
        assert show(np.array([[[0xFF00, 0x8000, 0x0100]]], "<u2"), "RGB") == [[[255, 128, 1]]]

    def test_palette(self):
        values = _palette([10, 20, 30], bits=8, first=1)
        assert show(np.array([0, 1, 2, 3, 9], "u1"), "PALETTE COLOR", **values) == [
            [[v] * 3 for v in (10, 10, 20, 30, 30)]
        ]
        values = _palette([0x0A00, 0x1400, 0x1E00], bits=16)
        assert show(np.array([0, 1, 2], "u1"), "PALETTE COLOR", **values) == [[[v] * 3 for v in (10, 20, 30)]]

    def test_palette_of_an_odd_length(self):
        values = {f"{c}PaletteColorLookupTableData": bytes([10, 20, 30, 0]) for c in ("Red", "Green", "Blue")} | {
            f"{c}PaletteColorLookupTableDescriptor": [3, 0, 8] for c in ("Red", "Green", "Blue")
        }
        assert show(np.array([0, 1, 2, 3], "u1"), "PALETTE COLOR", **values) == [[[v] * 3 for v in (10, 20, 30, 30)]]

    @pytest.mark.parametrize(
        ("segments", "expected"),
        [
            ([0, 2, 0, 100, 1, 4, 500], [0, 100, 200, 300, 400, 500]),
            ([0, 2, 0, 500, 2, 1, 0, 0, 0, 2, 700, 800], [0, 500, 0, 500, 700, 800]),
            ([0, 2, 0, 100, 1, 2, 300, 2, 2, 0, 0], [0, 100, 200, 300, 0, 100]),
        ],
    )
    def test_segments(self, segments: list[int], expected: list[int]):
        """C.7.9.2."""
        data = struct.pack(f"<{len(segments)}H", *segments)
        _first, colours = palette(header(**_segmented(data, 6)))
        assert colours[:, 0].tolist() == [value >> 8 for value in expected]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            struct.pack("<3H", 1, 5, 5),
            struct.pack("<2H", 9, 9),
            struct.pack("<4H", 2, 9, 0, 0) * 2,
            struct.pack("<2H", 0, 0) * 60000,
            (struct.pack("<2H", 0, 0) * 16000) + struct.pack("<4H", 2, 16000, 0, 0) * 16000,
        ],
    )
    def test_segments_that_lie(self, data: bytes):
        with pytest.raises(DataSetError):
            palette(header(**_segmented(data, 65535)))

    def test_supplement(self):
        values = _palette([0x0A00, 0x1400], bits=16, first=100) | {"PixelPresentation": "COLOR"}
        shown = show(words(0, 50, 99, 100, 101, 999), **values, window=Window(50, 100, "LINEAR_EXACT"))
        assert [each[0] for each in shown[0]] == [0, 128, 252, 10, 20, 20]
        assert show(words(100), **values | {"PixelPresentation": "MONOCHROME"}, window=Window(1, 1)) == [[255]]

    def test_without_a_palette(self):
        with pytest.raises(DataSetError):
            show(np.array([1], "u1"), "PALETTE COLOR")

    def test_what_is_not_known(self):
        for photometric in ("HSV", "", "CMYK"):
            with pytest.raises(DataSetError):
                show(np.zeros((1, 1, 3), "u1"), photometric)
            with pytest.raises(DataSetError):
                show(np.zeros((1, 1), "u1"), photometric)


def _palette(entries: list[int], *, bits: int, first: int = 0) -> dict[str, Any]:
    data = bytes(entries) + b"\0" * (len(entries) & 1) if bits == 8 else struct.pack(f"<{len(entries)}H", *entries)
    names = ("Red", "Green", "Blue")
    return {f"{name}PaletteColorLookupTableData": data for name in names} | {
        f"{name}PaletteColorLookupTableDescriptor": [len(entries), first, bits] for name in names
    }


def _segmented(data: bytes, count: int) -> dict[str, Any]:
    names = ("Red", "Green", "Blue")
    return {f"Segmented{name}PaletteColorLookupTableData": data for name in names} | {
        f"{name}PaletteColorLookupTableDescriptor": [count, 0, 16] for name in names
    }


class TestOverlays:
    """C.9.2."""

    def _header(self, *elements: tuple[int, str, Any]) -> Header:
        data_set = Dataset()
        for tag, vr, value in elements:
            data_set.add_new(tag, vr, value)
        return read(encode(data_set))

    def _show(self, found: Header, pixels: Any = None, stored: int = 8) -> Any:
        pixels = np.zeros((2, 4), "u1") if pixels is None else pixels
        bits = 8 * pixels.itemsize
        image = Image(*pixels.shape, 1, "MONOCHROME2", bits, stored, False, 1)
        return render(found, image, "MONOCHROME2", 0, pixels.tobytes()).tolist()

    def test_beside_the_pixels(self):
        found = self._header(
            (0x60000010, "US", 2),
            (0x60000011, "US", 2),
            (0x60000040, "CS", "G"),
            (0x60000050, "SS", [1, 2]),
            (0x60003000, "OW", bytes([0b1001, 0])),
        )
        assert self._show(found) == [[0, 255, 0, 0], [0, 0, 255, 0]]

    def test_beyond_the_image(self):
        found = self._header(
            (0x60000010, "US", 2),
            (0x60000011, "US", 2),
            (0x60000040, "CS", "G"),
            (0x60000050, "SS", [0, 4]),
            (0x60003000, "OW", bytes([0b1111, 0])),
        )
        assert self._show(found) == [[0, 0, 0, 255], [0, 0, 0, 0]]

    def test_in_unused_bits(self):
        found = self._header((0x60000040, "CS", "G"), (0x60000100, "US", 16), (0x60000102, "US", 12))
        pixels = np.array([[0x1000, 0], [0, 0x1000]], "<u2")
        assert self._show(found, pixels, 8) == [[255, 0], [0, 255]]

    def test_a_liar_is_left_out(self):
        found = self._header(
            (0x60000010, "US", 65535),
            (0x60000011, "US", 65535),
            (0x60000040, "CS", "G"),
            (0x60003000, "OW", b"\xff\xff"),
        )
        assert self._show(found) == [[0] * 4] * 2


class TestViewport:
    """PS3.18 §8.3.5.1.4."""

    ramp = np.arange(8, dtype="u1").reshape(2, 4) * 30

    def test_a_region(self):
        assert show(self.ramp, viewport=Viewport(2, 2, 1, 0, 2, 2)) == [[30, 60], [150, 180]]

    def test_turned(self):
        assert show(self.ramp, viewport=Viewport(4, 2, region_width=-4)) == self.ramp[:, ::-1].tolist()
        assert show(self.ramp, viewport=Viewport(4, 2, region_height=-2)) == self.ramp[::-1].tolist()

    @pytest.mark.parametrize(
        ("size", "expected"), [((8, 8), (4, 8)), ((100, 4), (4, 8)), ((1, 1), (1, 1)), ((2, 9), (1, 2))]
    )
    def test_fitted(self, size: tuple[int, int], expected: tuple[int, int]):
        assert np.shape(show(self.ramp, viewport=Viewport(*size))) == expected

    def test_far_smaller(self):
        large = np.full((1000, 1000), 77, "u1")
        assert show(large, viewport=Viewport(10, 10)) == [[77] * 10] * 10

    @pytest.mark.parametrize("region", [(5, 0), (0, 0, 5, 1), (0, 2), (3, 0, -2, 1)])
    def test_outside(self, region: tuple[float, ...]):
        with pytest.raises(BadRequest):
            show(self.ramp, viewport=Viewport(2, 2, *region))

    def test_pixels_that_are_not_square(self):
        assert np.shape(show(self.ramp, PixelAspectRatio=[2, 1])) == (4, 4)
        assert np.shape(show(self.ramp, PixelSpacing=[1, 2])) == (2, 8)
        assert np.shape(show(self.ramp, PixelSpacing=[0.001, 2])) == (2, 4)
        assert np.shape(show(self.ramp, PixelSpacing=["1", "1.001"])) == (2, 4)


def test_letters_that_the_font_has_not_are_no_boxes() -> None:
    assert picture._shortened("Müller Jörg | Иван 山田 il.…") == "Muller Jorg | ???? ?? il.…"


class TestLabelMaps:
    """PS3.3 C.8.20.2 with Segmentation Type LABELMAP: pixels are numbers of segments."""

    @pytest.mark.case("case 07 a label map is shown with a colour for each segment")
    @pytest.mark.parametrize("kind", ["u1", "u2"])
    def test_each_segment_has_a_colour_and_the_background_none(self, kind: str) -> None:
        shown = show(np.arange(12).astype(kind), SegmentationType="LABELMAP")
        (row,) = shown
        assert row[0] == [0, 0, 0]
        assert len({tuple(each) for each in row}) == 12
        assert all(max(each) == 255 for each in row[1:])

    def test_the_colour_that_a_segment_recommends(self) -> None:
        """White and a red, as CIELab; the background that is named."""
        white, red = [65535, 32896, 32896], [34887, 53485, 50195]
        segments = [
            item(SegmentNumber=1, RecommendedDisplayCIELabValue=white),
            item(SegmentNumber=2, RecommendedDisplayCIELabValue=red),
            item(SegmentNumber=3),
        ]
        shown = show(
            np.array([0, 1, 2, 3, 7], "u1"),
            SegmentationType="LABELMAP",
            SegmentSequence=segments,
            PixelPaddingValue=7,
        )
        ((zero, one, two, three, background),) = shown
        assert min(one) >= 253
        assert two[0] >= 240
        assert max(two[1:]) <= 30
        assert max(three) == max(zero) == 255
        assert background == [0, 0, 0]

    def test_a_window_shows_the_numbers_as_greys(self) -> None:
        shown = show(np.array([0, 1, 2, 3], "u1"), window=Window(1.5, 3, "LINEAR_EXACT"), SegmentationType="LABELMAP")
        assert shown == [[0, 85, 170, 255]]


def test_one_bit_of_each_colour() -> None:
    """Nothing forbids it but reason; the samples of a pixel follow each other like those of bytes."""
    image = Image(1, 3, 3, "RGB", 1, 1, signed=False, frames=1)
    found = samples(image, bytes([0b10001001, 0b1]))
    assert found.tolist() == [[[1, 0, 0], [1, 0, 0], [0, 1, 1]]]
