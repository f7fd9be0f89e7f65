"""Metadata of a Store request: DICOM JSON and XML documents, parsed to pending instances (PS3.18 §10.5.2).

Bounded in memory, whatever a document contains. `ingest/assembly.py` adds the bulk data.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.dicom.json import encode_model
from gateway.dicom.xml_reader import from_xml
from gateway.errors import DataSetError
from gateway.ingest.assembly import bulk_uris
from gateway.web.dicomweb.instance_results import InstanceResult

MAX_METADATA: Final = 64 << 20
"""Bytes of metadata in one request."""
MAX_INSTANCES: Final = 100_000
"""Instances in one request, each of which gets an entry in the answer."""
MAX_NAMELESS: Final = 1_000
"""Instances and parts without an identifier."""
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


@dataclass(slots=True)
class Pending:
    """An instance known by its metadata: a DICOM JSON object, and the URIs of its bulk data."""

    model: bytes
    sop_class_uid: str
    sop_uid: str
    uris: dict[str, str]
    """URIs as in the metadata, to absolute ones."""
    result: InstanceResult = field(default_factory=InstanceResult)


def read_json(document: bytes) -> list[Pending | DataSetError]:
    """Parse an array of instances, or a single one; an invalid instance becomes an error in its place. Blocks.

    One instance is decoded at a time: all at once, 64 MiB of JSON could become gigabytes. Raises DataSetError for
    invalid JSON.
    """
    found: list[Pending | DataSetError] = []
    nameless = 0
    try:
        text = document.decode()
        at = _past_blanks(text, 0)
        is_array = text.startswith("[", at)
        at = _past_blanks(text, at + is_array)
        while not (is_array and text.startswith("]", at)):
            start = _past_blanks(text, at)
            model, at = _DECODER.raw_decode(text, start)
            pending = _pending(model, text[start:at].encode())
            found.append(pending)
            nameless += isinstance(pending, DataSetError) or not pending.sop_uid
            if len(found) > MAX_INSTANCES or nameless > MAX_NAMELESS:
                raise DataSetError("the metadata have more instances than are allowed")
            at = _past_blanks(text, at)
            if not is_array:
                break
            if text.startswith(",", at):
                at += 1
            elif not text.startswith("]", at):
                raise DataSetError("the metadata are not JSON: the array is malformed")
    except (ValueError, RecursionError) as error:
        raise DataSetError(f"the metadata are not JSON: {error}") from None
    return found


def read_xml(document: bytes) -> list[Pending | DataSetError]:
    """Parse an XML document of one instance. Blocks. Raises DataSetError."""
    model = from_xml(document)
    return [_pending(model, encode_model(model))]


def _pending(model: Any, encoded: bytes) -> Pending | DataSetError:
    if not isinstance(model, dict):
        return DataSetError("an instance in the metadata is not a JSON object")
    try:
        uris = dict.fromkeys(sorted(bulk_uris(model)), "")
    except DataSetError as error:
        return error
    return Pending(encoded, _text(model.get("00080016")), _text(model.get("00080018")), uris)


def _text(member: Any) -> str:
    values = member.get("Value") if isinstance(member, dict) else None
    return values[0][:64] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _past_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    assert match is not None, "it matches nothing too"
    return match.end()


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
