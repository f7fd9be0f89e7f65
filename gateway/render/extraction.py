"""Pictures and arrays of a frame as Orthanc's REST API has them: values stretched, cut off, windowed or as they are.

They are not what PS3.4 Annex N displays, which is `pipeline.py`'s: there are no look-up tables and no overlays, and a
window always has the whole range of greys. Where Orthanc counts in floating point of 32 bits, so does this file: the
pixels are the same. Blocking, for a thread.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from gateway.dicom.source import Read
from gateway.errors import BadRequest, DataSetError
from gateway.render import colour, picture
from gateway.render.grey import (
    FRAME_VOI_LUT_SEQUENCE,
    PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    WINDOW_CENTER,
    WINDOW_WIDTH,
)
from gateway.render.pipeline import MONOCHROME, layout_of, samples
from gateway.render.rendering import Subject
from gateway.render.viewport import MAX_SIDE

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Form = Literal["preview", "rendered", "image-uint8", "image-uint16", "image-int16"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
_TYPES: Final[dict[Form, str]] = {"image-uint8": "u1", "image-uint16": "<u2", "image-int16": "<i2"}
_LEAST_SLOPE: Final = 0.1
"""Smaller slopes count as this one, as in Orthanc, which divides by them."""
_KERNEL: Final = (1, 4, 6, 4, 1)
_LINES_BYTES: Final = 1 << 20
"""Bytes of text or samples that are made at once."""
_GREY_BYTES: Final = 24
"""Memory for each pixel of the frame or of the answer, besides that for decoding: 18 at most, measured at 1500 by 1500
pixels of 16 bits."""
_COLOUR_BYTES: Final = 54
"""Memory for each pixel in colours, of which smoothing takes the most: 51, measured likewise."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """The values that a picture shows, and how. Equal extractions give the same bytes."""

    form: Form
    media_type: str = picture.PNG
    quality: int = picture.QUALITY
    center: float | None = None
    """Replaces the object's own Window Center, for `rendered`."""
    width: float | None = None
    columns: int = 0
    """The picture fits into so many columns and rows, for `rendered`; 0 for any number."""
    rows: int = 0
    smooth: bool = False


class Shape(NamedTuple):
    """The shape of the array of an object's frames."""

    frames: int
    rows: int
    columns: int
    channels: int
    sample_type: str
    """Of samples that are not rescaled, as numpy names it."""


def shape_of(subject: Subject) -> Shape:
    """The shape of all frames of an object."""
    image = subject.pixels.image
    channels = 3 if image.samples_per_pixel == 3 or image.photometric_interpretation == colour.PALETTE else 1
    return Shape(len(subject), image.rows, image.columns, channels, "u1" if channels == 3 else _sample_type(subject))


def extraction_bytes(subject: Subject, extraction: Extraction | None = None) -> int:
    """Memory for one frame, about. Raises BadRequest for a picture that is too large."""
    image = subject.pixels.image
    pixels = image.rows * image.columns
    if extraction is not None:
        columns, rows = _size(extraction, image.columns, image.rows)
        pixels += columns * rows
    return subject.pixels.decoding_bytes + pixels * (_COLOUR_BYTES if shape_of(subject).channels == 3 else _GREY_BYTES)


def extract(subject: Subject, read: Read, frame: int, extraction: Extraction) -> bytes:
    """Extract a frame, from 0, to an image file. Raises DataSetError."""
    array = samples_of(subject, read, frame)
    if extraction.form == "preview":
        array = _preview(array, inverse=_is_inverse(subject))
    elif extraction.form == "rendered":
        array = _rendered(subject, frame, array, extraction)
    else:
        array = _cut_off(array, _TYPES[extraction.form])
    if extraction.media_type == picture.PAM:
        return picture.as_pam(array)
    return picture.encode(
        array.view("<u2") if array.dtype.kind == "i" else array, extraction.media_type, quality=extraction.quality
    )


