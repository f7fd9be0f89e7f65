"""What the commands that call a DICOM node share: how the node and the keys of a query are written. No command."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import load_settings

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.dicom.encode import DataSet
    from gateway.scu.node import Node

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Name of a configured modality, or AET@HOST:PORT.")]
KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="What to match: PatientName=DOE*, 00080020=20260101-, A.B=… inside a sequence. A KEY alone is returned.",
    ),
]
AetOption = Annotated[
    str | None, typer.Option("--aet", metavar="AET", help="AE title that we call ourselves.", show_default=False)
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For the connection, and for each answer."),
]
LEVELS = ("patient", "study", "series", "instance")
_UNIQUE = {0x00080018: "instance", 0x0020000E: "series", 0x0020000D: "study", 0x00100020: "patient"}
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def node_of(
    text: str, config_file: Path | None, aet: str | None = None, timeout: float | None = None
) -> tuple[Settings, Node]:
    """The node that is meant. Raises ConfigurationError."""
    from gateway.scu.node import find_node

    settings = load_settings(config_file, None)
    node = find_node(settings, text)
    changes: dict[str, Any] = {}
    if aet:
        changes["calling_aet"] = aet
    if timeout is not None:
        changes["association_timeout"] = changes["response_timeout"] = timeout
    return settings, dataclasses.replace(node, **changes)


def parse_keys(texts: Sequence[str]) -> DataSet:
    """`KEY=VALUE` and `KEY` as attributes. Raises typer.BadParameter that says which is wrong and why."""
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
            raise typer.BadParameter(f"{text!r}: {path[0]} is no sequence")
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
        raise typer.BadParameter(f"{text!r}: it holds bytes, and cannot be matched")
    parts = value.split("\\")
    try:
        if vr in ("FL", "FD"):
            return [float(part) for part in parts]
        if vr == "AT":
            return [int(part, 16) for part in parts]
        if vr in NUMBERS:
            return [int(part) for part in parts]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: {value!r} is no number") from None
    return list(parts)


def tag_of(name: str) -> int | None:
    """The tag of a keyword, or of `ggggeeee`, `gggg,eeee`; None where there is none."""
    from pydicom.datadict import tag_for_keyword

    name = name.strip()
    match = _TAG.fullmatch(name)
    if match:
        return int(match[1] + match[2], 16)
    return tag_for_keyword(name) if name else None  # Retired attributes have empty keywords.


def retrieve_level(keys: DataSet, level: str | None) -> str:
    """The level that the unique keys speak of, where none is given. Raises typer.BadParameter."""
    if level is not None:
        return level
    for tag, name in _UNIQUE.items():
        if tag in keys and keys[tag].values:
            return name
    raise typer.BadParameter(
        "say what to retrieve: StudyInstanceUID=…, SeriesInstanceUID=…, SOPInstanceUID=… or PatientID=…"
    )


def check_level(level: str | None) -> None:
    if level is not None and level not in LEVELS:
        raise typer.BadParameter(f"--level {level}: one of {', '.join(LEVELS)}")
