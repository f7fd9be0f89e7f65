"""C-STORE as a client (PS3.4 Annex B): many instances to one node, several associations at once.

Here: which contexts are proposed for what is to be sent, how it is shared out, and what became of each instance. Where
the bytes come from is the `Item`'s; trying again later is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dicom import recode, uids
from gateway.dimse import messages, status
from gateway.dimse.status import Category
from gateway.errors import AssociationLost, GatewayError, TruncatedDataSet
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor
from gateway.scu.node import Node, associate
from gateway.storage.store import StoredObject
from gateway.ul.items import MAX_CONTEXTS
from gateway.ul.negotiation import PresentationContext

_EXPLICIT: Final = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
_IMPLICIT: Final = uids.IMPLICIT_VR_LITTLE_ENDIAN.uid
_PIECE = 1 << 20
"""Bytes that are read at a time."""
_BLOCKS = 16
"""Receive blocks for all associations of one sending: what comes back is only responses."""


@dataclass(frozen=True, slots=True)
class Item:
    """One instance to send."""

    name: str
    """For people: the file, or the instance."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    open: Callable[[], StoredObject]
    """Opens where it lies; blocks."""
    start: int
    """Offset of the data set in what is opened."""
    end: int
    """Offset behind it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one instance."""

    item: Item
    status: int | None
    """As the peer answered; None where it was not asked, or did not answer."""
    detail: str
    """In words."""

    @property
    def ok(self) -> bool:
        """It is there: success, or a warning."""
        return self.status is not None and status.category(self.status) in (Category.SUCCESS, Category.WARNING)


@dataclass(frozen=True, slots=True)
class Originator:
    """The C-MOVE on whose behalf it is sent (PS3.7 §9.1.1.1)."""

    aet: str
    message_id: int


def plan(items: Iterable[Item]) -> list[tuple[list[tuple[str, Sequence[str]]], list[Item]]]:
    """Contexts and what can be sent with them: at most 128 contexts to an association, so perhaps several.

    Each SOP class gets a context for every transfer syntax in which there are instances of it. Where such a syntax can
    be re-encoded, Explicit and Implicit VR Little Endian are proposed too, the latter because every peer must accept
    it (PS3.5 §10.1).
    """
    by_class: dict[str, dict[str, list[Item]]] = {}
    for item in items:
        by_class.setdefault(item.sop_class_uid, {}).setdefault(item.transfer_syntax_uid, []).append(item)
    plans: list[tuple[list[tuple[str, Sequence[str]]], list[Item]]] = [([], [])]
    for uid, by_syntax in by_class.items():
        syntaxes = dict.fromkeys(by_syntax)
        if any(syntax in recode.SOURCES for syntax in by_syntax):
            syntaxes |= dict.fromkeys((_EXPLICIT, _IMPLICIT))
        if len(plans[-1][0]) + len(syntaxes) > MAX_CONTEXTS:
            plans.append(([], []))
        contexts, chosen = plans[-1]
        contexts += [(uid, [syntax]) for syntax in syntaxes]
        for of_syntax in by_syntax.values():
            chosen += of_syntax
    return [entry for entry in plans if entry[1]]


async def send(
    node: Node,
    items: Iterable[Item],
    *,
    associations: int = 2,
    window: int = 8,
    originator: Originator | None = None,
    report: Callable[[Sent], None] = lambda sent: None,
) -> list[Sent]:
    """Store everything, over at most `associations` at once, each with up to `window` instances on their way where the
    node grants it (PS3.7 D.3.3.3). Every instance comes out once, in the order of their ends; `report` hears of each.

    An association that ends before its work is opened again for the rest, as long as the node accepts it. No trouble
    with the node raises.
    """
    results: list[Sent] = []

    def done(sent: Sent) -> None:
        results.append(sent)
        report(sent)

    pool = BlockPool(_BLOCKS)
    for contexts, chosen in plan(items):
        feed = iter(chosen)
        work = _Work(node, contexts, feed, window, originator, pool, done)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(associations, len(chosen))):
                group.create_task(work.run())
        for item in feed:  # Nobody was left to send them.
            done(Sent(item, None, work.trouble or "not sent"))
    return results


