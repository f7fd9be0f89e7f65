"""New values of attributes as Orthanc's REST writes them: text, numbers, null, lists of items; written into drafts.

A value is parsed and checked once, and then written into any number of objects. Names are those of `dicom/path.py`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.dicom.dictionary import KEYWORDS, PIXEL_SIGNED, implicit_vr
from gateway.dicom.encode import BINARY, NUMBERS
from gateway.dicom.path import AttributePath, Step
from gateway.dicom.private_names import private_attribute
from gateway.dicom.validity import fault_of
from gateway.edit.draft import Draft, Level
from gateway.edit.tree import Node, find
from gateway.errors import BadRequest, EditError
from gateway.http.data_uri import parse_data_uri

MAX_DEPTH: Final = 16
"""Nested sequences of one value."""
MAX_ATTRIBUTES: Final = 10_000
"""Attributes and items of one value."""
PIXEL_REPRESENTATION: Final = 0x00280103
_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})\)?")


class NamedAttribute(NamedTuple):
    """An attribute that a request names."""

    path: AttributePath
    block: int = 0x10
    """The private block to reserve for its creator, where that has none and it is free."""

    @property
    def tag(self) -> int:
        """The tag of the attribute. Of one with a creator: that within its block."""
        return self.path.steps[-1].tag

    @classmethod
    def parse(cls, name: str, creator: str = "") -> NamedAttribute:
        """Parse a name or path; a private attribute at its end is one of `creator`, if there is one.

        Raises BadRequest for a name that names no attribute, and for one that names an item.
        """
        text = name.strip()
        if text.endswith("]"):
            raise BadRequest(f"{text[:100]!r} names an item of a sequence, and no attribute of it")
        path = AttributePath.parse(text)
        last = path.steps[-1]
        element = last.tag & 0xFFFF
        if not creator or last.creator or not last.tag & 0x10000 or element < 0x1000:
            return cls(path)
        if len(creator) > 64 or "\\" in creator or fault_of("LO", creator):
            raise BadRequest("PrivateCreator: up to 64 characters, without a backslash")
        reserved = Step(last.tag & 0xFFFF0000 | element & 0xFF, creator.strip(), last.item)
        return cls(AttributePath((*path.steps[:-1], reserved)), element >> 8)


@dataclass(frozen=True, slots=True)
class NewValue:
    """A value to write: its text, its bytes, or its items; of null, an empty text."""

    text: str = ""
    data: bytes | None = None
    items: tuple[tuple[tuple[NamedAttribute, NewValue], ...], ...] | None = None


def parse_value(place: NamedAttribute, value: Any, creator: str = "") -> NewValue:
    """Parse the value of an attribute, and check that its VR can hold it. Raises BadRequest with its name."""
    return _Parser(creator).value(place, value, str(place.path), 0)


class _Parser:
    def __init__(self, creator: str) -> None:
        self._creator = creator
        self._left = MAX_ATTRIBUTES

    def value(self, place: NamedAttribute, value: Any, name: str, depth: int) -> NewValue:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise BadRequest(f"{name[:100]}: more than {MAX_ATTRIBUTES} attributes, or {MAX_DEPTH} nested sequences")
        vr = _known_vr(place)
        if isinstance(value, list):
            if vr not in ("SQ", "UN"):
                raise BadRequest(f"{name}: a list is the value of a sequence, and {vr} is none")
            return NewValue(items=tuple(self._item(item, f"{name}[{at}]", depth) for at, item in enumerate(value)))
        if value is None:
            return NewValue()
        if vr == "SQ":
            raise BadRequest(f"{name}: the value of a sequence is a list of objects")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadRequest(f"{name}: {type(value).__name__} is no value; write a text, a number or null")
        text = value if isinstance(value, str) else repr(value)
        if vr in BINARY and (data := _decoded(text, name)) is not None:
            return NewValue(data=data)
        fault = _fault(vr, text)
        if fault and not (place.tag in PIXEL_SIGNED and not _fault("SS", text)):
            raise BadRequest(f"{name}: {fault}")
        return NewValue(text)

    def _item(self, item: Any, name: str, depth: int) -> tuple[tuple[NamedAttribute, NewValue], ...]:
        if not isinstance(item, dict):
            raise BadRequest(f"{name}: the value of a sequence is a list of objects")
        found = []
        for member, value in item.items():
            place = NamedAttribute.parse(member, self._creator)
            if len(place.path.steps) != 1:
                raise BadRequest(f"{name}: {member[:100]!r} is a path; items are nested in lists")
            check_writable(place, f"{name}.{member[:100]}")
            found.append((place, self.value(place, value, f"{name}.{place.path}", depth + 1)))
        return tuple(found)


def check_writable(place: NamedAttribute, name: str) -> None:
    """Raise BadRequest for what says how an object is encoded, and for its pixels."""
    if place.tag in _PIXELS or not place.tag & 0xFFFF or place.tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise BadRequest(f"{name} cannot be changed here")
    if place.tag == KEYWORDS["SpecificCharacterSet"]:
        raise BadRequest(f"{name}: text keeps its character set; ISO_IR 192 for the whole object changes it")


_PIXELS: Final = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010))


def write(draft: Draft, level: Level, place: NamedAttribute, value: NewValue, why: str = "set") -> None:
    """Write a value into the data set or item `level`, present or not. Raises EditError."""
    step = place.path.steps[-1]
    tag = draft.reserved(level, step, place.block)
    old = find(level.nodes, tag)
    if value.items is not None:
        for below, item in zip(draft.set_items(level, tag, len(value.items), why), value.items, strict=True):
            for member, inner in item:
                write(draft, below, member, inner, why)
        return
    vr = _vr(draft, level, tag, step.creator, old, value)
    if value.data is not None:
        draft.set_bytes(level, tag, vr, value.data, why, f"({vr})")
    elif vr == "AT" or vr in NUMBERS:
        draft.set_bytes(
            level, tag, vr, packed(vr, value.text, level.syntax.big_endian, level.name(tag)), why, value.text
        )
    elif vr in BINARY:
        draft.set_bytes(level, tag, vr, value.text.encode(), why, value.text)
    elif vr == "SQ":
        draft.set_items(level, tag, 0, why)
    else:
        draft.set_text(level, tag, vr, value.text, why, old)


def packed(vr: str, text: str, big_endian: bool, name: str) -> bytes:
    """The value field of numbers or tags in a text, separated by backslashes. Raises EditError."""
    fault = _fault(vr, text)
    if fault:
        raise EditError(f"{name}: {fault}")
    parts = text.split("\\") if text else []
    order = ">" if big_endian else "<"
    if vr == "AT":
        tags = [_tag(part) for part in parts]
        return b"".join(struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) for tag in tags if tag is not None)
    return struct.pack(f"{order}{len(parts)}{NUMBERS[vr]}", *(_number(vr, part) for part in parts))


def _fault(vr: str, text: str) -> str:
    """Why a text is no value of a VR; '' where it is."""
    if vr == "AT":
        wrong = [part for part in text.split("\\") if part and _tag(part) is None]
        return f"{wrong[0][:80]!r} is no tag: write gggg,eeee or a keyword" if wrong else ""
    if vr in NUMBERS:
        try:
            struct.pack(f"<{len(text.split(chr(92)))}{NUMBERS[vr]}", *(_number(vr, part) for part in text.split("\\")))
        except (ValueError, OverflowError, struct.error):
            return f"{text[:80]!r} is not a value of {vr}" if text else ""
        return ""
    return "" if vr in BINARY else fault_of(vr, text)


def _number(vr: str, text: str) -> int | float:
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text) if vr in ("FL", "FD") else int(text)


def _tag(text: str) -> int | None:
    found = _TAG.fullmatch(text.strip())
    return int(found[1] + found[2], 16) if found else KEYWORDS.get(text.strip())


def _decoded(text: str, name: str) -> bytes | None:
    """The bytes of a data URI; None for any other text."""
    try:
        found = parse_data_uri(text)
    except BadRequest as error:
        raise BadRequest(f"{name}: {error}") from None
    return found[1] if found is not None else None


def _known_vr(place: NamedAttribute) -> str:
    """The VR of an attribute by the dictionaries; UN where none has it."""
    step = place.path.steps[-1]
    if step.creator:
        return private_attribute(step.tag & 0xFFFF0000 | place.block << 8 | step.tag & 0xFF, step.creator).vr
    return implicit_vr(step.tag)


def _vr(draft: Draft, level: Level, tag: int, creator: str, old: Node | None, value: NewValue) -> str:
    """The VR to write: that of the dictionaries, else that which the attribute has in the object, else one for text."""
    vr = implicit_vr(tag)
    if vr == "UN" and tag & 0x10000:
        vr = private_attribute(tag, creator or _creator(draft, level, tag)).vr
    if vr == "UN":
        if old is not None and old.vr not in ("UN", "SQ") and not (value.data is not None and old.vr not in BINARY):
            return old.vr
        if value.data is not None:
            return "UN"
        return "LO" if not fault_of("LO", value.text) else "UT"
    if tag in PIXEL_SIGNED:
        signed = find(draft.tree.nodes, PIXEL_REPRESENTATION)
        return "SS" if signed is not None and any(draft.tree.value(signed)) else "US"
    return vr


def _creator(draft: Draft, level: Level, tag: int) -> str:
    """The private creator that has reserved the block of a private attribute; '' where none has."""
    node = find(level.nodes, tag & 0xFFFF0000 | tag >> 8 & 0xFF) if tag & 0xFF00 else None
    if node is None or node.vr != "LO" or node.items is not None or node.length > 64:
        return ""
    return draft.text(level, node).strip(" \0")


def parse_replacements(replace: Mapping[str, Any], creator: str = "") -> list[tuple[NamedAttribute, NewValue]]:
    """The attributes to replace, with their values. Raises BadRequest with the name of one that cannot be."""
    found = []
    for name, value in replace.items():
        place = NamedAttribute.parse(name, creator)
        check_writable(place, str(place.path))
        found.append((place, parse_value(place, value, creator)))
    return found
