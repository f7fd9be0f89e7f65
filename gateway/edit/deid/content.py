"""Content items of structured reports (PS3.15 Table E.3.4-1), for the Clean Structured Content Option.

For most names the table's 211 rows give what follows from the value type: text is cleaned, person names are replaced,
dates and UIDs are treated as everywhere. The names listed here are the exceptions.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.edit.deid.table import Action

SEQUENCES: Final = frozenset((0x0040A730, 0x00400555, 0x00400612, 0x00400610, 0x0040B020))
"""Content, Acquisition Context, Specimen Preparation and Waveform Annotation Sequence."""

_REMOVED: Final = (
    "DCM 110190 111700 111706 111724 113511 113512 113513 113514 113516 113605 113871 113872 121020 121021 121022"
    " 121031 121036 121041 121088 121121 121152 121435 125010 128774 128775",
    "NCDR 53",
    "NCIt C54627",
)
"""Identifiers and persons that a template does not require."""
_REPLACED: Final = ("DCM 111705 112347 112351 112352 112363 121030 121124 121154", "LN 11951-1")
"""Identifiers that a template requires."""
_RETAINED: Final = {
    "retain-device-identity": (
        "DCM 110119 113832 113877 113880 120999 121000 121013 121016 121122 121193 121196",
        "LN 74711-3",
    ),
    "retain-institution-identity": ("DCM 113873 121009 121017 121197 121434 122128 130527",),
    "retain-patient-characteristics": ("DCM 121032 121033",),
}
"""Items removed unless an option retains them."""

Name = tuple[str, str]
"""Coding scheme designator and code value."""


def _names(*lines: str) -> list[Name]:
    return [(scheme, code) for line in lines for scheme, *codes in [line.split()] for code in codes]


def items(options: Collection[str]) -> dict[Name, Action]:
    """The action for content items by name; every other item follows from its value type."""
    found = dict.fromkeys(_names(*_REMOVED), Action.REMOVE) | dict.fromkeys(_names(*_REPLACED), Action.DUMMY)
    for option, lines in _RETAINED.items():
        found |= dict.fromkeys(_names(*lines), Action.KEEP if option in options else Action.REMOVE)
    return found