class _Work:
    """What several associations with the same contexts do together."""

    def __init__(
        self,
        node: Node,
        contexts: list[tuple[str, Sequence[str]]],
        feed: Iterator[Item],
        window: int,
        originator: Originator | None,
        pool: BlockPool,
        done: Callable[[Sent], None],
    ) -> None:
        self.trouble = ""
        self._node = node
        self._contexts = contexts
        self._feed = feed
        self._window = window
        self._originator = originator
        self._pool = pool
        self._done = done

    async def run(self) -> None:
        """One association, opened again as long as each time an instance less is left."""
        while True:
            count = _Count()
            try:
                async with associate(
                    self._node, self._contexts, max_operations=self._window, blocks=self._pool
                ) as association:
                    granted = association.max_operations or self._window
                    workers = (self._send_all(association, count) for _ in range(min(granted, self._window)))
                    for outcome in await asyncio.gather(*workers, return_exceptions=True):
                        if isinstance(outcome, BaseException):
                            raise outcome
                return
            except GatewayError as error:
                self.trouble = str(error)
                if not count.number:
                    return

    async def _send_all(self, association: Requestor, count: _Count) -> None:
        contexts = {(c.abstract_syntax, c.transfer_syntax): c for c in association.contexts.values() if c.as_scu}
        for item in self._feed:
            try:
                self._done(await self._send(association, contexts, item))
            except AssociationLost as error:
                self._done(Sent(item, None, str(error)))
                raise
            except Exception as error:  # Reading it failed halfway, and nothing may follow half a message.
                count.number += 1
                self._done(Sent(item, None, f"cannot be read: {error}"))
                raise AssociationLost(str(error)) from error
            count.number += 1

    async def _send(
        self, association: Requestor, contexts: dict[tuple[str, str], PresentationContext], item: Item
    ) -> Sent:
        context = _choose(contexts, item)
        if context is None:
            what = f"{uids.name_of(item.sop_class_uid)} in {uids.name_of(item.transfer_syntax_uid)}"
            return Sent(item, None, f"{self._node} does not accept {what}")
        reading = _Reading(item, context.transfer_syntax)
        try:
            await asyncio.to_thread(reading.begin)
        except Exception as error:
            return Sent(item, None, f"cannot be read: {error}")
        by = self._originator
        request = messages.c_store_request(
            association.next_message_id(),
            item.sop_class_uid,
            item.sop_instance_uid,
            move_originator_aet=by.aet if by else None,
            move_originator_message_id=by.message_id if by else None,
        )
        try:
            response = await association.request(
                context, request, reading.pieces(), timeout=association.call.response_timeout
            )
        finally:
            await reading.close()
        text = status.describe(response.status)
        return Sent(item, response.status, f"{text}: {response.error_comment}" if response.error_comment else text)


class _Count:
    """How many instances an association has dealt with."""

    number = 0


class _Reading:
    """One instance on its way from where it lies, in the transfer syntax in which it is sent."""

    def __init__(self, item: Item, transfer_syntax_uid: str) -> None:
        self._item = item
        self._syntax = transfer_syntax_uid
        self._object: StoredObject | None = None
        self._first = b""
        self._rest: Iterator[bytes] | None = None

    def begin(self) -> None:
        """Open it and read the first piece; blocks. A small one is closed again at once. Raises whatever is wrong."""
        item = self._item
        self._object = item.open()
        if self._syntax == item.transfer_syntax_uid:
            pieces = self._copy(self._object)
        else:
            recode.check(self._object.read, item.start, item.end, item.transfer_syntax_uid)
            pieces = recode.recode(self._object.read, item.start, item.end, item.transfer_syntax_uid, self._syntax)
        self._first = next(pieces, b"")
        if self._syntax != item.transfer_syntax_uid or item.end - item.start > len(self._first):
            self._rest = pieces
        else:
            self._close()

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._first
        self._first = b""
        if self._rest is not None:
            while (piece := await asyncio.to_thread(next, self._rest, None)) is not None:
                yield piece

    async def close(self) -> None:
        if self._object is not None:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._object is not None:
            self._object.close()
            self._object = None

    def _copy(self, source: StoredObject) -> Iterator[bytes]:
        at, end = self._item.start, self._item.end
        while at < end:
            piece = source.read(at, min(_PIECE, end - at))
            if not piece:
                raise TruncatedDataSet(f"{self._item.name} ends at {at}, not at {end}")
            at += len(piece)
            yield piece


def _choose(contexts: dict[tuple[str, str], PresentationContext], item: Item) -> PresentationContext | None:
    """The context to send it in: as it is, where that is accepted, or in a syntax that it can be re-encoded to."""
    uid = item.sop_class_uid
    context = contexts.get((uid, item.transfer_syntax_uid))
    if context is None and item.transfer_syntax_uid in recode.SOURCES:
        context = contexts.get((uid, _EXPLICIT)) or contexts.get((uid, _IMPLICIT))
    return context
