"""What became of the instances of a Store transaction, and how that is said (PS3.18 §10.5.3, Annex I.2).

Here errors become Failure Reasons, and these the status of the answer. Receiving is in `stow.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.archive.ingest import Outcome, Taken
from gateway.archive.keeping import KeeperLost
from gateway.errors import (
    BadRequest,
    DatabaseError,
    DataSetError,
    InstanceRefused,
    OutOfSpace,
    StorageFailed,
    UnsupportedTransferSyntax,
)
from gateway.web.errors import TooLarge

log = logging.getLogger(__name__)

# PS3.18 Table I.2-2.
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122
PROCESSING_FAILURE: Final = 0x0110
# Ours, in the range of warnings: it is here already with other bytes, which stay. A refusal of it is C111.
OTHER_VERSION_KEPT: Final = 0xB111
_COMMENT = 64
"""Characters of an Error Comment (LO)."""


class UnsupportedPart(DataSetError):
    """The media type of a part is not taken."""


@dataclass(slots=True)
class Receipt:
    """One instance, or one part that is none. UIDs are empty where they are not known."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    reason: int = PROCESSING_FAILURE
    """Failure Reason (0008,1197); 0: it is stored, which nothing is before somebody says so."""
    warning: int = 0
    """Warning Reason (0008,1196); 0: none."""
    comment: str = ""
    status: int = 500
    """Of an answer that has nothing but failures like this one."""

    def stored(self, taken: Taken) -> None:
        record = taken.record
        self.reason = 0
        self.sop_class_uid, self.sop_instance_uid = record.sop_class_uid, record.sop_instance_uid
        self.study_uid = record.parents.study_instance_uid
        self.series_uid = record.parents.series_instance_uid
        if taken.outcome is Outcome.KEPT:
            self.warning = OTHER_VERSION_KEPT

    def failed(self, error: BaseException) -> None:
        """The one place where a domain error becomes a Failure Reason."""
        match error:
            case InstanceRefused():
                self.reason, self.status = error.status, 409
            case OutOfSpace():
                self.reason, self.status = OUT_OF_RESOURCES, 507
            case StorageFailed() | KeeperLost() | DatabaseError():
                self.reason, self.status = OUT_OF_RESOURCES, 503
            case UnsupportedTransferSyntax():
                self.reason, self.status = TRANSFER_SYNTAX_NOT_SUPPORTED, 409
            case UnsupportedPart():
                self.reason, self.status = CANNOT_UNDERSTAND, 415
            case DataSetError() | BadRequest():
                self.reason, self.status = CANNOT_UNDERSTAND, 400
            case TooLarge():
                self.reason, self.status = OUT_OF_RESOURCES, 413
            case _:
                self.reason, self.status = PROCESSING_FAILURE, 500
        self.comment = str(error)[:_COMMENT]
        if self.reason == PROCESSING_FAILURE:
            log.error("an instance could not be stored", exc_info=error)
        else:
            log.warning("an instance is not stored, reason %04X: %s", self.reason, error)


def status_of(receipts: Sequence[Receipt]) -> int:
    """PS3.18 Table 10.5.3-1: 200 where all are stored, 202 where some are or there are warnings, else why none is."""
    if any(not receipt.reason for receipt in receipts):
        return 202 if any(receipt.reason or receipt.warning for receipt in receipts) else 200
    statuses = {receipt.status for receipt in receipts}
    return statuses.pop() if len(statuses) == 1 else 409


def as_model(receipts: Sequence[Receipt], study_url: str, instance_url: str, study: str = "") -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18 Table I.2-1) as a DICOM JSON object.

    The URLs are format strings; `study` is that of the request. Error Comment (0000,0902) in failures is our addition,
    as others make it: the module has no words for people.
    """
    stored = [receipt for receipt in receipts if not receipt.reason]
    failed = [receipt for receipt in receipts if receipt.reason and receipt.sop_instance_uid]
    others = [receipt for receipt in receipts if receipt.reason and not receipt.sop_instance_uid]
    studies = {study} if study else {receipt.study_uid for receipt in stored}
    urls = [study_url.format(study=uid) for uid in studies] if len(studies) == 1 and stored else []
    model: dict[str, Any] = {"00081190": _values("UR", *urls)}
    sequences = {
        "00081198": [_failure(receipt) for receipt in failed],
        "00081199": [_success(receipt, instance_url) for receipt in stored],
        "0008119A": [_failure(receipt) for receipt in others],
    }
    for tag, items in sequences.items():
        if items:
            model[tag] = {"vr": "SQ", "Value": items}
    return model


def _success(receipt: Receipt, instance_url: str) -> dict[str, Any]:
    url = instance_url.format(study=receipt.study_uid, series=receipt.series_uid, instance=receipt.sop_instance_uid)
    item = {**_reference(receipt), "00081190": _values("UR", url)}
    if receipt.warning:
        item["00081196"] = _values("US", receipt.warning)
    return item


def _failure(receipt: Receipt) -> dict[str, Any]:
    item = _reference(receipt) if receipt.sop_instance_uid else {}
    if receipt.comment:
        item = {"00000902": _values("LO", receipt.comment), **item}
    return {**item, "00081197": _values("US", receipt.reason)}


def _reference(receipt: Receipt) -> dict[str, Any]:
    return {
        "00081150": _values("UI", *filter(None, [receipt.sop_class_uid])),
        "00081155": _values("UI", receipt.sop_instance_uid),
    }


def _values(vr: str, *values: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
