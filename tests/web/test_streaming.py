"""gateway/web/streaming.py: slow readers, readers that leave, and failures after the status line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import Http, Settings
from gateway.errors import OutOfDescriptors
from gateway.retrieve.read_ahead import CHUNK, SMALLEST, MemoryBudget
from gateway.web import streaming
from gateway.web.context import CONTEXT
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.streaming import RateGuard, stream
from tests.support.datasets import EXPLICIT, encode
from tests.support.index import data_set
from tests.support.waiting import until
from tests.support.web import House, context_of

Chunks = Callable[[], AsyncGenerator[bytes, None]]


async def served(chunks: Chunks, min_rate: int = 1024) -> TestServer:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await stream(request, web.StreamResponse(), chunks())

    app = web.Application(handler_args={"handler_cancellation": True})
    settings = Settings(http=Http(min_rate=min_rate))
    app[CONTEXT] = context_of(settings)
    app.router.add_get("/", handler)
    server = TestServer(app)
    await server.start_server()
    return server


class Endless:
    """Sends until it is closed, and tells."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1 << 16)
                self.sent += 1
        finally:
            self.closed.set()


async def test_whole():
    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            yield b"abc"

    server = await served(chunks)
    async with aiohttp.ClientSession() as session, session.get(server.make_url("/")) as answer:
        assert await answer.read() == b"abcabcabc"
    await server.close()


@pytest.mark.parametrize("error", [ValueError("broken"), OutOfDescriptors("too many open files")], ids=repr)
async def test_a_failure_on_the_way_is_no_whole_answer(caplog: pytest.LogCaptureFixture, error: Exception):
    """What a machine that lacks something does is said in a line; what nobody thought of, with its place."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"half"
        raise error

    server = await served(chunks)
    async with aiohttp.ClientSession() as session, session.get(server.make_url("/")) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert f"cut off after 4 bytes: {error}" in caplog.text
    assert ("Traceback" in caplog.text) is isinstance(error, ValueError)
    await server.close()


async def test_a_reader_that_leaves_ends_the_source():
    source = Endless()
    server = await served(source)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()
        await source.closed.wait()
    await server.close()


async def test_a_reader_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streaming, "WINDOW", 0.3)
    monkeypatch.setattr(RateGuard.__init__, "__defaults__", (0.3,))
    source = Endless()
    server = await served(source, min_rate=1 << 20)
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1 << 12)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await source.closed.wait()
        assert source.sent < 1000, "memory is bounded"
        writer.transport.abort()
    await server.close()


class Peaked(MemoryBudget):
    """Notes the most that was ever held."""

    most = 0

    def change(self, size: int) -> None:
        super().change(size)
        self.most = max(self.most, self.held)


class TestManySlowReaders:
    async def test_hold_little_each(self, gateway: House):
        readers, total = 30, 4 << 20
        memory = gateway.client.app[RETRIEVAL].memory = Peaked(total)  # type: ignore[union-attr]
        source = data_set("1.1")
        await gateway.add(source, data=encode(source, EXPLICIT) + bytes(16 << 20))
        accept = "multipart/related; type=application/dicom; transfer-syntax=*"
        request = f"GET /dicom-web/studies/1.1 HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
        connections = []
        try:
            async with asyncio.timeout(20):
                for number in range(readers):
                    connection = socket.socket()
                    connections.append(connection)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
                    connection.connect(("127.0.0.1", gateway.client.port))
                    connection.sendall(request)
                    await until(lambda low=(number + 1) * SMALLEST: memory.held >= low)  # a thread reads
                # One that reads all goes through many more steps than it takes the others to be stuck.
                answer = await gateway.get("/dicom-web/studies/1.1", accept=accept)
                assert len(await answer.read()) > 16 << 20
                assert memory.most <= total + (readers + 1) * SMALLEST
        finally:
            for connection in connections:
                connection.close()
        async with asyncio.timeout(20):
            await until(lambda: not memory.held)  # all of it is let go

    async def test_one_alone_gets_large_pieces(self):
        assert MemoryBudget().piece == CHUNK
        assert not MemoryBudget().under_pressure


class FakeTransport:
    def __init__(self) -> None:
        self.buffered = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def abort(self) -> None:
        self.aborted = True


class TestRateGuard:
    @pytest.fixture
    async def transport(self) -> FakeTransport:
        return FakeTransport()

    def guard(self, transport: FakeTransport) -> RateGuard:
        guard = RateGuard(transport, 100, 60.0)  # type: ignore[arg-type]
        guard.close()
        return guard

    def tick(self, guard: RateGuard, times: int) -> None:
        for _ in range(times):
            guard._tick()
            guard.close()

    async def test_a_whole_window_is_given(self, transport: FakeTransport):
        guard = self.guard(transport)
        guard.sent = transport.buffered = 1 << 20
        guard.waiting = True
        self.tick(guard, 6)
        assert not transport.aborted
        self.tick(guard, 1)
        assert transport.aborted
        assert guard.expired

    async def test_just_enough_is_enough(self, transport: FakeTransport):
        guard = self.guard(transport)
        guard.sent = transport.buffered = 1 << 20
        guard.waiting = True
        for _ in range(50):
            transport.buffered -= 1000
            self.tick(guard, 1)
        assert not transport.aborted

    async def test_our_own_slowness_does_not_count(self, transport: FakeTransport):
        guard = self.guard(transport)
        self.tick(guard, 50)
        guard.sent, guard.waiting = 10, True
        self.tick(guard, 6)
        assert not transport.aborted
