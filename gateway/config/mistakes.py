"""Every mistake of a configuration at once, each with its line: for who writes one. `sources.load` stops at the first.

A table that is wrong is left out and the rest looked at without it, so what only follows from a mistake is not said.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.config.checks import check
from gateway.config.edits import Changes
from gateway.config.guess import did_you_mean
from gateway.config.lines import line_of
from gateway.config.route_checks import route_mistakes
from gateway.config.routes import AttributeTest, Rule
from gateway.config.sections import Settings
from gateway.config.sources import read_tree, words_of
from gateway.errors import ConfigurationError

_FINE: Final = AttributeTest(attribute="Modality", present=True)
_NAMED: Final = ("modalities", "destinations", "rules", "changes")
"""Sections whose tables have names, each of them looked at alone."""
_PLACE: Final = re.compile(r"([a-z_]+(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])*)[: ]")
_AT: Final = re.compile(r"at `\$?\.?([^`]*)`")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Mistake:
    place: str
    text: str
    line: int
    """In the file, from 1; 0 where it stands nowhere in it."""


def find_mistakes(
    file: Path | None,
    understand: Callable[[Mapping[str, Rule]], object],
    make: Callable[[str, Changes], object],
    environment: Mapping[str, str] | None = None,
) -> list[Mistake]:
    """All that the settings show by themselves, and what `understand` finds wrong with rules and `make` with changes.

    They raise ConfigurationError.
    """
    try:
        tree = read_tree(file, os.environ if environment is None else environment, {})
    except ConfigurationError as error:
        line = re.search(r"line ([0-9]+)", str(error))
        return [Mistake("", str(error), int(line[1]) if line else 0)]
    text = file.read_text(encoding="utf-8") if file is not None else ""
    found: list[Mistake] = []

    def note(place: str, what: str) -> None:
        found.append(Mistake(place, what, line_of(text, place)))

    good = {name: _converted(tree, name, note) for name in tree}
    settings = msgspec.convert({name: value for name, value in good.items() if value is not None}, Settings)
    broken = {(name, key) for name in _NAMED for key in tree.get(name, {}) if key not in good.get(name, {})}
    for place, what in route_mistakes(settings, known=broken):
        note(place, f"{place}: {what}")
    for name, rule in settings.rules.items():
        # One condition at a time, at its own place: who makes a rule ready stops at the first mistake.
        bare = msgspec.structs.replace(rule, attributes=(), peers=(), hours=())
        parts = [
            msgspec.structs.replace(bare, hours=rule.hours),
            msgspec.structs.replace(bare, peers=rule.peers),
            *[
                msgspec.structs.replace(bare, attributes=(*[_FINE] * at, test))
                for at, test in enumerate(rule.attributes)
            ],
        ]
        for part in parts:
            _try(lambda name=name, part=part: understand({name: part}), note)  # type: ignore[misc]
    for name, changes in settings.changes.items():
        _try(lambda name=name, changes=changes: make(name, changes), note)  # type: ignore[misc]
    alone = msgspec.structs.replace(settings, rules={}, destinations={}, modalities={}, changes={})
    for name, modality in settings.modalities.items():
        one = Settings(modalities={name: modality})
        _try(lambda one=one: check(one), note)  # type: ignore[misc]
    _try(lambda: check(alone), note)
    return sorted(found, key=lambda each: each.line)


def _converted(tree: Mapping[str, Any], name: str, note: Callable[[str, str], None]) -> Any:
    """The section, without what is wrong in it; None where all of it is."""
    if name not in _NAMED or not isinstance(tree[name], dict):
        return tree[name] if _fits({name: tree[name]}, name, note) else None
    return {key: value for key, value in tree[name].items() if _fits({name: {key: value}}, f"{name}.{key}", note)}


def _fits(part: Mapping[str, Any], place: str, note: Callable[[str, str], None]) -> bool:
    try:
        msgspec.convert(part, Settings)
    except msgspec.ValidationError as error:
        within, what = _AT.search(str(error)), words_of(error)
        inside = within[1] if within is not None else ""
        inside = re.sub(r"^[a-z_]+(\[\.\.\.\])?\.?", "", inside)
        unknown = _UNKNOWN.search(str(error))
        if unknown is not None:
            inside = f"{inside}.{unknown[1]}".lstrip(".")
            what = f"there is no such setting{did_you_mean(unknown[1], _known())}"
        where = f"{place}.{inside}".rstrip(".")
        note(where, f"{where}: {what}")
        return False
    return True


def _known() -> list[str]:
    """The names of all settings."""
    return sorted({word for section in _structs(Settings) for word in section.__struct_fields__})


def _structs(kind: Any) -> list[Any]:
    """A section and all below it."""
    found, waiting = [], [kind]
    while waiting:
        each = waiting.pop()
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            found.append(each)
            waiting += [field.type for field in msgspec.structs.fields(each)]
        else:
            waiting += list(getattr(each, "__args__", ()))
    return found


def _try(work: Callable[[], object], note: Callable[[str, str], None]) -> None:
    try:
        work()
    except ConfigurationError as error:
        place = _PLACE.match(str(error))
        note(place[1] if place is not None else "", str(error))
