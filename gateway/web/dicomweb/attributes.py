"""Attribute IDs in URLs (PS3.18 §8.3.4.1): `PatientName`, `00100010`, `RequestAttributesSequence.00400009`."""

from __future__ import annotations

import re
from typing import Final

from gateway.dicom.dictionary import KEYWORDS, implicit_vr

MAX_DEPTH: Final = 8
"""Attributes in one path."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")


def path_of(name: str) -> tuple[int, ...] | None:
    """The tags of an Attribute ID, the outermost sequence first; None for an unknown attribute.

    Eight hexadecimal digits are a tag whether the dictionary has it or not (it may be private).
    """
    path = tuple(_tag_of(part) for part in name.split(".", MAX_DEPTH))
    if None in path or len(path) > MAX_DEPTH:
        return None
    tags = tuple(tag for tag in path if tag is not None)
    return tags if all(implicit_vr(tag) in ("SQ", "UN") for tag in tags[:-1]) else None


def _tag_of(name: str) -> int | None:
    return int(name, 16) if _TAG.match(name) else KEYWORDS.get(name)
