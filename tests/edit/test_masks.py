"""Regions of pixels that are masked: held against the same done with numpy over what pydicom reads."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.dicom.part10 import file_header
from gateway.edit import masks
from gateway.edit.change_set import ChangeSet
from gateway.edit.masks import MAX_FILTER_WIDTH, MAX_REGIONS, parse_regions
from gateway.errors import BadRequest, EditError
from tests.support.datasets import BIG_ENDIAN, EXPLICIT, IMPLICIT, encode, instance

FILL = {"MaskType": "Fill", "RegionType": "2D", "Origin": [2, 3], "End": [7, 5], "FillValue": 9}
MEAN = {"MaskType": "MeanFilter", "RegionType": "2D", "Origin": [2, 3], "End": [12, 15], "FilterWidth": 3}
BOX = {"MaskType": "Fill", "RegionType": "3D", "Origin": [10, 20, 5], "End": [13.9, 23.9, 7], "FillValue": 9}


def masked(source: Dataset, *regions: dict[str, Any], syntax: str = EXPLICIT) -> Dataset:
    data = encode(source, syntax)
    changes = ChangeSet.of_steps("test", [], key=b"", regions=parse_regions({"Regions": list(regions)}))
    edited = changes.apply(lambda offset, length: data[offset : offset + length], 0, len(data), syntax)
    try:
        header = file_header(
            sop_class_uid=edited.sop_class_uid,
            sop_instance_uid=edited.sop_instance_uid,
            transfer_syntax_uid=edited.transfer_syntax_uid,
        )
        return pydicom.dcmread(io.BytesIO(header + edited.read(0, edited.length)))
    finally:
        edited.close()


def pixels(kind: str, shape: tuple[int, ...], most: int) -> Any:
    return np.random.default_rng(1).integers(0, most, shape).astype(kind)


def grey(kind: str = "<u2", most: int = 4096, frames: int = 1, **values: Any) -> tuple[Dataset, Any]:
    array = pixels(kind, (frames, 16, 20), most)
    bits = array.dtype.itemsize * 8
    stored = {"BitsAllocated": bits, "BitsStored": min(bits, 12), "HighBit": min(bits, 12) - 1}
    named = {"PixelData": array.tobytes(), "NumberOfFrames": frames, **stored, **values}
    return instance(rows=16, columns=20, **named), array


def averaged(array: Any, width: int) -> Any:
    """The mean of each pixel's neighbours that there are, the slow way."""
    found = np.zeros_like(array)
    for row in range(array.shape[0]):
        for column in range(array.shape[1]):
            low, left = max(0, row - width // 2), max(0, column - width // 2)
            part = array[low : row - width // 2 + width, left : column - width // 2 + width].astype(float)
            found[row, column] = np.floor(part.mean(axis=(0, 1)) + 0.5)
    return found


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("frames", [1, 3])
def test_fill(syntax: str, frames: int) -> None:
    source, array = grey(frames=frames)
    if syntax == BIG_ENDIAN:
        source.PixelData = array.astype(">u2").tobytes()
    array[:, 3:5, 2:7] = 9
    after = masked(source, FILL, syntax=syntax)
    assert np.array_equal(after.pixel_array.reshape(array.shape), array)
    assert after.file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("width", [2, 3, 10, MAX_FILTER_WIDTH])
def test_mean(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_BLOCK_ROWS", 5)
    source, array = grey()
    array[0, 3:15, 2:12] = averaged(array[0, 3:15, 2:12], width)
    assert np.array_equal(masked(source, {**MEAN, "FilterWidth": width}).pixel_array, array[0])


def test_mean_of_signed_pixels() -> None:
    array = pixels("<i2", (16, 20), 4096) - 2048
    source, _ = grey(PixelRepresentation=1, PixelData=(array & 0x0FFF).astype("<u2").tobytes())
    array[3:15, 2:12] = averaged(array[3:15, 2:12], 3)
    assert np.array_equal(masked(source, MEAN).pixel_array, array)


def test_negative_filling() -> None:
    source, _ = grey(PixelRepresentation=1)
    assert (masked(source, {**FILL, "FillValue": -2048}).pixel_array[3:5, 2:7] == -2048).all()


def colour(photometric: str = "RGB") -> tuple[Dataset, Any]:
    array = pixels("u1", (16, 20, 3), 256)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    return instance(
        rows=16, columns=20, PixelData=array.tobytes(), PhotometricInterpretation=photometric, **eight
    ), array


def test_colours() -> None:
    source, array = colour()
    array[3:5, 2:7] = 9
    array[3:15, 2:12] = averaged(array[3:15, 2:12], 3)
    assert np.array_equal(masked(source, FILL, MEAN).pixel_array, array)


def test_luminance_alone_is_filled() -> None:
    source, _ = colour("YBR_FULL")
    after = np.frombuffer(masked(source, FILL).PixelData, "u1").reshape(16, 20, 3)
    assert (after[3:5, 2:7] == (9, 128, 128)).all()


def test_bits() -> None:
    array = pixels("u1", (16, 24), 2)
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    source = instance(rows=16, columns=24, PixelData=np.packbits(array, bitorder="little").tobytes(), **one)
    source["PixelData"].VR = "OB"
    array[3:5, 2:7] = 1
    after = masked(source, {**FILL, "FillValue": 1})
    assert np.array_equal(np.unpackbits(np.frombuffer(after.PixelData, "u1"), bitorder="little").reshape(16, 24), array)


def test_beyond_the_image() -> None:
    source, array = grey()
    array[0, 3:, 2:] = 9
    assert np.array_equal(masked(source, {**FILL, "End": [1000, 1000]}).pixel_array, array[0])
    assert masked(source, {**FILL, "Origin": [500, 500], "End": [501, 501]}).PixelData == source.PixelData


def test_an_icon_goes() -> None:
    source, _ = grey()
    icon, _ = grey()
    source.IconImageSequence = [icon]
    assert "IconImageSequence" not in masked(source, FILL)


def test_what_has_no_pixels_is_as_it_was() -> None:
    assert masked(instance(PixelData=None), FILL, BOX).PatientID == "P1"


class TestBox:
    PLACE = {"ImagePositionPatient": [8, 18, 6], "PixelSpacing": [2, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}

    def test_pixels_whose_centre_is_inside(self) -> None:
        source, array = grey(**self.PLACE)
        array[0, 1:3, 2:6] = 9  # y: 18 + 2 rows = 20, 22; x: 8 + columns = 10 to 13
        assert np.array_equal(masked(source, BOX).pixel_array, array[0])

    def test_in_any_order(self) -> None:
        source, array = grey(**self.PLACE)
        array[0, 1:3, 2:6] = 9
        swapped = {**BOX, "Origin": [13.9, 20, 7], "End": [10, 23.9, 5]}
        assert np.array_equal(masked(source, swapped).pixel_array, array[0])

    def test_another_slice(self) -> None:
        source, array = grey(**{**self.PLACE, "ImagePositionPatient": [8, 18, 7.5]})
        assert np.array_equal(masked(source, BOX).pixel_array, array[0])

    @pytest.mark.parametrize("kind", ["Fill", "MeanFilter"])
    def test_an_oblique_slice(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(masks, "_BLOCK_ROWS", 5)
        half = 0.5**0.5
        place = {"ImagePositionPatient": [8, 18, 0], "ImageOrientationPatient": [1, 0, 0, 0, half, half]}
        source, array = grey(**{**self.PLACE, **place})
        rows, columns = np.mgrid[0:16, 0:20]
        x, y, z = 8.0 + columns, 18 + 2 * rows * half, 2 * rows * half
        inside = (x >= 10) & (x <= 13.9) & (y >= 20) & (y <= 30) & (z >= 5) & (z <= 7)
        assert 0 < inside.sum() < 40
        array[0][inside] = 9 if kind == "Fill" else averaged(array[0], 4)[inside]
        region = {**BOX, "MaskType": kind, "End": [13.9, 30, 7], "FilterWidth": 4}
        assert np.array_equal(masked(source, region).pixel_array, array[0])

    @pytest.mark.parametrize(
        "values",
        [
            {"ImagePositionPatient": None},
            {"PixelSpacing": None},
            {"ImageOrientationPatient": [1, 0, 0]},
            {"NumberOfFrames": 2, "PixelData": bytes(16 * 20 * 4)},
        ],
    )
    def test_an_image_whose_place_is_not_known(self, values: dict[str, Any]) -> None:
        source, _ = grey(**self.PLACE)
        for keyword, value in values.items():
            setattr(source, keyword, value)
        with pytest.raises(EditError):
            masked(source, BOX)


@pytest.mark.parametrize("value", [-1, 4096])
def test_a_value_that_no_pixel_has(value: int) -> None:
    source, _ = grey()
    with pytest.raises(EditError, match="FillValue"):
        masked(source, {**FILL, "FillValue": value})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "Expected `object`"),
        ({}, "`Regions`"),
        ({"Regions": []}, "1 to"),
        ({"Regions": [FILL] * (MAX_REGIONS + 1)}, "1 to"),
        ({"Regions": [{**FILL, "MaskType": "x"}]}, "MaskType"),
        ({"Regions": [{**FILL, "RegionType": "4D"}]}, "RegionType"),
        ({"Regions": [{**FILL, "Nonsense": 1}]}, "Nonsense"),
        ({"Regions": [{**FILL, "Origin": [1]}]}, "x and y"),
        ({"Regions": [{**FILL, "Origin": [1, 2, 3], "End": [1, 2, 3]}]}, "x and y"),
        ({"Regions": [{**BOX, "Origin": [1, 2], "End": [2, 3]}]}, "x, y and z"),
        ({"Regions": [{**FILL, "Origin": [0.5, 1]}]}, "whole numbers"),
        ({"Regions": [{**FILL, "Origin": [-1, 1]}]}, "whole numbers"),
        ({"Regions": [{**FILL, "End": [2, 5]}]}, "behind Origin"),
        ({"Regions": [{**BOX, "End": [1e300, 0, 0]}]}, "in mm"),
        ({"Regions": [{**MEAN, "FilterWidth": 1}]}, "FilterWidth"),
        ({"Regions": [{**MEAN, "FilterWidth": MAX_FILTER_WIDTH + 1}]}, "FilterWidth"),
        ({"Regions": [{**FILL, "TargetSeries": ["x"] * 10_001}]}, "at most"),
    ],
)
def test_what_is_refused(body: Any, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        parse_regions(body)


def test_targets() -> None:
    (region,) = parse_regions({"Regions": [{**FILL, "TargetSeries": ["s"], "TargetInstances": ["i"]}]})
    assert region.is_for("s", "i")
    assert not region.is_for("s", "x")
    assert not region.is_for("x", "i")


def test_no_more_is_filtered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = grey(frames=3)
    monkeypatch.setattr(masks, "MAX_FILTERED", 10 * 12 * 6)
    masked(source, MEAN, MEAN)
    with pytest.raises(EditError, match="more than 720 samples for MeanFilter"):
        masked(source, MEAN, MEAN, {**MEAN, "Origin": [11, 14]})


@pytest.mark.parametrize("width", [2, 7, 40, MAX_FILTER_WIDTH])
def test_sums_go_from_row_to_row_and_block_to_block(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is added and taken away once, whatever the width."""
    source, before = grey()
    seen: list[int] = []
    numbers_of = masks._numbers_of
    monkeypatch.setattr(
        masks, "_numbers_of", lambda values, image: seen.append(len(values)) or numbers_of(values, image)
    )
    region = {**MEAN, "Origin": [0, 0], "End": [20, 16], "FilterWidth": width}
    after = masked(source, region)
    assert sum(seen) <= 2 * 16
    assert after.pixel_array.tolist() == averaged(before[0], width).tolist()
