"""C-STORE as an SCU: many instances to one node, over several associations at once.

The distribution over associations, and instances in files, live here. `transfer.py` has one association,
`succession.py` what follows when it ends; the caller retries later.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.dicom.recode import evened
from gateway.imaging.transcode import transcode
from gateway.net.buffers import BlockPool
from gateway.scu.node import Node
from gateway.scu.succession import Remaining, send_in_turn
from gateway.scu.transfer import UNASKED, Choose, Instance, Origin, Sent, plan
from gateway.storage.store import StoredObject

_BLOCKS = 16
"""Receive blocks for all associations of one `send`: only responses are received."""


async def send(
    node: Node,
    instances: Iterable[Instance],
    *,
    associations: int = 2,
    window: int = 8,
    origin: Origin = UNASKED,
    report: Callable[[Sent], None] = lambda sent: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Sent]:
    """Store all instances over at most `associations` at once, each with up to `window` concurrent requests where the
    node grants them (PS3.7 D.3.3.3). Returns each instance once, in the order of their ends; `report` is called for
    each. Once `stopped`, instances that have not begun are not sent.

    An association that ends early is followed by another for the rest (`send_in_turn`). Trouble with the node never
    raises.
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
        remaining = Remaining(_each(chosen))
        async with asyncio.TaskGroup() as group:
            sending = [
                group.create_task(
                    send_in_turn(
                        node,
                        proposals,
                        remaining,
                        done,
                        window=window,
                        blocks=pool,
                        origin=origin,
                        stopped=stopped,
                    )
                )
                for _ in range(min(associations, len(chosen)))
            ]
        trouble = next((text for task in sending if (text := task.result())), "not sent")
        async for instance in remaining:  # No association was left to send them.
            done(Sent(instance, None, trouble))
    return results


async def _each(instances: Iterable[Instance]) -> AsyncGenerator[Instance, None]:
    for instance in instances:
        yield instance


@dataclass(frozen=True, slots=True)
class Item:
    """An instance in a file, or in part of one."""

    name: str
    """Name to show a user: the file, or the instance."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    open: Callable[[], StoredObject]
    """Opens the file; blocks."""
    start: int
    """Offset of the data set in the opened object."""
    end: int
    """Offset after the data set."""

    async def prepare(self, choose: Choose) -> _Reading:
        reading = _Reading(self, choose(self.transfer_syntax_uid))
        try:
            await asyncio.to_thread(reading.begin)
        except BaseException:
            reading.close()
            raise
        return reading


class _Reading:
    """The data set of an item, read in the transfer syntax in which it is sent."""

    def __init__(self, item: Item, transfer_syntax_uid: str) -> None:
        self.transfer_syntax_uid = transfer_syntax_uid
        self._item = item
        self._object: StoredObject | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._first: bytes | None = b""
        self._step = threading.Lock()
        """Held while a thread reads. A task that awaits the thread can be cancelled; the thread cannot."""
        self._closed = False

    def begin(self) -> None:
        """Open the file and read the first chunk; a small file is closed at once. Blocks. Raises any error of the
        file."""
        item = self._item
        with self._step:
            self._object = source = item.open()
            as_it_is = self.transfer_syntax_uid == item.transfer_syntax_uid
            self._pieces = (
                evened(source.read, item.start, item.end, item.transfer_syntax_uid)
                if as_it_is
                else transcode(source.read, item.start, item.end, item.transfer_syntax_uid, self.transfer_syntax_uid)
            )
            # Empty chunks arrive during the scan before the first output.
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
        """Close the file at once, or when the reading thread has finished."""
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
