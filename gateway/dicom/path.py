"""Attribute paths in settings and on the command line, and their values in a small data set.

`PatientName`, `00100010`, `0010,0010`, `0010-0010`, into sequences `RequestAttributesSequence.ScheduledProcedureStepID`
(any item, as with `[*]`, or one: `RequestAttributesSequence[0].Modality`), private ones by creator: `(0019,10,SIEMENS
MR HEADER)`, where 10 is the element within the creator's block. The use of the values is not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.dicom.dictionary import KEYWORDS, keyword_of
from gateway.dicom.encode import Attribute, DataSet
from gateway.errors import BadRequest

MAX_STEPS: Final = 16
"""Nested sequences in a path."""
_STEP: Final = re.compile(
    r"(?:(?P<keyword>[A-Z][A-Za-z0-9]*)|\(?(?P<group>[0-9A-Fa-f]{4})[,-]?(?P<element>[0-9A-Fa-f]{4})\)?"
    r"|\((?P<private>[0-9A-Fa-f]{4}),(?P<byte>[0-9A-Fa-f]{2}),(?P<creator>[^)\\]{1,64})\))"
    r"(?:\[ *(?P<item>[0-9]{1,5}|\*) *\])?(?:\.|\Z)"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One attribute of a data set. With a `creator`, `tag` is (gggg,00ee): its block is found by the creator."""

    tag: int
    creator: str = ""
    item: int | None = None
    """The item of the sequence to enter, from 0; None: all of them."""

    def tags(self) -> frozenset[int]:
        """The tags that must be read of a data set for `find`."""
        if not self.creator:
            return frozenset((self.tag,))
        group, element = self.tag & 0xFFFF0000, self.tag & 0xFF
        return frozenset(range(group | 0x10, group | 0x100)) | {
            group | block << 8 | element for block in range(0x10, 0x100)
        }

    def find(self, data_set: DataSet) -> int | None:
        """The tag of the attribute in this data set, present or not; None if its creator has reserved no block."""
        if not self.creator:
            return self.tag
        group = self.tag & 0xFFFF0000
        for block in range(0x10, 0x100):
            reserved = data_set.get(group | block)
            if reserved is not None and reserved.text.strip() == self.creator:
                return group | block << 8 | self.tag & 0xFF
        return None

    def __str__(self) -> str:
        group, element = self.tag >> 16, self.tag & 0xFFFF
        item = "" if self.item is None else f"[{self.item}]"
        if self.creator:
            return f"({group:04X},{element:02X},{self.creator}){item}"
        return (keyword_of(self.tag) or f"({group:04X},{element:04X})") + item


@dataclass(frozen=True, slots=True)
class AttributePath:
    """An attribute, perhaps inside sequences."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> AttributePath:
        """Parse a path. Raises: BadRequest that says which part names no attribute."""
        steps: list[Step] = []
        position = 0
        while position < len(text) or not steps:
            found = _STEP.match(text, position)
            if found is None or len(steps) == MAX_STEPS:
                raise BadRequest(
                    f"{text[:100]!r} names no attribute: write a keyword such as PatientName, gggg,eeee, or for a "
                    "private one (gggg,ee,CREATOR); a dot goes into a sequence"
                )
            steps.append(_step(found, text))
            position = found.end()
        if text.endswith("."):
            raise BadRequest(f"{text[:100]!r} ends with a dot; name an attribute of the sequence's items behind it")
        return cls(tuple(steps))

    def attributes(self, data_set: DataSet) -> Iterator[Attribute]:
        """Every attribute at the end of the path."""
        return _follow(self.steps, data_set)

    def __str__(self) -> str:
        return ".".join(map(str, self.steps))


def _step(found: re.Match[str], text: str) -> Step:
    item = None if found["item"] in (None, "*") else int(found["item"])
    if found["keyword"] is not None:
        tag = KEYWORDS.get(found["keyword"])
        if tag is None:
            where = "" if found["keyword"] == text else f" in {text[:100]!r}"
            raise BadRequest(
                f"{found['keyword']!r}{where} is no keyword of the data dictionary (PS3.6); capitals count"
            )
        return Step(tag, item=item)
    if found["creator"] is not None:
        group = int(found["private"], 16)
        if not group & 1:
            raise BadRequest(f"{text[:100]!r}: private attributes have an odd group number (PS3.5 §7.8)")
        return Step(group << 16 | int(found["byte"], 16), found["creator"].strip(), item)
    return Step(int(found["group"] + found["element"], 16), item=item)


def _follow(steps: tuple[Step, ...], data_set: DataSet) -> Iterator[Attribute]:
    step, rest = steps[0], steps[1:]
    tag = step.find(data_set)
    attribute = data_set.get(tag) if tag is not None else None
    if attribute is None:
        return
    if not rest:
        yield attribute
    elif attribute.vr == "SQ":
        items = attribute.values if step.item is None else attribute.values[step.item : step.item + 1]
        for item in items:
            yield from _follow(rest, item)
