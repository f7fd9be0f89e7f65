"""The form of a worklist item: its fields, their values in a data set, and the data set that a form makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.dicom.encode import Attribute, DataSet
from gateway.errors import BadRequest
from gateway.workflow.worklist_items import STEP_STATUS, STEPS

Kind = Literal["text", "name", "date", "time", "choice"]
STATUSES: Final = ("SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED", "COMPLETED", "DISCONTINUED")
"""Values of the Scheduled Procedure Step Status (PS3.3 C.4.10)."""
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")


@dataclass(frozen=True, slots=True)
class FormField:
    """One field, and the attribute that it stands for."""

    name: str
    tag: int
    vr: str
    most: int
    """Characters at most (PS3.5 §6.2)."""
    kind: Kind = "text"
    in_step: bool = False
    """Whether the attribute is one of the scheduled procedure step."""
    required: bool = False


FIELDS: Final = (
    FormField("patient_name", 0x00100010, "PN", 64, "name", required=True),
    FormField("patient_id", 0x00100020, "LO", 64, required=True),
    FormField("birth_date", 0x00100030, "DA", 10, "date"),
    FormField("sex", 0x00100040, "CS", 1, "choice"),
    FormField("accession", 0x00080050, "SH", 16),
    FormField("physician", 0x00080090, "PN", 64, "name"),
    FormField("procedure", 0x00321060, "LO", 64),
    FormField("procedure_id", 0x00401001, "SH", 16),
    FormField("modality", 0x00080060, "CS", 16, in_step=True, required=True),
    FormField("station", 0x00400001, "AE", 16, in_step=True),
    FormField("date", 0x00400002, "DA", 10, "date", in_step=True, required=True),
    FormField("time", 0x00400003, "TM", 8, "time", in_step=True, required=True),
    FormField("step", 0x00400007, "LO", 64, in_step=True),
    FormField("step_id", 0x00400009, "SH", 16, in_step=True),
    FormField("status", STEP_STATUS, "CS", 16, "choice", in_step=True),
)
CHOICES: Final = {"sex": ("", "F", "M", "O"), "status": STATUSES}


def values_of(data_set: DataSet) -> dict[str, str]:
    """The values of the form for an item: of its first step."""
    steps = data_set.get(STEPS, Attribute("SQ")).values
    step: DataSet = steps[0] if steps else {}
    found = {}
    for each in FIELDS:
        attribute = (step if each.in_step else data_set).get(each.tag)
        text = str(attribute.values[0]) if attribute is not None and attribute.values else ""
        found[each.name] = _shown(each.kind, text)
    return found


def data_set_of(form: Mapping[str, str], before: DataSet | None = None) -> DataSet:
    """The data set of a form. Attributes and steps of the item `before` that have no field stay.

    Raises: BadRequest for a value that its attribute cannot have.
    """
    made: DataSet = dict(before or {})
    steps = [dict(step) for step in made.get(STEPS, Attribute("SQ")).values] or [{}]
    for each in FIELDS:
        text = _stored(each, form.get(each.name, "").strip())
        target = steps[0] if each.in_step else made
        target[each.tag] = Attribute(each.vr, [text] if text else [])
    made[STEPS] = Attribute("SQ", steps)
    return made


def _shown(kind: Kind, text: str) -> str:
    if kind == "date" and len(text) == 8:
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if kind == "time" and len(text) >= 4:
        return f"{text[:2]}:{text[2:4]}"
    return text


def _stored(field: FormField, text: str) -> str:
    """The value of a field in its VR. Raises BadRequest."""
    if field.required and not text:
        raise BadRequest(f"{field.name} is missing")
    if len(text) > field.most or "\\" in text or not text.isprintable():
        raise BadRequest(f"{field.name}: {text[:40]!r} is too long, or holds what it may not")
    if field.kind in ("date", "time") and text:
        found = (_DATE if field.kind == "date" else _TIME).fullmatch(text)
        if found is None:
            raise BadRequest(f"{field.name}: {text[:20]!r} is no {field.kind}")
        return "".join(part or "00" for part in found.groups())
    if field.vr in ("CS", "AE") and not text.isascii():
        raise BadRequest(f"{field.name}: {text[:40]!r} is not ASCII")
    return text.upper() if field.vr == "CS" else text
