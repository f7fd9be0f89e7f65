"""The C-STORE sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 f., C.4.3.1.5 f.): what becomes of them, counted.

The association they go over is given: one of ours to the move destination, or that of the peer who asked. The sending
is `scu/sending.py`'s; what is answered to the peer, and when, `retrieve.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway.archive.outgoing import StoredInstance
from gateway.archive.retrieve import Retrieval
from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import DATA_SET, Command
from gateway.dimse.status import Category
from gateway.errors import AssociationLost, DatabaseError
from gateway.index.locate import Located
from gateway.net.exchange import Exchange
from gateway.scu.sending import Origin, Sent, Transfer
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
MAX_LISTED = 100_000
"""UIDs in a Failed SOP Instance UID List, at most; more are only counted."""
_MOST = 0xFFFF
"""The numbers in responses have 16 bits (PS3.7 Annex E)."""


@dataclass(slots=True)
class Tally:
    """What has become of the sub-operations."""

    total: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    comment: str = ""
    """Why the last one failed."""
    failed_uids: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return max(0, self.total - self.completed - self.failed - self.warning)

    def count(self, sop_instance_uid: str, code: int, comment: str = "") -> None:
        """One sub-operation has been answered with this status."""
        match status.category(code):
            case Category.SUCCESS:
                self.completed += 1
            case Category.WARNING:
                self.warning += 1
            case _:
                self.fail(sop_instance_uid, comment or status.describe(code))

    def fail(self, sop_instance_uid: str, why: str) -> None:
        """One could not be sent, or was refused."""
        self.failed += 1
        self.comment = why
        if len(self.failed_uids) < MAX_LISTED:
            self.failed_uids.append(sop_instance_uid)

    def status(self, *, cancelled: bool) -> int:
        """The final status: FE00, A702 where every one failed, B000 where some did or had warnings, success."""
        if cancelled and self.remaining:
            return status.CANCEL
        if self.failed and not self.completed and not self.warning:
            return status.OUT_OF_RESOURCES_SUBOPERATIONS
        return status.SUBOPERATIONS_WITH_FAILURES if self.failed or self.warning else status.SUCCESS

    def fail_rest(self, why: str) -> None:
        """What cannot be named any more: it has gone since it was counted, or the index cannot be read."""
        if self.remaining:
            self.failed += self.remaining
            self.comment = self.comment or why

    def pending(self, request: Command) -> Command:
        return self._response(request, status.PENDING, self.remaining)

    def final(self, request: Command, transfer_syntax_uid: str, *, cancelled: bool) -> tuple[Command, bytes]:
        """The last response, and its data set where any failed."""
        code = self.status(cancelled=cancelled)
        answer = self._response(request, code, self.remaining if code == status.CANCEL else None)
        if self.failed and self.comment:
            answer.error_comment = self.comment[:64]
        if not self.failed_uids:
            return answer, b""
        answer.command_data_set_type = DATA_SET
        listed = {FAILED_SOP_INSTANCE_UID_LIST: Attribute("UI", self.failed_uids)}
        return answer, encode_data_set(listed, transfer_syntax_uid)

    def _response(self, request: Command, code: int, remaining: int | None) -> Command:
        return messages.retrieve_response(
            request,
            code,
            remaining=None if remaining is None else min(remaining, _MOST),
            completed=min(self.completed, _MOST),
            failed=min(self.failed, _MOST),
            warning=min(self.warning, _MOST),
        )


class Suboperations:
    """Has instances sent over one association, each counted in `tally`."""

    def __init__(
        self,
        exchange: Exchange,
        contexts: Iterable[PresentationContext],
        retrieval: Retrieval,
        tally: Tally,
        origin: Origin,
        *,
        window: int,
        timeout: float,
    ) -> None:
        """`timeout`: seconds for the peer to take the next part of an instance, and to answer it."""
        self._retrieval = retrieval
        self._tally = tally
        self._transfer = Transfer(exchange, contexts, self._count, window=window, timeout=timeout, origin=origin)

    async def run(self, instances: AsyncIterator[Located], stopped: Callable[[], bool]) -> None:
        """Send them until there are no more, or `stopped`. Each is counted once it is answered or has failed.

        When the association ends before, all the others have failed too.
        """
        try:
            async with aclosing(self._outgoing(instances)) as outgoing:
                await self._transfer.run(outgoing, stopped)
        except AssociationLost as error:
            log.warning("sub-operations end early: %s", error)
            for left in self._transfer.left:
                self._tally.fail(left.sop_instance_uid, str(error))
            await fail_all(instances, self._tally, str(error))

    async def _outgoing(self, instances: AsyncIterator[Located]) -> AsyncGenerator[StoredInstance, None]:
        try:
            async for located in instances:
                yield StoredInstance(located, self._retrieval)
        except DatabaseError as error:
            log.error("not all instances can be found: %s", error)
            self._tally.comment = "the index cannot be read now"

    def _count(self, sent: Sent) -> None:
        uid = sent.item.sop_instance_uid
        if sent.status is None:
            log.warning("instance %s is not sent: %s", uid, sent.comment)
            self._tally.fail(uid, sent.comment)
            return
        self._tally.count(uid, sent.status, sent.comment)
        if status.category(sent.status) is Category.FAILURE:
            log.warning("instance %s is refused: %s", uid, sent.detail)


async def fail_all(instances: AsyncIterator[Located], tally: Tally, why: str) -> None:
    """Count all of them as failed, and list them."""
    try:
        async for located in instances:
            tally.fail(located.sop_uid, why)
    except DatabaseError as error:
        log.error("not all instances can be listed: %s", error)
