"""Missing pixel data of an instance, found by lengths and last bytes alone: checks that cost the intake nothing.

Whether the data set itself ends inside an element is found in `dicom/extent.py`, truncation inside code streams in
`pixel_examination.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from gateway.dicom import recode
from gateway.dicom.elements import Element
from gateway.dicom.extent import Extent
from gateway.dicom.uids import Syntax
from gateway.dicom.walk import PIXEL_DATA, UNDEFINED
from gateway.errors import DataSetError
from gateway.imaging import layout
from gateway.imaging.image import COLUMNS, ROWS, TAGS, Image, image
from gateway.imaging.pixels import VIDEO

_PROVIDER_URL: Final = 0x00287FE0
"""Pixel Data Provider URL: the pixels are elsewhere (PS3.5 A.6)."""
DESCRIBING: Final = tuple(sorted({*TAGS, _PROVIDER_URL}))
"""The attributes that determine the length of pixel data. All are before it."""

Described = tuple[bytes | None, ...]
"""The values of DESCRIBING, numbers in little endian; None for an absent one."""

_JPEG: Final = "1.2.840.10008.1.2.4."
END_MARKED: Final = frozenset(
    _JPEG + str(number) for number in (*range(50, 67), 70, 80, 81, *range(90, 94), *range(201, 204))
)
"""JPEG, JPEG-LS and JPEG 2000: FFD9 ends each stream and cannot occur in its data (ISO 10918-1 B.1.1.2)."""
END: Final = b"\xff\xd9"
"""The end marker of END_MARKED."""
_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"


def described(elements: Mapping[int, Element], changed: Mapping[int, Element]) -> Described:
    """The values of DESCRIBING among picked elements; `changed` take precedence."""
    values: list[bytes | None] = []
    for tag in DESCRIBING:
        element = changed.get(tag) or elements.get(tag)
        if element is None:
            values.append(None)
        elif element.syntax.big_endian and element.vr in recode.WORD_SIZES:
            values.append(recode.swapped(element.value, recode.WORD_SIZES[element.vr]))
        else:
            values.append(element.value)
    return tuple(values)


def lacking(extent: Extent, values: Described, syntax: Syntax) -> str:
    """The missing pixel data, in words of less than 64 characters if possible; '' if none are noticed missing.

    `extent` is that of a complete data set in `syntax`. If the attributes describe no pixels, none are missing.
    """
    expected = _image(values, extent.pixel_tag or PIXEL_DATA)
    if expected is None:
        return ""
    try:
        if extent.pixel_tag == 0:
            return f"no pixel data, where {expected.native_size} bytes belong"
        if extent.pixel_length == UNDEFINED:
            return _of_fragments(extent, expected, syntax)
        if syntax.encapsulated and extent.pixel_tag == PIXEL_DATA:
            return "pixel data of defined length in a compressed syntax (PS3.5 A.4)"
        needed = (layout.stored_bits(expected, extent.pixel_length) * expected.frames + 7) // 8
    except DataSetError:
        return ""
    return f"{extent.pixel_length} of {needed} bytes of pixel data" if extent.pixel_length < needed else ""


def _of_fragments(extent: Extent, expected: Image, syntax: Syntax) -> str:
    count = max(0, extent.fragments)
    if extent.fragment_bytes == 0:
        return "pixel data without a byte"
    if count < expected.frames and syntax.uid not in VIDEO:
        # A fragment holds bytes of one frame alone (PS3.5 A.4).
        return f"{count} fragments of pixel data for {expected.frames} frames"
    if syntax.uid == _UNCOMPRESSED and extent.fragment_bytes < expected.native_size:
        return f"{extent.fragment_bytes} of {expected.native_size} bytes of pixel data"
    if syntax.uid in END_MARKED and END not in extent.tail:
        return "the last frame is cut short: it has no end marker"
    return ""


@lru_cache(256)
def _image(values: Described, tag: int) -> Image | None:
    """The Image that the attributes describe; None if they describe none, or one that is not supported here."""
    by_tag = {key: value for key, value in zip(DESCRIBING, values, strict=True) if value is not None}
    if ROWS not in by_tag or COLUMNS not in by_tag or _PROVIDER_URL in by_tag:
        return None
    try:
        described_image = image(by_tag, tag)
    except DataSetError:
        return None
    return None if described_image.photometric_interpretation.endswith("_420") else described_image
