"""Small data sets in the JSON of Orthanc's clients: values by keyword, sequences as lists.

An example is `{"PatientName": "Doe^Jane", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}`. The DICOM JSON
Model (PS3.18 Annex F) is accepted too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS, implicit_vr, keyword_of
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.dicom.json_reader import from_json
from gateway.dicom.private_names import private_attribute
from gateway.dicom.validity import fault_of
from gateway.errors import BadRequest, DataSetError
from gateway.http.data_uri import parse_data_uri
from gateway.web.inputs import read_json
from gateway.web.rest.names import UNKNOWN_NAME, tag_text

_TAG = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})")
_MODEL = re.compile(r"[0-9A-Fa-f]{8}")
_DEPTH = 16
_MAX_TEXT = 4 << 20
"""Characters of a text: it may be as many values."""
Format = Literal["full", "short", "simplify"]
"""Forms of a data set: an object with name, type and value for each tag; values by tag; values by keyword."""


async def read_data_set(request: web.Request) -> DataSet:
    """The data set in a body: `{"Tags": {...}}`, the tags alone, or DICOM JSON. Raises BadRequest."""
    body = await read_json(request)
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    tags = body.get("Tags", body)
    if isinstance(tags, dict) and tags and all(_is_model(name, member) for name, member in tags.items()):
        try:
            return from_json(tags)
        except DataSetError as error:
            raise BadRequest(str(error)) from None
    return from_tags(tags)


@dataclass(frozen=True, slots=True)
class ToBeWritten:
    """How tags are read that become an object: with binary and private ones, each once, and with valid values."""

    data_uris: bool = True
    """Whether binary values may be data URIs."""
    private_creator: str = ""
    """The creator of private attributes whose block nobody reserves."""
    check: bool = True
    """Whether values are refused that their VR does not allow."""


def from_tags(tags: Any, depth: int = 0, written: ToBeWritten | None = None) -> DataSet:
    """A data set from values by keyword, or by tag (`0010,0010`). Raises BadRequest, which names the invalid value."""
    if not isinstance(tags, Mapping):
        raise BadRequest("tags are a JSON object: keywords and their values")
    if depth > _DEPTH:
        raise BadRequest(f"more than {_DEPTH} sequences inside one another")
    found: DataSet = {}
    named = {name: tag_named(name) for name in tags}
    if written is not None:
        if len(set(named.values())) < len(named):
            raise BadRequest("an attribute is given twice, by two of its names")
        found = _reservations(tags, named, written)
    for name, value in tags.items():
        tag = named[name]
        vr = implicit_vr(tag) if not tag >> 16 & 1 else _private_vr(tag, found)
        found[tag] = Attribute(vr, _values(name, vr, value, depth, written))
    return found


def _reservations(tags: Mapping[str, Any], named: Mapping[str, int], written: ToBeWritten) -> DataSet:
    """The elements that reserve blocks for the private attributes of a data set, given or not (PS3.5 §7.8.1)."""
    found: DataSet = {}
    for name, tag in named.items():
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            found[tag] = Attribute("LO", [str(tags[name])])
    for tag in named.values():
        block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
        if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000 and written.private_creator and block not in found:
            found[block] = Attribute("LO", [written.private_creator])
    return found


def _private_vr(tag: int, found: DataSet) -> str:
    """The VR of a private attribute, by the creator of its block."""
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    creator = found.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    return private_attribute(tag, creator.text).vr if creator is not None else implicit_vr(tag)


def to_tags(data_set: DataSet) -> dict[str, Any]:
    """The values of a data set by keyword, or by tag if it has no keyword; binary values are omitted."""
    return {
        keyword_of(tag) or tag_text(tag): _simple(data_set[tag])
        for tag in sorted(data_set)
        if data_set[tag].vr not in BINARY
    }


def in_format(data_set: DataSet, form: Format) -> dict[str, Any]:
    """A data set in one of the forms in which Orthanc answers: with names and types, or values by tag or by keyword.

    Binary values are null.
    """
    return {_name_in(tag, form): _in_format(tag, data_set[tag], form) for tag in sorted(data_set)}


def _name_in(tag: int, form: Format) -> str:
    return (keyword_of(tag) or tag_text(tag)) if form == "simplify" else tag_text(tag)


def _in_format(tag: int, attribute: Attribute, form: Format) -> Any:
    value: Any
    if attribute.vr == "SQ":
        kind, value = "Sequence", [in_format(item, form) for item in attribute.values]
    elif attribute.vr in BINARY:
        kind, value = "Null", None
    else:
        kind, value = "String", _simple(attribute)
    return {"Name": keyword_of(tag) or UNKNOWN_NAME, "Type": kind, "Value": value} if form == "full" else value


def _is_model(name: str, member: Any) -> bool:
    return _MODEL.fullmatch(name) is not None and isinstance(member, dict)


def tag_named(name: str) -> int:
    """The tag of a keyword, or of `gggg,eeee`. Raises BadRequest."""
    tag = KEYWORDS.get(name.removeprefix("RETIRED_"))
    if tag is not None:
        return tag
    found = _TAG.fullmatch(name)
    if found is None:
        raise BadRequest(f"{name[:80]!r} is no attribute: write its keyword, such as PatientName, or gggg,eeee")
    return int(found[1] + found[2], 16)


def _values(name: str, vr: str, value: Any, depth: int, written: ToBeWritten | None) -> list[Any]:
    if vr == "SQ":
        items = [value] if isinstance(value, Mapping) else value
        if not isinstance(items, list):
            raise BadRequest(f"{name} is a sequence: a list of objects")
        return [from_tags(item, depth + 1, written) for item in items]
    if vr in BINARY:
        return _binary(name, vr, value, written)
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, (dict, list)) for each in values):
        raise BadRequest(f"{name} is no sequence, its value is text or a number")
    if any(isinstance(each, str) and len(each) > _MAX_TEXT for each in values):
        raise BadRequest(f"{name}: a text of more than {_MAX_TEXT} characters")
    texts = [part for each in values if each is not None for part in _parts(vr, each)]
    try:
        if vr in NUMBERS:
            return [float(text) if vr in ("FL", "FD") else int(text) for text in texts]
        if vr == "AT":
            return [tag_named(text) for text in texts]
    except ValueError:
        raise BadRequest(f"{name}: {str(value)[:40]!r} is no {vr}") from None
    if written is not None:
        if isinstance(value, bool):
            raise BadRequest(f"{name}: a truth value is no {vr}")
        if written.check and (fault := fault_of(vr, "\\".join(texts))):
            raise BadRequest(f"{name}: {fault}")
    return texts if any(texts) else []


def _binary(name: str, vr: str, value: Any, written: ToBeWritten | None) -> list[Any]:
    if written is None:
        raise BadRequest(f"{name} is binary ({vr}), which is not taken here")
    if value is None:
        return []
    if not isinstance(value, str):
        raise BadRequest(f"{name} is binary ({vr}): its value is a data URI, or text that is taken as it is")
    try:
        found = parse_data_uri(value) if written.data_uris else None
    except BadRequest as error:
        raise BadRequest(f"{name}: {error}") from None
    return [found[1] if found is not None else value.encode()]


def _parts(vr: str, value: Any) -> list[str]:
    text = str(value)
    return [text] if vr in ("LT", "ST", "UT", "UR") else text.split("\\")


def _simple(attribute: Attribute) -> Any:
    if attribute.vr == "SQ":
        return [to_tags(item) for item in attribute.values]
    if attribute.vr == "AT":
        return "\\".join(map(tag_text, attribute.values))
    return attribute.text
