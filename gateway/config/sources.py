"""Where settings come from: defaults, then the TOML file, then the environment (`GATEWAY_DICOM__PORT=104`), then the
command line. And back: what differs between two snapshots, and a snapshot for a person to read.
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from gateway.config.base import Section
from gateway.config.checks import check
from gateway.config.sections import Settings
from gateway.errors import ConfigurationError

PREFIX = "GATEWAY_"


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge the sources and check the result as a whole.

    `overrides` maps dotted names (`dicom.port`) to values; None values are left out.
    Raises ConfigurationError with the place and what is wrong there.
    """
    tree = read_tree(file, os.environ if environment is None else environment, overrides or {})
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        where = f"{file}: " if file is not None else ""
        raise ConfigurationError(f"{where}{error}".replace("`$.", "`").replace(" - at ", ", at ")) from None
    check(settings)
    return settings


def read_tree(file: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The sources merged, as nested dicts that nobody has checked. Raises ConfigurationError."""
    tree: dict[str, Any] = {}
    if file is not None:
        tree = _read_toml(file)
    for name, text in environment.items():
        if name.startswith(PREFIX) and "__" in name:
            path = [part.lower() for part in name.removeprefix(PREFIX).split("__")]
            _put(tree, path, _from_text(path, text, name), name)
    for dotted, value in overrides.items():
        if value is not None:
            _put(tree, dotted.split("."), value, dotted)
    return tree


def words_of(error: msgspec.ValidationError) -> str:
    """What is wrong, without the place."""
    return str(error).partition(" - at ")[0]


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from None


def _put(tree: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigurationError(f"{name}: {part!r} is not a section")
        tree = below
    tree[path[-1]] = value


def _from_text(path: list[str], text: str, name: str) -> Any:
    """The value of an environment variable in the type that its field has."""
    kind: Any = Settings
    for part in path:
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
            continue
        variants = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        fields = {name: field for each in variants if isinstance(each, type) for name, field in _hints(each).items()}
        if part not in fields:
            raise ConfigurationError(f"{name}: there is no setting {'.'.join(path)!r}")
        kind = fields[part]
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
    return typing.get_type_hints(kind) | ({tag: str} if tag else {})


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
    """The snapshot as plain dicts, passwords and keys left out, for showing to a person."""
    tree = cast(dict[str, Any], msgspec.to_builtins(settings))
    for user in tree["http"]["users"]:
        user["password"] = "(set)"
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
