"""Settings as TOML text. JSON's texts, numbers and lists are nearly TOML's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def toml_value(value: object) -> str:
    """A value, on one line. What is None in a table is left out."""
    if isinstance(value, Mapping):
        pairs = (f"{toml_key(str(name))} = {toml_value(item)}" for name, item in value.items() if item is not None)
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace").decode()  # Half of a surrogate pair is no character in TOML.


def toml_key(name: str) -> str:
    """A key, in quotation marks where it needs them."""
    return name if _BARE.fullmatch(name) else toml_value(name)


def toml_lines(tree: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The lines of nested tables; lists of tables stand as `[[…]]`."""
    tables = {name: value for name, value in tree.items() if _is_table(value) or _is_tables(value)}
    plain = {name: value for name, value in tree.items() if name not in tables and value is not None}
    if place and (plain or not tables):
        yield ""
        yield f"[{place}]"
    for name, value in plain.items():
        yield f"{toml_key(name)} = {toml_value(value)}"
    for name, value in tables.items():
        below = f"{place}.{toml_key(name)}" if place else toml_key(name)
        if _is_table(value):
            yield from toml_lines(value, below)
            continue
        for each in value:
            yield ""
            yield f"[[{below}]]"
            for key, item in each.items():
                yield f"{toml_key(key)} = {toml_value(item)}"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_table, value))
