"""Settings: one immutable snapshot, checked as a whole.

Here live the structure of every section, its defaults, and the order in which sources win: defaults, then the
TOML file, then the environment (`GATEWAY_DICOM__PORT=104`), then the command line. What a section *means* is
not here: each room makes its own sense of its own section.

Every bound of the gateway is named here, with its unit.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from gateway.errors import ConfigurationError

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
PREFIX = "GATEWAY_"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Caller(_Section, frozen=True):
    """A remote application entity that may call us."""

    aet: str
    host: str = ""
    """Address or network (`10.1.2.3`, `10.1.0.0/16`) it must call from; empty: any."""


class Dicom(_Section, frozen=True):
    """The DICOM listener (PS3.8) and what it accepts."""

    aet: str = "GATEWAY"
    host: str = "127.0.0.1"
    port: int = 4242
    """0 lets the system choose; the log names the choice."""
    allow_any_caller: bool = False
    """Take associations from anybody although the listener is not on loopback."""
    callers: tuple[Caller, ...] = ()
    """Known callers. With any listed, all others are rejected (1/1/3)."""
    check_called_aet: bool = False
    """Reject (1/1/7) an association that calls us by another name than `aet`."""
    max_pdu: int = 256 * KiB
    """Maximum Length Received that we advertise, bytes (PS3.8 Annex D.1)."""
    max_associations: int = 600
    max_associations_per_aet: int = 600
    max_operations: int = 16
    """Operations in progress that we grant where asynchronous operations are negotiated (PS3.7 D.3.3.3)."""
    artim_timeout: float = 30.0
    """Seconds for the A-ASSOCIATE-RQ to arrive, and for the connection to close (PS3.8 §9.1.4)."""
    idle_timeout: float = 300.0
    """Seconds of silence from a peer with nothing in progress, then A-ABORT. 0: for ever."""
    drain_timeout: float = 20.0
    """Seconds that open associations are still served after SIGTERM."""
    accept_unknown_sop_classes: bool = False
    """Accept storage contexts for abstract syntaxes that no edition of the standard we know names."""
    refused_transfer_syntaxes: tuple[str, ...] = ()
    """Transfer syntax UIDs, or their keywords, that are not accepted."""


class User(_Section, frozen=True):
    name: str
    password: str
    """As printed by `dicom-gateway hash-password`; never the password itself."""


class Http(_Section, frozen=True):
    """The HTTP listener: DICOMweb, management, pages."""

    host: str = "127.0.0.1"
    port: int = 8042
    users: tuple[User, ...] = ()
    allow_anonymous: bool = False
    """Serve everybody although the listener is not on loopback and no user is named."""
    hosts: tuple[str, ...] = ()
    """Names under which we are reached, for the Host and Origin checks, besides loopback's own."""
    certificate: str = ""
    """PEM file with the certificate chain. With `key` set, HTTPS. Both are read again when they change."""
    key: str = ""
    max_results: int = 1000
    """Most matches in one QIDO-RS answer; more are said in a Warning header."""
    min_rate: int = 1 * KiB
    """Bytes a second below which, over a minute, a client that we send to is let go."""
    read_threads: int = 8
    """Threads that read stored files for answers; each holds at most some 2 MiB."""


class Storage(_Section, frozen=True):
    """The data folder: files, index, and their limits."""

    path: str = "gateway-data"
    duplicates: Literal["keep", "overwrite", "reject"] = "keep"
    """What happens to an instance that is here already with other bytes."""
    min_free: int = 512 * MiB
    """Free bytes in the file system below which C-STORE is answered A700."""
    rejected_quota: int = 1 * GiB
    """Bytes of unreadable objects that are kept aside; the oldest go first."""
    buffer_memory: int = 128 * MiB
    """Bytes of receive blocks for all associations together."""
    sync_threads: int = 12
    """Threads that write and sync files."""
    max_header: int = 4 * MiB
    """Bytes of a data set within which the attributes for the index must stand."""


