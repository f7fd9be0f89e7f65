"""Private attributes known to be safe (PS3.15 E.3.10): those of the standard's table, and configured ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.errors import ConfigurationError

_ELEMENT: Final = re.compile(r"([0-9A-Fa-f]{3}[13579BbDdFf]),([0-9A-Fa-f]{2})")

SafePrivate = Mapping[tuple[str, int, int], str]
"""Creator, group and element in its block, to 'SQ' or 'UI' where the VR matters, else ''."""


@cache
def standard() -> SafePrivate:
    """The attributes of PS3.15 Table E.3.10-1."""
    found = {}
    creator = ""
    for line in (files(__package__) / "safe_private.txt").read_text("ascii").splitlines():
        if line.startswith("["):
            creator = line[1:-1]
        elif line and not line.startswith("#"):
            group, *elements = line.split()
            for text in elements:
                elements_text, _, vr = text.partition(":")
                first, _, last = elements_text.partition("-")
                for element in range(int(first, 16), int(last or first, 16) + 1):
                    found[creator, int(group, 16), element] = vr
    return found


def with_configured(more: Mapping[str, Iterable[str]], place: str) -> SafePrivate:
    """The standard's attributes and those of the setting `place`. Raises ConfigurationError for an invalid element."""
    found = dict(standard())
    for creator, elements in more.items():
        for text in elements:
            parsed = _ELEMENT.fullmatch(text)
            if parsed is None:
                raise ConfigurationError(
                    f"{place}.{creator!r}: {text!r} is not a private attribute; write its group, which is odd, and the "
                    "last two digits of its element: 0019,10"
                )
            found.setdefault((creator.strip(), int(parsed[1], 16), int(parsed[2], 16)), "")
    return found
