"""Names of files made from attributes: no text of a peer leads out of the folder, or is one that a file cannot have.

Pure. Where the files go is `folder.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.dicom.dictionary import KEYWORDS
from gateway.errors import ConfigurationError

_FIELD: Final = re.compile(r"\{([A-Za-z0-9]*)\}")
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]')
"""What some file system or shell does not take, and what turns the direction of what a person reads."""
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that are devices where files lie on a share of Windows."""
_LONGEST_VALUE: Final = 64
"""Characters of one attribute: as many as a UID or an LO has."""
_LONGEST: Final = 200
"""Bytes of one part of a path. File systems take 255; a suffix needs some."""
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Template:
    """A relative path with attributes in braces."""

    parts: tuple[str, ...]
    tags: Mapping[str, int]
    """By keyword, those that are in it."""

    @classmethod
    def parse(cls, place: str, text: str) -> Template:
        """Raises ConfigurationError."""
        keywords = _FIELD.findall(text)
        for keyword in keywords:
            if keyword not in KEYWORDS:
                raise ConfigurationError(f"{place}: {keyword!r} is no keyword of an attribute")
        literal = _FIELD.sub("", text)
        if "{" in literal or "}" in literal:
            raise ConfigurationError(f"{place}: {text!r}: braces go around the keyword of an attribute")
        for part in text.split("/"):
            if part != _safe(part) or _FORBIDDEN.search(part):
                raise ConfigurationError(f"{place}: {text!r} is no path within the folder: {part!r} cannot be in it")
        return cls(tuple(text.split("/")), {keyword: KEYWORDS[keyword] for keyword in keywords})

    def path(self, values: Mapping[str, str], missing: str = _UNKNOWN) -> tuple[str, ...]:
        """The parts of the path for attributes by keyword; for one that is missing or empty, `missing`."""

        def value(found: re.Match[str]) -> str:
            text = _FORBIDDEN.sub("_", values.get(found[1], "")).strip()[:_LONGEST_VALUE]
            return text or missing

        return tuple(_safe(_FIELD.sub(value, part)) for part in self.parts)


def numbered(name: str, number: int) -> str:
    """The name of another file where `name` is taken; `number` counts from 2."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}~{number}.{suffix}" if dot else f"{name}~{number}"


def _safe(part: str) -> str:
    if len(part.encode()) > _LONGEST:
        stem, dot, suffix = part.rpartition(".")
        end = f".{suffix}" if dot and len(suffix) <= 8 else ""
        part = (stem if end else part).encode()[: _LONGEST - len(end.encode())].decode("utf-8", "ignore") + end
    part = part.strip().rstrip(". ")
    if part.startswith("."):
        part = "_" + part[1:]
    return f"_{part}" if not part or _RESERVED.fullmatch(part) else part
