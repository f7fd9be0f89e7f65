"""A frame for a viewer that makes greys of numbers by itself: its samples, and all that says how they are displayed.

A window can then be changed without asking for the frame again. The steps are those of `grey.py` (PS3.4 Annex N.2).
Colours are three bytes for each pixel; those that come from a JPEG, and are none too exact, are a JPEG again.

    4 bytes     length of the description, little endian
    so many     the description, JSON, with blanks behind it up to a multiple of 8 bytes
    the rest    the parts that the description names, each at a multiple of 8 bytes behind it

Blocking, for a thread.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.dicom.source import Read
from gateway.errors import DataSetError
from gateway.render import colour, grey, picture
from gateway.render.calibration import calibration, regions
from gateway.render.grey import SampleLayout, Window
from gateway.render.header import Header
from gateway.render.labels import is_label_map
from gateway.render.lut import Lut, lut
from gateway.render.overlay import overlays
from gateway.render.pipeline import MONOCHROME, displayed, layout_of, samples
from gateway.render.rendering import Subject
from gateway.render.viewport import cut, pixel_aspect

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_VIEW_PIXELS: Final = 1 << 25
"""Pixels of a frame: a mammogram has 14 million, and a browser holds several times as many bytes."""
MAX_CHOICES: Final = 32
"""Windows, tables and regions that are told of."""
MAX_LABEL: Final = 64
_QUALITY: Final = 92
_ALIGNMENT: Final = 8
_JPEG: Final = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))
_MODALITY: Final = 0x00080060
_SLICE_THICKNESS: Final = 0x00180050
_ORIENTATION: Final = 0x00200037
_PLANE_ORIENTATION_SEQUENCE: Final = 0x00209116
_WINDOW_EXPLANATION: Final = 0x00281055
_RESCALE_TYPE: Final = 0x00281054
_LUT_EXPLANATION: Final = 0x00283003
_UNITS: Final = 0x00541001


def frame_view(subject: Subject, read: Read, frame: int) -> bytes:
    """Decode a frame, from 0, and describe it. Raises DataSetError."""
    header, pixels = subject.header, subject.pixels
    image = pixels.image
    if image.rows * image.columns > MAX_VIEW_PIXELS:
        raise DataSetError(f"a frame of {image.columns} by {image.rows} pixels is too large to be looked at whole")
    photometric = image.decoded_photometric(pixels.syntax)
    layout, found = layout_of(header, image), samples(image, pixels.native(read, frame))
    described, parts = _described(subject, frame), dict[str, bytes]()
    if found.ndim == 2 and photometric in MONOCHROME and not _has_colours(header, layout):
        described |= _grey(header, frame, layout, found, parts, inverse=MONOCHROME[photometric])
        parts["samples"] = _values(layout, found).tobytes()
    else:
        shown = displayed(header, photometric, frame, layout, found, cut(None, image.rows, image.columns, 1.0), None)
        described["photometric"] = image.photometric_interpretation
        if pixels.syntax.uid in _JPEG and shown.ndim == 3:
            parts["jpeg"] = picture.encode(shown, picture.JPEG, quality=_QUALITY, subsampled=False)
        else:
            parts["colours"] = (shown if shown.ndim == 3 else shown[..., None].repeat(3, axis=2)).tobytes()
    _add_overlays(header, frame, layout, found, parts)
    return _joined(described, parts)


def _has_colours(header: Header, layout: SampleLayout) -> bool:
    return is_label_map(header) or colour.is_supplemented(header, layout)


def _described(subject: Subject, frame: int) -> dict[str, Any]:
    header, image = subject.header, subject.pixels.image
    measured = calibration(header, frame)
    return {
        "aspect": pixel_aspect(header, frame),
        "columns": image.columns,
        "frames": len(subject),
        "milliseconds": picture.frame_times(header, len(subject))[frame],
        "modality": header.text(_MODALITY)[:MAX_LABEL],
        "orientation": header.group(_PLANE_ORIENTATION_SEQUENCE, frame).numbers(_ORIENTATION)[:6],
        "regions": [region._asdict() for region in regions(header)[:MAX_CHOICES]],
        "rows": image.rows,
        "spacing": None if measured is None else measured._asdict(),
        "thickness": header.number(_SLICE_THICKNESS),
    }


def _grey(
    header: Header, frame: int, layout: SampleLayout, found: Array, parts: dict[str, bytes], *, inverse: bool
) -> dict[str, Any]:
    """The steps from a sample to a grey; the tables among them become parts."""
    steps = grey.pipeline(header, frame, layout, found, inverse=inverse)
    values = _values(layout, found[:1])
    padding = grey.padding(header, layout)
    group = header.group(grey.PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame)
    return {
        "bits": layout.bits_stored,
        "signed": layout.signed,
        "type": values.dtype.kind + str(values.dtype.itemsize),
        "slope": steps.modality.slope,
        "intercept": steps.modality.intercept,
        "table": None if steps.modality.table is None else _table("modality", steps.modality.table, parts),
        "voi": _voi("voi", steps.voi, parts),
        "presets": list(_presets(header, frame, parts)),
        "presentation": None if steps.presentation is None else _table("presentation", steps.presentation, parts),
        "inverse": steps.inverse,
        "padding": padding,
        "units": header.text(_UNITS)[:MAX_LABEL] or _rescaled_units(group.text(_RESCALE_TYPE), header.text(_MODALITY)),
        "photometric": "MONOCHROME1" if inverse else "MONOCHROME2",
    }


def _rescaled_units(rescale_type: str, modality: str) -> str:
    """The units of the values; of CT without any word of them they are Hounsfield's (PS3.3 C.11.1.1.2)."""
    if rescale_type:
        return "" if rescale_type == "US" else rescale_type[:MAX_LABEL]  # unspecified
    return "HU" if modality == "CT" else ""


