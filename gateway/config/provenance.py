"""Where each setting in force has come from: default, file with its line, environment variable, or flag.

The process that was started notes its file and its flags in the environment, by which its workers know them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from gateway.config.lines import line_of
from gateway.config.problems import Problem, Reading, read
from gateway.config.sections import Settings
from gateway.config.sources import as_builtins, changes, read_toml
from gateway.errors import ConfigurationError

_VARIABLE: Final = "GATEWAY_STARTED_WITH"
"""The environment variable with the file and the flags, as JSON; without `__`, so no setting."""
_TABLES: Final = ("modalities", "destinations", "rules", "changes", "roles", "tenants")
"""Sections of named tables, of which each is one value here."""

Kind = Literal["default", "file", "environment", "flag", "page"]


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One setting in force and its origin."""

    section: str
    name: str
    value: Any
    """As `as_builtins` has it: without secrets."""
    kind: Kind
    where: str
    """The line of the file, or the name of the variable; empty for the others."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """All settings in force, and how the sources differ from them by now."""

    file: str
    """Path of the configuration file; empty without one."""
    settings: list[SettingOrigin]
    differing: list[str]
    """Settings that the sources have otherwise by now: for the next start, or because of the problems."""
    problems: list[Problem]
    """Problems of the sources as they are now."""


def note_sources(file: Path | None, overrides: Mapping[str, Any]) -> None:
    """Note the file and the flags of this gateway, for its workers too."""
    flags = {name: value for name, value in overrides.items() if value is not None}
    os.environ[_VARIABLE] = json.dumps({"file": str(file.absolute()) if file is not None else "", "flags": flags})


def provenance(in_force: Settings, configured: Settings) -> Provenance:
    """Find the origin of every setting. Blocks. `configured` are those in force without what was added on pages."""
    noted = json.loads(os.environ.get(_VARIABLE, "{}"))
    file, flags = noted.get("file", ""), noted.get("flags", {})
    reading = read(Path(file) if file else None, overrides=flags)
    found = list(_settings(in_force, configured, reading, flags, _tree(file)))
    return Provenance(file, found, changes(configured, reading.settings), reading.problems)


def _tree(file: str) -> dict[str, Any]:
    try:
        return read_toml(Path(file))[0] if file else {}
    except ConfigurationError:
        return {}


def _settings(
    in_force: Settings, configured: Settings, reading: Reading, flags: Mapping[str, Any], tree: Mapping[str, Any]
) -> Iterator[SettingOrigin]:
    known = as_builtins(configured)
    for section, values in as_builtins(in_force).items():
        if section not in Settings.__struct_fields__:
            continue
        for name, value in values.items():
            place = f"{section}.{name}"
            if section in _TABLES and name not in known[section]:
                yield SettingOrigin(section, name, value, "page", "")
            else:
                kind, where = _origin(place, reading, flags, tree)
                yield SettingOrigin(section, name, value, kind, where)


def _origin(place: str, reading: Reading, flags: Mapping[str, Any], tree: Mapping[str, Any]) -> tuple[Kind, str]:
    section, _, name = place.partition(".")
    if place in flags:
        return "flag", ""
    below = [variable for at, variable in reading.elsewhere.items() if at == place or at.startswith(f"{place}.")]
    if below and below[0]:
        return "environment", ", ".join(below)
    table = tree.get(section)
    if isinstance(table, dict) and name in table:
        line = line_of(reading.text, place)
        return "file", str(line) if line else ""
    return "default", ""
