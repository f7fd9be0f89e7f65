"""The sources of settings: defaults, then the TOML file, then the environment (`GATEWAY_DICOM__PORT=104`), then the
command line. Also the differences between two snapshots, and a snapshot for display.
"""

from __future__ import annotations

import builtins
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from gateway.config.addresses import without_password
from gateway.config.base import Section, Size, parse_size
from gateway.config.sections import Settings
from gateway.config.suggestion import did_you_mean
from gateway.errors import ConfigurationError

PREFIX: Final = "GATEWAY_"
MAX_DEPTH: Final = 32
"""Nesting of tables and lists. The settings need six levels at most."""
NO_SIZE: Final = "is not a size: write bytes, or a number with a unit, such as 512 MiB"


def read_toml(file: Path) -> tuple[dict[str, Any], str]:
    """The content of a configuration file, and its text. Raises ConfigurationError."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None
    try:
        return parse_toml(text), text
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML that is not nested too deep. Raises ConfigurationError."""
    try:
        tree = tomllib.loads(text)
        _check_depth(tree)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"tables or lists are nested more than {MAX_DEPTH} deep") from None
    return tree


def _check_depth(tree: Any) -> None:
    """Raise RecursionError for a tree too deep for recursive functions: dotted keys nest without limit."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [
            below
            for each in level
            for below in (each.values() if isinstance(each, dict) else each)
            if isinstance(below, (dict, list))
        ]
        if not level:
            return
    raise RecursionError


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that are settings, by name."""
    return {name: text for name, text in environment.items() if name.startswith(PREFIX) and "__" in name}


def put_variable(tree: dict[str, Any], name: str, text: str) -> str:
    """Set in `tree` the setting of an environment variable; returns its place. Raises ConfigurationError."""
    path = [part.lower() for part in name.removeprefix(PREFIX).split("__")]
    put(tree, path, _from_text(path, text, name), name)
    return ".".join(path)


def put(tree: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    """Set a value in nested dicts. Raises ConfigurationError, beginning with `name`, if the path has another value."""
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigurationError(f"{name}: {part!r} is not a section")
        tree = below
    tree[path[-1]] = value


def with_sizes(tree: Any, kind: Any = Settings) -> Any:
    """A copy of the tree with sizes in units converted to numbers; an invalid size stays."""
    if isinstance(tree, dict):
        return {name: with_sizes(value, kind_below(kind, name)) for name, value in tree.items()}
    size = parse_size(tree) if kind == Size and isinstance(tree, str) else None
    return tree if size is None else size


def kind_below(kind: Any, name: str) -> Any:
    """The type of the setting `name` in a section, a table or a list; None if there is none."""
    match typing.get_origin(kind):
        case builtins.dict:
            return typing.get_args(kind)[1]
        case builtins.tuple:
            return typing.get_args(kind)[0]
    return fields_of(kind).get(name)


def fields_of(kind: Any) -> dict[str, Any]:
    """The settings of a section by name, with their types; of all its kinds if there are several."""
    variants = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return {name: field for each in variants if isinstance(each, type) for name, field in _hints(each).items()}


def _from_text(path: list[str], text: str, name: str) -> Any:
    """The value of an environment variable, in the type of its field."""
    kind: Any = Settings
    for part in path:
        above, kind = kind, kind_below(kind, part)
        if kind is None:
            near = did_you_mean(part, fields_of(above))
            raise ConfigurationError(f"{name}: there is no setting {'.'.join(path)!r}{near}")
    if kind == Size:
        size = parse_size(text)
        if size is None:
            raise ConfigurationError(f"{name}: {text!r} {NO_SIZE}")
        return size
    if typing.get_origin(kind) is tuple:
        (item, *_rest) = typing.get_args(kind)
        if item is not str and typing.get_origin(item) is not Literal:
            raise ConfigurationError(f"{name}: {'.'.join(path)} is a table; set it in the file")
        return [part.strip() for part in text.split(",") if part.strip()]
    if typing.get_origin(kind) is Literal or kind is str or str in typing.get_args(kind):
        return text
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _hints(kind: type) -> dict[str, Any]:
    tag = getattr(getattr(kind, "__struct_config__", None), "tag_field", None)
    return typing.get_type_hints(kind, include_extras=True) | ({tag: str} if tag else {})


def changes(old: Settings, new: Settings) -> list[str]:
    """Dotted names of the settings that differ between two snapshots; a modality counts as one."""
    return [
        f"{section}.{name}"
        for section in Settings.__struct_fields__
        for before, after in [(_fields(getattr(old, section)), _fields(getattr(new, section)))]
        for name in (*before, *(name for name in after if name not in before))
        if before.get(name) != after.get(name)
    ]


def _fields(section: Section | dict[str, Any]) -> dict[str, Any]:
    return section if isinstance(section, dict) else msgspec.structs.asdict(section)


def as_builtins(settings: Settings) -> dict[str, Any]:
    """The snapshot as plain dicts for display, with passwords and keys masked."""
    tree = cast(dict[str, Any], msgspec.to_builtins(settings))
    tree["database"]["url"] = without_password(tree["database"]["url"])
    for user in tree["http"]["users"]:
        user["password"] = "(set)" if user["password"] else ""
    for modality in tree["modalities"].values():
        if modality["identity_password"]:
            modality["identity_password"] = "(set)"
    for destination in tree["destinations"].values():
        for secret in ("password", "token", "client_secret"):
            if destination.get(secret):
                destination[secret] = "(set)"
    for each in tree["changes"].values():
        if each["key"]:
            each["key"] = "(set)"
    return tree
