"""ICC profiles without texts (ICC.1:2022): maker, device, and bytes that no tag refers to.

A profile keeps its length and the places of its tags, so that it can be overwritten in place.
"""

from __future__ import annotations

from typing import Final

_HEADER_BYTES: Final = 128
_MAX_TAGS: Final = 200
_BLANK: Final = ((48, 56), (80, _HEADER_BYTES))
"""Parts of the header: device, creator, the profile's own digest, which changes, and reserved bytes."""
_COLOURS: Final = frozenset(
    b"XYZ |curv|para|mft1|mft2|mAB |mBA |mpet|sf32|uf32|ui08|ui16|ui32|ui64|sig |view|meas|chrm|clro|cicp".split(b"|")
)
"""Types of tags that define colours (10.2 to 10.32)."""
_TEXTS: Final = {b"desc": 12, b"text": 8, b"mluc": 16, b"dtim": 8, b"data": 12}
"""Other types, with the offset behind their structure, where the text begins."""


def is_profile(data: bytes) -> bool:
    """Whether `data` is an ICC profile, perhaps with padding behind it."""
    return (
        len(data) >= _HEADER_BYTES + 4
        and data[36:40] == b"acsp"
        and _HEADER_BYTES < int.from_bytes(data[:4], "big") <= len(data)
    )


def without_words(data: bytes) -> bytes:
    """Replace by zeros everything that defines no colour; the length stays. Data that are no profile become zeros."""
    if not is_profile(data):
        return bytes(len(data))
    size, count = int.from_bytes(data[:4], "big"), int.from_bytes(data[_HEADER_BYTES : _HEADER_BYTES + 4], "big")
    table = _HEADER_BYTES + 4 + 12 * count
    if count > _MAX_TAGS or table > size:
        return bytes(len(data))
    out = bytearray(len(data))
    out[:table] = data[:table]
    for start, stop in _BLANK:
        out[start:stop] = bytes(stop - start)
    for at in range(_HEADER_BYTES + 4, table, 12):
        start, length = int.from_bytes(data[at + 4 : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big")
        tag = data[start : min(start + length, size)]
        if start < table or len(tag) < 8:
            continue
        if tag[:4] in _COLOURS:
            out[start : start + len(tag)] = tag
        elif not out[start]:
            structure = _structure(tag)
            out[start : start + len(structure)] = structure
    return bytes(out)


def _structure(tag: bytes) -> bytes:
    """The bytes of a text tag before its texts; of an unknown type only the type."""
    if tag[:4] != b"mluc":
        return tag[: _TEXTS.get(tag[:4], 4)]
    records, size = int.from_bytes(tag[8:12], "big"), int.from_bytes(tag[12:16], "big")
    return tag[: 16 + records * 12] if size == 12 and 16 + records * 12 <= len(tag) else tag[:4]
