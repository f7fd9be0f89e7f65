"""Whole data sets as people and scripts look at them: every attribute with its value as text, sequences as lists.

What is long or binary is only said to be there. Names and JSON are the web's. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import unpack
from typing import Final, Literal, NamedTuple

from gateway.dicom import part10
from gateway.dicom.charset import decode_values
from gateway.dicom.encode import BINARY, NUMBERS
from gateway.dicom.private_names import private_attribute
from gateway.dicom.recode import WORD_SIZES
from gateway.dicom.source import Inflater, Read, Window
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from gateway.dicom.walk import PIXEL_DATA, Event, Kind, walk
from gateway.errors import DataSetError, TruncatedDataSet
from gateway.index.locate import Located
from gateway.storage.store import StoredObject

MAX_TEXT_BYTES: Final = 256
"""UTF-8 of a value that is shown unasked, as in Orthanc."""
MAX_LONG_BYTES: Final = 1 << 20
"""Bytes of a value that is shown where it was asked for by its tag."""
MAX_TAGS: Final = 200_000
"""Attributes of one data set, those of its items too. An enhanced CT of 2000 frames has 100 000."""
INFLATE_LIMIT: Final = 256 << 20
"""Bytes to which a deflated data set may inflate on the way to its pixel data."""
_MAX_READ: Final = 4 * MAX_TEXT_BYTES
"""Bytes of a value that is looked at: in ISO 2022 text may be several times as long as in UTF-8."""
_MAX_SHORT: Final = 64
"""Bytes of a value (such as any UID) that is decoded once for many instances: 8192 of them are some 3 MB."""
_CHARSET: Final = 0x00080005

Shape = Literal["String", "Sequence", "Null", "TooLong"]


class Tag(NamedTuple):
    """One attribute. `value` is text, several values with backslashes between them; the items of a sequence; or None
    for what is binary (`Null`) or too long to be shown (`TooLong`)."""

    shape: Shape
    value: str | list[TagTree] | None
    creator: str = ""
    """Who has reserved the block of a private attribute."""
    vr: str = ""
    length: int = 0
    """Bytes of the value, of one that is no sequence."""


TagTree = dict[int, Tag]


def read_tags(
    stored: StoredObject, located: Located, *, long: frozenset[int] = frozenset(), behind_pixels: bool = False
) -> TagTree:
    """The attributes of a stored instance in the order in which they stand, up to its pixel data.

    `long` are shown however long they are, up to MAX_LONG_BYTES; `behind_pixels`: to the end. Raises StorageError, and
    DataSetError where it cannot be read.
    """
    syntax = transfer_syntax(located.transfer_syntax_uid)
    start, end, read = located.data_set_offset, located.size, stored.read
    if syntax.deflated:
        window = Window(Inflater(read, start, end, INFLATE_LIMIT), 0, None)
        return _tree(window, walk(window, 0, EXPLICIT_VR_LITTLE_ENDIAN), long, behind_pixels)
    window = Window(read, start, end)
    return _tree(window, walk(window, start, syntax), long, behind_pixels)


def read_header_tags(read: Read) -> TagTree:
    """The File Meta Information of a file (PS3.10 §7.1), what is binary left out. Raises DataSetError."""
    elements = part10.read_header(read).elements
    found = {tag: _text(element.vr, element.value, None, False) for tag, element in elements.items()}
    return {
        tag: Tag("String", text, vr=elements[tag].vr, length=len(elements[tag].value))
        for tag, text in found.items()
        if text is not None
    }


def shared(trees: Iterable[TagTree], before: TagTree | None = None) -> TagTree:
    """The attributes that are text and the same in all; `before` is what those had in common that came before."""
    common = before
    for tree in trees:
        if common is None:
            common = {tag: each for tag, each in tree.items() if each.shape == "String"}
        else:
            common = {
                tag: each for tag, each in common.items() if (other := tree.get(tag)) and other.value == each.value
            }
    return common or {}


def _tree(window: Window, events: Iterable[Event], long: frozenset[int], behind_pixels: bool) -> TagTree:
    current: TagTree = {}
    charset: bytes | None = None
    creators: dict[int, str] = {}
    sequences: list[tuple[int, list[TagTree]]] = []
    outer: list[tuple[TagTree, bytes | None, dict[int, str]]] = []
    count = 0
    try:
        for event in events:
            kind, tag, vr, _start, value_start, length, _syntax = event
            if kind is Kind.ELEMENT:
                if tag == PIXEL_DATA and not outer:
                    current[tag] = Tag("Null", None, "", vr, length)
                    if not behind_pixels:
                        break
                    continue
                count += 1
                creator = creators.get(tag >> 8, "") if tag & 0x10000 else ""
                if vr == "UN" and creator:
                    vr = private_attribute(tag, creator).vr.partition(" ")[0]
                made = _tag(window, event, vr, charset, creator, tag in long)
                current[tag] = made
                if tag == _CHARSET and length <= _MAX_READ:
                    charset = window.read(value_start, length)
                elif tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF and isinstance(made.value, str):
                    creators[tag >> 16 << 8 | tag & 0xFF] = made.value
            elif kind is Kind.FRAGMENTS:
                current[tag] = Tag("Null", None, "", vr)
                if tag == PIXEL_DATA and not outer and not behind_pixels:
                    break
            elif kind is Kind.SEQUENCE:
                sequences.append((tag, []))
            elif kind is Kind.ITEM:
                outer.append((current, charset, creators))
                current, creators = {}, {}
                count += 1
            elif kind is Kind.ITEM_END:
                sequences[-1][1].append(current)
                current, charset, creators = outer.pop()
            else:
                tag, items = sequences.pop()
                creator = creators.get(tag >> 8, "") if tag & 0x10000 else ""
                current[tag] = Tag("Sequence", items, creator, "SQ")
            if count > MAX_TAGS:
                raise DataSetError(f"more than {MAX_TAGS} attributes")
    except TruncatedDataSet:
        if outer or PIXEL_DATA not in current:
            raise
    return current


def _tag(window: Window, event: Event, vr: str, charset: bytes | None, creator: str, is_asked: bool) -> Tag:
    length = event.length
    if length <= _MAX_SHORT and vr != "FL":
        return _short_tag(vr, window.read(event.value_start, length), charset, event.syntax.big_endian, creator)
    if vr in BINARY or vr == "UN":
        return Tag("Null", None, creator, vr, length)
    if length > (MAX_LONG_BYTES if is_asked else _MAX_READ):
        return Tag("TooLong", None, creator, vr, length)
    text = _text(vr, window.read(event.value_start, length), charset, event.syntax.big_endian)
    if text is None:
        return Tag("Null", None, creator, vr, length)
    if not is_asked and (len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES):
        return Tag("TooLong", None, creator, vr, length)
    return Tag("String", text, creator, vr, length)


@lru_cache(8192)
def _short_tag(vr: str, value: bytes, charset: bytes | None, big_endian: bool, creator: str) -> Tag:
    # Instances of a series have most values in common. As text they have at most MAX_TEXT_BYTES, but for those of FL.
    text = None if vr == "UN" else _text(vr, value, charset, big_endian)
    return Tag("Null" if text is None else "String", text, creator, vr, len(value))


def _text(vr: str, value: bytes, charset: bytes | None, big_endian: bool) -> str | None:
    """A value as text; None where it is binary, or does not fit its VR."""
    if vr == "SQ" or vr in BINARY:
        return None if value or vr != "SQ" else ""
    order = ">" if big_endian else "<"
    if vr == "AT" or vr in NUMBERS:
        size = 4 if vr == "AT" else WORD_SIZES[vr]
        if len(value) % size:
            return None
        if vr == "AT":
            words = unpack(f"{order}{len(value) // 2}H", value)
            return "\\".join(
                [f"{group:04x},{element:04x}" for group, element in zip(words[::2], words[1::2], strict=True)]
            )
        numbers = unpack(f"{order}{len(value) // size}{NUMBERS[vr]}", value)
        return "\\".join([f"{number:.17g}" if isinstance(number, float) else str(number) for number in numbers])
    return "\\".join(decode_values(value, charset, vr))
