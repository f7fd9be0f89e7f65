"""The C-STORE sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6 f., C.4.3.1.5 f.): counts, and the sending itself.

The association they go over is given: one of ours to the move destination, or that of the peer who asked. What is
answered to the peer, and when, is `retrieve.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from gateway.archive.retrieve import DECODED, Content, Retrieval
from gateway.dicom import uids
from gateway.dicom.encode import Attribute, encode_data_set
from gateway.dimse import messages, status
from gateway.dimse.command import DATA_SET, Command
from gateway.dimse.status import Category
from gateway.errors import AssociationLost, DatabaseError, GatewayError, UnsupportedTransferSyntax
from gateway.index.locate import Located
from gateway.net.exchange import Exchange
from gateway.ul.negotiation import PresentationContext

log = logging.getLogger(__name__)

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
MAX_LISTED = 100_000
"""UIDs in a Failed SOP Instance UID List, at most; more are only counted."""
_MOST = 0xFFFF
"""The numbers in responses have 16 bits (PS3.7 Annex E)."""
_TARGETS = (uids.EXPLICIT_VR_LITTLE_ENDIAN.uid, uids.IMPLICIT_VR_LITTLE_ENDIAN.uid)
"""What is re-encoded to, the preferred one first."""

Contexts = dict[str, dict[str, PresentationContext]]
"""By SOP class and transfer syntax."""


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


def by_class(contexts: Iterable[PresentationContext]) -> Contexts:
    """The contexts in which we may send, the first of each kind."""
    found: Contexts = {}
    for context in contexts:
        found.setdefault(context.abstract_syntax, {}).setdefault(context.transfer_syntax, context)
    return found


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf it is sent: fields of every C-STORE-RQ."""

    priority: int
    move_originator_aet: str | None = None
    move_originator_message_id: int | None = None


class Transfer:
    """Sends instances over one association, several at once where the peer's window allows."""

    def __init__(
        self,
        exchange: Exchange,
        contexts: Contexts,
        retrieval: Retrieval,
        tally: Tally,
        origin: Origin,
        *,
        window: int,
        timeout: float,
    ) -> None:
        """`timeout`: seconds for the peer to take the next part of an instance, and to answer it."""
        self._exchange = exchange
        self._contexts = contexts
        self._retrieval = retrieval
        self._tally = tally
        self._origin = origin
        self._window = window
        self._timeout = timeout
        self._unsent: list[Located] = []

    async def run(self, instances: AsyncIterator[Located], stopped: Callable[[], bool]) -> None:
        """Send them until there are no more, or `stopped`. Each is counted once it is answered or has failed.

        When the association ends before, all the others have failed too.
        """
        try:
            await self._run(instances, stopped)
        except AssociationLost as error:
            log.warning("sub-operations end early: %s", error)
            for located in self._unsent:
                self._tally.fail(located.sop_uid, str(error))
            await fail_all(instances, self._tally, str(error))

    async def _run(self, instances: AsyncIterator[Located], stopped: Callable[[], bool]) -> None:
        async with aclosing(self._prepared(instances, stopped)) as prepared:
            turn = asyncio.Lock()
            workers = [asyncio.ensure_future(self._send_all(prepared, turn, stopped)) for _ in range(self._window)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _send_all(
        self, prepared: AsyncGenerator[tuple[Located, _Opening], None], turn: asyncio.Lock, stopped: Callable[[], bool]
    ) -> None:
        while not stopped():
            async with turn:
                try:
                    located, opening = await anext(prepared)
                except StopAsyncIteration:
                    return
            if stopped():
                opening.discard()
                return  # Neither sent nor failed: it remains.
            await self._send(located, opening)

    async def _prepared(
        self, instances: AsyncIterator[Located], stopped: Callable[[], bool]
    ) -> AsyncGenerator[tuple[Located, _Opening], None]:
        """Each with its content being opened, one further ahead than is being sent."""
        ready: deque[tuple[Located, _Opening]] = deque()
        try:
            async for located in instances:
                if stopped():
                    break
                ready.append((located, _Opening(self._open(located))))
                if len(ready) > self._window:
                    yield ready.popleft()
            while ready:
                yield ready.popleft()
        except DatabaseError as error:
            log.error("not all instances can be found: %s", error)
            self._tally.comment = "the index cannot be read now"
        finally:
            for located, opening in ready:
                opening.discard()
                self._unsent.append(located)

    async def _open(self, located: Located) -> Content:
        contexts = self._contexts.get(located.sop_class_uid, {})
        return await self._retrieval.data_set(located, lambda stored: choose(contexts, stored, located.sop_class_uid))

    async def _send(self, located: Located, opening: _Opening) -> None:
        tally, uid = self._tally, located.sop_uid
        try:
            content = await opening.content()
        except (GatewayError, OSError) as error:
            log.warning("instance %s is not sent: %s", uid, error)
            tally.fail(uid, str(error))
            return
        except BaseException:
            opening.discard()
            tally.fail(uid, "not sent")
            raise
        context = self._contexts[located.sop_class_uid][content.transfer_syntax_uid]
        origin = self._origin
        command = messages.c_store_request(
            self._exchange.next_message_id(),
            located.sop_class_uid,
            uid,
            priority=origin.priority,
            move_originator_aet=origin.move_originator_aet,
            move_originator_message_id=origin.move_originator_message_id,
        )
        try:
            async with aclosing(content.chunks()) as chunks:
                response = await self._exchange.request(context, command, chunks, timeout=self._timeout)
        except BaseException as error:
            # Also where reading failed in the middle: the association does not outlive half a message.
            tally.fail(uid, str(error) or "not sent")
            if isinstance(error, (GatewayError, OSError)) and not isinstance(error, AssociationLost):
                raise AssociationLost(str(error)) from error
            raise
        finally:
            content.close()
        tally.count(uid, response.status, response.error_comment)
        if status.category(response.status) is Category.FAILURE:
            log.warning("instance %s is refused: %s", uid, status.describe(response.status))


async def fail_all(instances: AsyncIterator[Located], tally: Tally, why: str) -> None:
    """Count all of them as failed, and list them."""
    try:
        async for located in instances:
            tally.fail(located.sop_uid, why)
    except DatabaseError as error:
        log.error("not all instances can be listed: %s", error)


class _Opening:
    """The content of an instance on its way; whoever does not want it any more discards it."""

    def __init__(self, opening: Coroutine[Any, Any, Content]) -> None:
        self._task = asyncio.get_running_loop().create_task(opening)

    async def content(self) -> Content:
        return await self._task

    def discard(self) -> None:
        self._task.cancel()
        self._task.add_done_callback(_close)


def _close(task: asyncio.Task[Content]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def choose(contexts: dict[str, PresentationContext], stored: str, sop_class_uid: str) -> str:
    """The transfer syntax to send in: as it is stored, or one of those it can be made into.

    Raises UnsupportedTransferSyntax where the peer takes none of them.
    """
    if stored in contexts:
        return stored
    if stored in DECODED:
        for target in _TARGETS:
            if target in contexts:
                return target
    if not contexts:
        raise UnsupportedTransferSyntax(f"the peer takes no {uids.name_of(sop_class_uid)}")
    raise UnsupportedTransferSyntax(f"the peer takes no {uids.name_of(stored)}, which cannot be decoded here")
