"""The asyncio shell of an association: feed it bytes, dispatch its events, write, re-arm its one timer.

Here are socket options, the leased receive blocks, and backpressure. The meaning of bytes is in `ul/`; the meaning of
events is the owner's (`session.py` for associations of peers, `requestor.py` for ours).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from gateway.net.buffers import Block, BlockPool
from gateway.net.tls import TlsPeer, peer_of
from gateway.ul.association import Association
from gateway.ul.events import Event

_MAX_BLOCKS = 4
"""Blocks that one association may have in use; one when the pool runs low."""
_MIN_ROOM_BYTES = 16 * 1024
"""A block with less room than this is not offered to the kernel again."""


class Link(asyncio.BufferedProtocol):
    """One connection. `handle` is called with each event in order; `on_pool_exhausted` when reading waits for a block.

    While `handle` runs, the event's bytes lie in `block`: code that needs them longer retains the block.
    """

    def __init__(
        self,
        association: Association,
        blocks: BlockPool,
        handle: Callable[[Event], None],
        on_pool_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.association = association
        self.block: Block | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._blocks = blocks
        self._handle = handle
        self._on_pool_exhausted = on_pool_exhausted
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._fill = 0
        self._offered = False
        self._leased = 0
        self._waiting_for_block = False
        self._read_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # The kernel's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's class has the methods but not the base class.
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 20)
        # uvloop's object creates a new socket at every call; this one is detached in `connection_lost`.
        self._socket = socket.socket(fileno=transport.get_extra_info("socket").fileno())
        # Senders that leave Nagle's algorithm on and write a PDU in two segments wait for our ACK, about 44 ms each.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.association.connected(self._loop.time())
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The memory into which the kernel writes next; never empty. Idempotent until `buffer_updated`."""
        block = self.block
        if block is None:
            block = self.block = self._lease()
            self._fill = 0
        if not self._offered:
            self._offered = True
            block.retain()
        return block.view[self._fill :]

    def buffer_updated(self, nbytes: int) -> None:
        block, start = self.block, self._fill
        assert block is not None
        self._fill = start + nbytes
        for event in self.association.receive(block.view[start : self._fill], self._loop.time()):
            self._handle(event)
        self._offered = False
        if len(block.view) - self._fill < _MIN_ROOM_BYTES:
            self.block = None
        block.release()
        if self.block is None and not self._may_lease():
            self._wait_for_block()
        elif self._blocks.contended:
            self._on_pool_exhausted()
        self.flush()
        # The kernel clears the option whenever it thinks the connection interactive.
        if self._socket is not None and not self.association.close_transport:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def eof_received(self) -> None:
        """Close: a peer that closes its half has gone, as PS3.8 knows no half-open association."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()
        self._transport = self._socket = None
        if self._timer is not None:
            self._timer.cancel()
        self._blocks.forget(self._block_available)
        if self._offered and self.block is not None:
            self._offered = False
            self.block.release()
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
        """Write what the association has queued, close if it is over, and re-arm the timer."""
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
        """Act on the deadline if it has come. Most timers fire early: the deadline moves on with every byte."""
        self._timer = None
        deadline = self.association.deadline
        if deadline is not None and deadline <= self._loop.time():
            for event in self.association.timeout(self._loop.time()):
                self._handle(event)
        self.flush()

    @property
    def now(self) -> float:
        """The loop's clock, which is also the association's."""
        return self._loop.time()

    @property
    def writable(self) -> bool:
        """Whether the peer has read most of what was written."""
        return self._writable.is_set()

    @property
    def tls(self) -> TlsPeer | None:
        """The peer's TLS version, cipher and certificate names; None without TLS, and once the connection is lost."""
        connection = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return peer_of(connection) if connection is not None else None

    async def drain(self) -> None:
        """Wait until the transport's write buffer is below its low-water mark, or `wake` is called."""
        await self._writable.wait()

    def wake(self) -> None:
        """Release every waiter in `drain`: the association is over, and nothing more will be written."""
        self._writable.set()

    def pause_reading(self, wanted: bool) -> None:
        """Stop reading while the association has more in progress than allowed; False resumes."""
        if wanted != self._read_paused:
            self._read_paused = wanted
            self._set_reading()

    def disconnect(self) -> None:
        """Drop the connection at once, with whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()

    # Blocks.

    def _may_lease(self) -> bool:
        if self._leased == 0:
            return self._blocks.available > 0
        return self._leased < _MAX_BLOCKS and self._blocks.available > self._blocks.reserve

    def _lease(self) -> Block:
        self._leased += 1
        block = self._blocks.lease(self._block_freed)
        if block is None:
            # Bytes have arrived for an association without a block, and the pool is empty: a small block of its own
            # receives them, after which reading waits.
            block = Block(memoryview(bytearray(_MIN_ROOM_BYTES)), self._small_block_freed)
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
            self._on_pool_exhausted()

    def _block_available(self) -> None:
        self._waiting_for_block = False
        self._blocks.forget(self._block_available)
        self._set_reading()

    def _set_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._waiting_for_block or self._read_paused:
            transport.pause_reading()
        else:
            transport.resume_reading()
