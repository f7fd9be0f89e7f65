"""C-STORE (PS3.4 Annex B): accept or refuse, hand the data set on, answer when it is safe.

What makes an instance safe is `archive/ingest.py`. Here its errors become statuses (PS3.4 Table B.2-1).
"""

from __future__ import annotations

import asyncio
import logging
import time

from gateway.archive.ingest import Ingest, Taken
from gateway.archive.keeping import KeeperLost
from gateway.archive.reception import Reception
from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.errors import DatabaseError, InstanceRefused, OutOfSpace, StorageFailed
from gateway.index.store import Origin
from gateway.net.buffers import Block
from gateway.net.session import Session
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

"""Components with leading zeros are wrong (PS3.5 §9.1) and everywhere; refusing them would lose images."""
_COMMENT = 64
"""Characters of an Error Comment (LO)."""


class Store:
    """Receives one C-STORE-RQ. One that is refused is read to its end all the same, then answered."""

    def __init__(self, ingest: Ingest, session: Session, context: PresentationContext, command: Command) -> None:
        self._ingest = ingest
        self._session = session
        self._context = context
        self._command = command
        self._reception: Reception | None = None
        self._received = 0
        instance = command.affected_sop_instance_uid or ""
        self._refusal: tuple[int, str] | None = _objection(context, command, instance)
        if self._refusal is None:
            origin = Origin(
                calling_aet=session.calling_aet,
                called_aet=session.called_aet,
                peer=session.host,
                received_at=time.time(),
                via="dimse",
            )
            try:
                self._reception = ingest.begin(
                    transfer_syntax_uid=context.transfer_syntax,
                    sop_class_uid=context.abstract_syntax,
                    sop_instance_uid=instance,
                    origin=origin,
                )
            except Exception as error:
                self._refusal = self._status_of(error)

    def write(self, data: memoryview, block: Block) -> None:
        self._received += len(data)
        self._session.bytes += len(data)
        if self._reception is not None:
            self._reception.write(data, block)

    def flush(self) -> None:
        if self._reception is not None:
            self._reception.flush()

    def end(self) -> None:
        if self._reception is not None:
            self._ingest.end(self._reception).add_done_callback(self._answer)
        else:
            assert self._refusal is not None
            self._respond(*self._refusal)

    def lost(self) -> None:
        if self._reception is not None:
            self._ingest.abandon(self._reception)

    def _answer(self, task: asyncio.Task[Taken]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._session.instances += 1
            self._respond(status.SUCCESS, "")
        else:
            self._respond(*self._status_of(error))

    def _status_of(self, error: BaseException) -> tuple[int, str]:
        """The one place where a domain error becomes a C-STORE status."""
        match error:
            case InstanceRefused():
                code = error.status
            case OutOfSpace() | StorageFailed() | KeeperLost() | DatabaseError():
                code = status.OUT_OF_RESOURCES
            case _:
                code = status.PROCESSING_FAILURE
        if code == status.PROCESSING_FAILURE:
            log.error("%s: an instance could not be stored", self._session, exc_info=error)
        else:
            log.warning("%s: an instance is answered %04X: %s", self._session, code, error)
        return code, str(error)

    def _respond(self, code: int, comment: str) -> None:
        response = messages.c_store_response(self._command, code, comment[:_COMMENT] or None)
        self._session.respond(self._context.id, response.encode())


def _objection(context: PresentationContext, command: Command, instance: str) -> tuple[int, str] | None:
    """What is wrong with the command itself (PS3.7 §9.1.1.1.9): status and comment, or None."""
    if not command.has_data_set:
        return status.MISSING_ATTRIBUTE, "a C-STORE request needs a data set"
    if command.affected_sop_class_uid != context.abstract_syntax:
        return status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"
    if not uids.is_uid(instance):
        return status.INVALID_SOP_INSTANCE, "the Affected SOP Instance UID is not a UID"
    return None
