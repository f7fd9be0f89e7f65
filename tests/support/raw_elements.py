"""Elements as bytes, valid or not: what no library would write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, *, implicit: bool = False, big_endian: bool = False) -> bytes:
    """One element, padded to even length."""
    order = ">" if big_endian else "<"
    value += (b"\0" if vr in LONG or vr == "UI" else b" ") * (len(value) % 2)
    if implicit:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    form = f"{order}HH2sxxI" if vr in LONG else f"{order}HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def sequence(tag: int, *items: bytes, vr: str = "SQ", implicit: bool = False, big_endian: bool = False) -> bytes:
    """A sequence of items with their lengths."""
    order = ">" if big_endian else "<"
    content = b"".join(struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return element(tag, vr, content, implicit=implicit, big_endian=big_endian)


def data_set(elements: Mapping[int, bytes] | Iterable[bytes]) -> bytes:
    """Elements one after the other; those of a mapping in the order of their tags."""
    parts = [elements[tag] for tag in sorted(elements)] if isinstance(elements, Mapping) else elements
    return b"".join(parts)
