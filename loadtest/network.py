"""A slow network in between: connections to a port of ours are forwarded with less bandwidth and more delay.

Each connection is shaped separately, both directions alike, in this process: no privileges, no kernel module. A delayed
byte does not delay the bytes behind it (as on a wire), and no more bytes are on their way than bandwidth and delay
allow, so that both sides see backpressure. No packets are lost: TCP would show a loss only as delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator

_CHUNK = 16 << 10
_MAX_QUEUED_BYTES = 1 << 20
"""Bytes on their way in one direction, besides the bandwidth-delay product."""
_CONNECT = 30.0


class Shape:
    """A connection's `bandwidth` in bits per second, None for unlimited; one-way `latency` and `jitter` in seconds."""

    def __init__(self, bandwidth: float | None, latency: float, jitter: float, seed: int = 1) -> None:
        self.bandwidth = bandwidth
        self.latency = latency
        self.jitter = jitter
        self.chance = random.Random(seed)


@contextlib.asynccontextmanager
async def shaped(host: str, port: int, shape: Shape) -> AsyncIterator[int]:
    """Open a loopback port that leads to `host` and `port` for as long as the `async with` lasts."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_carry(reader, writer, host, port, shape))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024, limit=_CHUNK)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, shape: Shape
) -> None:
    """Forward one connection, both ways, until one side closes."""
    upstream: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_CONNECT):
            upstream_reader, upstream = await asyncio.open_connection(host, port, limit=_CHUNK)
        async with asyncio.TaskGroup() as group:
            for source, sink in ((reader, upstream), (upstream_reader, writer)):
                group.create_task(_Direction(source, sink, shape).run(group))
    except (OSError, TimeoutError, ExceptionGroup):
        pass  # Both sides see a closed connection, as they would with such a network.
    finally:
        for each in (writer, upstream):
            if each is not None:
                each.transport.abort() if each.transport.is_closing() else each.close()


class _Direction:
    """One direction: bytes are read, delayed, and written."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, shape: Shape) -> None:
        self._source, self._sink, self._shape = source, sink, shape
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        rate = shape.bandwidth or 0.0
        self._most = (
            _MAX_QUEUED_BYTES if not rate else min(_MAX_QUEUED_BYTES, _CHUNK + int(rate / 8 * (shape.latency + 0.1)))
        )

    async def run(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self._deliver())
        loop, shape = asyncio.get_running_loop(), self._shape
        free = due = loop.time()
        while True:
            await self._room.wait()
            data = await self._source.read(_CHUNK)
            now = loop.time()
            # The wire is busy for as long as these bytes take, and they arrive a latency after they have left it.
            free = max(free, now) + (len(data) * 8 / shape.bandwidth if shape.bandwidth else 0.0)
            due = max(due, free + shape.latency + shape.chance.uniform(0, shape.jitter))  # TCP keeps the order.
            self._queue.append((due, data))
            self._queued += len(data)
            self._changed.set()
            if self._queued >= self._most:
                self._room.clear()
            if not data:
                return

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            due, data = self._queue.popleft()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                self._sink.close()  # Neither DICOM nor HTTP uses half-closed connections.
                return
            self._sink.write(data)
            await self._sink.drain()
            self._queued -= len(data)
            if self._queued < self._most:
                self._room.set()
