"""What the header of an instance says about how its pixels are shown: read once, asked by tag and by frame.

Values are taken as they are meant: a DS that is no number is none. What they do to pixels is in the files beside.
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

LARGEST: Final = 16 << 20
"""Bytes of a value that is read. A mask of 1 bit for an image of 11 500 by 11 500 pixels is as long."""
LARGEST_HEADER: Final = 128 << 20
"""Bytes of memory, about, that a header may take: the functional groups of some 30 000 frames."""
INFLATE_LIMIT: Final = 6 << 30

_PIECE: Final = 64 << 10
"""Bytes within which most headers end: those are picked in one go."""
_PIXELS: Final = 0x7FE00000
"""Where pixels begin."""
_COST: Final = 400
"""Bytes that an attribute takes besides its value, about."""
_MOST: Final = LARGEST_HEADER // _COST

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
        0x00480105,  # Optical Path, for its ICC profile
    )
)
# Beside them, all of group 0028.
_LEAVES: Final = frozenset(
    (
        *(0x00080005, 0x00080020, 0x00080060, 0x0008103E, 0x00082144, 0x00089205),
        *(0x00100010, 0x00100020, 0x00100030, 0x00100040),
        *(0x00180040, 0x00180050, 0x00180060, 0x00180081, 0x00181063, 0x00181065, 0x00181151, 0x00181164, 0x00182010),
        *(0x00200011, 0x00200013, 0x0062000E, 0x20500020),
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
    """A data set, or an item of one, that answers questions about single attributes."""

    __slots__ = ("_data_set", "size")

    def __init__(self, data_set: DataSet, size: int = 0) -> None:
        self._data_set = data_set
        self.size = size
        """About how many bytes of memory it takes, of a whole header."""

    def __contains__(self, tag: int) -> bool:
        return tag in self._data_set and bool(self._data_set[tag].values)

    def _values(self, tag: int) -> Iterable[Any]:
        return self._data_set.get(tag, _NONE).values

    def texts(self, tag: int) -> list[str]:
        return [str(value).strip() for value in self._values(tag) if not isinstance(value, (bytes, dict))]

    def text(self, tag: int) -> str:
        """The first value; "" where there is none."""
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
        """A binary value, little endian; that of US and SS as words."""
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
        """The first item of a sequence."""
        return next(iter(self.items(tag)), None)

    def group(self, macro: int, frame: int) -> Header:
        """Where the attributes of a functional group macro stand for a frame, from 0 (PS3.3 C.7.6.16).

        In the item of the frame, in the shared one, or in the data set itself, where single-frame images have them.
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
    return (tag in _LEAVES or group == 0x0028 or 0x6000 <= group <= 0x60FF) and length <= LARGEST


def read_header(read: Read, start: int, end: int, transfer_syntax_uid: str, finder: Finder) -> Header:
    """The header of the data set that `read` gives from `start` to `end`, on the way to its pixels. Blocking.

    Raises what `finder` raises, and DataSetError where the data set is broken.
    """
    if not finder.syntax.deflated:
        try:
            picked, at = pick(read(start, min(_PIECE, end - start)), transfer_syntax_uid, _PICKED, _PIXELS - 1)
        except TruncatedDataSet:
            pass  # a longer header, or a broken one: step by step
        else:
            size = sum(_COST + 3 * element.length for element in picked.values())
            header = Header(decode_elements(picked, _wanted, most=_MOST), size)
            finder.resume(picked, start + at, end)
            return header
    size = 0

    def keep(tag: int, length: int) -> bool:
        nonlocal size
        if not _wanted(tag, length):
            return False
        size += _COST + (length if tag not in _SEQUENCES else 0)
        if size > LARGEST_HEADER:
            raise DataSetError(f"a header of more than {LARGEST_HEADER} bytes that matter to its pixels")
        return True

    found = read_data_set(
        *(read, start, end, transfer_syntax_uid, keep), most=_MOST, inflate_limit=INFLATE_LIMIT, watch=finder
    )
    return Header(found, size)