def samples_of(subject: Subject, read: Read, frame: int) -> Array:
    """The values of a frame: greys `(rows, columns)`, of which single bits are 0 or 255, or uint8 RGB. Raises
    DataSetError."""
    pixels = subject.pixels
    photometric = pixels.image.decoded_photometric(pixels.syntax)
    layout = layout_of(subject.header, pixels.image)
    found = samples(pixels.image, pixels.native(read, frame))
    if found.ndim == 3:
        return colour.to_rgb(photometric, layout, found)
    if photometric == colour.PALETTE:
        return colour.from_palette(subject.header, layout, found)
    if found.dtype.kind == "f":
        return found.astype("<f4")
    values = layout.values(found) * (255 if layout.bits_allocated == 1 else 1)
    return values if values.dtype.kind == "f" else values.astype(_sample_type(subject))


def rescaled(subject: Subject, frame: int, array: Array) -> Array:
    """The values of a frame in the units of its Rescale Slope and Intercept, float32; colours as they are."""
    import numpy as np

    if array.ndim == 3:
        return array
    slope, intercept = _rescale(subject, frame)
    with np.errstate(over="ignore", invalid="ignore"):  # slope and intercept of a data set may be anything
        return np.asarray(array.astype("f4") * np.float32(slope) + np.float32(intercept), "<f4")


def chunks(array: Array) -> Iterator[bytes]:
    """The bytes of an array in C order, in pieces."""
    lines = max(1, _LINES_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), lines):
        yield array[first : first + lines].tobytes()


