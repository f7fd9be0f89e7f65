"""What is known of private attributes, by the creator that reserves them: VR and name. The tables are pydicom's.

They are loaded when the first private attribute is asked for. Public attributes are in `dictionary.py`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

from gateway.dicom.dictionary import pydicom_table

_WORD: Final = re.compile(r"[A-Za-z0-9]+")


class PrivateAttribute(NamedTuple):
    vr: str
    name: str
    """In one word, as keywords are."""


UNKNOWN: Final = PrivateAttribute("UN", "")


@cache
def _creators() -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = pydicom_table("_private_dict").private_dictionaries
    return found


def private_attribute(tag: int, creator: str) -> PrivateAttribute:
    """The attribute at a tag whose block `creator` has reserved; UNKNOWN where nobody knows it."""
    of_creator = _creators().get(creator)
    if of_creator is None:
        return UNKNOWN
    entry = of_creator.get(f"{tag >> 16:04X}xx{tag & 0xFF:02X}") or of_creator.get(f"{tag:08X}")
    if entry is None:
        return UNKNOWN
    words = _WORD.findall(entry[2])
    return PrivateAttribute(entry[0], "".join([word[:1].upper() + word[1:] for word in words]))
