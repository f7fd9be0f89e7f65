"""What Orthanc calls attributes, and which of them it shows of a resource unasked ("main DICOM tags").

A name in a request may be a keyword, `gggg,eeee`, `gggg-eeee` or `ggggeeee`. Names in answers are DCMTK's, which are
the keywords of PS3.6 but for a prefix in front of what is retired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

from gateway.dicom.dictionary import RETIRED, keyword_of, repeating_keyword_of
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest
from gateway.index import main_tags

Format = Literal["full", "short", "simplified"]
"""Attributes by `gggg,eeee` as objects with name and type, by that as their values, or by name as their values."""
UNKNOWN_NAME: Final = "Unknown Tag & Data"
_RETIRED_SINCE: Final = {
    *(0x00101000, 0x00380004, 0x00701807, 0x30040010, 0x30040012, 0x30060085, 0x30060088, 0x3008002B, 0x30100090),
}
"""Retired after the edition of the dictionary that DCMTK 3.6.7 has."""

MAIN_TAGS: Final[Mapping[Level, frozenset[int]]] = {
    "patient": frozenset({0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00101000}),
    "study": frozenset(
        {
            *(0x00080020, 0x00080030, 0x00080050, 0x00080080, 0x00080090, 0x00081030),
            *(0x0020000D, 0x00200010, 0x00321032, 0x00321060),
        }
    ),
    "series": frozenset(
        {
            *(0x00080021, 0x00080031, 0x00080060, 0x00080070, 0x00081010, 0x0008103E, 0x00081070),
            *(0x00180010, 0x00180015, 0x00180024, 0x00181030, 0x00181090, 0x00181400),
            *(0x0020000E, 0x00200011, 0x00200037, 0x00200105, 0x00201002),
            *(0x00400254, 0x00540081, 0x00540101, 0x00541000),
        }
    ),
    "instance": frozenset(
        {
            *(0x00080012, 0x00080013, 0x00080018, 0x00200012, 0x00200013, 0x00200032, 0x00200037, 0x00200100),
            *(0x00204000, 0x00280008, 0x00541330),
        }
    ),
}
"""The main DICOM tags of Orthanc 1.10 (as a live one shows them of an instance that has every attribute)."""


def shown_tags(level: Level) -> frozenset[int]:
    """The main DICOM tags of a level, with those that the settings name."""
    return MAIN_TAGS[level] | main_tags.current().named[level]


_KNOWN: Final = 1 << 14
"""Tags whose text and name are kept: all of PS3.6 twice over. Making them was a quarter of /instances/{id}/tags."""


@lru_cache(_KNOWN)
def tag_text(tag: int, separator: str = ",") -> str:
    """`gggg,eeee` in small letters."""
    return f"{tag >> 16:04x}{separator}{tag & 0xFFFF:04x}"


@lru_cache(_KNOWN)
def name_of(tag: int) -> str:
    """The name of a public attribute, or of one that reserves private ones."""
    if not tag & 0xFFFF:
        return "PrivateGroupLength" if tag & 0x10000 else "GenericGroupLength"
    if tag & 0x10000:
        return "PrivateCreator" if 0x10 <= tag & 0xFFFF <= 0xFF else UNKNOWN_NAME
    keyword = keyword_of(tag)
    if tag in RETIRED and tag not in _RETIRED_SINCE:
        return f"RETIRED_{keyword}"
    return keyword or repeating_keyword_of(tag) or UNKNOWN_NAME


def formatted(attributes: Iterable[tuple[int, Any]], form: Format) -> dict[str, Any]:
    """Attributes that have values, text or lists of items, in one of the formats."""
    if form == "simplified":
        return {name_of(tag): value for tag, value in attributes}
    if form == "short":
        return {tag_text(tag): value for tag, value in attributes}
    return {
        tag_text(tag): {
            "Name": name_of(tag),
            "Type": "Sequence" if isinstance(value, list) else "String",
            "Value": value,
        }
        for tag, value in attributes
    }


_LEVEL_NAMES: Final[Mapping[str, Level]] = {
    name: level
    for level, names in zip(
        LEVELS, ("PATIENT", "STUDY STUDIES", "SERIES", "INSTANCE INSTANCES IMAGE IMAGES"), strict=True
    )
    for name in names.split()
} | {"PATIENTS": "patient"}


def parse_level(name: Any) -> Level | None:
    """The level that Orthanc's clients call so (`Study`, `studies`, `IMAGE`); None for none."""
    return _LEVEL_NAMES.get(name.upper()) if isinstance(name, str) else None


def level_named(name: Any) -> Level:
    """Parse a level as `parse_level` does. Raises BadRequest for none."""
    level = parse_level(name)
    if level is None:
        raise BadRequest("Level: Patient, Study, Series or Instance")
    return level
