"""GET, against servers that answer as they please."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from loadtest.target import Target, Web
from loadtest.work.http import Collected, Connection, Head
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def serving(answers: Sequence[Sequence[bytes] | None], timeout: float = 5.0) -> AsyncIterator[Connection]:
    """Gives one answer, in pieces, to each request, on as many connections as are made. None: closes instead."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                await reader.readuntil(b"\r\n\r\n")
                pieces = left.pop(0)
                if pieces is None:
                    return
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(10), server:
        port = server.sockets[0].getsockname()[1]
        connection = Connection(Target(timeout=timeout, web=Web(f"http://127.0.0.1:{port}/dicom-web", "ann", "secret")))
        try:
            yield connection
        finally:
            connection.close()


async def get(connection: Connection, body: Collected | None = None) -> tuple[Head, bytes]:
    body = body or Collected()
    head = await connection.get("/studies", "application/dicom+json", lambda head: body)
    return head, bytes(body.data)


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


ANSWERS = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n",
    "continued": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_bodies_however_they_are_cut_on_one_connection(answer: bytes) -> None:
    async with serving([[answer], bytewise(answer), [answer[:30], answer[30:]]]) as connection:
        for _ in range(3):
            head, body = await get(connection)
            assert (head.status, head.reason, body) == (200, "OK", b"hello")


async def test_no_body_and_one_until_the_end() -> None:
    async with serving([[b"HTTP/1.1 204 No Content\r\n\r\n"], [OK + b"\r\nhel", b"lo"], None]) as connection:
        assert (await get(connection))[1] == b""
        body = Collected()
        task = asyncio.create_task(get(connection, body))
        await until(lambda: body.data == b"hello")
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nok"
    last = OK + b"Connection: close\r\n" + answer[len(OK) :]
    async with serving([[answer], None, [answer], [last], [answer]]) as connection:
        for _ in range(4):
            assert (await get(connection))[1] == b"ok"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (None, ConnectionError),
        ([OK + b"Content-Length: 9\r\n\r\nhel", b""], TimeoutError),
        ([b"220 welcome\r\n\r\n"], OSError),
        ([b"x" * 100_000], OSError),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], OSError),
        ([OK + b"Content-Length: many\r\n\r\n"], OSError),
    ],
)
async def test_what_is_no_answer_is_an_error(pieces: Sequence[bytes] | None, error: type[Exception]) -> None:
    async with serving([pieces], timeout=0.3) as connection:
        with pytest.raises(error):
            await get(connection)
