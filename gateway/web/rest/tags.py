"""Small data sets in the JSON that Orthanc's clients write and read: values by keyword, sequences as lists.

`{"PatientName": "Doe^Jane", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}`. Where such JSON comes in, the
DICOM JSON Model (PS3.18 Annex F) is taken too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from gateway.dicom.dictionary import KEYWORDS, implicit_vr, keyword_of
from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet, from_json
from gateway.errors import BadRequest, DataSetError

_TAG = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})")
_MODEL = re.compile(r"[0-9A-Fa-f]{8}")
_DEPTH = 16


async def read_data_set(request: web.Request) -> DataSet:
    """The data set in a body: `{"Tags": {...}}`, the tags alone, or DICOM JSON. BadRequest."""
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
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
    """A data set of values by keyword, or by tag (`0010,0010`). BadRequest names what makes no sense."""
    if not isinstance(tags, Mapping):
        raise BadRequest("tags are a JSON object: keywords and their values")
    if depth > _DEPTH:
        raise BadRequest(f"more than {_DEPTH} sequences inside one another")
    found: DataSet = {}
    for name, value in tags.items():
        tag = _tag(name)
        vr = implicit_vr(tag)
        found[tag] = Attribute(vr, _values(name, vr, value, depth))
    return found


def to_tags(data_set: DataSet) -> dict[str, Any]:
    """The same way back; binary values are left out."""
    return {
        keyword_of(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}": _simple(data_set[tag])
        for tag in sorted(data_set)
        if data_set[tag].vr not in BINARY
    }


def _is_model(name: str, member: Any) -> bool:
    return _MODEL.fullmatch(name) is not None and isinstance(member, dict)


def _tag(name: str) -> int:
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
            return [_tag(text) for text in texts]
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
        return "\\".join(f"{tag >> 16:04x},{tag & 0xFFFF:04x}" for tag in attribute.values)
    return attribute.text
