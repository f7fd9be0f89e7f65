"""Parts shared by the commands that call a DICOM node: the syntax of nodes and keys. No command is defined here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigOption, load_settings
from gateway.cli.grouped import Command, takes
from gateway.dicom.levels import LEVELS, UNIQUE_KEYS, Level

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dicom.encode import DataSet
    from gateway.net.tls import ClientTls
    from gateway.scu.node import Node

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Name of a configured modality, or AET@HOST:PORT.")]
KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="What to match: PatientName=DOE*, 00080020=20260101-, A.B=… inside a sequence. A KEY alone is returned.",
    ),
]
AetOption = Annotated[str | None, typer.Option("--aet", metavar="AET", help="Our AE title.", show_default=False)]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Seconds for the connection, and for each answer."),
]
TlsOption = Annotated[bool, typer.Option("--tls", help="Call over TLS. --ca and --cert imply it.")]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="PEM file with the trusted authorities.  [default: dicom.tls_ca]",
        show_default=False,
    ),
]
CertOption = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        metavar="FILE",
        help="PEM file with our certificate.  [default: dicom.tls_certificate]",
        show_default=False,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="PEM file with its key, where that is not in --cert.", show_default=False
    ),
]
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


@dataclass(frozen=True, slots=True)
class Calling:
    """The options for calling a node, common to all commands that call one, as given."""

    config_file: ConfigOption = None
    aet: AetOption = None
    timeout: TimeoutOption = None
    tls: TlsOption = False
    ca: CaOption = None
    cert: CertOption = None
    key: KeyOption = None


def calls_a_node(*, timeout_s: float | None = None) -> Callable[[Command], Command]:
    """Add the options of `Calling` to a command; their values are passed as its parameter `calling`.

    `timeout_s` is the default of --timeout.
    """
    return takes(Calling, "calling", timeout=timeout_s)


def node_of(text: str, calling: Calling) -> tuple[Settings, Node]:
    """The node to call. Raises ConfigurationError, and typer.BadParameter for conflicting options."""
    from gateway.scu.node import find_node

    settings = load_settings(calling.config_file, None)
    node = find_node(settings, text)
    changes: dict[str, Any] = {}
    if calling.tls or calling.ca or calling.cert or calling.key:
        changes["tls"] = _tls_to(settings, node, calling)
    if calling.aet:
        changes["calling_aet"] = calling.aet
    if calling.timeout is not None:
        changes["association_timeout"] = changes["response_timeout"] = calling.timeout
    return settings, dataclasses.replace(node, **changes)


def _tls_to(settings: Settings, node: Node, calling: Calling) -> ClientTls:
    from gateway.net.tls import PemFiles, tls_to

    if calling.key is not None and calling.cert is None:
        raise typer.BadParameter("--key needs --cert, the certificate that it belongs to")
    certificate, key, authorities, names = PemFiles.of_dicom(settings.dicom)
    if calling.cert is not None:
        certificate, key, names = str(calling.cert), str(calling.key or ""), ("--cert", "--key", names[2])
    if calling.ca is not None:
        authorities, names = str(calling.ca), (*names[:2], "--ca")
    modality = settings.modalities.get(node.name)
    files = PemFiles(certificate, key, authorities, names)
    return tls_to(files, node.host, modality.tls_name if modality is not None else "")


def parse_keys(texts: Sequence[str]) -> DataSet:
    """Parse `KEY=VALUE` and `KEY` to attributes. Raises typer.BadParameter with the wrong key and the reason."""
    data_set: DataSet = {}
    for text in texts:
        name, equals, value = text.partition("=")
        _put(data_set, name.split("."), value if equals else None, text)
    return data_set


def _put(data_set: DataSet, path: list[str], value: str | None, text: str) -> None:
    from gateway.dicom.dictionary import implicit_vr
    from gateway.dicom.encode import Attribute

    tag = tag_of(path[0])
    if tag is None:
        raise typer.BadParameter(f"{text!r}: there is no attribute {path[0]!r}; write a keyword or a tag (ggggeeee)")
    vr = implicit_vr(tag)
    if len(path) > 1:
        if vr != "SQ":
            raise typer.BadParameter(f"{text!r}: {path[0]} is not a sequence")
        items = data_set.setdefault(tag, Attribute("SQ", [{}])).values
        _put(items[0], path[1:], value, text)
    elif vr == "SQ":
        if value:
            raise typer.BadParameter(f"{text!r}: a sequence has no value of its own; write {path[0]}.ATTRIBUTE=VALUE")
        data_set[tag] = Attribute("SQ", [])
    else:
        data_set[tag] = Attribute(vr, _values(vr, value, text) if value else [])


def _values(vr: str, value: str, text: str) -> list[Any]:
    from gateway.dicom.encode import BINARY, NUMBERS

    if vr in BINARY:
        raise typer.BadParameter(f"{text!r}: the attribute holds bytes, and cannot be matched")
    parts = value.split("\\")
    try:
        if vr in ("FL", "FD"):
            return [float(part) for part in parts]
        if vr == "AT":
            return [int(part, 16) for part in parts]
        if vr in NUMBERS:
            return [int(part) for part in parts]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: {value!r} is not a number") from None
    return list(parts)


def tag_of(name: str) -> int | None:
    """The tag of a keyword, or of `ggggeeee`, `gggg,eeee`; None if unknown."""
    from pydicom.datadict import tag_for_keyword

    name = name.strip()
    match = _TAG.fullmatch(name)
    if match:
        return int(match[1] + match[2], 16)
    return tag_for_keyword(name) if name else None  # Retired attributes have empty keywords.


def retrieve_level(keys: DataSet, option: str | None) -> Level:
    """The level of the option, or the lowest level of the unique keys. Raises typer.BadParameter."""
    if (level := read_level(option)) is not None:
        return level
    for level in reversed(LEVELS):
        if (key := keys.get(UNIQUE_KEYS[level])) is not None and key.values:
            return level
    raise typer.BadParameter("give StudyInstanceUID=…, SeriesInstanceUID=…, SOPInstanceUID=… or PatientID=…")


def read_level(option: str | None) -> Level | None:
    """The level named by an option. Raises typer.BadParameter."""
    for level in LEVELS:
        if option == level:
            return level
    if option is not None:
        raise typer.BadParameter(f"--level {option}: one of {', '.join(LEVELS)}")
    return None
