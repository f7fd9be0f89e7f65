"""Settings read and checked as a whole, with every problem at the place where it was written.

A wrong setting is left out, and a named table with it, and the rest is checked without it: consequences of a problem
are not reported.
"""

from __future__ import annotations

import copy
import os
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.config.base import Size
from gateway.config.checks import problems_of
from gateway.config.lines import line_of
from gateway.config.sections import Settings
from gateway.config.sources import NO_SIZE, fields_of, kind_below, put, put_variable, read_toml, variables, with_sizes
from gateway.config.suggestion import did_you_mean
from gateway.errors import ConfigurationError

_NAMED: Final = ("modalities", "destinations", "rules", "changes", "roles")
"""Sections with named tables, each of which is checked alone."""
_MAX_PROBLEMS: Final = 100
"""Problems reported for one table."""
_PLACE: Final = re.compile(r"([a-z_]+(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])*)[: ]")
_AT: Final = re.compile(r"^(.*) - at `\$([^`]*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]+)`")
_MEANT: Final = re.compile(r"did you mean '([^']+)'")
_ENUM: Final = re.compile(r"^Invalid enum value ('.*')$", re.DOTALL)
_KIND: Final = re.compile(r"^Expected `([^`]+)`, got `([^`]+)`$")
_KINDS: Final = {
    "array": 'a list, as ["a", "b"]',
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": 'a text, in quotation marks as "a"',
}
"""The names of JSON types in the messages of msgspec, in plain words."""
_LACKING: Final = re.compile(r"missing required field `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Problem:
    place: str
    """The setting, as `dicom.port` or `rules.ct.attributes[0].matches`; empty for none."""
    text: str
    where: str
    """The file with its line, or the environment variable; empty for another source."""
    line: int
    """The line in the file, from 1; 0 for none."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(slots=True)
class Reading:
    """The result of reading settings: the valid ones, and all problems."""

    settings: Settings = field(default_factory=Settings)
    problems: list[Problem] = field(default_factory=list)
    file: Path | None = None
    text: str = ""
    """The text of the file."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Places that were not set in the file, with their source."""
    _texts: set[str] = field(default_factory=set)
    _left_out: set[str] = field(default_factory=set)
    """Patterns of texts about settings that are missing only because they were wrong."""

    def note(self, text: str) -> None:
        """Add a problem, whose text begins with its place, unless it is known or follows from a setting left out."""
        if text not in self._texts and not any(re.search(pattern, text) for pattern in self._left_out):
            found = _PLACE.match(text)
            self._add(text, found[1] if found is not None else "")

    def leave_out(self, place: str, text: str) -> None:
        """Add the problem of a setting that is left out at `place`, together with its named table."""
        self._add(f"{place}: {text}", place)
        section, _, rest = place.partition(".")
        names = [place, place.partition("[")[0]]
        if section in _NAMED:
            names += [f"{section}.{rest.partition('.')[0]}", f"{section}.NAME"]
        self._left_out.update(rf"(?<![\w.]){re.escape(name)}(?![\w-])" for name in names)

    def _add(self, text: str, place: str) -> None:
        line = line_of(self.text, place) if place and place not in self.elsewhere else 0
        where = f"{self.file}:{line}" if line else self.elsewhere.get(place, str(self.file or ""))
        self.problems.append(Problem(place, text, where, line))
        self._texts.add(text)

    def raise_if_wrong(self) -> None:
        """Raise ConfigurationError with all problems, if there are any."""
        if self.problems:
            raise ConfigurationError(*map(str, sorted(self.problems, key=lambda each: each.line)))


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge the sources and check the result as a whole.

    `overrides` maps dotted names (`dicom.port`) to values; None values are ignored. Raises ConfigurationError with
    every problem and its place.
    """
    reading = read(file, environment, overrides)
    reading.raise_if_wrong()
    return reading.settings


def read(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Reading:
    """Read like `load`, but return the valid settings and every problem that they show by themselves."""
    reading = Reading(file=file)
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree, reading.text = read_toml(file)
        except ConfigurationError as error:
            line = re.search(r"line ([0-9]+)", str(error))
            reading.problems.append(Problem("", str(error), "", int(line[1]) if line else 0))
            return reading
    for name, text in variables(os.environ if environment is None else environment).items():
        try:
            reading.elsewhere[put_variable(tree, name, text)] = name
        except ConfigurationError as error:
            reading.problems.append(Problem("", str(error), "", 0))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            try:
                put(tree, dotted.split("."), value, dotted)
            except ConfigurationError as error:
                reading.problems.append(Problem("", str(error), "", 0))
            reading.elsewhere[dotted] = ""
    tree = with_sizes(tree)
    sections = fields_of(Settings)
    for name in tree.keys() - sections:
        reading.leave_out(name, f"there is no such section{did_you_mean(name, sections)}")
    good = {name: tables_without_problems(name, tree[name], reading.leave_out) for name in tree if name in sections}
    reading.settings = msgspec.convert({name: value for name, value in good.items() if value is not None}, Settings)
    broken = {(name, key) for name in _NAMED for key in _table(tree, name) if key not in _table(good, name)}
    for text in problems_of(reading.settings, broken):
        reading.note(text)
    return reading


def _table(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


Note = Callable[[str, str], None]
"""Reports a place and its problem."""


def tables_without_problems(name: str, value: Any, note: Note) -> Any:
    """The valid part of a section; None if nothing is valid."""
    if name not in _NAMED or not isinstance(value, dict):
        return _part([name], value, note)[0]
    parts = {key: _part([name, key], each, note) for key, each in value.items()}
    return {key: part for key, (part, right) in parts.items() if right}


def _part(place: list[str], value: Any, note: Note) -> tuple[Any, bool]:
    """The valid part of one table, and whether all of it is valid; (None, False) for a value that is no table."""
    value, right = copy.deepcopy(value), True
    taken: set[tuple[str, ...]] = set()
    for _ in range(_MAX_PROBLEMS):
        part = value
        for name in reversed(place):
            part = {name: part}
        try:
            msgspec.convert(part, Settings)
        except msgspec.ValidationError as error:
            right = False
            path, text, removable = _found(error, place)
            lacking = _LACKING.search(text)
            if lacking is None or (*path, lacking[1]) not in taken:
                note(_written([*place, *path]), text)
            if not path:
                return None, False
            if lacking is not None or not removable or not _remove(value, path):
                del value[path[0]]
            taken.add(tuple(path))
            if (meant := _MEANT.search(text)) is not None:
                taken.add((*path[:-1], meant[1]))
        else:
            return value, right
    return None, False


def _found(error: msgspec.ValidationError, place: list[str]) -> tuple[list[str], str, bool]:
    """The path of a problem in the table at `place`, its text, and whether removing that path is enough."""
    found = _AT.match(str(error))
    what, at = (found[1], found[2]) if found is not None else (str(error), "")
    path = [name or index for name, index in _STEP.findall(at)][len(place) :]
    removable = "..." not in path
    if not removable:
        path = path[: path.index("...")]
    kind: Any = Settings
    for name in (*place, *path):
        kind = kind_below(kind, name)
    if (unknown := _UNKNOWN.search(what)) is not None:
        path.append(unknown[1])
        what = f"there is no such setting{did_you_mean(unknown[1], fields_of(kind))}"
    elif kind == Size and "got `str`" in what:
        what = NO_SIZE
    elif (other := _ENUM.search(what)) is not None and (words := _words_of(kind)):
        number = ", or a number without quotation marks" if int in typing.get_args(kind) else ""
        what = f"{other[1]} is not known here; write {' or '.join(map(_quoted, words))}{number}"
    elif (other := _KIND.search(what)) is not None and {other[1], other[2]} <= _KINDS.keys():
        what = f"it must be {_KINDS[other[1]]}, and is {_KINDS[other[2]].partition(',')[0]}"
    return path, what, removable


def _words_of(kind: Any) -> list[str]:
    """The words allowed in a setting of this type, if words are all that is allowed."""
    if typing.get_origin(kind) is typing.Literal:
        return [word for word in typing.get_args(kind) if isinstance(word, str)]
    return [word for each in typing.get_args(kind) for word in _words_of(each)]


def _quoted(word: str) -> str:
    return f'"{word}"'


def _remove(table: Any, path: list[str]) -> bool:
    """Remove a setting from nested dicts and lists; False for an item of a list, whose other items are counted."""
    for name in path[:-1]:
        table = table[int(name)] if isinstance(table, list) else table.get(name) if isinstance(table, dict) else None
    if isinstance(table, dict) and path[-1] in table:
        del table[path[-1]]
        return True
    return False


def _written(path: list[str]) -> str:
    return "".join(f"[{name}]" if name.isdigit() and at > 1 else f".{name}" for at, name in enumerate(path)).lstrip(".")
