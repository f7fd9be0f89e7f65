"""The data dictionary (PS3.6): the VR of an element that is encoded without one.

The tables are pydicom's. They are loaded from its files alone: importing the package would bring numpy, its codecs
and a quarter of a second into every process that reads a header. Reading data sets is not here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Final


def pydicom_table(name: str) -> ModuleType:
    """Load a module of pydicom that holds nothing but tables, without running pydicom's `__init__`."""
    loaded = sys.modules.get(f"pydicom.{name}")
    if loaded is not None:
        return loaded
    package = importlib.util.find_spec("pydicom")
    for folder in (package and package.submodule_search_locations) or ():
        spec = importlib.util.spec_from_file_location(f"{__package__}.{name}", Path(folder) / f"{name}.py")
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(f"pydicom.{name}")


_CHOICES: Final = {
    "US or SS": "US",  # SS depending on Pixel Representation, see PIXEL_SIGNED
    "OB or OW": "OW",  # PS3.5 A.1: OW in Implicit VR
    "US or OW": "OW",
    "US or SS or OW": "OW",
}

_table = pydicom_table("_dicom_dict")
VRS: Final[dict[int, str]] = {
    tag: _CHOICES.get(entry[0], entry[0]) for tag, entry in _table.DicomDictionary.items() if entry[0] != "NONE"
}
"""Tag to VR for every public element without wildcards."""

KEYWORDS: Final[dict[str, int]] = {entry[4]: tag for tag, entry in _table.DicomDictionary.items() if entry[4]}
"""Keyword to tag, in tag order: `PatientName` to 0x00100010."""

PIXEL_SIGNED: Final[frozenset[int]] = frozenset(
    tag for tag, entry in _table.DicomDictionary.items() if entry[0] == "US or SS"
)
"""Elements that are SS, not US, if Pixel Representation (0028,0103) is 1."""

RETIRED: Final[frozenset[int]] = frozenset(
    tag for tag, entry in _table.DicomDictionary.items() if entry[3] == "Retired"
)
"""Public elements that the standard no longer has."""

_REPEATERS: Final[tuple[tuple[int, int, str, str], ...]] = tuple(
    (
        int("".join("0" if digit == "x" else "F" for digit in pattern), 16),
        int(pattern.replace("x", "0"), 16),
        _CHOICES.get(entry[0], entry[0]),
        entry[4],
    )
    for pattern, entry in _table.RepeatersDictionary.items()
)
del _table


def implicit_vr(tag: int) -> str:
    """The VR of an element that was encoded without one; 'UN' if it is not in the dictionary."""
    return VRS.get(tag) or _rare_vr(tag)


@cache
def _names() -> dict[int, str]:
    return {tag: keyword for keyword, tag in KEYWORDS.items()}


def keyword_of(tag: int) -> str:
    """The keyword of a tag; '' if it is not in the dictionary."""
    return _names().get(tag, "")


def repeating_keyword_of(tag: int) -> str:
    """The keyword of an element of a repeating group, such as (6002,0010); '' for others (PS3.5 §7.6)."""
    return next((keyword for mask, value, _vr, keyword in _REPEATERS if tag & mask == value), "")


@lru_cache(1024)
def _rare_vr(tag: int) -> str:
    if tag & 0xFFFF == 0:
        return "UL"  # group length, PS3.5 §7.2
    if tag & 0x10000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # private creator, PS3.5 §7.8.1
    for mask, value, vr, _keyword in _REPEATERS:
        if tag & mask == value:
            return vr
    return "UN"
