"""The header of an instance as rendering needs it: read once, queried by tag and frame.

An invalid value counts as absent, such as a DS that is not a number. The pipeline steps are in the files beside this
one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from gateway.dicom.decode import decode_elements, read_data_set
from gateway.dicom.dictionary import VRS
from gateway.dicom.elements import pick
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.source import Read
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.imaging.pixels import Finder

MAX_VALUE_BYTES: Final = 16 << 20
"""Bytes of a value. A 1-bit mask for an image of 11 500 by 11 500 pixels is as long."""
MAX_HEADER_BYTES: Final = 128 << 20
"""Bytes of memory of a header, approximately: the functional groups of some 30 000 frames."""
INFLATE_LIMIT: Final = 6 << 30

_PIECE: Final = 64 << 10
"""Bytes within which most headers end, which are then decoded in one pass."""
_PIXELS: Final = 0x7FE00000
"""The group of the pixels."""
_COST: Final = 400
"""Bytes of memory of an attribute besides its value, approximately."""
_MAX_ELEMENTS: Final = MAX_HEADER_BYTES // _COST

SHARED_GROUPS: Final = 0x52009229
PER_FRAME_GROUPS: Final = 0x52009230

_SEQUENCES: Final = frozenset(
    (
        *(SHARED_GROUPS, PER_FRAME_GROUPS),
        0x00283000,  # Modality LUT
        0x00283010,  # VOI LUT
        0x20500010,  # Presentation LUT
        0x00289145,  # Pixel Value Transformation
        0x00289132,  # Frame VOI LUT
        0x00289110,  # Pixel Measures
        0x00209116,  # Plane Orientation
        0x00186011,  # Ultrasound Regions
        0x00480105,  # Optical Path, for its ICC profile
        0x00620002,  # Segment, for its colour
    )
)
# All of group 0028 is read as well.
_LEAVES: Final = frozenset(
    (
        *(0x00080005, 0x00080020, 0x00080060, 0x0008103E, 0x00082144, 0x00089205),
        *(0x00100010, 0x00100020, 0x00100030, 0x00100040),
        *(0x00180040, 0x00180050, 0x00180060, 0x00180081, 0x00181063, 0x00181065, 0x00181151, 0x00181164, 0x00182010),
        *(0x00200011, 0x00200013, 0x00200037, 0x00620001, 0x00620004, 0x0062000D, 0x0062000E, 0x20500020, 0x00541001),
        *(0x00186018, 0x0018601A, 0x0018601C, 0x0018601E, 0x00186024, 0x00186026, 0x0018602C, 0x0018602E),
    )
)


_OVERLAY: Final = (0x10, 0x11, 0x15, 0x40, 0x50, 0x51, 0x100, 0x102, 0x3000)
_PICKED: Final = (
    _SEQUENCES
    | _LEAVES
    | {tag for tag in VRS if tag >> 16 == 0x0028}
    | {group << 16 | tag for group in range(0x6000, 0x6020, 2) for tag in _OVERLAY}
)


class Header:
    """A data set or an item of one, with typed access to single attributes."""

    __slots__ = ("_data_set", "size")

    def __init__(self, data_set: DataSet, size: int = 0) -> None:
        self._data_set = data_set
        self.size = size
        """Approximate bytes of memory, of a whole header."""

    def __contains__(self, tag: int) -> bool:
        return tag in self._data_set and bool(self._data_set[tag].values)

    def _values(self, tag: int) -> Iterable[Any]:
        return self._data_set.get(tag, _NONE).values

    def texts(self, tag: int) -> list[str]:
        return [str(value).strip() for value in self._values(tag) if not isinstance(value, (bytes, dict))]

    def text(self, tag: int) -> str:
        """The first value; "" for none."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int) -> list[float]:
        """The values that are finite numbers, whether text (DS, IS) or binary."""
        found = []
        for value in self._values(tag):
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(number):
                found.append(number)
        return found

    def number(self, tag: int) -> float | None:
        return next(iter(self.numbers(tag)), None)

    def integer(self, tag: int, default: int) -> int:
        found = self.number(tag)
        return default if found is None else int(found)

    def data(self, tag: int) -> bytes:
        """A binary value, little endian; US and SS as 16-bit words."""
        attribute = self._data_set.get(tag, _NONE)
        if not attribute.values:
            return b""
        if isinstance(attribute.values[0], bytes):
            return attribute.values[0]
        if isinstance(attribute.values[0], int):
            return b"".join((value & 0xFFFF).to_bytes(2, "little") for value in attribute.values)
        return b""

    def items(self, tag: int) -> list[Header]:
        attribute = self._data_set.get(tag, _NONE)
        return [Header(item) for item in attribute.values] if attribute.vr == "SQ" else []

    def item(self, tag: int) -> Header | None:
        """The first item of a sequence; None for none."""
        return next(iter(self.items(tag)), None)

    def group(self, macro: int, frame: int) -> Header:
        """The attributes of a functional group macro for a frame, from 0 (PS3.3 C.7.6.16).

        They are in the item of the frame, in the shared item, or in the data set itself, as in single-frame images.
        """
        frames = self._data_set.get(PER_FRAME_GROUPS, _NONE)
        places = [Header(frames.values[frame])] if frames.vr == "SQ" and frame < len(frames.values) else []
        for place in (*places, *self.items(SHARED_GROUPS)):
            found = place.item(macro)
            if found is not None:
                return found
        return self


_NONE: Final = Attribute("UN", ())


def _wanted(tag: int, length: int) -> bool:
    group = tag >> 16
    if tag in _SEQUENCES:
        return True
    return (tag in _LEAVES or group == 0x0028 or 0x6000 <= group <= 0x60FF) and length <= MAX_VALUE_BYTES


def read_header(read: Read, start: int, end: int, transfer_syntax_uid: str, finder: Finder) -> Header:
    """Read the header of the data set that `read` returns from `start` to `end`, while finding its pixels. Blocking.

    Raises: the errors of `finder`; DataSetError for a malformed data set.
    """
    if not finder.syntax.deflated:
        try:
            picked, at = pick(read(start, min(_PIECE, end - start)), transfer_syntax_uid, _PICKED, _PIXELS - 1)
        except TruncatedDataSet:
            pass  # a longer header, or a malformed one: parse element by element
        else:
            size = sum(_COST + 3 * element.length for element in picked.values())
            header = Header(decode_elements(picked, _wanted, most=_MAX_ELEMENTS), size)
            finder.resume(picked, start + at, end)
            return header
    size = 0

    def keep(tag: int, length: int) -> bool:
        nonlocal size
        if not _wanted(tag, length):
            return False
        size += _COST + (length if tag not in _SEQUENCES else 0)
        if size > MAX_HEADER_BYTES:
            raise DataSetError(f"a header with more than {MAX_HEADER_BYTES} bytes of attributes for rendering")
        return True

    found = read_data_set(
        *(read, start, end, transfer_syntax_uid, keep), most=_MAX_ELEMENTS, inflate_limit=INFLATE_LIMIT, watch=finder
    )
    return Header(found, size)
