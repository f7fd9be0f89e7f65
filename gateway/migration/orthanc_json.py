"""Orthanc's configuration as a tree: one file, or all `.json` files of a folder (observed on Orthanc 1.10).

JSON with comments and commas too many, in which `${NAME}` stands for an environment variable, and `${NAME:-text}` for
one that may be unset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigurationError
from gateway.migration.refusals import reason_of

_MAX_BYTES: Final = 16 << 20
"""Bytes of one file."""
_MAX_FILES: Final = 1000
_VARIABLE: Final = re.compile(r"\$\{([^{}:\"']*)(?::-([^{}]*))?\}")
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


def read_configuration(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings by name, those of all files together. Blocks.

    Raises: ConfigurationError for what cannot be read, is no JSON object, or has a section in two files.
    """
    if not path.is_dir():
        return parse_configuration(_text(path), environment, str(path))
    files = sorted(each for each in path.iterdir() if each.suffix == ".json" and each.is_file())
    if not files:
        raise ConfigurationError(f"{path}: there is no file *.json in this folder")
    if len(files) > _MAX_FILES:
        raise ConfigurationError(f"{path}: more than {_MAX_FILES} files *.json are no configuration")
    found: dict[str, Any] = {}
    homes: dict[str, Path] = {}
    for file in files:
        for name, value in parse_configuration(_text(file), environment, str(file)).items():
            if name in homes:
                raise ConfigurationError(f"{file}: {name} stands in {homes[name].name} too; leave one of them")
            found[name], homes[name] = value, file
    return found


def parse_configuration(text: str, environment: Mapping[str, str], name: str) -> dict[str, Any]:
    """The settings in a text; `name` is that of its file. Raises: ConfigurationError."""
    try:
        tree = json.loads(_plain(_substituted(text, environment)))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{name}: line {error.lineno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # An endless number, or brackets in brackets.
        raise ConfigurationError(f"{name}: not valid JSON: {str(error)[:200]}") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{name}: a configuration of Orthanc is an object, {{…}}")
    return tree


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
