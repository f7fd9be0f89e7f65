"""Small data sets in the JSON of Orthanc's clients: values by keyword, sequences as lists.

An example is `{"PatientName": "Doe^Jane", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}`. The DICOM JSON
Model (PS3.18 Annex F) is accepted too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS, implicit_vr, keyword_of
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.dicom.json_reader import from_json
from gateway.errors import BadRequest, DataSetError
from gateway.web.inputs import read_json
from gateway.web.rest.names import UNKNOWN_NAME, tag_text

_TAG = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})")
_MODEL = re.compile(r"[0-9A-Fa-f]{8}")
_DEPTH = 16
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


def from_tags(tags: Any, depth: int = 0) -> DataSet:
    """A data set from values by keyword, or by tag (`0010,0010`). Raises BadRequest, which names the invalid value."""
    if not isinstance(tags, Mapping):
        raise BadRequest("tags are a JSON object: keywords and their values")
    if depth > _DEPTH:
        raise BadRequest(f"more than {_DEPTH} sequences inside one another")
    found: DataSet = {}
    for name, value in tags.items():
        tag = tag_named(name)
        vr = implicit_vr(tag)
        found[tag] = Attribute(vr, _values(name, vr, value, depth))
    return found


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
    if name in KEYWORDS:
        return KEYWORDS[name]
    found = _TAG.fullmatch(name)
    if found is None:
        raise BadRequest(f"{name[:80]!r} is no attribute: write its keyword, such as PatientName, or gggg,eeee")
    return int(found[1] + found[2], 16)


def _values(name: str, vr: str, value: Any, depth: int) -> list[Any]:
    if vr == "SQ":
        items = [value] if isinstance(value, Mapping) else value
        if not isinstance(items, list):
            raise BadRequest(f"{name} is a sequence: a list of objects")
        return [from_tags(item, depth + 1) for item in items]
    if vr in BINARY:
        raise BadRequest(f"{name} is binary ({vr}), which is not taken here")
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, (dict, list)) for each in values):
        raise BadRequest(f"{name} is no sequence, its value is text or a number")
    texts = [part for each in values if each is not None for part in _parts(vr, each)]
    try:
        if vr in NUMBERS:
            return [float(text) if vr in ("FL", "FD") else int(text) for text in texts]
        if vr == "AT":
            return [tag_named(text) for text in texts]
    except ValueError:
        raise BadRequest(f"{name}: {str(value)[:40]!r} is no {vr}") from None
    return texts if any(texts) else []


def _parts(vr: str, value: Any) -> list[str]:
    text = str(value)
    return [text] if vr in ("LT", "ST", "UT", "UR") else text.split("\\")


def _simple(attribute: Attribute) -> Any:
    if attribute.vr == "SQ":
        return [to_tags(item) for item in attribute.values]
    if attribute.vr == "AT":
        return "\\".join(map(tag_text, attribute.values))
    return attribute.text
