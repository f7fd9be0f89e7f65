"""Attribute names in URLs (PS3.18 §6.7.1.1.1): `PatientName`, `00100010`, and paths into sequences."""

from __future__ import annotations

import re

from pydicom.datadict import dictionary_VR, tag_for_keyword

_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")


def tag_of(name: str) -> int | None:
    """The tag of one attribute name, or None where there is no such attribute.

    Eight hexadecimal digits are a tag whether the dictionary has it or not (it may be private).
    """
    if _TAG.match(name):
        return int(name, 16)
    return tag_for_keyword(name) if name.isalnum() else None


def is_uid(tag: int) -> bool:
    """Whether the attribute's VR is UI, so that several values are a list to match (PS3.4 C.2.2.2.2)."""
    try:
        return str(dictionary_VR(tag)) == "UI"
    except KeyError:
        return False
