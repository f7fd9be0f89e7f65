"""An HTTP client for GET, and questions by POST, over one HTTP/1.1 connection that stays open. Bodies are counted and
discarded.

A general client spends more time on a body than many servers do, and would limit the measurement: here the kernel
writes into one buffer, and the receiver of the body reads it there. Uploads use aiohttp (`web.py`). RFC 9112; no
redirects, no compression, no pipelining.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from loadtest.target import Target

_BUFFER = 256 << 10
_MAX_HEAD_BYTES = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ?([^\r\n]*)")


class Head(NamedTuple):
    status: int
    reason: str
    headers: dict[str, str]
    """Values by name, in lower case."""


class Body(Protocol):
    """A receiver of a body, piece by piece."""

    def write(self, buffer: bytearray, start: int, end: int) -> None:
        """Receive bytes `start` to `end` of the buffer, which are valid during the call."""


class Collected:
    """A receiver that collects a small body."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, buffer: bytearray, start: int, end: int) -> None:
        self.data += memoryview(buffer)[start:end]


class Connection:
    """A connection, opened with the first request, and again after the server closed it. One request at a time."""

    def __init__(self, target: Target) -> None:
        assert target.web is not None
        web, self._timeout, self._trust = target.web, target.timeout, target.trust
        parts = urlsplit(web.url)
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._tls else 80)
        self._path = parts.path
        self._lines = f"Host: {web.host or parts.netloc}\r\nAccept-Encoding: identity\r\n"
        if web.user:
            secret = base64.b64encode(f"{web.user}:{web.password}".encode()).decode()
            self._lines += f"Authorization: Basic {secret}\r\n"
        self._stream: _Stream | None = None

    async def get(self, path: str, accept: str, begin: Callable[[Head], Body]) -> Head:
        """GET a path below the service's URL. `begin` is called with the head, and returns the receiver of the body.

        Raises: OSError; TimeoutError when nothing arrives for as long as the target's timeout.
        """
        return await self._send(f"GET {self._path}{path} HTTP/1.1\r\n{self._lines}Accept: {accept}\r\n\r\n", begin)

    async def post(self, path: str, body: str, begin: Callable[[Head], Body]) -> Head:
        """POST a question that changes nothing, as JSON. Otherwise like `get`."""
        lines = f"{self._lines}Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
        return await self._send(f"POST {self._path}{path} HTTP/1.1\r\n{lines}\r\n{body}", begin)

    async def _send(self, text: str, begin: Callable[[Head], Body]) -> Head:
        request = text.encode()
        reused = self._stream is not None and self._stream.usable
        try:
            return await (await self._connected()).exchange(request, begin, self._timeout)
        except ConnectionError:
            self.close()
            if not reused:
                raise
        except BaseException:
            self.close()
            raise
        # The server most likely closed the connection before it read this request: RFC 9112 §9.3.1 permits a retry.
        return await (await self._connected()).exchange(request, begin, self._timeout)

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _connected(self) -> _Stream:
        if self._stream is None or not self._stream.usable:
            self.close()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._timeout):
                _, self._stream = await loop.create_connection(
                    _Stream, self._host, self._port, ssl=(self._trust or True) if self._tls else None
                )
        return self._stream


class _Stream(asyncio.BufferedProtocol):
    """The protocol that parses responses, one after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._begin: Callable[[Head], Body] | None = None
        self._done: asyncio.Future[Head] | None = None
        self._head: Head | None = None
        self._body: Body | None = None
        self._pending = bytearray()
        """Incomplete bytes of a head, or of the line before a chunk."""
        self._left: int | None = None
        """Remaining bytes of the body or of its chunk; None if the body ends when the connection closes."""
        self._chunked = False
        self._trailer = False
        self._heard = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, begin: Callable[[Head], Body], timeout: float) -> Head:
        assert self._transport is not None
        self._reset()
        self._begin = begin
        done: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._done = done
        self._transport.write(request)
        while True:
            self._heard = False
            await asyncio.wait([done], timeout=timeout)
            if done.done():
                return done.result()
            if not self._heard:
                raise TimeoutError

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        if self._done is None or self._done.done():
            self.close()  # No request was sent.
            return
        try:
            self._received(0, nbytes)
        except (OSError, ValueError) as error:
            self._fail(error if isinstance(error, OSError) else OSError(f"the answer cannot be read: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._head is not None and self._left is None and not self._chunked:
            self._finish()
        else:
            self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"))

    def _received(self, at: int, end: int) -> None:
        while at < end and self._done is not None and not self._done.done():
            if self._head is None:
                at = self._parse_head(at, end)
            elif self._chunked and self._left == 0:
                at = self._parse_chunk_line(at, end)
            else:
                until = end if self._left is None else min(end, at + self._left)
                assert self._body is not None
                self._body.write(self._buffer, at, until)
                if self._left is not None:
                    self._left -= until - at
                    if not self._left and not self._chunked:
                        self._finish()
                at = until

    def _parse_head(self, at: int, end: int) -> int:
        before = len(self._pending)
        self._pending += self._view[at:end]
        stop = self._pending.find(b"\r\n\r\n")
        if stop < 0:
            if len(self._pending) > _MAX_HEAD_BYTES:
                raise OSError(f"the head of an answer is longer than {_MAX_HEAD_BYTES} bytes")
            return end
        head = _parse(bytes(self._pending[:stop]))
        self._pending.clear()
        at += stop + 4 - before
        if 100 <= head.status < 200:
            return at
        self._head = head
        self._chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        length = head.headers.get("content-length")
        self._left = 0 if self._chunked or head.status in (204, 304) else int(length) if length is not None else None
        assert self._begin is not None
        self._body = self._begin(head)
        if self._left == 0 and not self._chunked:
            self._finish()
        return at

    def _parse_chunk_line(self, at: int, end: int) -> int:
        """Parse the line before a chunk, with the line end of the previous chunk; after the last chunk, the trailer."""
        stop = self._buffer.find(b"\n", at, end)
        if stop < 0:
            self._pending += self._view[at:end]
            if len(self._pending) > _MAX_HEAD_BYTES:
                raise OSError(f"a line between chunks is longer than {_MAX_HEAD_BYTES} bytes")
            return end
        line = bytes(self._pending + self._view[at:stop]).strip()
        self._pending.clear()
        if self._trailer:
            if not line:
                self._finish()
        elif line:
            self._left = int(line.partition(b";")[0], 16)
            self._trailer = not self._left
        return stop + 1

    def _finish(self) -> None:
        assert self._head is not None
        if self._done is not None and not self._done.done():
            self._done.set_result(self._head)
        if self._transport is not None and "close" in self._head.headers.get("connection", "").lower():
            self.close()

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _parse(data: bytes) -> Head:
    match = _STATUS.match(data)
    if match is None:
        raise OSError("the answer is not HTTP")
    lines = data.decode("latin-1").split("\r\n")[1:]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Head(int(match[1]), match[2].decode("latin-1"), headers)
