"""Orthanc's configuration as a tree: one file, or all `.json` files of a folder (observed on Orthanc 1.10).

JSON with comments and commas too many, in which `${NAME}` stands for an environment variable, and `${NAME:-text}` for
one that may be unset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigurationError
from gateway.migration.refusals import reason_of

_MAX_BYTES: Final = 16 << 20
"""Bytes of one file."""
_MAX_FILES: Final = 1000
_VARIABLE: Final = re.compile(r"\$\{([^{}:\"']*)(?::-([^{}]*))?\}")
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


Unset = dict[str, list[str]]
"""Variables that are unset and have no default, with the settings in which they stand."""


def read_configuration(path: Path, environment: Mapping[str, str], unset: Unset | None = None) -> dict[str, Any]:
    """The settings by name, those of all files together; `unset` is filled with the variables that are not set. Blocks.

    Raises: ConfigurationError for what cannot be read, is no JSON object, or has a section in two files.
    """
    if not path.is_dir():
        return parse_configuration(_text(path), environment, str(path), unset)
    files = sorted(each for each in path.iterdir() if each.suffix == ".json" and each.is_file())
    if not files:
        raise ConfigurationError(f"{path}: there is no file *.json in this folder")
    if len(files) > _MAX_FILES:
        raise ConfigurationError(f"{path}: more than {_MAX_FILES} files *.json are no configuration")
    found: dict[str, Any] = {}
    homes: dict[str, Path] = {}
    for file in files:
        for name, value in parse_configuration(_text(file), environment, str(file), unset).items():
            if name in homes:
                raise ConfigurationError(f"{file}: {name} stands in {homes[name].name} too; leave one of them")
            found[name], homes[name] = value, file
    return found


def parse_configuration(
    text: str, environment: Mapping[str, str], name: str, unset: Unset | None = None
) -> dict[str, Any]:
    """The settings in a text; `name` is that of its file. Raises: ConfigurationError."""
    missing = [each for each in _without_default(text) if each not in environment]
    try:
        tree = json.loads(_plain(_substituted(text, environment)))
        if missing and unset is not None:
            for variable, places in _places_of(text, environment, missing).items():
                unset.setdefault(variable, []).extend(places)
    except json.JSONDecodeError as error:
        lacking = f"; {', '.join(f'${{{each}}}' for each in missing)} is not set" if missing else ""
        raise ConfigurationError(f"{name}: line {error.lineno}: not valid JSON: {error.msg}{lacking}") from None
    except (ValueError, RecursionError) as error:  # An endless number, or brackets in brackets.
        raise ConfigurationError(f"{name}: not valid JSON: {str(error)[:200]}") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{name}: a configuration of Orthanc is an object, {{…}}")
    return tree


def _without_default(text: str) -> list[str]:
    """The variables of a text that have no default, outside of comments."""
    return list(dict.fromkeys(match[1] for match in _VARIABLE.finditer(_plain(text)) if match[2] is None))


def _places_of(text: str, environment: Mapping[str, str], variables: list[str]) -> Unset:
    """The settings in which variables stand, as far as they stand in texts."""
    itself = {each: f"${{{each}}}" for each in variables}
    found: Unset = {each: [] for each in variables}
    try:
        tree = json.loads(_plain(_substituted(text, {**environment, **itself})))
    except json.JSONDecodeError:  # One stands where a number is expected.
        return found
    for place, value in _texts(tree, ""):
        for variable, words in itself.items():
            if words in value:
                found[variable].append(place)
    return found


def _texts(tree: object, place: str) -> Iterator[tuple[str, str]]:
    """The texts in a tree, each with its dotted place; those of a list are at the place of the list."""
    if isinstance(tree, str):
        yield place, tree
    elif isinstance(tree, list):
        for item in tree:
            yield from _texts(item, place)
    elif isinstance(tree, dict):
        for name, item in tree.items():
            yield from _texts(item, f"{place}.{name}" if place else name)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {reason_of(error)}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{file}: more than {_MAX_BYTES >> 20} MiB are no configuration")
    return data.decode("utf-8-sig", "replace")


def _substituted(text: str, environment: Mapping[str, str]) -> str:
    """The text with its variables filled in. One that is unset and has no default is empty, as it is in Orthanc."""

    def value(match: re.Match[str]) -> str:
        default = match[2] or ""
        if len(default) > 1 and default[0] == default[-1] and default[0] in "\"'":
            default = default[1:-1]
        return environment.get(match[1], default)

    return _VARIABLE.sub(value, text)


def _plain(text: str) -> str:
    """JSON without comments and superfluous commas. Lines stay where they are, for messages."""

    def without_comments(match: re.Match[str]) -> str:
        token = match[0]
        return "\n" * token.count("\n") or " " if token.startswith("/") else token

    def without_comma(match: re.Match[str]) -> str:
        return "" if match[0] == "," else match[0]

    return _TOKEN.sub(without_comma, _TOKEN.sub(without_comments, text))
