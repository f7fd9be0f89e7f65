"""A slow network: bytes arrive whole and in order, as late and as slowly as asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.network import Shape, shaped


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def there_and_back(shape: Shape, data: bytes) -> tuple[bytes, float]:
    async with asyncio.timeout(10), echoing() as port, shaped("127.0.0.1", port, shape) as through:
        reader, writer = await asyncio.open_connection("127.0.0.1", through)
        began = time.perf_counter()
        writer.write(data)
        back = await reader.readexactly(len(data))
        seconds = time.perf_counter() - began
        writer.close()
        await writer.wait_closed()
        return back, seconds


@pytest.mark.parametrize("jitter", [0.0, 0.005])
async def test_bytes_arrive_whole_and_in_order(jitter: float) -> None:
    data = random.Random(1).randbytes(3_000_000)
    back, _ = await there_and_back(Shape(None, 0.001, jitter), data)
    assert back == data


async def test_latency_is_there_in_each_direction() -> None:
    _, seconds = await there_and_back(Shape(None, 0.05, 0.0), b"x")
    assert 0.095 <= seconds < 0.3  # clocks and timers differ by a little


async def test_bandwidth_is_what_was_asked_for() -> None:
    """100 kB at 4 Mbit/s take 0.2 s; the way back overlaps but for its last piece."""
    _, seconds = await there_and_back(Shape(4e6, 0.0, 0.0), bytes(100_000))
    assert 0.2 <= seconds < 0.5


async def test_when_one_side_closes_the_other_hears_of_it() -> None:
    async with asyncio.timeout(10), echoing() as port, shaped("127.0.0.1", port, Shape(None, 0.0, 0.0)) as through:
        reader, writer = await asyncio.open_connection("127.0.0.1", through)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_nobody_there_is_a_closed_connection() -> None:
    async with echoing() as port:
        pass
    async with asyncio.timeout(10), shaped("127.0.0.1", port, Shape(None, 0.0, 0.0)) as through:
        reader, writer = await asyncio.open_connection("127.0.0.1", through)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
