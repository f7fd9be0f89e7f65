"""Data sets of storage commitment: the request and its outcome (PS3.4 Annex J, push model).

Both sides encode and decode both. Who requests, and when an instance is safe, is not here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.uids import is_valid_uid
from gateway.dimse import status
from gateway.errors import DataSetError

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known instance that every request and report refers to (J.3.5)."""
REQUEST: Final = 1
"""Action Type ID of a request (J.3.2)."""
COMPLETE: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs of a report (J.3.3)."""

PROCESSING_FAILURE: Final = status.PROCESSING_FAILURE
NO_SUCH_INSTANCE: Final = status.NO_SUCH_SOP_INSTANCE
CLASS_INSTANCE_CONFLICT: Final = status.CLASS_INSTANCE_CONFLICT
DUPLICATE_TRANSACTION_UID: Final = 0x0131

REASONS: Final = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    status.RESOURCE_LIMITATION: "resource limitation",
    status.SOP_CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    CLASS_INSTANCE_CONFLICT: "class and instance conflict",
    DUPLICATE_TRANSACTION_UID: "duplicate transaction UID",
}
"""Failure Reason (0008,1197) in words (PS3.3 C.14.1.1)."""

_TRANSACTION_UID: Final = 0x00081195
_FAILURE_REASON: Final = 0x00081197
_FAILED_SOP_SEQUENCE: Final = 0x00081198
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_RETRIEVE_AE_TITLE: Final = 0x00080054


class Reference(NamedTuple):
    """One instance whose commitment is requested."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a request: the committed instances, and the failed ones with their Failure Reason."""

    transaction_uid: str
    committed: list[Reference] = field(default_factory=list)
    failed: list[tuple[Reference, int]] = field(default_factory=list)

    @property
    def event_type_id(self) -> int:
        return FAILURES_EXIST if self.failed else COMPLETE


def request_data_set(transaction_uid: str, references: Iterable[Reference]) -> DataSet:
    """The action information of N-ACTION (Table J.3-1)."""
    return {
        _TRANSACTION_UID: Attribute("UI", [transaction_uid]),
        _REFERENCED_SOP_SEQUENCE: Attribute("SQ", [_item(reference) for reference in references]),
    }


def read_request(data_set: DataSet) -> tuple[str, list[Reference]]:
    """The Transaction UID and the instances, each once. Raises: DataSetError if the data set is no request."""
    transaction_uid = _transaction_uid(data_set)
    references = list(dict.fromkeys(_references(data_set, _REFERENCED_SOP_SEQUENCE)))
    if not references:
        raise DataSetError("(0008,1199): no instance is referenced")
    if len({reference.sop_instance_uid for reference in references}) != len(references):
        raise DataSetError("(0008,1199): one instance is referenced under two SOP classes")
    return transaction_uid, references


def outcome_data_set(outcome: Outcome, retrieve_aet: str = "") -> DataSet:
    """The event information of N-EVENT-REPORT (Table J.3-2). `retrieve_aet` is the AE title to retrieve from."""
    data_set: DataSet = {_TRANSACTION_UID: Attribute("UI", [outcome.transaction_uid])}
    if outcome.committed:
        data_set[_REFERENCED_SOP_SEQUENCE] = Attribute("SQ", [_item(reference) for reference in outcome.committed])
        if retrieve_aet:
            data_set[_RETRIEVE_AE_TITLE] = Attribute("AE", [retrieve_aet])
    if outcome.failed:
        data_set[_FAILED_SOP_SEQUENCE] = Attribute(
            "SQ", [{**_item(each), _FAILURE_REASON: Attribute("US", [reason])} for each, reason in outcome.failed]
        )
    return data_set


def read_outcome(data_set: DataSet) -> Outcome:
    """Decode a report. Raises: DataSetError if the data set is no report."""
    failed = []
    items = data_set.get(_FAILED_SOP_SEQUENCE, _ABSENT).values
    for reference, item in zip(_references(data_set, _FAILED_SOP_SEQUENCE), items, strict=True):
        reasons = item.get(_FAILURE_REASON, _ABSENT).values
        failed.append((reference, int(reasons[0]) if reasons else PROCESSING_FAILURE))
    return Outcome(_transaction_uid(data_set), _references(data_set, _REFERENCED_SOP_SEQUENCE), failed)


_ABSENT: Final = Attribute("SQ")


def _item(reference: Reference) -> DataSet:
    return {
        _REFERENCED_SOP_CLASS_UID: Attribute("UI", [reference.sop_class_uid]),
        _REFERENCED_SOP_INSTANCE_UID: Attribute("UI", [reference.sop_instance_uid]),
    }


def _transaction_uid(data_set: DataSet) -> str:
    return _uid(data_set, _TRANSACTION_UID)


def _references(data_set: DataSet, tag: int) -> list[Reference]:
    sequence = data_set.get(tag, _ABSENT)
    if sequence.vr != "SQ":
        raise DataSetError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no sequence")
    return [
        Reference(_uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID))
        for item in sequence.values
    ]


def _uid(data_set: DataSet, tag: int) -> str:
    values = data_set.get(tag, _ABSENT).values
    text = values[0] if len(values) == 1 else ""
    if not isinstance(text, str) or not (is_valid_uid(text) or _lenient(text)):
        raise DataSetError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not one UID: {str(text)[:64]!r}")
    return text


def _lenient(text: str) -> bool:
    """Whether the text may be a UID with leading zeros: wrong, common, and possibly the UID of a stored instance."""
    return 0 < len(text) <= 64 and text.isascii() and text.replace(".", "").isdigit()
