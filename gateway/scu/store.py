"""C-STORE as a client: many instances to one node, several associations at once.

Here: how they are shared out, what happens when an association ends, and instances that lie in files. What goes over
one association is `sending.py`'s, trying again later the caller's.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.errors import GatewayError, TruncatedDataSet
from gateway.imaging.transcode import transcode
from gateway.net.buffers import BlockPool
from gateway.scu.node import Node, associate
from gateway.scu.sending import UNASKED, Choose, Instance, Origin, Proposal, Sent, Transfer, plan
from gateway.storage.store import StoredObject

_PIECE = 1 << 20
"""Bytes that are read at a time."""
_BLOCKS = 16
"""Receive blocks for all associations of one sending: what comes back is only responses."""


async def send(
    node: Node,
    instances: Iterable[Instance],
    *,
    associations: int = 2,
    window: int = 8,
    origin: Origin = UNASKED,
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

    by_class: dict[str, list[Instance]] = {}
    for instance in instances:
        by_class.setdefault(instance.sop_class_uid, []).append(instance)
    pool = BlockPool(_BLOCKS)
    for proposals in plan({uid: [each.transfer_syntax_uid for each in some] for uid, some in by_class.items()}):
        chosen = [each for uid in dict.fromkeys(uid for uid, _ in proposals) for each in by_class[uid]]
        work = _Work(node, proposals, chosen, window, origin, pool, done)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(associations, len(chosen))):
                group.create_task(work.run())
        async for instance in work.rest:  # Nobody was left to send them.
            done(Sent(instance, None, work.trouble or "not sent"))
    return results


class _Work:
    """What several associations with the same contexts do together."""

    def __init__(
        self,
        node: Node,
        proposals: list[Proposal],
        instances: list[Instance],
        window: int,
        origin: Origin,
        pool: BlockPool,
        done: Callable[[Sent], None],
    ) -> None:
        self.trouble = ""
        self.rest = _Rest(instances)
        self._node = node
        self._proposals = proposals
        self._window = window
        self._origin = origin
        self._pool = pool
        self._done = done

    async def run(self) -> None:
        """One association, opened again as long as each time an instance less is left."""
        transfer: Transfer | None = None
        while transfer is None or transfer.settled:
            transfer = None
            try:
                async with associate(
                    self._node, self._proposals, max_operations=self._window, blocks=self._pool
                ) as association:
                    transfer = Transfer(
                        association,
                        [context for context in association.contexts.values() if context.as_scu],
                        self._done,
                        window=min(association.max_operations or self._window, self._window),
                        timeout=association.call.response_timeout,
                        origin=self._origin,
                    )
                    await transfer.run(self.rest)
                return
            except GatewayError as error:
                self.trouble = str(error)
                if transfer is None:
                    return
                self.rest.put_back(transfer.left)


class _Rest:
    """What is still to be sent; several take from it."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self._instances = deque(instances)

    def __aiter__(self) -> _Rest:
        return self

    async def __anext__(self) -> Instance:
        if not self._instances:
            raise StopAsyncIteration
        return self._instances.popleft()

    def put_back(self, instances: Iterable[Instance]) -> None:
        self._instances.extendleft(reversed(list(instances)))


@dataclass(frozen=True, slots=True)
class Item:
    """An instance in a file, or in part of one."""

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

    async def prepare(self, choose: Choose) -> _Reading:
        reading = _Reading(self, choose(self.transfer_syntax_uid))
        try:
            await asyncio.to_thread(reading.begin)
        except BaseException:
            reading.close()
            raise
        return reading


class _Reading:
    """The data set of an item on its way, in the transfer syntax in which it is sent."""

    def __init__(self, item: Item, transfer_syntax_uid: str) -> None:
        self.transfer_syntax_uid = transfer_syntax_uid
        self._item = item
        self._object: StoredObject | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._first: bytes | None = b""
        self._step = threading.Lock()
        """Held while a thread reads. Who waits for it can be cancelled, the thread cannot."""
        self._closed = False

    def begin(self) -> None:
        """Open it and read the first piece; blocks. A small one is closed again at once. Raises whatever is wrong."""
        item = self._item
        with self._step:
            self._object = source = item.open()
            as_it_is = self.transfer_syntax_uid == item.transfer_syntax_uid
            self._pieces = (
                self._copy(source)
                if as_it_is
                else transcode(source.read, item.start, item.end, item.transfer_syntax_uid, self.transfer_syntax_uid)
            )
            # Empty ones come while it is gone through beforehand.
            self._first = next((piece for piece in self._pieces if piece), b"")
            if as_it_is and item.end - item.start == len(self._first):
                self._closed, self._pieces = True, iter(())
        self._close_if_asked()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        piece, self._first = self._first, None
        while piece is not None:
            yield piece
            piece = None if self._closed else await asyncio.to_thread(self._next)

    def close(self) -> None:
        """At once, or when the thread that reads has done so."""
        self._closed = True
        self._close_if_asked()

    def _next(self) -> bytes | None:
        try:
            with self._step:
                return next(self._pieces, None)
        finally:
            self._close_if_asked()

    def _close_if_asked(self) -> None:
        if self._closed and self._step.acquire(blocking=False):
            try:
                if self._object is not None:
                    self._object.close()
            finally:
                self._step.release()

    def _copy(self, source: StoredObject) -> Iterator[bytes]:
        at, end = self._item.start, self._item.end
        while at < end:
            piece = source.read(at, min(_PIECE, end - at))
            if not piece:
                raise TruncatedDataSet(f"{self._item.name} ends at {at}, not at {end}")
            at += len(piece)
            yield piece
