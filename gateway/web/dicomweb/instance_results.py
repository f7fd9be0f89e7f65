"""The results of a Store transaction for each instance, and their encoding (PS3.18 §10.5.3, Annex I.2).

Errors become Failure Reasons here, and these the status of the answer. `stow.py` receives.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.database.view import VIEW
from gateway.dimse.command import MAX_COMMENT_LENGTH
from gateway.errors import (
    BadRequest,
    DatabaseError,
    DataSetError,
    InstanceRefused,
    OutOfDescriptors,
    OutOfSpace,
    StorageFailed,
    UnsupportedTransferSyntax,
)
from gateway.ingest.committer import CommitterUnavailable
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.web.errors import TooLarge
from gateway.web.urls import ObjectUrl

log = logging.getLogger(__name__)

# Failure Reasons of PS3.18 Table I.2-2.
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122
PROCESSING_FAILURE: Final = 0x0110
# Our own, in the range of warnings: stored already with other bytes, which stay. A refusal of such an instance is C111.
OTHER_VERSION_KEPT: Final = 0xB111
# Stored, but pixel data are lacking: of the warnings of Table I.2-1, the one about the content of the data set.
INCOMPLETE: Final = 0xB007


class UnsupportedPart(DataSetError):
    """The media type of a part is not supported."""


@dataclass(slots=True)
class InstanceResult:
    """The result of one instance, or of a part that is none. Unknown UIDs are empty."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    patient: str = ""
    """Public id."""
    shared: bool = False
    """Whether another patient has a study of the same UID."""
    reason: int = PROCESSING_FAILURE
    """Failure Reason (0008,1197); 0 once the instance is stored."""
    warning: int = 0
    """Warning Reason (0008,1196); 0 for none."""
    comment: str = ""
    status: int = 500
    """Status of an answer that has only failures like this one."""

    def stored(self, taken: StoreResult) -> None:
        record = taken.record
        self.reason = 0
        self.sop_class_uid, self.sop_instance_uid = record.sop_class_uid, record.sop_instance_uid
        self.study_uid = record.parents.study_instance_uid
        self.series_uid = record.parents.series_instance_uid
        self.patient = record.parents.patient_public_id
        self.shared = taken.shared and VIEW.get() is None  # Whose the others are is not for everybody.
        if taken.outcome is Outcome.DUPLICATE_KEPT:
            self.warning = OTHER_VERSION_KEPT
        elif taken.lacking:
            self.warning, self.comment = INCOMPLETE, taken.lacking

    def failed(self, error: BaseException) -> None:
        """Record a failure: the one place where an error becomes a Failure Reason."""
        match error:
            case InstanceRefused():
                self.reason, self.status = error.status, 409
            case OutOfSpace():
                self.reason, self.status = OUT_OF_RESOURCES, 507
            case OutOfDescriptors() | StorageFailed() | CommitterUnavailable() | DatabaseError():
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
        self.comment = str(error)
        if self.reason == PROCESSING_FAILURE:
            log.error("an instance could not be stored", exc_info=error)
        else:
            log.warning("an instance is not stored, reason %04X: %s", self.reason, error)


def status_of(results: Sequence[InstanceResult]) -> int:
    """The status (PS3.18 Table 10.5.3-1): 200 if all are stored, 202 if some are or there are warnings, else the
    reason."""
    if any(not result.reason for result in results):
        return 202 if any(result.reason or result.warning for result in results) else 200
    statuses = {result.status for result in results}
    return statuses.pop() if len(statuses) == 1 else 409


def as_model(
    results: Sequence[InstanceResult], study_url: ObjectUrl, instance_url: ObjectUrl, study: str = ""
) -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18 Table I.2-1) as a DICOM JSON object.

    `study` is that of the request. Error Comment (0000,0902) in failures and warnings is an extension, as in other
    servers: the module has no text for people. It is never shortened: half a reason misleads.
    """
    stored = [result for result in results if not result.reason]
    failed = [result for result in results if result.reason and result.sop_instance_uid]
    others = [result for result in results if result.reason and not result.sop_instance_uid]
    shared = {result.study_uid for result in stored if result.shared}  # perhaps known only to the last
    studies = {(result.study_uid, result.patient if result.study_uid in shared else "") for result in stored}
    urls = [study_url.of(patient, study=study or uid) for uid, patient in studies] if len(studies) == 1 else []
    model: dict[str, Any] = {"00081190": _values("UR", *urls)}
    sequences = {
        "00081198": [_failure(result) for result in failed],
        "00081199": [_success(result, instance_url, shared) for result in stored],
        "0008119A": [_failure(result) for result in others],
    }
    for tag, items in sequences.items():
        if items:
            model[tag] = {"vr": "SQ", "Value": items}
    return model


def _success(result: InstanceResult, instance_url: ObjectUrl, shared: Collection[str]) -> dict[str, Any]:
    patient = result.patient if result.study_uid in shared else ""
    uids = {"study": result.study_uid, "series": result.series_uid, "instance": result.sop_instance_uid}
    url = instance_url.of(patient, **uids)
    item = {**_reference(result), "00081190": _values("UR", url)}
    if result.warning:
        item = {**_comment(result), **item, "00081196": _values("US", result.warning)}
    return item


def _failure(result: InstanceResult) -> dict[str, Any]:
    item = _reference(result) if result.sop_instance_uid else {}
    return {**_comment(result), **item, "00081197": _values("US", result.reason)}


def _comment(result: InstanceResult) -> dict[str, Any]:
    """The Error Comment; a long one as LT, since pydicom, and dicomweb-client with it, warns of an LO over 64
    characters."""
    if not result.comment:
        return {}
    return {"00000902": _values("LO" if len(result.comment) <= MAX_COMMENT_LENGTH else "LT", result.comment)}


def _reference(result: InstanceResult) -> dict[str, Any]:
    return {
        "00081150": _values("UI", *filter(None, [result.sop_class_uid])),
        "00081155": _values("UI", result.sop_instance_uid),
    }


def _values(vr: str, *values: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
