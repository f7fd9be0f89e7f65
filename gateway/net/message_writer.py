"""The order of writing on one association: a message ends before the next begins (PS3.7 §6.3.1).

Requests and responses are in `exchange.py`, sockets in `link.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable

from gateway.dimse.fragments import EvenFragments
from gateway.errors import GatewayError
from gateway.net.link import Link
from gateway.ul.association import Association
from gateway.ul.states import State

_WRITE_CHUNK_BYTES = 1 << 20
"""Data set bytes queued before the writer waits for the peer to read them."""

Chunks = Iterable[bytes | memoryview] | AsyncIterable[bytes | memoryview]
"""A data set in pieces of any size; asynchronous where producing a piece may block, as reading files does."""


class NothingTaken(Exception):
    """The peer has let a timeout pass without reading anything of what was written."""


class MessageWriter:
    """The sending half of an association. A long message is written as the peer reads it; short messages sent
    meanwhile wait for its end."""

    def __init__(self, association: Association, link: Link) -> None:
        self.turn = asyncio.Lock()
        """The lock for callers of `write`."""
        self._association = association
        self._link = link
        self._ended: GatewayError | None = None
        self._midway = False
        self._deferred: list[tuple[int, bytes, list[bytes]]] = []

    @property
    def established(self) -> bool:
        """Whether data may be sent: the association is accepted and not released by us (PS3.8 Sta6, Sta8)."""
        return self._association.state in (State.Sta6, State.Sta8)

    @property
    def is_stalled(self) -> bool:
        """Whether the peer has not yet read what was written."""
        return not self._link.writable

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a short message at once, or behind the message being written. Does nothing once the association is
        over."""
        if self._ended is not None or not self.established:
            return
        if self._midway:
            self._deferred.append((context_id, command, list(data_set)))
            return
        self._send_now(context_id, command, data_set)
        self._link.flush()

    async def write(self, context_id: int, command: bytes, data_set: Chunks | None, timeout: float) -> None:
        """Write a message to its end, as the peer reads it; the caller holds `turn`.

        After an error half a message may have been sent. Raises: NothingTaken when the peer reads nothing for `timeout`
        seconds (0 waits for ever); the error given to `end`; whatever iterating `data_set` raises.
        """
        self._put(context_id, True, command, True)
        if data_set is not None:
            self._midway = True
            fragments = EvenFragments()
            queued = 0
            if isinstance(data_set, AsyncIterable):
                async for chunk in data_set:
                    for piece in fragments.take(chunk):
                        self._put(context_id, False, piece, False)
                        queued = await self._drain_if_full(queued + len(piece), timeout)
            else:
                for chunk in data_set:
                    for piece in fragments.take(chunk):
                        self._put(context_id, False, piece, False)
                        queued = await self._drain_if_full(queued + len(piece), timeout)
            *before, last = fragments.end()
            for piece in before:
                self._put(context_id, False, piece, False)
            self._put(context_id, False, last, True)
            self._midway = False
            for message in self._deferred:
                self._send_now(*message)
            self._deferred.clear()
        self._link.flush()
        await self._drain(timeout)

    async def drain(self) -> None:
        """Wait until the peer has read most of what was sent to it, or the association has ended."""
        if self._midway:
            async with self.turn:
                pass
        if self._ended is None:
            await self._link.drain()

    def end(self, error: GatewayError) -> None:
        """Stop sending: pending `write` and `drain` calls end, `write` with `error`."""
        self._ended = error
        self._deferred.clear()
        self._link.wake()

    def _send_now(self, context_id: int, command: bytes, data_set: Iterable[bytes]) -> None:
        self._association.send_data(context_id, True, command, True)
        chunks = _even(data_set)
        for index, chunk in enumerate(chunks):
            self._association.send_data(context_id, False, chunk, index == len(chunks) - 1)

    async def _drain_if_full(self, queued: int, timeout: float) -> int:
        """Bytes queued since the last wait, after waiting if they exceed a chunk."""
        if queued < _WRITE_CHUNK_BYTES:
            return queued
        self._link.flush()
        await self._drain(timeout)
        return 0

    async def _drain(self, timeout: float) -> None:
        if self._link.writable:
            return
        try:
            async with asyncio.timeout(timeout or None):
                await self._link.drain()
        except TimeoutError:
            raise NothingTaken from None

    def _put(self, context_id: int, is_command: bool, data: bytes | memoryview, last: bool) -> None:
        if self._ended is not None:
            raise self._ended
        self._association.send_data(context_id, is_command, data, last)


def _even(data_set: Iterable[bytes]) -> list[bytes | memoryview]:
    """A short data set in fragments of even length; an empty list for no data set."""
    fragments = EvenFragments()
    ready = [piece for chunk in data_set for piece in fragments.take(chunk)]
    return [*ready, *(piece for piece in fragments.end() if piece)]
