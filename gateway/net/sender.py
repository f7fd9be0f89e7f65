"""The order of sending on one association: a message goes to its end before the next begins (PS3.7 §6.3.1).

What is sent, and what is answered to it, is `exchange.py`'s; sockets are `link.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable

from gateway.dimse.command import Command
from gateway.errors import AssociationLost, GatewayError
from gateway.net.link import Link
from gateway.ul.association import Association
from gateway.ul.states import State

_WRITE_CHUNK = 1 << 20
"""Data set bytes that are queued before we wait for the peer to take them."""

Chunks = Iterable[bytes | memoryview] | AsyncIterable[bytes | memoryview]
"""A data set in pieces of any size. Asynchronous where making a piece may block, as reading files does."""


class Sender:
    """The sending half of an association. A long request is sent as the peer takes it; what is answered meanwhile waits
    for its end."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self._link: Link
        self._ended: GatewayError | None = None
        """Why there is no association any more."""
        self._sending = asyncio.Lock()
        self._midway = False
        self._deferred: list[tuple[int, bytes, list[bytes]]] = []

    @property
    def _peer(self) -> str:
        """The other side, as errors name it."""
        raise NotImplementedError

    @property
    def established(self) -> bool:
        """The association is accepted and data may still be sent on it (PS3.8 Sta6, Sta8)."""
        return self.association.state in (State.Sta6, State.Sta8)

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a message that ends no operation, such as a pending response; behind a request that is being sent."""
        if self._ended is not None or not self.established:
            return
        if self._midway:
            self._deferred.append((context_id, command, list(data_set)))
            return
        self._send_now(context_id, command, data_set)
        self._link.flush()

    def _send_now(self, context_id: int, command: bytes, data_set: Iterable[bytes]) -> None:
        self.association.send_data(context_id, True, command, True)
        chunks = list(data_set)
        for index, chunk in enumerate(chunks):
            self.association.send_data(context_id, False, chunk, index == len(chunks) - 1)

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent to it."""
        if self._midway:
            async with self._sending:
                pass
        if self._ended is None:
            await self._link.drain()

    async def _send_request(self, context_id: int, command: Command, data_set: Chunks | None, timeout: float) -> None:
        self._put(context_id, True, command.encode(), True)
        if data_set is not None:
            self._midway = True
            previous: bytes | memoryview | None = None
            queued = 0
            if isinstance(data_set, AsyncIterable):
                async for chunk in data_set:
                    if previous is not None:
                        self._put(context_id, False, previous, False)
                        queued = await self._after(queued + len(previous), timeout)
                    previous = chunk
            else:
                for chunk in data_set:
                    if previous is not None:
                        self._put(context_id, False, previous, False)
                        queued = await self._after(queued + len(previous), timeout)
                    previous = chunk
            self._put(context_id, False, previous or b"", True)
            self._midway = False
            for message in self._deferred:
                self._send_now(*message)
            self._deferred.clear()
        self._link.flush()
        await self._drain(timeout)

    async def _after(self, queued: int, timeout: float) -> int:
        """Bytes queued since we last waited, once we have perhaps waited."""
        if queued < _WRITE_CHUNK:
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
            raise AssociationLost(f"{self._peer} has taken nothing for {timeout:g} s") from None

    def _put(self, context_id: int, is_command: bool, data: bytes | memoryview, last: bool) -> None:
        if self._ended is not None:
            raise self._ended
        self.association.send_data(context_id, is_command, data, last)
