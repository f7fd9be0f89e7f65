"""Requests that are too much or no HTTP, over real sockets: answered 4xx, without memory and without hurting others."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.support.web import House

SECRET = b"PatientName=Doe"


def many_fields() -> Iterator[bytes]:
    while True:
        yield b"X: " + b"a" * 10_000 + b"\r\n"


def tiny_fields() -> Iterator[bytes]:
    while True:
        yield b"a:\r\n" * 16_384


def one_field() -> Iterator[bytes]:
    yield b"X: "
    while True:
        yield b"a" * 65_536


def one_name() -> Iterator[bytes]:
    while True:
        yield b"a" * 65_536


@pytest.mark.parametrize("fields", [many_fields, tiny_fields, one_field, one_name])
async def test_headers_without_end(gateway: House, fields, caplog: pytest.LogCaptureFixture):
    tracemalloc.start()
    try:
        sent, answer = await say(gateway, b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n", fields())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert sent < 8 << 20
    assert peak < 16 << 20
    assert (await gateway.get("/dicom-web/studies")).status == 200
    (said,) = [record for record in caplog.records if record.name == "gateway.web.app"]
    assert (said.levelno, said.exc_info) == (logging.WARNING, None)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /dicom-web/studies?" + SECRET + b"&x=" + b"a" * (1 << 20),
        b"GET /dicom-web/studies?" + SECRET + b"\0 HTTP/1.1",
        b"GET /dicom-web/studies?" + SECRET + b" HTTP/9.9\r\n:" + SECRET,
        b"\x16\x03\x01" + SECRET,
        SECRET * 100,
    ],
)
async def test_a_line_that_is_none(gateway: House, line: bytes, caplog: pytest.LogCaptureFixture):
    _, answer = await say(gateway, line + b"\r\n\r\n", iter(()))
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert "Doe" not in caplog.text
    assert (await gateway.get("/dicom-web/studies")).status == 200


async def say(gateway: House, head: bytes, more: Iterator[bytes]) -> tuple[int, bytes]:
    """How much was taken before the answer, and the answer."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.client.port)
        answer = asyncio.create_task(reader.read(4096))
        sent = 0
        try:
            writer.write(head)
            await writer.drain()
            while not answer.done() and (piece := next(more, None)) is not None:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        try:
            return sent, await answer
        finally:
            writer.close()
