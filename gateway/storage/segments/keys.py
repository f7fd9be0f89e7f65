"""Keys of objects in segments: where the object is, so that no table says it a second time.

A key is `<segment>-<block>`: the name of the segment, and the number of the frame's first block in hexadecimal digits.
Names of segments are made of the time and of random bits, and none is used twice, so a key is never used twice either:
whatever is kept by key stays true. Keys of files have no hyphen (`storage/layout.py`).
"""

from __future__ import annotations

from typing import Final

from gateway.storage.layout import is_part_of_key, new_key
from gateway.storage.segments.frame import BLOCK_BYTES, NAME_LENGTH

_DIGITS: Final = 5
"""Hexadecimal digits of a block's number: segments of up to 4 GiB."""
_HEXADECIMAL: Final = frozenset("0123456789ABCDEF")
MAX_SEGMENT_BYTES: Final = BLOCK_BYTES << 4 * _DIGITS


def new_name(milliseconds: int) -> str:
    """A name for a segment begun at `milliseconds` since 1970; those of later milliseconds sort after it."""
    return new_key(milliseconds)[:NAME_LENGTH]


def is_name(text: str) -> bool:
    """Whether the text could be the name of a segment."""
    return is_part_of_key(text, NAME_LENGTH)


def is_in_segment(key: str) -> bool:
    """Whether a key is that of an object in a segment."""
    return len(key) > NAME_LENGTH and key[NAME_LENGTH] == "-"


def key_at(name: str, offset: int) -> str:
    """The key of the object whose frame is at an offset of a segment."""
    return f"{name}-{offset // BLOCK_BYTES:0{_DIGITS}X}"


def place_of(key: str) -> tuple[str, int]:
    """The segment of an object, and the offset of its frame. Raises: ValueError for what is no such key."""
    name, hyphen, block = key.partition("-")
    if not hyphen or not is_name(name) or len(block) != _DIGITS or not _HEXADECIMAL.issuperset(block):
        raise ValueError(f"{key!r} is not a key of a segment")
    return name, int(block, 16) * BLOCK_BYTES
