"""Metadata of a Store request: DICOM JSON and XML documents, as the instances that they announce (PS3.18 §10.5.2).

Bounded in memory, whatever a document says. Putting them together with their bulk data is `archive/assembly.py`'s.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.archive.assembly import bulk_uris
from gateway.dicom.xml import from_xml
from gateway.errors import DataSetError
from gateway.web.dicomweb.receipts import Receipt

MAX_METADATA: Final = 64 << 20
"""Bytes of metadata in one request."""
MAX_INSTANCES: Final = 100_000
"""In one request: the answer has something to say of each."""
MAX_NAMELESS: Final = 1_000
"""Instances and parts that do not even say which they are."""
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


@dataclass(slots=True)
class Pending:
    """An instance that is known by its metadata: a DICOM JSON object, and the URIs of its bulk data."""

    model: bytes
    sop_class_uid: str
    sop_uid: str
    uris: dict[str, str]
    """As they stand in the metadata, to what they are as absolute ones."""
    receipt: Receipt = field(default_factory=Receipt)


def read_json(document: bytes) -> list[Pending | DataSetError]:
    """An array of instances, or one alone; an error in the place of one that is none. DataSetError for no JSON.

    Blocks. One instance is decoded at a time: all at once, 64 MiB of JSON could become gigabytes.
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
                raise DataSetError("the metadata are of more instances than are taken")
            at = _past_blanks(text, at)
            if not is_array:
                break
            if text.startswith(",", at):
                at += 1
            elif not text.startswith("]", at):
                raise DataSetError("the metadata are not JSON: the array does not go on")
    except (ValueError, RecursionError) as error:
        raise DataSetError(f"the metadata are not JSON: {error}") from None
    return found


def read_xml(document: bytes) -> list[Pending | DataSetError]:
    """A document of one instance. Blocks. DataSetError."""
    model = from_xml(document)
    return [_pending(model, msgspec.json.encode(model))]


def _pending(model: Any, encoded: bytes) -> Pending | DataSetError:
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
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
