"""PS3.15 Table E.1-1: the action for each attribute, under the Basic Profile and its options.

Where the table depends on the type of the attribute in its IOD, the action is chosen that is valid for every type and
leaves nothing behind: Z/D, X/D and X/Z/D become D, X/Z becomes Z, X/Z/U* becomes U. `values.py` makes values; safe
private attributes are in `private.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.dicom.dictionary import KEYWORDS

EDITION: Final = "2026c"


class Action(Enum):
    """An action on an attribute (PS3.15 Table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    """Zero length, or a pseudonym."""
    DUMMY = "D"
    KEEP = "K"
    """Retain. The items of a retained sequence are treated as everywhere."""
    CLEAN = "C"
    UID = "U"
    """Another UID, the same at every place."""
    SHIFT = "S"
    """The C of the Modified Dates Option."""


OPTIONS: Final = {
    "retain-uids": ("uids", "113110", "Retain UIDs Option"),
    "retain-device-identity": ("device", "113109", "Retain Device Identity Option"),
    "retain-institution-identity": ("institution", "113112", "Retain Institution Identity Option"),
    "retain-patient-characteristics": ("patient", "113108", "Retain Patient Characteristics Option"),
    "retain-full-dates": (
        "full-dates",
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    "retain-modified-dates": (
        "modified-dates",
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    "retain-safe-private": ("", "113111", "Retain Safe Private Option"),
    "clean-descriptors": ("descriptors", "113105", "Clean Descriptors Option"),
    "clean-graphics": ("graphics", "113103", "Clean Graphics Option"),
    "clean-structured-content": ("structure", "113104", "Clean Structured Content Option"),
}
"""Option to its column in attributes.txt, and its code in PS3.16 CID 7050."""
BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXEL_DATA: Final = ("113101", "Clean Pixel Data Option")

_RESOLVED: Final = {"Z/D": "D", "X/D": "D", "X/Z/D": "D", "X/Z": "Z", "X/Z/U*": "U"}

UNLISTED_UIDS: Final = frozenset(
    KEYWORDS[keyword]
    for keyword in (
        *("MultiFrameSourceSOPInstanceUID", "SOPInstanceUIDOfConcatenationSource", "RTVCommunicationSOPInstanceUID"),
        *("VolumeFrameOfReferenceUID", "TableFrameOfReferenceUID", "EquipmentFrameOfReferenceUID"),
        *("ReferencedFiducialUID", "VolumetricPresentationInputSetUID", "ModelGroupUID", "SelectorUIValue"),
        *("AssertionUID", "ReferencedAssertionUID", "RadiopharmaceuticalAdministrationEventUID"),
    )
)
"""Attributes without a row that name instances, or something they share: replaced like the UIDs that they name."""


@cache
def rows() -> dict[int, tuple[str, dict[str, str]]]:
    """The printed table: tag to the action of the Basic Profile, and the actions of columns by name."""
    found = {}
    basic = ""
    columns: dict[str, str] = {}
    for line in (files(__package__) / "attributes.txt").read_text("ascii").splitlines():
        if line.startswith("["):
            basic, *others = line[1:-1].split()
            columns = dict(other.split("=") for other in others)
            if both := columns.pop("dates", ""):
                columns |= {"full-dates": both[0], "modified-dates": both[1]}
        elif line and not line.startswith("#"):
            group, *elements = line.split()
            for element in elements:
                found[int(group + element, 16)] = basic, columns
    return found


def resolve(options: Collection[str]) -> dict[int, Action]:
    """The action for each tag of the table under `options`, names of OPTIONS.

    Where several options cover an attribute, modified dates take precedence, so that no unshifted date shows the shift;
    then retaining, then cleaning.
    """
    chosen = {OPTIONS[option][0] for option in options}
    actions = {}
    for tag, (basic, columns) in rows().items():
        listed = [action for column, action in columns.items() if column in chosen]
        if "modified-dates" in chosen and "modified-dates" in columns and "full-dates" not in chosen:
            actions[tag] = Action.SHIFT
        elif "K" in listed:
            actions[tag] = Action.KEEP
        elif "C" in listed:
            actions[tag] = Action.CLEAN
        else:
            actions[tag] = Action(_RESOLVED.get(basic, basic))
    return actions
