"""Look-up tables of data sets: descriptors, data of 8 and 16 bits, segments (PS3.3 C.11.1.1, C.7.9.2).

Bounded by the 65536 entries of a descriptor, whatever the data claim. The files beside this one apply the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import DataSetError
from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LUT_DESCRIPTOR: Final = 0x00283002
LUT_DATA: Final = 0x00283006
_SEGMENTS: Final = 1 << 16
"""Segments processed, repetitions included: each makes at least one entry, unless it is empty."""
_SEGMENT_DATA: Final = 1 << 18
"""Bytes of segments processed: 65536 discrete entries take half of it."""
_PALETTES: Final = (
    (0x00281101, 0x00281201, 0x00281221),
    (0x00281102, 0x00281202, 0x00281222),
    (0x00281103, 0x00281203, 0x00281223),
)
"""Descriptor, data and segmented data of the tables for red, green and blue."""


@dataclass(frozen=True, slots=True)
class Lut:
    """A table of outputs for the value `first` and the following ones. Values outside use the nearest end."""

    first: int
    data: bytes
    """Entries of 16 bits, little endian."""
    bits: int
    """Bits of the largest possible entry."""

    @property
    def entries(self) -> Array:
        import numpy as np

        return np.frombuffer(self.data, "<u2")


def lut(item: Header, *, signed: bool) -> Lut | None:
    """The table in an item of a Modality, VOI or Presentation LUT Sequence; None when unusable.

    `signed`: input values may be negative, whatever the VR of the descriptor.
    """
    descriptor = item.numbers(LUT_DESCRIPTOR)
    data = item.data(LUT_DATA)
    if len(descriptor) != 3 or not data:
        return None
    count, first, bits = (int(value) for value in descriptor)
    entries = _entries(data, count & 0xFFFF or 0x10000, bits)
    if not len(entries):
        return None
    # Descriptors of 8 bits with entries of 10 to 16 exist (PS3.3 C.11.1.1); DCMTK trusts the entries as well.
    largest = int(entries.max()).bit_length()
    return Lut(_first(first, signed), entries.tobytes(), max(bits if 8 <= bits <= 16 else 16, largest))


def palette(header: Header) -> tuple[int, Array]:
    """The Palette Color Lookup Table: its first input value, and `(entries, 3)` of uint8.

    Raises: DataSetError without a usable table.
    """
    import numpy as np

    tables, first = [], 0
    for descriptor_tag, data_tag, segmented_tag in _PALETTES:
        descriptor = header.numbers(descriptor_tag)
        if len(descriptor) != 3:
            raise DataSetError("PALETTE COLOR without a complete palette (PS3.3 C.7.9)")
        count, first, bits = int(descriptor[0]) & 0xFFFF or 0x10000, int(descriptor[1]), int(descriptor[2])
        data = header.data(data_tag)
        entries = _entries(data, count, bits) if data else _expand(header.data(segmented_tag), count, wide=bits > 8)
        if not len(entries):
            raise DataSetError("PALETTE COLOR with an empty table (PS3.3 C.7.9)")
        # Tables that declare 16 bits and hold 8 exist (PS3.3 C.7.6.3.1.5: "shall be 8 or 16").
        wide = bits > 8 and int(entries.max()) > 0xFF
        tables.append((entries >> 8 if wide else entries).astype("u1"))
    size = max(map(len, tables))
    return _first(first, header.integer(0x00280103, 0) == 1), np.stack(
        [np.pad(table, (0, size - len(table)), mode="edge") for table in tables], axis=1
    )


def _entries(data: bytes, count: int, bits: int) -> Array:
    """Read at most `count` entries of 16 bits; of 8 bits where they are packed so (PS3.3 C.7.6.3.1.6)."""
    import numpy as np

    if (bits <= 8 and len(data) <= count + 1) or (2 < count <= len(data) <= count + 1):
        return np.frombuffer(data, "u1")[:count].astype("<u2")
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2")[:count]


def _first(first: int, signed: bool) -> int:
    """The first input value, US or SS, which writers and dictionaries confuse."""
    first = int(first)
    return first - 0x10000 if signed and first > 0x7FFF else first


def _expand(data: bytes, count: int, *, wide: bool) -> Array:
    """Expand a Segmented Palette Color Lookup Table to `count` entries (PS3.3 C.7.9.2). Raises DataSetError."""
    import numpy as np

    size = 2 if wide else 1
    data = data[: _SEGMENT_DATA // size * size if len(data) > _SEGMENT_DATA else len(data) // size * size]
    words = np.frombuffer(data, "<u2" if wide else "u1").tolist()
    pieces: list[Array] = []
    found = position = 0
    end = len(words)
    back: list[tuple[int, int]] = []  # after an indirect segment: the position to return to, segments left
    left = -1
    for _segment in range(_SEGMENTS):
        while back and (left == 0 or position >= end):
            position, left = back.pop()
        if found >= count or position + 2 > end:
            break
        opcode, length = words[position], words[position + 1]
        position += 2
        left -= 1
        if opcode == 0:  # discrete
            piece = np.array(words[position : position + length], "<u2")
            position += length
        elif opcode == 1 and pieces and position < end:  # linear, from the last entry on
            piece = np.rint(np.linspace(int(pieces[-1][-1]), words[position], length + 1)[1:]).astype("<u2")
            position += 1
        elif opcode == 2 and not back and position + 4 // size <= end:  # indirect: earlier segments again
            offset = data[position * size : position * size + 4]
            back.append((position + 4 // size, left))
            position, left = int.from_bytes(offset, "little") // size, length
            continue
        else:
            raise DataSetError(f"a palette segment with opcode {opcode} (PS3.3 C.7.9.2)")
        if len(piece):
            pieces.append(piece)
            found += len(piece)
    return np.concatenate(pieces)[:count] if pieces else np.zeros(0, "<u2")
