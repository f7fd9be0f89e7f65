"""Settings: one immutable snapshot, checked as a whole.

Here live the structure of every section, its defaults, and the order in which sources win: defaults, then the
TOML file, then the environment (`GATEWAY_DICOM__PORT=104`), then the command line. What a section *means* is
not here: each room makes its own sense of its own section.

Every bound of the gateway is named here, with its unit.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from gateway.errors import ConfigurationError

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
PREFIX = "GATEWAY_"
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


Service = Literal["echo", "store", "find", "move", "get", "commit", "worklist", "mpps"]
SERVICES: tuple[Service, ...] = typing.get_args(Service)


class Modality(_Section, frozen=True):
    """A remote application entity that we know: it may call us, and where it has a port, we can call it."""

    aet: str
    host: str = ""
    """Where it calls from: an address, a network (`10.1.0.0/16`), or a name, resolved afresh; empty: anywhere.
    To be called it needs an address or a name."""
    port: int = 0
    """Where it listens; 0: it cannot be called."""
    allow: tuple[Service, ...] = SERVICES
    """What it may ask of us."""
    our_aet: str = ""
    """What we call ourselves when we call it; empty: `dicom.aet`."""
    tls: bool = False
    """We call it over TLS, and it must call us on `dicom.tls_port`."""
    tls_name: str = ""
    """Name (common name or subject alternative name) that its certificate must carry; empty: when we call it, its
    host; `*`: any name that `dicom.tls_ca` signed."""
    user_identity: Literal["", "ignored", "optional", "required"] = ""
    """As `dicom.user_identity`, for this one; empty: as there."""
    association_timeout: float | None = None
    """Seconds for the connection and the answer to our association request. Unset: as in `[dicom]`, like the others."""
    response_timeout: float | None = None
    """Seconds for the answer to a message or a release of ours."""
    idle_timeout: float | None = None
    """Seconds of silence on an association that it opened. 0: for ever."""


class Dicom(_Section, frozen=True):
    """The DICOM listener (PS3.8) and what it accepts."""

    aet: str = "GATEWAY"
    aets: tuple[str, ...] = ()
    """Further AE titles that are ours."""
    host: str = "127.0.0.1"
    port: int = 4242
    """0 lets the system choose; the log names the choice."""
    allow_any_caller: bool = False
    """Take associations from those that are no modality of ours. Without it they are rejected (1/1/3), unless no
    modality is named and the listener is on loopback."""
    any_caller_may: tuple[Service, ...] = ("echo", "store")
    """What `allow_any_caller` allows them."""
    check_called_aet: bool = False
    """Reject (1/1/7) an association that calls us by another name than `aet` or one of `aets`."""
    tls_port: int | None = None
    """Port for DICOM over TLS, beside the plain one; 0 lets the system choose. Unset: none."""
    tls_certificate: str = ""
    """PEM file with our certificate chain, for those who call us over TLS and those whom we call."""
    tls_key: str = ""
    """Its private key, PEM without a passphrase. All three files are read again when they change."""
    tls_ca: str = ""
    """PEM file with the certificate authorities that we trust; empty: the system's, and no client certificates."""
    tls_client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether who calls us over TLS must show a certificate that `tls_ca` signed."""
    tls_bind_aet: bool = False
    """The certificate must carry the calling AE title, or the `tls_name` of its modality, as one of its names."""
    user_identity: Literal["ignored", "optional", "required"] = "ignored"
    """User identity (PS3.7 D.3.3.7) against `[[http.users]]`: checked where offered (`optional`), or needed too."""
    user_identity_types: tuple[Literal["name", "password"], ...] = ("password",)
    """What counts as an identity. A mere `name` proves nothing, and is taken only where it is listed."""
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
    association_timeout: float = 30.0
    """Seconds for the connection and the answer when we open an association."""
    response_timeout: float = 30.0
    """Seconds for the answer to a message or a release of ours."""
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


class Query(_Section, frozen=True):
    """C-FIND (PS3.4 Annex C)."""

    max_instances_read: int = 1000
    """Instances that the indexed keys of a query may leave where another key is to be read from their files; with
    more, a query that matches on such a key is answered A700, and one that only asks for its value gets none (FF01)."""


class Retrieve(_Section, frozen=True):
    """C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): what we send when asked."""

    window: int = 8
    """Instances on their way at once on an association, where asynchronous operations are negotiated."""
    threads: int = 8
    """Threads that read stored files for them; each instance on its way holds at most some 2 MiB."""
    decode_threads: int = 2
    """Threads that decode pixels for peers that take only uncompressed transfer syntaxes; each holds a frame."""
    progress_interval: float = 1.0
    """Seconds between the pending responses (FF00) that say how far it is."""


class Commitment(_Section, frozen=True):
    """Storage commitment (PS3.4 Annex J): what we promise to those who delete what they have sent."""

    report: Literal["same", "new"] = "same"
    """Tell the outcome on the association of the request while it is open (`same`), or always on one of our own."""
    destinations: tuple[str, ...] = ()
    """Modalities, by name, that must have committed an instance too before we do. None: it suffices that it is stored
    here."""
    patience: float = 86400.0
    """Seconds that those may take; what they have not committed by then fails."""
    keep_days: int = 3650
    """Days for which what is committed is kept, whatever else deletes."""


class Worklist(_Section, frozen=True):
    """The modality worklist (PS3.4 Annex K)."""

    folder: str = ""
    """Folder whose files are worklist items: `.wl` (DICOM) and `.json` (DICOM JSON Model). Removing a file removes its
    item. Empty: none."""
    show_finished: bool = False
    """Answer with steps that are completed or discontinued too when a query does not name a status."""
    max_results: int = 1000
    """Items in one answer, at most; then A700."""


class Mpps(_Section, frozen=True):
    """Modality performed procedure steps (PS3.4 F.7)."""

    forward: tuple[str, ...] = ()
    """Modalities, by name, that every N-CREATE and N-SET is sent on to."""


class Jobs(_Section, frozen=True):
    """Durable work: reports, deliveries and whatever else is tried again until it is done."""

    slots: int = 16
    """Jobs at once, in one process."""
    per_destination: int = 4
    """Of those, to one destination."""
    keep_days: float = 7.0
    """Days for which finished jobs stay to be looked at."""


class Log(_Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(_Section, frozen=True):
    dicom: Dicom = Dicom()
    modalities: dict[str, Modality] = {}
    """Remote application entities by the name that people call them. With any, all others are rejected."""
    http: Http = Http()
    storage: Storage = Storage()
    query: Query = Query()
    retrieve: Retrieve = Retrieve()
    commitment: Commitment = Commitment()
    worklist: Worklist = Worklist()
    mpps: Mpps = Mpps()
    jobs: Jobs = Jobs()
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
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
            continue
        fields = typing.get_type_hints(kind) if isinstance(kind, type) else {}
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
    _check_aet("dicom.aet", dicom.aet)
    for aet in dicom.aets:
        _check_aet("dicom.aets", aet)
    for name, port in (("dicom.port", dicom.port), ("dicom.tls_port", dicom.tls_port or 0), ("http.port", http.port)):
        _check_port(name, port)
    for name, modality in settings.modalities.items():
        _check_modality(f"modalities.{name}", modality, dicom)
    _check_tls(dicom)
    for place, names in (
        ("commitment.destinations", settings.commitment.destinations),
        ("mpps.forward", settings.mpps.forward),
    ):
        _check_destinations(place, names, settings)
    if dicom.max_pdu != 0 and not 4 * KiB <= dicom.max_pdu <= 4 * MiB:
        raise ConfigurationError(
            f"dicom.max_pdu: {dicom.max_pdu} is out of range: 4096 to 4194304 bytes, or 0 for no limit"
        )
    positive = {
        "dicom.max_associations": dicom.max_associations,
        "dicom.max_associations_per_aet": dicom.max_associations_per_aet,
        "dicom.max_operations": dicom.max_operations,
        "dicom.artim_timeout": dicom.artim_timeout,
        "dicom.association_timeout": dicom.association_timeout,
        "dicom.response_timeout": dicom.response_timeout,
        "http.max_results": http.max_results,
        "http.read_threads": http.read_threads,
        "retrieve.window": settings.retrieve.window,
        "retrieve.threads": settings.retrieve.threads,
        "retrieve.decode_threads": settings.retrieve.decode_threads,
        "retrieve.progress_interval": settings.retrieve.progress_interval,
        "storage.sync_threads": storage.sync_threads,
        "storage.max_header": storage.max_header,
        "commitment.patience": settings.commitment.patience,
        "worklist.max_results": settings.worklist.max_results,
        "jobs.slots": settings.jobs.slots,
        "jobs.per_destination": settings.jobs.per_destination,
        "jobs.keep_days": settings.jobs.keep_days,
    }
    for name, number in positive.items():
        if number <= 0:
            raise ConfigurationError(f"{name}: {number} must be more than 0")
    for name, number in {
        "dicom.idle_timeout": dicom.idle_timeout,
        "dicom.drain_timeout": dicom.drain_timeout,
        "storage.min_free": storage.min_free,
        "query.max_instances_read": settings.query.max_instances_read,
        "storage.rejected_quota": storage.rejected_quota,
        "commitment.keep_days": settings.commitment.keep_days,
    }.items():
        if number < 0:
            raise ConfigurationError(f"{name}: {number} must not be negative")
    if storage.buffer_memory < 4 * MiB:
        raise ConfigurationError(f"storage.buffer_memory: {storage.buffer_memory} is less than 4194304 bytes")
    if not is_loopback(dicom.host) and not settings.modalities and not dicom.allow_any_caller:
        raise ConfigurationError(
            f"dicom.host: listening on {dicom.host} needs known callers: add [modalities.NAME] with their aet, "
            "or set dicom.allow_any_caller = true to take images from anybody who can reach the port"
        )
    if not is_loopback(http.host) and not http.users and not http.allow_anonymous:
        raise ConfigurationError(
            f"http.host: listening on {http.host} needs users: add [[http.users]] with a name and a password from "
            "`dicom-gateway hash-password`, or set http.allow_anonymous = true to serve anybody who can reach the port"
        )
    if bool(http.certificate) != bool(http.key):
        raise ConfigurationError("http.certificate and http.key belong together: set both for HTTPS, or neither")


def _check_aet(name: str, aet: str) -> None:
    if not 1 <= len(aet.strip()) <= 16 or not (aet.isascii() and aet.isprintable()) or "\\" in aet:
        raise ConfigurationError(f"{name}: {aet!r} is not an AE title: 1 to 16 ASCII characters, no backslash")


def _check_port(name: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"{name}: {port} is not a port: 0 to 65535")


def _check_modality(place: str, modality: Modality, dicom: Dicom) -> None:
    _check_aet(f"{place}.aet", modality.aet)
    if modality.our_aet:
        _check_aet(f"{place}.our_aet", modality.our_aet)
    _check_port(f"{place}.port", modality.port)
    network = as_network(modality.host)
    if network is None and modality.host and not _HOST_NAME.fullmatch(modality.host):
        raise ConfigurationError(f"{place}.host: {modality.host!r} is not a host name, an IP address or a network")
    if modality.port and (not modality.host or (network is not None and network.num_addresses > 1)):
        raise ConfigurationError(f"{place}.port: to be called at it, host must be one address or name")
    if modality.tls_name and not modality.tls:
        raise ConfigurationError(f"{place}.tls_name: needs {place}.tls = true")
    for name in ("association_timeout", "response_timeout"):
        seconds = getattr(modality, name)
        if seconds is not None and seconds <= 0:
            raise ConfigurationError(f"{place}.{name}: {seconds} must be more than 0")
    if modality.idle_timeout is not None and modality.idle_timeout < 0:
        raise ConfigurationError(f"{place}.idle_timeout: {modality.idle_timeout} must not be negative")


def _check_destinations(place: str, names: tuple[str, ...], settings: Settings) -> None:
    for name in names:
        modality = settings.modalities.get(name)
        if modality is None or not modality.port:
            raise ConfigurationError(f"{place}: {name!r} needs [modalities.{name}] with aet, host and port")


def _check_tls(dicom: Dicom) -> None:
    if bool(dicom.tls_certificate) != bool(dicom.tls_key):
        raise ConfigurationError("dicom.tls_certificate and dicom.tls_key belong together: set both, or neither")
    if dicom.tls_port is not None and not dicom.tls_certificate:
        raise ConfigurationError("dicom.tls_port: needs dicom.tls_certificate and dicom.tls_key")
    if dicom.tls_port and dicom.tls_port == dicom.port:
        raise ConfigurationError("dicom.tls_port: is dicom.port already; TLS has a port of its own")
    if dicom.tls_client_certificates != "none" and not dicom.tls_ca:
        raise ConfigurationError("dicom.tls_client_certificates: needs dicom.tls_ca, which signs them")
    if dicom.tls_bind_aet and dicom.tls_client_certificates == "none":
        raise ConfigurationError('dicom.tls_bind_aet: needs dicom.tls_client_certificates = "required" or "optional"')


def as_network(host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that `host` writes, one address being a network too; None for a name."""
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        return None


def changes(old: Settings, new: Settings) -> list[str]:
    """Dotted names of the settings that differ between two snapshots; a modality counts as one."""
    return [
        f"{section}.{name}"
        for section in Settings.__struct_fields__
        for before, after in [(_fields(getattr(old, section)), _fields(getattr(new, section)))]
        for name in (*before, *(name for name in after if name not in before))
        if before.get(name) != after.get(name)
    ]


def _fields(section: _Section | dict[str, Any]) -> dict[str, Any]:
    return section if isinstance(section, dict) else msgspec.structs.asdict(section)


def as_builtins(settings: Settings) -> dict[str, Any]:
    """The snapshot as plain dicts, passwords left out, for showing to a person."""
    tree = cast(dict[str, Any], msgspec.to_builtins(settings))
    for user in tree["http"]["users"]:
        user["password"] = "(set)"
    return tree
