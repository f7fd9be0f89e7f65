"""C-STORE (PS3.4 Annex B): a data set is refused, or passed to `ingest/` and answered once it is committed.

The errors of `ingest/` become statuses here (PS3.4 Table B.2-1).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from gateway.audit.searches import detail_text
from gateway.database.view import tenant_of_task
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import C_STORE_RQ, Command
from gateway.errors import DatabaseError, InstanceRefused, OutOfDescriptors, OutOfSpace, StorageFailed
from gateway.index.store import Origin
from gateway.ingest import outcome
from gateway.ingest.committer import CommitterUnavailable
from gateway.ingest.instance_writer import InstanceWriter
from gateway.ingest.outcome import StoreResult
from gateway.net.buffers import Block
from gateway.net.receiver import Receiver
from gateway.net.session import Session
from gateway.scp import auditing
from gateway.scp.context import Context
from gateway.scp.service_class import ServiceClass
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)


class Store(Receiver):
    """The receiver of one C-STORE-RQ. A refused request is read to its end all the same, and then answered."""

    def __init__(self, context: Context, session: Session, presentation: PresentationContext, command: Command) -> None:
        self._ingest = context.use_cases.ingest
        self._audit = context.use_cases.audit
        self._session = session
        self._context = presentation
        self._command = command
        self._writer: InstanceWriter | None = None
        self._received = 0
        instance = command.affected_sop_instance_uid or ""
        self._refusal: tuple[int, str] | None = _objection(presentation, command, instance)
        if self._refusal is None:
            origin = Origin(
                calling_aet=session.calling_aet,
                called_aet=session.called_aet,
                peer=session.host,
                received_at=time.time(),
                via="dimse",
                tenant=tenant_of_task(),
            )
            try:
                self._writer = self._ingest.begin(
                    transfer_syntax_uid=presentation.transfer_syntax,
                    sop_class_uid=presentation.abstract_syntax,
                    sop_instance_uid=instance,
                    origin=origin,
                )
            except Exception as error:
                self._refusal = self._status_of(error)

    def write(self, data: memoryview, block: Block) -> None:
        self._received += len(data)
        self._session.bytes += len(data)
        if self._writer is not None:
            self._writer.write(data, block)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def end(self) -> None:
        if self._writer is not None:
            self._writer.commit().add_done_callback(self._answer)
        else:
            assert self._refusal is not None
            self._respond(*self._refusal)

    def lost(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def _answer(self, task: asyncio.Task[StoreResult]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            taken = task.result()
            self._session.note_stored(taken.record.parents.study_instance_uid)
            record = taken.record
            auditing.stored(self._audit, self._session, record.parents.study_instance_uid, record.sop_class_uid)
            code = status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS_WARNING if taken.lacking else status.SUCCESS
            self._respond(code, taken.lacking)
        else:
            self._respond(*self._status_of(error))

    def _status_of(self, error: BaseException) -> tuple[int, str]:
        """The C-STORE status and comment for an error of the domain; all errors are mapped here."""
        match error:
            case InstanceRefused():
                code = error.status
            case OutOfSpace() | OutOfDescriptors() | StorageFailed() | CommitterUnavailable() | DatabaseError():
                code = status.OUT_OF_RESOURCES
            case _:
                code = status.PROCESSING_FAILURE
        reason = str(error)
        if code == status.PROCESSING_FAILURE:
            log.error("%s: an instance could not be stored", self._session, exc_info=error)
        else:
            about = {"instance": self._command.affected_sop_instance_uid, "status": f"{code:04X}"}
            log.warning(
                "%s: an instance is answered %04X: %s", self._session, code, reason, extra={"log_fields": about}
            )
        return code, reason

    def _respond(self, code: int, comment: str) -> None:
        # An instance stored with a warning has been counted as stored.
        if status.category(code) is status.Category.FAILURE:
            self._session.note_refused(comment)
            detail = detail_text({"status": f"{code:04X}"})
            auditing.answered(self._audit, self._session, "upload", code, (), detail)
        response = messages.c_store_response(self._command, code, comment or None)
        self._session.respond(self._context.id, response.encode())


def _objection(context: PresentationContext, command: Command, instance: str) -> tuple[int, str] | None:
    """The status and comment for an invalid command (PS3.7 §9.1.1.1.9); None if it is valid."""
    if not command.has_data_set:
        return status.MISSING_ATTRIBUTE, "a C-STORE request needs a data set"
    if command.affected_sop_class_uid != context.abstract_syntax:
        return status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"
    if not uids.is_uid(instance):
        return status.INVALID_SOP_INSTANCE, "the Affected SOP Instance UID is not a UID"
    return None


SERVICE: Final = ServiceClass(
    "store",
    "Storage",
    tuple(uids.STORAGE_CLASSES),
    {C_STORE_RQ: Store},
    transfer_syntaxes=None,
    requestor_may_be_scp=True,  # to receive what it requests by C-GET
    takes_unregistered=True,
    more_statuses=(outcome,),
)
