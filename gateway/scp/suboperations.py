"""The tally of the C-STORE sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 f., C.4.3.1.5 f.).

`scu/transfer.py` sends the instances; `retrieve.py` chooses the association and responds to the peer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import DATA_SET, Command
from gateway.dimse.status import Category
from gateway.errors import DatabaseError
from gateway.index.locate import Located
from gateway.retrieve.outgoing import StoredInstance
from gateway.retrieve.retrieval import Retrieval
from gateway.scu.transfer import Instance, Sent

log = logging.getLogger(__name__)

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
MAX_LISTED = 100_000
"""UIDs in a Failed SOP Instance UID List, at most; further ones are only counted."""
_MAX_NUMBER = 0xFFFF
"""The numbers in responses have 16 bits (PS3.7 Annex E)."""


@dataclass(slots=True)
class Tally:
    """The outcomes of the sub-operations, counted."""

    total: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    comment: str = ""
    """The reason of the last failure."""
    failed_uids: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return max(0, self.total - self.completed - self.failed - self.warning)

    def count(self, sop_instance_uid: str, code: int, comment: str = "") -> None:
        """Count a sub-operation that was answered with this status."""
        match status.category(code):
            case Category.SUCCESS:
                self.completed += 1
            case Category.WARNING:
                self.warning += 1
            case _:
                self.fail(sop_instance_uid, comment or status.describe(code))

    def fail(self, sop_instance_uid: str, why: str) -> None:
        """Count a sub-operation that could not be sent, or was refused."""
        self.failed += 1
        self.comment = why
        if len(self.failed_uids) < MAX_LISTED:
            self.failed_uids.append(sop_instance_uid)

    def status(self, *, cancelled: bool) -> int:
        """The final status: FE00 if cancelled, A702 if all failed, B000 after failures or warnings, else success."""
        if cancelled and self.remaining:
            return status.CANCEL
        if self.failed and not self.completed and not self.warning:
            return status.OUT_OF_RESOURCES_SUBOPERATIONS
        return status.SUBOPERATIONS_WITH_FAILURES if self.failed or self.warning else status.SUCCESS

    def record(self, sent: Sent) -> None:
        """Count one sub-operation by its outcome."""
        uid = sent.item.sop_instance_uid
        if sent.status is None:
            log.warning("instance %s is not sent: %s", uid, sent.comment)
            self.fail(uid, sent.comment)
            return
        self.count(uid, sent.status, sent.comment)
        if status.category(sent.status) is Category.FAILURE:
            log.warning("instance %s is refused: %s", uid, sent.detail)

    async def fail_all(self, instances: AsyncIterator[Instance], why: str) -> None:
        """Count all these instances as failed, and list their UIDs."""
        async for instance in instances:
            self.fail(instance.sop_instance_uid, why)

    def fail_rest(self, why: str) -> None:
        """Count the remaining ones as failed without UIDs: they were deleted since, or the index cannot be read."""
        if self.remaining:
            self.failed += self.remaining
            self.comment = self.comment or why

    def pending(self, request: Command) -> Command:
        return self._response(request, status.PENDING, self.remaining)

    def final(self, request: Command, transfer_syntax_uid: str, *, cancelled: bool) -> tuple[Command, bytes]:
        """The final response, and its data set if any sub-operation failed."""
        code = self.status(cancelled=cancelled)
        answer = self._response(request, code, self.remaining if code == status.CANCEL else None)
        if self.failed and self.comment:
            answer.error_comment = self.comment
        if not self.failed_uids:
            return answer, b""
        answer.command_data_set_type = DATA_SET
        listed = {FAILED_SOP_INSTANCE_UID_LIST: Attribute("UI", self.failed_uids)}
        return answer, encode_data_set(listed, transfer_syntax_uid)

    def _response(self, request: Command, code: int, remaining: int | None) -> Command:
        return messages.retrieve_response(
            request,
            code,
            remaining=None if remaining is None else min(remaining, _MAX_NUMBER),
            completed=min(self.completed, _MAX_NUMBER),
            failed=min(self.failed, _MAX_NUMBER),
            warning=min(self.warning, _MAX_NUMBER),
        )


async def outgoing(
    instances: AsyncIterator[Located], retrieval: Retrieval, tally: Tally
) -> AsyncGenerator[StoredInstance, None]:
    """The instances to send. If the index can no longer be read, they end, and `tally` has the reason."""
    try:
        async for located in instances:
            yield StoredInstance(located, retrieval)
    except DatabaseError as error:
        log.error("not all instances can be found: %s", error)
        tally.comment = "the index cannot be read now"
