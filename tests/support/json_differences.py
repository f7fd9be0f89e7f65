"""Where our DICOM JSON differs on purpose from pydicom's and DCMTK's, each with the clause that decides.

One place for all of them: whatever differs otherwise is a bug. Comparing is done attribute by attribute.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any, Final

from tests.support.datasets import BIG_ENDIAN

Attribute = dict[str, Any]
Excuse = Callable[[str, Attribute, Attribute, str], bool]
"""Given the tag as a property name, ours, theirs and the transfer syntax: whether this is the difference."""


def _texts(attribute: Attribute) -> list[Any]:
    """Values with nothing around them, numbers as such."""
    found = []
    for value in attribute.get("Value", []):
        if isinstance(value, str):
            value = value.strip(" \0")
            try:
                value = float(value) if value else None
            except ValueError:
                pass
        found.append(float(value) if isinstance(value, int) else value)
    return found


def _bytes(attribute: Attribute) -> bytes:
    return base64.b64decode(attribute.get("InlineBinary", ""))


def _group_length(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.2: "Group Length … attributes shall not be included"."""
    return key.endswith("0000") and not mine


def _character_set(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.4: the text is UTF-8, which is ISO_IR 192."""
    return key == "00080005" and mine == {"vr": "CS", "Value": ["ISO_IR 192"]}


def _bulk(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.6: what becomes bulk data is the server's choice, pixel data of any size here."""
    return "BulkDataURI" in mine and mine["vr"] == other.get("vr")


def _not_finite(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """RFC 8259 §6 has no NaN and no infinity: bulk data."""
    values = other.get("Value", [])
    return "BulkDataURI" in mine and any(
        isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)) for value in values
    )


def _padding(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.5: null for an empty value, no Value where nothing is; PS3.5 Table 6.2-1: spaces around are no part of it."""
    mine_values, other_values = _texts(mine), _texts(other)
    return (
        mine["vr"] == other.get("vr")
        and mine_values == [value if value != "" else None for value in other_values][: len(mine_values) or 0]
        and not any(other_values[len(mine_values) :])
    )


def _unknown(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """PS3.5 §6.2.2: private elements are UN in implicit VR; the others have dictionaries of some makers."""
    return mine["vr"] == "UN" and int(key[:4], 16) & 1 == 1


def _byte_order(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.7: InlineBinary is little endian, whatever the data set was."""
    return syntax == BIG_ENDIAN and sorted(_bytes(mine)) == sorted(_bytes(other)) and "InlineBinary" in mine


def _digits(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.3: FL and FD are JSON numbers; ours have the digits that give the same number again, DCMTK's 9 or 17."""
    mine_values, other_values = mine.get("Value", []), other.get("Value", [])
    return (
        mine["vr"] == other.get("vr")
        and mine["vr"] in ("FL", "FD")
        and len(mine_values) == len(other_values)
        and all(
            math.isclose(float(value), float(their_value), rel_tol=1e-8 if mine["vr"] == "FL" else 1e-15)
            for value, their_value in zip(mine_values, other_values, strict=True)
        )
    )


def _carets(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """PS3.5 §6.2.1.1: trailing carets "may be omitted" and say the same; DCMTK omits them, here they stay."""
    return mine["vr"] == "PN" and [
        {group: text.rstrip("^") for group, text in (value or {}).items() if text.rstrip("^")}
        for value in mine.get("Value", [])
    ] == [value or {} for value in other.get("Value", [{}])]


def _inherited(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """PS3.3 C.12.1.1.2: an item may have a character set of its own, which DCMTK's converter passes over."""
    return mine["vr"] == "PN" and any(
        "\ufffd" in text or "\x1b" in text for value in other.get("Value", []) for text in value.values()
    )


def _no_character_set(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """PS3.3 C.12.1.1.2: without a value it is the default repertoire, which UTF-8 holds."""
    return key == "00080005" and mine == {"vr": "CS"}


def _invalid(key: str, mine: Attribute, other: Attribute, syntax: str) -> bool:
    """F.2.3: a value that is no number is a string; pydicom leaves the attribute out, and a sequence that holds it."""
    return bool(mine) and not other and (mine["vr"] in ("SQ", "IS"))


DIFFERENCES: Final[tuple[Excuse, ...]] = (
    _group_length,
    _character_set,
    _bulk,
    _not_finite,
    _padding,
    _unknown,
    _byte_order,
    _digits,
    _carets,
    _inherited,
    _no_character_set,
    _invalid,
)


def unexplained(ours: dict[str, Any], theirs: dict[str, Any], syntax: str, where: str = "") -> tuple[list[str], int]:
    """The differences that no rule explains, in words, and how many attributes are alike."""
    found: list[str] = []
    alike = 0
    for key in sorted(set(ours) | set(theirs)):
        mine, other = ours.get(key, {}), theirs.get(key, {})
        if mine == other:
            alike += 1
        elif mine.get("vr") == other.get("vr") == "SQ" and len(mine.get("Value", [])) == len(other.get("Value", [])):
            for number, (item, their_item) in enumerate(
                zip(mine.get("Value", []), other.get("Value", []), strict=True)
            ):
                more, same = unexplained(item, their_item, syntax, f"{where}{key}/{number}/")
                found += more
                alike += same
        elif not any(excuse(key, mine, other, syntax) for excuse in DIFFERENCES if mine or excuse is _group_length):
            found.append(f"{where}{key}: {str(mine)[:150]} is not {str(other)[:150]}")
    return found, alike