def _presets(header: Header, frame: int, parts: dict[str, bytes]) -> list[dict[str, Any]]:
    """The windows and tables among which the data set lets its reader choose."""
    group = header.group(grey.FRAME_VOI_LUT_SEQUENCE, frame)
    function, names = grey.function_of(group), [each[:MAX_LABEL] for each in group.texts(_WINDOW_EXPLANATION)]
    pairs = zip(group.numbers(grey.WINDOW_CENTER), group.numbers(grey.WINDOW_WIDTH), strict=False)
    found = [
        {
            "label": names[at] if at < len(names) else "",
            "center": center,
            "width": width,
            "function": function,
        }
        for at, (center, width) in enumerate(itertools.islice(pairs, MAX_CHOICES))
        if (width >= 1 if function == "LINEAR" else width > 0)
    ]
    for at, item in enumerate(group.items(grey.VOI_LUT_SEQUENCE)[:MAX_CHOICES]):
        if (table := lut(item, signed=False)) is not None:
            found.append({"label": item.text(_LUT_EXPLANATION)[:MAX_LABEL], **_table(f"voi{at}", table, parts)})
    return found


def _voi(name: str, voi: Window | Lut, parts: dict[str, bytes]) -> dict[str, Any]:
    if isinstance(voi, Lut):
        return _table(name, voi, parts)
    return {"center": voi.center, "width": voi.width, "function": voi.function}


def _table(name: str, table: Lut, parts: dict[str, bytes]) -> dict[str, Any]:
    parts[name] = table.data
    return {"part": name, "first": table.first, "bits": table.bits}


def _values(layout: SampleLayout, found: Array) -> Array:
    """The values of samples in the smallest type of JavaScript's arrays that has them all."""
    if found.dtype.kind == "f":
        return found
    if layout.bits_allocated == 1:
        return found
    if layout.bits_allocated > 32:
        return layout.values(found)
    values = found.view(found.dtype.str.replace("u", "i" if layout.signed else "u"))
    above = layout.bits_allocated - 1 - layout.high_bit
    if above or layout.bits_stored < layout.bits_allocated:  # Shifts take a tenth of the time of `layout.values`.
        values = (values << above) >> (layout.bits_allocated - layout.bits_stored)
    return values


def _add_overlays(header: Header, frame: int, layout: SampleLayout, found: Array, parts: dict[str, bytes]) -> None:
    """Add all planes as one: a bit for each pixel, the first in the lowest."""
    import numpy as np

    masks = [plane.mask for plane in overlays(header, frame, layout, found)]
    if masks:
        parts["overlay"] = np.packbits(np.logical_or.reduce(masks), bitorder="little").tobytes()


def _joined(described: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    places, at = dict[str, tuple[int, int]](), 0
    for name, data in parts.items():
        places[name] = at, len(data)
        at += len(data) + -len(data) % _ALIGNMENT
    text = msgspec.json.encode({**described, "parts": places})
    text += b" " * (-(4 + len(text)) % _ALIGNMENT)
    padded = [piece for data in parts.values() for piece in (data, bytes(-len(data) % _ALIGNMENT))]
    return b"".join([len(text).to_bytes(4, "little"), text, *padded])
