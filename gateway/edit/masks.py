"""Regions of pixels that a request masks: filled with a value, or blurred. numpy is imported at its first use.

A region is given in pixels of every frame, or as a box in the coordinates of the patient (PS3.3 C.7.6.2.1.1). What is
masked cannot be had back; an image whose place is not known, and should be masked in a box, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from gateway.dicom.dictionary import KEYWORDS
from gateway.edit.deid.pixels import NEUTRAL
from gateway.edit.draft import Draft
from gateway.edit.tree import find
from gateway.errors import BadRequest, EditError
from gateway.imaging.image import PIXELS, Image
from gateway.imaging.transcode import Alter

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_REGIONS: Final = 100
"""Regions of one request."""
MAX_TARGETS: Final = 10_000
"""Series and instances that one region is for."""
MAX_FILTER_WIDTH: Final = 1000
"""Pixels."""
MAX_FILTERED: Final = 1 << 29
"""Samples that the mean filters of one object compute, in all regions and frames: some 40 s."""
_BLOCK_ROWS: Final = 256
"""Rows that are looked at together, so that memory follows the columns."""
_ICON: Final = KEYWORDS["IconImageSequence"]

Rectangle = tuple[int, int, int, int]
"""First row and column, and those behind the last."""


class Region(msgspec.Struct, frozen=True):
    """A region to mask, and what it is for."""

    kind: Literal["Fill", "MeanFilter"]
    value: int
    """The stored value that fills it; of the mean filter its width in pixels."""
    low: tuple[float, ...]
    """Column and row of the first pixel, or the least x, y and z in mm."""
    high: tuple[float, ...]
    """Column and row behind the last pixel, or the largest x, y and z in mm."""
    series: frozenset[str] = frozenset()
    """Public ids of the series that it is for; none: all."""
    instances: frozenset[str] = frozenset()

    def is_for(self, series: str, instance: str) -> bool:
        """Whether an instance is masked, by the public ids of its series and of itself."""
        return (not self.series or series in self.series) and (not self.instances or instance in self.instances)


class _RegionBody(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    mask_type: Literal["Fill", "MeanFilter"]
    region_type: Literal["2D", "3D"]
    origin: list[float]
    end: list[float]
    fill_value: int = 0
    filter_width: int = 0
    target_series: list[str] = []
    target_instances: list[str] = []


class _MaskBody(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    regions: list[_RegionBody]


def parse_regions(body: Any) -> tuple[Region, ...]:
    """Parse `MaskPixelData` of a request, as the Pixels Masker of Orthanc takes it. Raises BadRequest."""
    try:
        found = msgspec.convert(body, _MaskBody).regions
    except msgspec.ValidationError as error:
        raise BadRequest(f"MaskPixelData: {error}") from None
    if not 0 < len(found) <= MAX_REGIONS:
        raise BadRequest(f"MaskPixelData: 1 to {MAX_REGIONS} regions")
    return tuple(_region(each, f"MaskPixelData: Regions[{at}]") for at, each in enumerate(found))


def _region(body: _RegionBody, name: str) -> Region:
    if len(body.target_series) + len(body.target_instances) > MAX_TARGETS:
        raise BadRequest(f"{name}: at most {MAX_TARGETS} series and instances")
    if body.mask_type == "MeanFilter" and not 2 <= body.filter_width <= MAX_FILTER_WIDTH:
        raise BadRequest(f"{name}: FilterWidth: 2 to {MAX_FILTER_WIDTH} pixels")
    flat = body.region_type == "2D"
    if len(body.origin) != len(body.end) or len(body.origin) != (2 if flat else 3):
        raise BadRequest(f"{name}: Origin and End have {'x and y' if flat else 'x, y and z'}")
    numbers = [*body.origin, *body.end]
    if flat and any(not 0 <= each < 1 << 31 or each != int(each) for each in numbers):
        raise BadRequest(f"{name}: Origin and End are whole numbers of pixels")
    if any(abs(each) > 1e9 for each in numbers):
        raise BadRequest(f"{name}: Origin and End are in mm")
    if flat and any(one >= other for one, other in zip(body.origin, body.end, strict=True)):
        raise BadRequest(f"{name}: End is behind the last pixel, and has to be behind Origin")
    pairs = [sorted(pair) for pair in zip(body.origin, body.end, strict=True)]
    return Region(
        body.mask_type,
        body.fill_value if body.mask_type == "Fill" else body.filter_width,
        tuple(low for low, _ in pairs),
        tuple(high for _, high in pairs),
        frozenset(body.target_series),
        frozenset(body.target_instances),
    )


class _Plane:
    """The place of an image in the coordinates of the patient."""

    def __init__(self, draft: Draft) -> None:
        position = _numbers(draft, "ImagePositionPatient", 3)
        orientation = _numbers(draft, "ImageOrientationPatient", 6)
        spacing = _numbers(draft, "PixelSpacing", 2)
        if (draft.top(KEYWORDS["NumberOfFrames"]) or "1") != "1":
            raise EditError("NumberOfFrames: the frames of this object have no place of their own that is known here")
        self._origin = position
        self._across = [spacing[1] * each for each in orientation[:3]]
        self._down = [spacing[0] * each for each in orientation[3:]]

    def inside(self, region: Region, rows: range, columns: int) -> Array:
        """Whether the centre of each pixel of some rows is in a box."""
        import numpy as np

        across, down = np.arange(columns, dtype=float), np.arange(rows.start, rows.stop, dtype=float)
        found = np.ones((len(rows), columns), bool)
        for axis in range(3):
            place = self._origin[axis] + across * self._across[axis] + down[:, None] * self._down[axis]
            found &= (place >= region.low[axis]) & (place <= region.high[axis])
        return found


def alteration(regions: Sequence[Region], draft: Draft) -> Alter | None:
    """The alteration of the frames of an object; None where it has no pixels. Its icon goes, which shows them too.

    Raises EditError where it is not known what is to be masked.
    """
    if not any(find(draft.tree.nodes, tag) is not None for tag in PIXELS):
        return None
    plane = _Plane(draft) if any(len(region.low) == 3 for region in regions) else None
    icon = find(draft.tree.nodes, _ICON)
    if icon is not None:
        draft.remove(draft.root, [icon], "shows what is masked")
    left = MAX_FILTERED

    def alter(frame: bytes, image: Image) -> bytes:
        import numpy as np

        nonlocal left
        left -= _filtered(regions, image)
        if left < 0:
            raise EditError(
                f"MaskPixelData: more than {MAX_FILTERED} samples for MeanFilter; take smaller regions, or Fill"
            )
        if image.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
            count = image.rows * image.columns
            _mask(bits[:count].reshape(image.rows, image.columns, 1), image, regions, plane)
            return np.packbits(bits, bitorder="little").tobytes()
        kind = "f" if image.floating else "u"
        pixels = np.frombuffer(frame, f"<{kind}{image.bits_allocated // 8}").copy()
        _mask(pixels.reshape(image.rows, image.columns, image.samples_per_pixel), image, regions, plane)
        return pixels.tobytes()

    return alter


def _mask(pixels: Array, image: Image, regions: Sequence[Region], plane: _Plane | None) -> None:
    """Mask the regions of a frame, some rows at a time."""
    for region in regions:
        source = pixels.copy() if region.kind == "MeanFilter" else pixels
        top, left, bottom, right = bounds = _bounds(region, image)
        for first in range(top, bottom, _BLOCK_ROWS):
            rows = range(first, min(first + _BLOCK_ROWS, bottom))
            chosen = plane.inside(region, rows, image.columns) if plane is not None and len(region.low) == 3 else None
            if chosen is not None and not chosen.any():
                continue
            if region.kind == "Fill":
                new: Any = _filling(region.value, image)
            else:
                new = _means(source, rows, bounds, region.value, image)
            _put(pixels[rows.start : rows.stop, left:right], new, chosen)


def _put(part: Array, new: Any, chosen: Array | None) -> None:
    import numpy as np

    part[...] = new if chosen is None else np.where(chosen[:, :, None], new, part)


def _bounds(region: Region, image: Image) -> Rectangle:
    """The rows and columns of the image that a region is in; of a box, all."""
    if len(region.low) == 3:
        return 0, 0, image.rows, image.columns
    (left, top), (right, bottom) = region.low, region.high
    return int(top), int(left), min(int(bottom), image.rows), min(int(right), image.columns)


def _filtered(regions: Sequence[Region], image: Image) -> int:
    """The samples of a frame that mean filters compute."""
    found = 0
    for region in regions:
        if region.kind == "MeanFilter":
            top, left, bottom, right = _bounds(region, image)
            found += max(0, bottom - top) * max(0, right - left) * image.samples_per_pixel
    return found


def _filling(value: int, image: Image) -> list[int]:
    """The samples of a pixel that is filled. Raises EditError for a value that no sample has."""
    bits = image.bits_stored
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if image.signed else (0, (1 << bits) - 1)
    if not image.floating and not lowest <= value <= highest:
        raise EditError(f"FillValue: {value} is no pixel of this image, whose pixels are from {lowest} to {highest}")
    sample = value if image.floating else value & (1 << bits) - 1
    if image.samples_per_pixel == 3 and image.photometric_interpretation.startswith("YBR"):
        return [sample, NEUTRAL, NEUTRAL]
    return [sample] * image.samples_per_pixel


def _means(source: Array, rows: range, bounds: Rectangle, width: int, image: Image) -> Array:
    """The means of the samples around each pixel of some rows, as far as they are within the bounds.

    The sums of the columns go from row to row, so that a wide filter costs as much as a narrow one.
    """
    import numpy as np

    top, left, bottom, right = bounds
    low, high = _window(np.arange(rows.start, rows.stop), width, top, bottom)
    begin, end = _window(np.arange(left, right), width, left, right)
    begin, end = begin - left, end - left
    across = (end - begin)[:, None]

    def summed(first: int, behind: int) -> Array:
        return np.asarray(_numbers_of(source[first:behind, left:right], image).sum(axis=0))

    first, behind = int(low[0]), int(high[0])
    columns = summed(first, first)
    for at in range(first, behind, _BLOCK_ROWS):
        columns = columns + summed(at, min(at + _BLOCK_ROWS, behind))
    found = np.empty((len(rows), *columns.shape), source.dtype)
    sums = np.zeros((len(columns) + 1, columns.shape[1]), columns.dtype)
    for at, (new_first, new_behind) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if new_first > first:
            columns = columns - summed(first, new_first)
        if new_behind > behind:
            columns = columns + summed(behind, new_behind)
        first, behind = new_first, new_behind
        np.cumsum(columns, axis=0, out=sums[1:])
        totals, counts = sums[end] - sums[begin], across * (behind - first)
        if image.floating:
            found[at] = totals / counts
        else:
            found[at] = ((2 * totals + counts) // (2 * counts)) & (1 << image.bits_stored) - 1
    return found


def _window(at: Array, width: int, least: int, behind: int) -> tuple[Array, Array]:
    import numpy as np

    low = at - width // 2
    return np.maximum(low, least), np.minimum(low + width, behind)


def _numbers_of(values: Array, image: Image) -> Array:
    """Samples as numbers that can be added."""
    import numpy as np

    if image.floating:
        return np.asarray(np.nan_to_num(values.astype(float), nan=0.0, posinf=0.0, neginf=0.0))
    numbers = values.astype(np.int64) & (1 << image.bits_stored) - 1
    if image.signed:
        sign = 1 << image.bits_stored - 1
        numbers = (numbers ^ sign) - sign
    return np.asarray(numbers)


def _numbers(draft: Draft, keyword: str, count: int) -> list[float]:
    """The numbers of an attribute of the data set itself. Raises EditError where there are not so many."""
    try:
        found = [float(part) for part in draft.top(KEYWORDS[keyword]).split("\\")]
    except ValueError:
        found = []
    if len(found) != count or not all(isfinite(each) for each in found):
        raise EditError(f"{keyword}: the place of the image is not known, so that nothing in 3D can be masked")
    return found