def matlab(array: Array) -> Iterator[bytes]:
    """An array as an expression of Matlab and Octave, in pieces."""
    yield b"double([ " if array.ndim == 2 else b"double(permute(reshape([ "
    lines = max(1, _LINES_BYTES // (8 * array[0].size))
    for first in range(0, len(array), lines):
        part = array[first : first + lines].reshape(-1, array.shape[1] * (1 if array.ndim == 2 else 3))
        texts = [" ".join(map(_number, line)) for line in part.tolist()]
        joined = " ; ".join(texts) if array.ndim == 2 else " ".join(texts)
        last = first + lines >= len(array)
        yield (joined + ("" if last else " ; " if array.ndim == 2 else " ")).encode()
    if array.ndim == 2:
        yield b" ])"
    else:
        yield f" ], [ 3 {array.shape[1]} {array.shape[0]} ]), [ 3 2 1 ]))".encode()


def numpy_header(sample_type: str, shape: tuple[int, ...]) -> bytes:
    """The head of a .npy file."""
    import numpy as np

    target = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(sample_type)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(target, described)
    return target.getvalue()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else format(value, ".9g")


def _sample_type(subject: Subject) -> str:
    image = subject.pixels.image
    if image.floating:
        return "<f4"
    if image.bits_allocated > 32:
        return "<f8"
    size = 4 if image.bits_allocated > 16 else 2
    if image.signed:
        return f"<i{size}"
    return "u1" if image.bits_allocated <= 8 else f"<u{size}"


def _cut_off(array: Array, kind: str) -> Array:
    """Values in another type; those that it does not have become the nearest that it has. Raises DataSetError."""
    import numpy as np

    if array.ndim == 3:
        raise DataSetError("colours have no values of one sample; ask for `preview` or `rendered`")
    bounds = np.iinfo(kind)
    return np.asarray(np.clip(np.nan_to_num(array), bounds.min, bounds.max), kind)


def _preview(array: Array, *, inverse: bool) -> Array:
    """The values of a frame spread over all greys; colours as they are."""
    import numpy as np

    if array.ndim == 3:
        return array
    array = np.nan_to_num(array)
    least, greatest = array.min(), array.max()
    if least == greatest:
        shown = np.zeros(array.shape, "u1")
    else:
        scale = np.float32(255.0) / np.float32(float(greatest) - float(least))
        shift = np.float32(-float(least)) * scale
        shown = np.clip(np.floor(array.astype("f4") * scale + shift + np.float32(0.5)), 0, 255).astype("u1")
    return 255 - shown if inverse else shown


def _rendered(subject: Subject, frame: int, array: Array, extraction: Extraction) -> Array:
    """The values of a frame through its window, or the one that is asked for, and fitted into the size."""
    import numpy as np

    rows, columns = array.shape[:2]
    if array.ndim == 2:
        with np.errstate(over="ignore", invalid="ignore"):  # slope and width of a data set may be anything
            array = _windowed(subject, frame, array, extraction)
    size = _size(extraction, columns, rows)
    if size != (columns, rows):
        if extraction.smooth and (size[0] < columns or size[1] < rows):
            array = _smoothed(array)
        array = array[_nearest(rows, size[1])][:, _nearest(columns, size[0])]
    return 255 - array if array.ndim == 2 and _is_inverse(subject) else array


def _windowed(subject: Subject, frame: int, array: Array, extraction: Extraction) -> Array:
    import numpy as np

    header, single = subject.header, np.float32
    slope, intercept = map(single, _rescale(subject, frame))
    width = single(1 << min(subject.pixels.image.bits_stored, 32)) * slope
    center = width / single(2)
    group = header.group(FRAME_VOI_LUT_SEQUENCE, frame)
    own = group.number(WINDOW_CENTER), group.number(WINDOW_WIDTH)
    if own[0] is not None and own[1] is not None:
        center, width = single(own[0]), single(own[1])
    center = single(extraction.center) if extraction.center is not None else center
    width = max(single(extraction.width) if extraction.width is not None else width, single(1))
    if abs(slope) <= single(_LEAST_SLOPE):
        slope = single(_LEAST_SLOPE)
    scale = single(255) * slope / width
    shift = (intercept - center + width / single(2)) / slope * scale
    shown = np.nan_to_num(array.astype("f4") * scale + shift)
    return np.asarray(np.clip(np.floor(shown), 0, 255), "u1")


def _smoothed(array: Array) -> Array:
    """An image after a Gaussian filter of five by five pixels; its edges go on outside."""
    import numpy as np

    rows, columns = array.shape[:2]
    rest = [(0, 0)] * (array.ndim - 2)
    padded = np.pad(array, [(0, 0), (2, 2), *rest], "edge").astype("f4")
    across = sum(padded[:, at : at + columns] * np.float32(weight) for at, weight in enumerate(_KERNEL))
    padded = np.pad(np.asarray(across), [(2, 2), (0, 0), *rest], "edge")
    both = sum(padded[at : at + rows] * np.float32(weight) for at, weight in enumerate(_KERNEL))
    return np.asarray(np.asarray(both) / np.float32(256)).astype("u1")


def _nearest(before: int, after: int) -> Array:
    """The line of an image that each line of a smaller or larger one takes."""
    import numpy as np

    scale = np.float32(before) / np.float32(after)
    lines = np.floor((np.arange(after, dtype="f4") + np.float32(0.5)) * scale)
    return np.asarray(np.minimum(lines, before - 1), "i8")


def _size(extraction: Extraction, columns: int, rows: int) -> tuple[int, int]:
    """Columns and rows of a picture. Raises BadRequest for too many."""
    ratios = [wanted / is_ for wanted, is_ in ((extraction.columns, columns), (extraction.rows, rows)) if wanted]
    if not ratios:
        return columns, rows
    width, height = (max(1, int(min(ratios) * each + 0.5)) for each in (columns, rows))
    if max(width, height) > max(MAX_SIDE, columns, rows):
        raise BadRequest(f"a picture of {width} by {height} pixels; a side has at most {MAX_SIDE}")
    return width, height


def _rescale(subject: Subject, frame: int) -> tuple[float, float]:
    group = subject.header.group(PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame)
    slope, intercept = group.number(RESCALE_SLOPE), group.number(RESCALE_INTERCEPT)
    return (1.0, 0.0) if slope is None or intercept is None else (slope, intercept)


def _is_inverse(subject: Subject) -> bool:
    return MONOCHROME.get(subject.pixels.image.photometric_interpretation, False)
