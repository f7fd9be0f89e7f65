"""C-STORE over one association (PS3.4 Annex B): several instances at once, each with its outcome reported.

The `send` command, deliveries, and the sub-operations of C-MOVE and C-GET all send this way. Contexts to propose, the
choice of one for an instance, and the sending live here. The bytes come from an `Instance`, the association from the
caller.
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
"""Targets of re-encoding, the preferred one first; every peer must accept the last (PS3.5 §10.1)."""

Proposal = tuple[str, Sequence[str]]
"""One presentation context: a SOP class and its transfer syntaxes."""
Choose = Callable[[str], str]
"""Chooses the transfer syntax to send, from the stored one. Raises UnsupportedTransferSyntax."""


class Content(Protocol):
    """One opened instance: every check that could prevent its last byte has passed."""

    @property
    def transfer_syntax_uid(self) -> str:
        """Transfer syntax of the data set in `chunks`."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The data set in chunks. Call once."""

    def close(self) -> None: ...


class Instance(Protocol):
    """One instance to send."""

    @property
    def name(self) -> str:
        """Name to show a user."""

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def transfer_syntax_uid(self) -> str:
        """The stored transfer syntax. Should it change before `prepare`, the instance is transcoded from the new
        one."""

    async def prepare(self, choose: Choose) -> Content:
        """Open the instance in the transfer syntax that `choose` returns. Raises its own errors and those of
        `choose`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of one instance."""

    item: Instance
    status: int | None
    """Status of the peer; None where no request was made or answered."""
    comment: str
    """The peer's comment on the status, often empty; without a status, the reason."""
    error: Exception | None = None
    """The error that prevented sending, unless the association caused it."""
    lost: bool = False
    """Whether the association ended during the request."""

    @property
    def ok(self) -> bool:
        """Whether the peer has the instance: success, or a warning."""
        return self.status is not None and status.category(self.status) in (Category.SUCCESS, Category.WARNING)

    @property
    def detail(self) -> str:
        """The outcome in words."""
        if self.status is None:
            return self.comment
        text = status.describe(self.status)
        return f"{text}: {self.comment}" if self.comment else text


@dataclass(frozen=True, slots=True)
class Origin:
    """The requester of a transfer: fields of every C-STORE-RQ (PS3.7 §9.1.1.1)."""

    priority: int = 0
    move_originator_aet: str | None = None
    move_originator_message_id: int | None = None


UNASKED: Final = Origin()
"""A transfer that no C-MOVE requested."""


def plan(stored: Mapping[str, Iterable[str]]) -> list[list[Proposal]]:
    """The contexts to propose, from SOP classes and the transfer syntaxes of their instances.

    At most 128 to an association, hence several plans; a SOP class is never split between two. Each syntax gets a
    context of its own, so that a peer can accept one and refuse another; TARGETS are added for a syntax that can be
    transcoded to them.
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
    """The transfer syntax to send: the stored one, or one that it can be transcoded to.

    `accepted` holds the contexts of the SOP class by transfer syntax. Raises UnsupportedTransferSyntax.
    """
    found = forms(stored, accepted)
    if found:
        return found[0]
    if not accepted:
        raise UnsupportedTransferSyntax(f"the peer does not accept {uids.name_of(sop_class_uid)}")
    what = f"{uids.name_of(sop_class_uid)} in {uids.name_of(stored)}"
    raise UnsupportedTransferSyntax(f"the peer does not accept {what}, nor any syntax that it can be transcoded to")


async def prepared(instance: Instance, accepted: Mapping[str, PresentationContext]) -> Content:
    """Open an instance in the best of the `accepted` transfer syntaxes that can hold its image; `accepted` as for
    `choose`.

    A syntax that most images can be transcoded to may not allow the bit depth or colour of this one: then the next is
    tried. Raises the errors of `prepare`; the first UnsupportedTransferSyntax when no syntax will do.
    """
    remaining = dict(accepted)
    reason: UnsupportedTransferSyntax | None = None
    while True:
        tried = ""

        def select(stored: str) -> str:
            nonlocal tried
            tried = choose(remaining, stored, instance.sop_class_uid)
            return tried

        try:
            return await instance.prepare(select)
        except UnsupportedTransferSyntax as error:
            reason = reason or error
            if remaining.pop(tried, None) is None:
                raise reason from None


class Transfer:
    """Sends instances over one association of either side."""

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
        """`contexts`: those in which the gateway may send. `report` is called once for each instance, as they end.

        `window`: concurrent requests. `timeout`: seconds for the peer to read the next part of an instance, and to
        answer.
        """
        self.finished = 0
        """Instances that the peer answered, or that failed through their own fault."""
        self.unsent: list[Instance] = []
        """Instances taken from the iterator and not sent, after an early end or a stop."""
        self._exchange = exchange
        self._contexts: dict[str, dict[str, PresentationContext]] = {}
        for context in contexts:
            self._contexts.setdefault(context.abstract_syntax, {}).setdefault(context.transfer_syntax, context)
        self._report = report
        self._window = window
        self._timeout = timeout
        self._origin = origin

    async def run(self, instances: AsyncIterator[Instance], stopped: Callable[[], bool] = lambda: False) -> None:
        """Send all instances, or until `stopped`. Raises AssociationLost when the association ends early.

        Each instance that was begun is reported, also after an error and when cancelled.
        """
        async with aclosing(self._prepared(instances, stopped)) as prepared:
            turn = asyncio.Lock()
            workers = [asyncio.ensure_future(self._send_all(prepared, turn, stopped)) for _ in range(self._window)]
            try:
                # When the association ends all workers end, each with its own reason.
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
                self.unsent.append(instance)
                return
            await self._send(instance, opening)

    async def _prepared(
        self, instances: AsyncIterator[Instance], stopped: Callable[[], bool]
    ) -> AsyncGenerator[tuple[Instance, _Opening], None]:
        """Yields each instance with its content being opened, one further ahead than is being sent."""
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
                self.unsent.append(instance)

    async def _open(self, instance: Instance) -> Content:
        return await prepared(instance, self._contexts.get(instance.sop_class_uid, {}))

    async def _send(self, instance: Instance, opening: _Opening) -> None:
        try:
            content = await opening.content()
        except Exception as error:
            refused = isinstance(error, UnsupportedTransferSyntax)
            self._finish(Sent(instance, None, str(error) if refused else f"cannot be read: {error}", error))
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
            self._report(Sent(instance, None, str(error), lost=True))
            raise
        except Exception as error:  # Reading failed midway: the association cannot survive half a message.
            self._finish(Sent(instance, None, f"cannot be read: {error}"))
            raise AssociationLost(str(error)) from error
        except BaseException:
            self._report(Sent(instance, None, "not sent"))
            raise
        finally:
            content.close()
        self._finish(Sent(instance, response.status, response.error_comment))

    def _finish(self, sent: Sent) -> None:
        self.finished += 1
        self._report(sent)


class _Opening:
    """The content of an instance, being opened; call `discard` when it is not needed."""

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
