"""render/frame_view.py and calibration.py: the numbers of a frame, and all that says how they are displayed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

from gateway.errors import DataSetError
from gateway.render import frame_view as module
from gateway.render.calibration import Calibration, UltrasoundRegion, calibration, regions
from gateway.render.frame_view import frame_view
from gateway.render.rendering import open_subject
from tests.render.test_pipeline import header, item
from tests.support.datasets import EXPLICIT, encode, instance, read_sample, sample
from tests.support.frame_views import FrameView


def view(data_set: Dataset, frame: int = 0, syntax: str = EXPLICIT) -> FrameView:
    data = encode(data_set, syntax)

    def read(at: int, length: int) -> bytes:
        return data[at : at + length]

    return FrameView(frame_view(open_subject(read, 0, len(data), syntax), read, frame))


def viewed_sample(name: str, frame: int = 0) -> tuple[FrameView, Any]:
    """A sample, and its pixels as pydicom decodes them."""
    data_set = read_sample(sample(name))
    return view(data_set, frame, str(data_set.file_meta.TransferSyntaxUID)), pixel_array(data_set, index=frame)


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("CT_small.dcm", "i2"),
            ("MR_small.dcm", "i2"),
            ("MR_small_jp2klossless.dcm", "i2"),
            ("MR_small_RLE.dcm", "i2"),
        ],
    )
    def test_as_pydicom_decodes_them(self, name: str, kind: str):
        shown, expected = viewed_sample(name)
        assert shown.about["type"] == kind
        assert (shown.samples == expected).all()

    def test_bits_that_are_no_value_are_left_out(self):
        values = np.array([[-1, 5], [-2048, 2047]], "<i2")
        stored = (values & 0x0FFF) | 0x7000
        shown = view(instance(rows=2, columns=2, PixelRepresentation=1, PixelData=stored.astype("<u2").tobytes()))
        assert shown.samples.tolist() == values.tolist()
        assert (shown.about["bits"], shown.about["signed"]) == (12, True)

    def test_a_value_in_the_upper_bits(self):
        stored = np.array([[0x1230, 0xFFF5]], "<u2")
        shown = view(instance(rows=1, columns=2, HighBit=15, PixelData=stored.tobytes()))
        assert shown.samples.tolist() == [[0x123, 0xFFF]]

    def test_values_of_32_bits(self):
        stored = np.array([[1, 0xFFFFFFFE]], "<u4")
        words = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": stored.tobytes()}
        shown = view(instance(rows=1, columns=2, **words))
        assert (shown.about["type"], shown.samples.tolist()) == ("u4", stored.tolist())
        signed = view(instance(rows=1, columns=2, PixelRepresentation=1, **words))
        assert (signed.about["type"], signed.samples.tolist()) == ("i4", [[1, -2]])

    def test_single_bits(self):
        shown = view(instance(rows=1, columns=8, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=b"\x05\0"))
        assert shown.samples.tolist() == [[1, 0, 1, 0, 0, 0, 0, 0]]

    def test_each_frame(self):
        made = instance(frames=3, rows=2, columns=2, PixelData=np.arange(12, dtype="<u2").tobytes(), FrameTime="40")
        assert [view(made, at).samples.ravel().tolist() for at in range(3)] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9, 10, 11],
        ]
        assert (view(made).about["frames"], view(made).about["milliseconds"]) == (3, 40.0)

    def test_too_large_to_be_looked_at_whole(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(module, "MAX_VIEW_PIXELS", 100)
        with pytest.raises(DataSetError, match="16 by 16 pixels is too large"):
            view(instance())


class TestColours:
    @pytest.mark.parametrize("name", ["SC_rgb.dcm", "SC_rgb_rle.dcm", "examples_rgb_color.dcm", "SC_rgb_small_odd.dcm"])
    def test_without_loss(self, name: str):
        shown, expected = viewed_sample(name)
        assert (shown.colours == expected).all()

    def test_a_palette(self):
        shown, _ = viewed_sample("examples_palette.dcm")
        assert shown.about["photometric"] == "PALETTE COLOR"
        assert len(np.unique(shown.colours.reshape(-1, 3), axis=0)) > 50

    def test_a_jpeg_is_one_again(self):
        shown, _ = viewed_sample("SC_rgb_jpeg_dcmtk.dcm")
        assert shown.parts["jpeg"].startswith(b"\xff\xd8")


class TestDisplay:
    def test_windows_with_their_explanations(self):
        made = instance(
            WindowCenter=["40", "-600", "5"],
            WindowWidth=["400", "1500", "0"],
            WindowCenterWidthExplanation=["SOFT", "LUNG"],
            RescaleSlope="2",
            RescaleIntercept="-1024",
        )
        about = view(made).about
        assert [(each["label"], each["center"], each["width"]) for each in about["presets"]] == [
            ("SOFT", 40.0, 400.0),
            ("LUNG", -600.0, 1500.0),
        ]
        assert about["voi"] == {"center": 40.0, "width": 400.0, "function": "LINEAR"}
        assert (about["slope"], about["intercept"], about["units"]) == (2.0, -1024.0, "HU")

    def test_without_a_window_the_range_of_values(self):
        made = instance(
            rows=1, columns=3, PixelData=np.array([5, 10, 2000, 0], "<u2").tobytes(), PixelPaddingValue=2000
        )
        about = view(made).about
        assert about["voi"] == {"center": 7.5, "width": 5.0, "function": "LINEAR_EXACT"}
        assert (about["presets"], about["padding"]) == ([], [2000.0, 2000.0])

    def test_tables_are_parts(self):
        table = item(LUTDescriptor=[4, 0, 16], LUTData=np.array([10, 20, 30, 40], "<u2").tobytes())
        other = item(
            LUTDescriptor=[4, 0, 8], LUTExplanation="STEEP", LUTData=np.array([0, 50, 200, 255], "<u2").tobytes()
        )
        shown = view(instance(ModalityLUTSequence=[table], VOILUTSequence=[other]))
        assert np.frombuffer(shown.parts[shown.about["table"]["part"]], "<u2").tolist() == [10, 20, 30, 40]
        assert np.frombuffer(shown.parts[shown.about["voi"]["part"]], "<u2").tolist() == [0, 50, 200, 255]
        (preset,) = shown.about["presets"]
        assert (preset["label"], preset["bits"]) == ("STEEP", 8)

    def test_white_is_least(self):
        assert view(instance(PhotometricInterpretation="MONOCHROME1")).about["inverse"]
        assert not view(instance()).about["inverse"]

    @pytest.mark.parametrize(
        ("values", "units"), [({"Modality": "PT", "Units": "BQML"}, "BQML"), ({"RescaleType": "US"}, "")]
    )
    def test_units(self, values: dict[str, Any], units: str):
        assert view(instance(**values)).about["units"] == units

    def test_overlays_are_apart(self):
        shown, _ = viewed_sample("examples_overlay.dcm")
        assert 0 < shown.overlay.mean() < 0.5
        assert shown.samples.shape == shown.overlay.shape


class TestCalibration:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({}, None),
            ({"PixelSpacing": [0.5, 0.25], "Modality": "CT"}, Calibration(0.5, 0.25, "patient")),
            ({"PixelSpacing": [0, 0], "Modality": "CT"}, None),
            ({"PixelSpacing": [0.2, 0.2], "Modality": "CR"}, Calibration(0.2, 0.2, "unstated")),
            ({"ImagerPixelSpacing": [0.2, 0.2], "Modality": "DX"}, Calibration(0.2, 0.2, "detector")),
            (
                {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2], "Modality": "DX"},
                Calibration(0.2, 0.2, "detector"),
            ),
            (
                {"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.2, 0.2], "Modality": "DX"},
                Calibration(0.15, 0.15, "calibrated"),
            ),
            (
                {"PixelSpacing": [0.2, 0.2], "Modality": "CR", "PixelSpacingCalibrationType": "FIDUCIAL"},
                Calibration(0.2, 0.2, "calibrated"),
            ),
            ({"NominalScannedPixelSpacing": [0.1, 0.1], "Modality": "RG"}, Calibration(0.1, 0.1, "scanned")),
        ],
    )
    def test_what_a_distance_is_one_of(self, values: dict[str, Any], expected: Calibration | None):
        assert calibration(header(**values), 0) == expected

    def test_regions_of_ultrasound(self):
        edges = dict(zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), (10, 20, 300, 200), strict=True))
        scale = {"PhysicalDeltaX": 0.05, "PhysicalDeltaY": -0.04}
        units = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
        places = {f"RegionLocation{name}": at for name, at in edges.items()}
        image, curve = (
            item(**places, **scale, **units),
            item(**places, **scale, **{**units, "PhysicalUnitsXDirection": 4}),
        )
        found = regions(header(SequenceOfUltrasoundRegions=[curve, image, item()]))
        assert found == [UltrasoundRegion(10, 20, 300, 200, pytest.approx(0.4), pytest.approx(0.5))]

    def test_of_each_frame(self):
        groups = [item(PixelMeasuresSequence=[item(PixelSpacing=[size, size])]) for size in (1, 2)]
        made = header(PerFrameFunctionalGroupsSequence=groups)
        assert [calibration(made, at) for at in (0, 1)] == [Calibration(1, 1, "patient"), Calibration(2, 2, "patient")]
