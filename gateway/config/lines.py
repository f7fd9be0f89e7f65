"""The lines of settings in a TOML file, for messages alone: `tomllib` reads the values."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[|\[)\s*([^\[\]]+?)\s*\]")
_KEY: Final = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\")(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"))*)\s*=")


def line_of(text: str, place: str) -> int:
    """The line, from 1, of a setting such as `rules.ct.attributes[0].matches`, or of the table around it; 0 for none.

    A place that has only tables below it, as `routes` with `[[routes]]`, has the line of the first of them.
    """
    lines = _lines(text)
    below = [line for name, line in lines.items() if name.startswith((f"{place}.", f"{place}["))]
    if place not in lines and below:
        return min(below)
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return lines.get(place, 0)


def _lines(text: str) -> dict[str, int]:
    """The line of every table and key, by place. Text that looks like a key inside a multi-line value counts too."""
    found: dict[str, int] = {}
    table = ""
    tables: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header is not None:
            table = _plain(header[2])
            if header[1] == "[[":
                tables[table] += 1
                table = f"{table}[{tables[table] - 1}]"
            found.setdefault(table, number)
        elif key is not None:
            found.setdefault(f"{table}.{_plain(key[1])}".lstrip("."), number)
    return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
