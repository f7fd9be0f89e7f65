"""C-STORE over one association (PS3.4 Annex B): many instances, several on their way at once, each told what became
of it. Whoever sends does it by this: the `send` command, deliveries, and the sub-operations of C-MOVE and C-GET.

Here: which contexts are proposed, in which one an instance is sent, and the sending. Where the bytes come from is the
`Instance`'s, which association they go over the caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.status import Category
from gateway.errors import AssociationLost, UnsupportedTransferSyntax
from gateway.imaging.transcode import SOURCES, forms
from gateway.net.exchange import Exchange
from gateway.ul.items import MAX_CONTEXTS
from gateway.ul.negotiation import PresentationContext

TARGETS: Final = (uids.EXPLICIT_VR_LITTLE_ENDIAN.uid, uids.IMPLICIT_VR_LITTLE_ENDIAN.uid)
"""What is re-encoded to, the preferred one first; every peer must accept the last (PS3.5 §10.1)."""

Proposal = tuple[str, Sequence[str]]
"""A SOP class and transfer syntaxes: one presentation context."""
Choose = Callable[[str], str]
"""Given the transfer syntax that an instance lies in, the one to send. Raises UnsupportedTransferSyntax."""


class Content(Protocol):
    """One instance, opened; whatever could stand in the way of its last byte has been looked at."""

    @property
    def transfer_syntax_uid(self) -> str:
        """That of the data set that comes."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The data set in pieces, once."""

    def close(self) -> None: ...


class Instance(Protocol):
    """One instance to send."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def transfer_syntax_uid(self) -> str:
        """In which it lies there; should that change before it is opened, what it can be made into is sent."""

    async def prepare(self, choose: Choose) -> Content:
        """Open it in the transfer syntax that `choose` names. Raises whatever is wrong with it, and what that does."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one instance."""

    item: Instance
    status: int | None
    """As the peer answered; None where it was not asked, or did not answer."""
    comment: str
    """What the peer says about the status, often nothing; without a status, why there is none."""
    error: Exception | None = None
    """What kept it from being sent, where that was not the association."""

    @property
    def ok(self) -> bool:
        """It is there: success, or a warning."""
        return self.status is not None and status.category(self.status) in (Category.SUCCESS, Category.WARNING)

    @property
    def detail(self) -> str:
        """In words."""
        if self.status is None:
            return self.comment
        text = status.describe(self.status)
        return f"{text}: {self.comment}" if self.comment else text


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf it is sent: fields of every C-STORE-RQ (PS3.7 §9.1.1.1)."""

    priority: int = 0
    move_originator_aet: str | None = None
    move_originator_message_id: int | None = None


UNASKED: Final = Origin()
"""On nobody's behalf."""


def plan(stored: Mapping[str, Iterable[str]]) -> list[list[Proposal]]:
    """The contexts to propose for SOP classes and the transfer syntaxes in which there are instances of them.

    At most 128 to an association, so perhaps several; a SOP class is never spread over two. Each syntax gets a context
    of its own, so that a peer can take one and refuse another; where it can be made into TARGETS, those are proposed
    too.
    """
    plans: list[list[Proposal]] = [[]]
    for uid, syntaxes in stored.items():
        wanted = dict.fromkeys(syntaxes)
        if not SOURCES.isdisjoint(wanted):
            wanted |= dict.fromkeys(TARGETS)
        if len(plans[-1]) + len(wanted) > MAX_CONTEXTS:
            plans.append([])
        plans[-1] += [(uid, (syntax,)) for syntax in wanted]
    return [proposals for proposals in plans if proposals]


def choose(accepted: Mapping[str, PresentationContext], stored: str, sop_class_uid: str) -> str:
    """The transfer syntax to send in: as it lies there, or one that it can be made into.

    `accepted` has the contexts of its SOP class by transfer syntax. Raises UnsupportedTransferSyntax.
    """
    found = forms(stored, accepted)
    if found:
        return found[0]
    if not accepted:
        raise UnsupportedTransferSyntax(f"the peer does not accept {uids.name_of(sop_class_uid)}")
    what = f"{uids.name_of(sop_class_uid)} in {uids.name_of(stored)}"
    raise UnsupportedTransferSyntax(f"the peer does not accept {what}, nor what it can be made into")


async def prepared(instance: Instance, accepted: Mapping[str, PresentationContext]) -> Content:
    """Open it in the best of the transfer syntaxes `accepted` that can hold this image; `accepted` as for `choose`.

    What most images can be made into may not take one as deep or as coloured as this: then the next is tried. Raises
    what `prepare` raises; UnsupportedTransferSyntax of the first that was tried where none will do.
    """
    left = dict(accepted)
    reason: UnsupportedTransferSyntax | None = None
    while True:
        tried = ""

        def select(stored: str) -> str:
            nonlocal tried
            tried = choose(left, stored, instance.sop_class_uid)
            return tried

        try:
            return await instance.prepare(select)
        except UnsupportedTransferSyntax as error:
            reason = reason or error
            if left.pop(tried, None) is None:
                raise reason from None