class Log(_Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(_Section, frozen=True):
    dicom: Dicom = Dicom()
    http: Http = Http()
    storage: Storage = Storage()
    log: Log = Log()


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge the sources and check the result as a whole.

    `overrides` maps dotted names (`dicom.port`) to values; None values are left out.
    Raises ConfigurationError with the place and what is wrong there.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        tree = _read_toml(file)
    for name, text in (os.environ if environment is None else environment).items():
        if name.startswith(PREFIX) and "__" in name:
            path = [part.lower() for part in name.removeprefix(PREFIX).split("__")]
            _put(tree, path, _from_text(path, text, name), name)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(tree, dotted.split("."), value, dotted)
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        where = f"{file}: " if file is not None else ""
        raise ConfigurationError(f"{where}{error}".replace("`$.", "`").replace(" - at ", ", at ")) from None
    _check(settings)
    return settings


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
        fields = typing.get_type_hints(kind) if isinstance(kind, type) else {}
        if part not in fields:
            raise ConfigurationError(f"{name}: there is no setting {'.'.join(path)!r}")
        kind = fields[part]
    if typing.get_origin(kind) is tuple:
        (item, *_rest) = typing.get_args(kind)
        if item is not str:
            raise ConfigurationError(f"{name}: {'.'.join(path)} is a table; set it in the file")
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is Literal or kind is str:
        return text
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(settings: Settings) -> None:
    """What no single field shows. Each text says what to do."""
    dicom, http, storage = settings.dicom, settings.http, settings.storage
    if not 1 <= len(dicom.aet.strip()) <= 16 or not dicom.aet.isascii() or "\\" in dicom.aet:
        raise ConfigurationError(f"dicom.aet: {dicom.aet!r} is not an AE title: 1 to 16 ASCII characters, no backslash")
    for name, port in (("dicom.port", dicom.port), ("http.port", http.port)):
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"{name}: {port} is not a port: 0 to 65535")
    if dicom.max_pdu != 0 and not 4 * KiB <= dicom.max_pdu <= 4 * MiB:
        raise ConfigurationError(
            f"dicom.max_pdu: {dicom.max_pdu} is out of range: 4096 to 4194304 bytes, or 0 for no limit"
        )
    positive = {
        "dicom.max_associations": dicom.max_associations,
        "dicom.max_associations_per_aet": dicom.max_associations_per_aet,
        "dicom.max_operations": dicom.max_operations,
        "dicom.artim_timeout": dicom.artim_timeout,
        "http.max_results": http.max_results,
        "http.read_threads": http.read_threads,
        "storage.sync_threads": storage.sync_threads,
        "storage.max_header": storage.max_header,
    }
    for name, number in positive.items():
        if number <= 0:
            raise ConfigurationError(f"{name}: {number} must be more than 0")
    for name, number in {
        "dicom.idle_timeout": dicom.idle_timeout,
        "dicom.drain_timeout": dicom.drain_timeout,
        "storage.min_free": storage.min_free,
        "storage.rejected_quota": storage.rejected_quota,
    }.items():
        if number < 0:
            raise ConfigurationError(f"{name}: {number} must not be negative")
    if storage.buffer_memory < 4 * MiB:
        raise ConfigurationError(f"storage.buffer_memory: {storage.buffer_memory} is less than 4194304 bytes")
    for caller in dicom.callers:
        if caller.host:
            try:
                ipaddress.ip_network(caller.host, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"dicom.callers: {caller.aet}: {caller.host!r} is not an IP address or network"
                ) from None
    if not is_loopback(dicom.host) and not dicom.callers and not dicom.allow_any_caller:
        raise ConfigurationError(
            f"dicom.host: listening on {dicom.host} needs known callers: add [[dicom.callers]] with their aet, "
            "or set dicom.allow_any_caller = true to take images from anybody who can reach the port"
        )
    if not is_loopback(http.host) and not http.users and not http.allow_anonymous:
        raise ConfigurationError(
            f"http.host: listening on {http.host} needs users: add [[http.users]] with a name and a password from "
            "`dicom-gateway hash-password`, or set http.allow_anonymous = true to serve anybody who can reach the port"
        )
    if bool(http.certificate) != bool(http.key):
        raise ConfigurationError("http.certificate and http.key belong together: set both for HTTPS, or neither")


def as_builtins(settings: Settings) -> dict[str, Any]:
    """The snapshot as plain dicts, passwords left out, for showing to a person."""
    tree = cast(dict[str, Any], msgspec.to_builtins(settings))
    for user in tree["http"]["users"]:
        user["password"] = "(set)"
    return tree
