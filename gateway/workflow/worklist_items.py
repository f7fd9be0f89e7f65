"""Items of the modality worklist: data sets with one or more Scheduled Procedure Steps, and the scripts that keep them.

Whose an item is: the tenant's for which it was made, as are performed procedure steps. A script changes only what its
reader sees, since the statements that write look for rows in all of the table.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.database.database import Script
from gateway.dicom import json
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.json_reader import from_json
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import BadRequest, DataSetError
from gateway.index.values import comparable_date
from gateway.workflow import queries

STEPS: Final = 0x00400100
STEP_DATE: Final = 0x00400002
STEP_TIME: Final = 0x00400003
STEP_ID: Final = 0x00400009
STEP_STATUS: Final = 0x00400020
STUDY_UID: Final = 0x0020000D
MAX_ITEM: Final = 1 << 20
"""Bytes of one item."""


@dataclass(frozen=True, slots=True)
class Item:
    """One worklist item. `source` is the name of its file, '' for an item from REST."""

    id: int
    public_id: str
    source: str
    created_at: float
    changed_at: float
    data_set: DataSet
    tenant: str = ""
    """Whose it is; empty: nobody's among the tenants."""


def to_json(data_set: DataSet) -> str:
    """Encode a small data set as an object of the DICOM JSON Model."""
    syntax = EXPLICIT_VR_LITTLE_ENDIAN.uid
    data = encode_data_set(data_set, syntax)

    def no_uri(path: str) -> str:
        raise DataSetError(f"{path} is too large for a worklist item or a report")

    read: Callable[[int, int], bytes] = lambda offset, length: data[offset : offset + length]  # noqa: E731
    encoded = json.encode_data_set(read, 0, len(data), syntax, bulk_data_uri=no_uri, bulk_threshold=MAX_ITEM)
    return encoded.decode()


def checked(data_set: DataSet) -> DataSet:
    """Complete an item with a Study Instance UID, and a status in each step. Raises BadRequest when it has no step."""
    sequence = data_set.get(STEPS, Attribute("SQ"))
    steps = sequence.values if sequence.vr == "SQ" else ()
    if not steps or not all(steps):
        raise BadRequest("a worklist item needs a ScheduledProcedureStepSequence (0040,0100) with an item in it")
    scheduled = Attribute("CS", ["SCHEDULED"])
    completed = {
        **data_set,
        STEPS: Attribute(
            "SQ", [{**step} if text_of(step.get(STEP_STATUS)) else {**step, STEP_STATUS: scheduled} for step in steps]
        ),
    }
    if STUDY_UID in completed and completed[STUDY_UID].vr != "UI":
        raise BadRequest(f"StudyInstanceUID (0020,000D) of a worklist item has VR {completed[STUDY_UID].vr}, not UI")
    if not text_of(completed.get(STUDY_UID)):
        completed[STUDY_UID] = Attribute("UI", [f"2.25.{uuid.uuid4().int}"])
    return completed


def follow_step(study_uid: str, step_ids: frozenset[str], state: str, now: float) -> Script[int]:
    """Set the status of the steps of a study, as a performed procedure step reports it; returns the items changed.

    Without step IDs, all steps of the study are set. Items that whoever reports does not see stay as they are.
    """
    count = 0
    for row in (yield queries.WORKLIST_OF_STUDY, (study_uid,)):
        data_set = from_json(msgspec.json.decode(row[6]))
        steps = [
            {**step, STEP_STATUS: Attribute("CS", [state])}
            if not step_ids or text_of(step.get(STEP_ID)) in step_ids
            else step
            for step in data_set[STEPS].values
        ]
        if steps != list(data_set[STEPS].values):
            data_set[STEPS] = Attribute("SQ", steps)
            yield from change_item(row[1], row[3], data_set, to_json(data_set), now)
            count += 1
    return count


def add_item(item: Item, fingerprint: str, text: str) -> Script[None]:
    """Add an item, whose data set has the JSON `text`; `fingerprint` is that of its file."""
    columns = (text_of(item.data_set.get(STUDY_UID)), *_dates(item.data_set))
    named = item.public_id, item.source, fingerprint
    yield queries.ADD_WORKLIST_ITEM, (*named, *columns, item.created_at, text, item.tenant)


def change_item(public_id: str, fingerprint: str, data_set: DataSet, text: str, now: float) -> Script[bool]:
    """Replace the data set of an item; False for one that whoever asks does not see."""
    if not (yield queries.GET_WORKLIST_ITEM, (public_id,)):
        return False
    columns = (text_of(data_set.get(STUDY_UID)), *_dates(data_set))
    return bool((yield queries.CHANGE_WORKLIST_ITEM, (public_id, fingerprint, *columns, now, text)))


def remove_item(public_id: str) -> Script[bool]:
    """Delete an item; False for one that whoever asks does not see."""
    if not (yield queries.GET_WORKLIST_ITEM, (public_id,)):
        return False
    return bool((yield queries.REMOVE_WORKLIST_ITEM, (public_id,)))


def _dates(data_set: DataSet) -> tuple[str, str]:
    """The first and last date of the steps; '' twice when any step has no date."""
    dates = [comparable_date(text_of(step.get(STEP_DATE))) for step in data_set[STEPS].values]
    return (min(dates), max(dates)) if all(dates) else ("", "")


def text_of(attribute: Attribute | None) -> str:
    """The first value as text without padding; '' for none."""
    return str(attribute.values[0]).strip() if attribute is not None and attribute.values else ""
