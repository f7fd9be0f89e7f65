"""File names made from attributes: no value of a peer can leave the folder, or is an impossible file name.

Pure. `folder.py` writes the files.
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
"""Characters that some file system or shell rejects, and those that reverse the reading direction."""
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names of devices on a Windows share."""
_MAX_VALUE_LENGTH: Final = 64
"""Characters of one attribute: the length of a UID or an LO."""
_MAX_NAME_BYTES: Final = 200
"""Bytes of one part of a path. File systems allow 255; a suffix needs some."""
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Template:
    """A relative path with attributes in braces."""

    parts: tuple[str, ...]
    tags: Mapping[str, int]
    """The attributes in the template, by keyword."""

    @classmethod
    def parse(cls, place: str, text: str) -> Template:
        """Parse the text of a setting. Raises ConfigurationError."""
        keywords = _FIELD.findall(text)
        for keyword in keywords:
            if keyword not in KEYWORDS:
                raise ConfigurationError(f"{place}: {keyword!r} is not the keyword of an attribute")
        literal = _FIELD.sub("", text)
        if "{" in literal or "}" in literal:
            raise ConfigurationError(f"{place}: {text!r}: braces must enclose the keyword of an attribute")
        for part in text.split("/"):
            if part != _safe(part) or _FORBIDDEN.search(part):
                raise ConfigurationError(f"{place}: {text!r} is no path within the folder: {part!r} cannot be in it")
        return cls(tuple(text.split("/")), {keyword: KEYWORDS[keyword] for keyword in keywords})

    def path(self, values: Mapping[str, str], missing: str = _UNKNOWN) -> tuple[str, ...]:
        """The parts of the path for attributes by keyword; `missing` stands for an absent or empty one."""

        def value(found: re.Match[str]) -> str:
            text = _FORBIDDEN.sub("_", values.get(found[1], "")).strip()[:_MAX_VALUE_LENGTH]
            return text or missing

        return tuple(_safe(_FIELD.sub(value, part)) for part in self.parts)


def numbered(name: str, number: int) -> str:
    """The name of a further file where `name` exists; `number` counts from 2."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}~{number}.{suffix}" if dot else f"{name}~{number}"


def _safe(part: str) -> str:
    if len(part.encode()) > _MAX_NAME_BYTES:
        stem, dot, suffix = part.rpartition(".")
        end = f".{suffix}" if dot and len(suffix) <= 8 else ""
        part = (stem if end else part).encode()[: _MAX_NAME_BYTES - len(end.encode())].decode("utf-8", "ignore") + end
    part = part.strip().rstrip(". ")
    if part.startswith("."):
        part = "_" + part[1:]
    return f"_{part}" if not part or _RESERVED.fullmatch(part) else part