class Transfer:
    """Sends instances over one association, whoever opened it."""

    def __init__(
        self,
        exchange: Exchange,
        contexts: Iterable[PresentationContext],
        report: Callable[[Sent], None],
        *,
        window: int,
        timeout: float,
        origin: Origin = UNASKED,
    ) -> None:
        """`contexts`: those in which we may send. `report` hears of each instance once, in the order of their ends.

        `window`: instances on their way at once. `timeout`: seconds for the peer to take the next part of one, and to
        answer it.
        """
        self.settled = 0
        """Instances that were answered, or whose fault it was that they were not."""
        self.left: list[Instance] = []
        """Taken from the instances given and not begun, when it ended early or was stopped."""
        self._exchange = exchange
        self._contexts: dict[str, dict[str, PresentationContext]] = {}
        for context in contexts:
            self._contexts.setdefault(context.abstract_syntax, {}).setdefault(context.transfer_syntax, context)
        self._report = report
        self._window = window
        self._timeout = timeout
        self._origin = origin

    async def run(self, instances: AsyncIterator[Instance], stopped: Callable[[], bool] = lambda: False) -> None:
        """Send them until there are no more, or `stopped`. Raises AssociationLost when the association ends before.

        Of the instances that were begun each is reported, also then and when cancelled.
        """
        async with aclosing(self._prepared(instances, stopped)) as prepared:
            turn = asyncio.Lock()
            workers = [asyncio.ensure_future(self._send_all(prepared, turn, stopped)) for _ in range(self._window)]
            try:
                # With the association all of them end, each with its own reason.
                for outcome in await asyncio.gather(*workers, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _send_all(
        self, prepared: AsyncGenerator[tuple[Instance, _Opening], None], turn: asyncio.Lock, stopped: Callable[[], bool]
    ) -> None:
        while not stopped():
            async with turn:
                try:
                    instance, opening = await anext(prepared)
                except StopAsyncIteration:
                    return
            if stopped():
                opening.discard()
                self.left.append(instance)
                return
            await self._send(instance, opening)

    async def _prepared(
        self, instances: AsyncIterator[Instance], stopped: Callable[[], bool]
    ) -> AsyncGenerator[tuple[Instance, _Opening], None]:
        """Each with its content being opened, one further ahead than is being sent."""
        ready: deque[tuple[Instance, _Opening]] = deque()
        try:
            async for instance in instances:
                ready.append((instance, _Opening(self._open(instance))))
                if stopped():
                    break
                if len(ready) > self._window:
                    yield ready.popleft()
            while ready:
                yield ready.popleft()
        finally:
            for instance, opening in ready:
                opening.discard()
                self.left.append(instance)

    async def _open(self, instance: Instance) -> Content:
        return await prepared(instance, self._contexts.get(instance.sop_class_uid, {}))

    async def _send(self, instance: Instance, opening: _Opening) -> None:
        try:
            content = await opening.content()
        except Exception as error:
            refused = isinstance(error, UnsupportedTransferSyntax)
            self._settle(Sent(instance, None, str(error) if refused else f"cannot be read: {error}", error))
            return
        except BaseException:
            opening.discard()
            self._report(Sent(instance, None, "not sent"))
            raise
        context = self._contexts[instance.sop_class_uid][content.transfer_syntax_uid]
        origin = self._origin
        command = messages.c_store_request(
            self._exchange.next_message_id(),
            instance.sop_class_uid,
            instance.sop_instance_uid,
            priority=origin.priority,
            move_originator_aet=origin.move_originator_aet,
            move_originator_message_id=origin.move_originator_message_id,
        )
        try:
            async with aclosing(content.chunks()) as chunks:
                response = await self._exchange.request(context, command, chunks, timeout=self._timeout)
        except AssociationLost as error:
            self._report(Sent(instance, None, str(error)))
            raise
        except Exception as error:  # Reading failed in the middle: the association does not outlive half a message.
            self._settle(Sent(instance, None, f"cannot be read: {error}"))
            raise AssociationLost(str(error)) from error
        except BaseException:
            self._report(Sent(instance, None, "not sent"))
            raise
        finally:
            content.close()
        self._settle(Sent(instance, response.status, response.error_comment))

    def _settle(self, sent: Sent) -> None:
        self.settled += 1
        self._report(sent)


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
