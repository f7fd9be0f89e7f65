"""The asyncio shell of an association: feed it, take its events, write, re-arm its one timer.

Here are the socket's options, the leased receive blocks, and pausing. What the bytes mean is `ul/`'s; what the
events mean is the owner's (`session.py` for the associations of peers, `requestor.py` for ours).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from gateway.net.buffers import Block, BlockPool
from gateway.net.tls import Peer, peer_of
from gateway.ul.association import Association
from gateway.ul.events import Event

_MOST_BLOCKS = 4
"""Blocks that one association may have in use; one when the pool runs low."""
_LEAST_ROOM = 16 * 1024
"""A block with less room than this is not offered to the kernel again."""


class Link(asyncio.BufferedProtocol):
    """One connection. `handle` is called with each event, in order; `starved` when reading waits for blocks.

    While `handle` runs, `block` is the block in which the event's bytes lie: who wants to keep them holds it.
    """

    def __init__(
        self,
        association: Association,
        blocks: BlockPool,
        handle: Callable[[Event], None],
        starved: Callable[[], None] = lambda: None,
    ) -> None:
        self.association = association
        self.block: Block | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._blocks = blocks
        self._handle = handle
        self._starved = starved
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._fill = 0
        self._offered = False
        self._leased = 0
        self._waiting_for_block = False
        self._held_back = False
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # The kernel's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's has the methods, not the ancestry
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 20)
        # uvloop's own object makes a new socket for every call; this one is let go of in `connection_lost`.
        self._socket = socket.socket(fileno=transport.get_extra_info("socket").fileno())
        # Senders that leave Nagle's algorithm on and write a PDU in two segments wait for our ACK, about 44 ms each.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.association.connected(self._loop.time())
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the kernel writes next; never empty. Calling it again without `buffer_updated` changes nothing."""
        block = self.block
        if block is None:
            block = self.block = self._lease()
            self._fill = 0
        if not self._offered:
            self._offered = True
            block.hold()
        return block.view[self._fill :]

    def buffer_updated(self, nbytes: int) -> None:
        block, start = self.block, self._fill
        assert block is not None
        self._fill = start + nbytes
        for event in self.association.receive(block.view[start : self._fill], self._loop.time()):
            self._handle(event)
        self._offered = False
        if len(block.view) - self._fill < _LEAST_ROOM:
            self.block = None
        block.drop()
        if self.block is None and not self._may_lease():
            self._wait_for_block()
        elif self._blocks.contended:
            self._starved()
        self.flush()
        # The kernel clears the option whenever it thinks the connection interactive.
        if self._socket is not None and not self.association.close_transport:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def eof_received(self) -> None:
        """A peer that closes its half has gone: PS3.8 knows no half-open association."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()
        self._transport = self._socket = None
        if self._timer is not None:
            self._timer.cancel()
        self._blocks.forget(self._block_available)
        if self._offered and self.block is not None:
            self._offered = False
            self.block.drop()
        self._writable.set()
        for event in self.association.eof(self._loop.time()):
            self._handle(event)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # The owner's side.

    def flush(self) -> None:
        """Write what the association has queued, close when it says so, and re-arm the timer."""
        transport = self._transport
        if transport is None:
            return
        chunks = self.association.data_to_send()
        if chunks:
            transport.writelines(chunks)
        if self.association.close_transport:
            transport.close()
            return
        deadline = self.association.deadline
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        """The deadline, or an earlier one that has moved since: most timers find that they were too early."""
        self._timer = None
        deadline = self.association.deadline
        if deadline is not None and deadline <= self._loop.time():
            for event in self.association.timeout(self._loop.time()):
                self._handle(event)
        self.flush()

    @property
    def now(self) -> float:
        """The loop's clock, which is the association's."""
        return self._loop.time()

    @property
    def writable(self) -> bool:
        """The peer has taken most of what was written."""
        return self._writable.is_set()

    @property
    def tls(self) -> Peer | None:
        """What TLS says about the peer; None without TLS, and once the connection is lost."""
        connection = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return peer_of(connection) if connection is not None else None

    async def drain(self) -> None:
        """Wait until it has."""
        await self._writable.wait()

    def wake(self) -> None:
        """Whoever waits in `drain` goes on: nothing that it waits for matters any more."""
        self._writable.set()

    def hold_back(self, wanted: bool) -> None:
        """Stop reading while more is in progress on this association than it may have."""
        if wanted != self._held_back:
            self._held_back = wanted
            self._set_reading()

    def disconnect(self) -> None:
        """Drop the connection at once, whatever is still unsent."""
        if self._transport is not None:
            self._transport.abort()

    # Blocks.

    def _may_lease(self) -> bool:
        if self._leased == 0:
            return self._blocks.available > 0
        return self._leased < _MOST_BLOCKS and self._blocks.available > self._blocks.reserve

    def _lease(self) -> Block:
        self._leased += 1
        block = self._blocks.lease(self._block_freed)
        if block is None:
            # Bytes have arrived for an association that has no block, and there is none: a small one of its own,
            # after which reading waits.
            block = Block(memoryview(bytearray(_LEAST_ROOM)), self._small_block_freed)
        return block

    def _block_freed(self, block: Block) -> None:
        self._small_block_freed(block)
        self._blocks.put_back(block)

    def _small_block_freed(self, block: Block) -> None:
        self._leased -= 1
        if self.block is block:
            self.block = None
        if self._waiting_for_block and self._may_lease():
            self._block_available()

    def _wait_for_block(self) -> None:
        if not self._waiting_for_block:
            self._waiting_for_block = True
            self._set_reading()
            if self._blocks.available <= self._blocks.reserve:
                self._blocks.when_available(self._block_available)
            self._starved()

    def _block_available(self) -> None:
        self._waiting_for_block = False
        self._blocks.forget(self._block_available)
        self._set_reading()

    def _set_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._waiting_for_block or self._held_back:
            transport.pause_reading()
        else:
            transport.resume_reading()
