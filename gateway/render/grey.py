"""Monochrome images: stored values to displayed greys (PS3.4 Annex N.2, PS3.3 C.11).

Modality LUT, VOI LUT, Presentation LUT and inversion are combined into one table indexed by the stored sample, so that
a pixel costs one look-up. Samples of more than 16 bits and floating point are calculated pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.render.header import Header
from gateway.render.lut import Lut, lut

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

WINDOW_CENTER: Final = 0x00281050
WINDOW_WIDTH: Final = 0x00281051
VOI_LUT_FUNCTION: Final = 0x00281056
RESCALE_INTERCEPT: Final = 0x00281052
RESCALE_SLOPE: Final = 0x00281053
MODALITY_LUT_SEQUENCE: Final = 0x00283000
VOI_LUT_SEQUENCE: Final = 0x00283010
PRESENTATION_LUT_SEQUENCE: Final = 0x20500010
PRESENTATION_LUT_SHAPE: Final = 0x20500020
PIXEL_VALUE_TRANSFORMATION_SEQUENCE: Final = 0x00289145
FRAME_VOI_LUT_SEQUENCE: Final = 0x00289132
PIXEL_PADDING_VALUE: Final = 0x00280120
PIXEL_PADDING_RANGE_LIMIT: Final = 0x00280121
MAXIMUM_FRACTIONAL_VALUE: Final = 0x0062000E

_AT_ONCE: Final = 1 << 20
"""Pixels processed at once: intermediate results take several times their memory."""

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Window Width, in the units of the Modality LUT's output."""

    center: float
    width: float
    function: Function = "LINEAR"


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """The position of the value in a stored sample (PS3.5 §8.1.1)."""

    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    def values(self, samples: Array) -> Array:
        """The values of stored samples, which are unsigned integers, in a type that holds them."""
        import numpy as np

        if self.bits_allocated > 32:
            return samples.view("<i8").astype("f8") if self.signed else samples.astype("f8")
        low = self.high_bit + 1 - self.bits_stored
        values = samples.astype("i8" if self.bits_allocated > 16 else "i4")
        if low or self.bits_stored < self.bits_allocated:
            values = (values >> low) & ((1 << self.bits_stored) - 1)
        if self.signed:
            half = 1 << (self.bits_stored - 1)
            values = (values ^ half) - half
        return np.asarray(values)


@dataclass(frozen=True, slots=True)
class Modality:
    """The Modality LUT: a table, or slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Lut | None = None

    def __call__(self, values: Array) -> Array:
        if self.table is not None:
            return _look_up(self.table, values)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return values
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class Grey:
    """All steps from a stored value to a grey of 0 (black) to 255."""

    modality: Modality
    voi: Window | Lut
    presentation: Lut | None = None
    inverse: bool = False

    def __call__(self, values: Array) -> Array:
        """Calculate uint8 greys for stored values."""
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):  # slope and width of a data set may be anything
            display = np.nan_to_num(_normalised(self.voi, self.modality(values)))
        if self.presentation is not None:
            entries = self.presentation.entries
            index = np.rint(display * (len(entries) - 1)).astype("i4")
            display = entries[index] / ((1 << self.presentation.bits) - 1)
        if self.inverse:
            display = 1.0 - display
        return np.asarray(np.rint(np.clip(display, 0.0, 1.0) * 255.0), "u1")


@lru_cache(64)
def table(grey: Grey, layout: SampleLayout) -> Array:
    """The grey of every sample of 8 or 16 bits: uint8. Images of a series mostly share one table."""
    import numpy as np

    if layout.bits_stored < layout.bits_allocated:  # fewer values than samples: calculate each once
        low = layout.high_bit + 1 - layout.bits_stored
        values = grey(
            SampleLayout(layout.bits_stored, layout.bits_stored, layout.bits_stored - 1, layout.signed).values(
                np.arange(1 << layout.bits_stored)
            )
        )
        return np.asarray(values[(np.arange(1 << layout.bits_allocated) >> low) & ((1 << layout.bits_stored) - 1)])
    return grey(layout.values(np.arange(1 << layout.bits_allocated)))


def show(grey: Grey, layout: SampleLayout, pixels: Array) -> Array:
    """Convert pixels, unsigned samples or floating point numbers, to uint8 greys."""
    import numpy as np

    if pixels.dtype.kind == "f":
        return grey(np.nan_to_num(pixels.astype("f8"), posinf=np.inf, neginf=-np.inf))
    if layout.bits_allocated > 16:
        return grey(layout.values(pixels))
    return np.asarray(np.take(table(grey, layout), pixels))


def pipeline(
    header: Header, frame: int, layout: SampleLayout, pixels: Array, *, inverse: bool, window: Window | None = None
) -> Grey:
    """The pipeline of a frame according to the header; `window` takes precedence over its windows.

    A window of the data set takes precedence over a VOI LUT. With neither, the range of values is spread over the
    greys, padding excluded, except for 8-bit images, whose values are greys already.
    """
    modality = _modality(header.group(PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame), layout)
    voi = window or of_frame(header, frame) or _whole(header, layout, modality)
    if voi is None:
        voi = _extent(header, layout, modality, pixels)
    item = header.item(PRESENTATION_LUT_SEQUENCE)
    shape = header.text(PRESENTATION_LUT_SHAPE)
    return Grey(modality, voi, lut(item, signed=False) if item else None, inverse or shape == "INVERSE")


def _modality(group: Header, layout: SampleLayout) -> Modality:
    item = group.item(MODALITY_LUT_SEQUENCE)
    found = lut(item, signed=layout.signed) if item else None
    if found is not None:
        return Modality(table=found)
    slope, intercept = group.number(RESCALE_SLOPE), group.number(RESCALE_INTERCEPT)
    return Modality(slope or 1.0, intercept or 0.0)  # a slope of 0 would make the image uniform


def of_frame(header: Header, frame: int) -> Window | Lut | None:
    """The VOI of the header: the first window of a frame, from 0, or of all frames, else the first VOI LUT."""
    group = header.group(FRAME_VOI_LUT_SEQUENCE, frame)
    center, width = group.number(WINDOW_CENTER), group.number(WINDOW_WIDTH)
    known = function_of(group)
    if center is not None and width is not None and (width >= 1 if known == "LINEAR" else width > 0):
        return Window(center, width, known)
    item = group.item(VOI_LUT_SEQUENCE)
    return lut(item, signed=False) if item else None


def function_of(group: Header) -> Function:
    """The VOI LUT Function of a data set or functional group."""
    function = group.text(VOI_LUT_FUNCTION).upper()
    return "SIGMOID" if function == "SIGMOID" else "LINEAR_EXACT" if function == "LINEAR_EXACT" else "LINEAR"


def _whole(header: Header, layout: SampleLayout, modality: Modality) -> Window | None:
    """The window of all possible values, for images of up to 8 bits without physical units."""
    if layout.bits_stored > 8 or layout.signed or modality != Modality():
        return None
    return _between(0, header.integer(MAXIMUM_FRACTIONAL_VALUE, (1 << layout.bits_stored) - 1))


def _extent(header: Header, layout: SampleLayout, modality: Modality, pixels: Array) -> Window:
    """The window from the least to the greatest value of the frame, without Pixel Padding Value (PS3.3 C.7.5.1.1.2)."""
    import numpy as np

    excluded = padding(header, layout)
    least, greatest = np.inf, -np.inf
    for start in range(0, len(pixels), max(1, _AT_ONCE // pixels.shape[1])):
        rows = pixels[start : start + max(1, _AT_ONCE // pixels.shape[1])]
        values = rows[np.isfinite(rows)] if rows.dtype.kind == "f" else layout.values(rows)
        if excluded is not None:
            values = values[(values < excluded[0]) | (values > excluded[1])]
        if values.size:
            least, greatest = min(least, float(values.min())), max(greatest, float(values.max()))
    if least > greatest:  # nothing but padding
        return _between(0, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.clip(np.nan_to_num(modality(np.array([least, greatest]))), -1e150, 1e150)
    return _between(float(found.min()), float(found.max()))


def padding(header: Header, layout: SampleLayout) -> tuple[float, float] | None:
    """The range of padding values; None without padding."""
    value, limit = header.number(PIXEL_PADDING_VALUE), header.number(PIXEL_PADDING_RANGE_LIMIT)
    if value is None:
        return None
    ends = (value, value if limit is None else limit)
    if layout.signed:  # writers confuse US and SS
        half = float(1 << (layout.bits_stored - 1))
        ends = (ends[0] - 2 * half if ends[0] >= half else ends[0], ends[1] - 2 * half if ends[1] >= half else ends[1])
    return min(ends), max(ends)


def _between(low: float, high: float) -> Window:
    return Window((low + high) / 2, max(high - low, 1e-300), "LINEAR_EXACT")


def _normalised(voi: Window | Lut, values: Array) -> Array:
    """Apply the VOI (PS3.3 C.11.2.1): 0.0 for black to 1.0 for white."""
    import numpy as np

    if isinstance(voi, Lut):
        return _look_up(voi, values) / ((1 << voi.bits) - 1)
    center, width = voi.center, voi.width
    if voi.function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))
    if voi.function == "LINEAR":
        center, width = center - 0.5, width - 1.0
        if width <= 0.0:
            return np.asarray(values > center).astype("f8")
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _look_up(found: Lut, values: Array) -> Array:
    import numpy as np

    entries = found.entries
    first = found.first
    if first > 0x7FFF and values.size and values.min() < 0:
        first -= 0x10000  # a negative first value written as US
    index = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype("i4")
    return np.asarray(entries[index], "f8")
