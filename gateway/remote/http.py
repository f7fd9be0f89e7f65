"""HTTP requests to a remote system: its URL, TLS, credentials and timeouts.

A response is returned whatever its status; the kind of destination interprets it. Redirects are not followed: they
would send patient data and credentials to a host that nobody configured.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gateway import tracing
from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.errors import ConfigurationError, GatewayError
from gateway.net.tls import PemFiles, client_context, describe
from gateway.remote.credentials import credentials_of
from gateway.remote.destination import DestinationUnavailable
from gateway.telemetry import CLOCK_SKEW

if TYPE_CHECKING:
    import aiohttp

_CONNECT: Final = 30.0
"""Seconds to connect, TLS included."""
_MAX_ANSWER_BYTES: Final = 4 << 20
"""Bytes of a response."""
_KEPT: Final = 4.0
"""Seconds that an idle connection stays open: less than on most servers, so that none closes it during a request."""
_SHOWN: Final = 200
"""Characters of a response that an error text quotes."""
_LATER: Final = frozenset({429, 503, 507})
_OURS: Final = frozenset({401, 403, 404, 405, 406, 407, 421})
"""Statuses of missing access or a wrong URL: every further request would fail the same way."""
_MISSING: Final = frozenset({404, 405})


class RequestBroken(GatewayError):
    """The connection ended during a request. The text says how."""


class RequestUnanswered(RequestBroken):
    """No response arrived in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """The beginning of the response, for a user."""
        text = " ".join(self.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
        text = "".join(character for character in text if character.isprintable())[:_SHOWN]
        return f"it answers {self.status}" + (f": {text}" if text and not text.startswith("<") else "")


Take = Callable[[str, AsyncGenerator[bytes, None]], Awaitable[None]]
"""Takes the media type and the body of a response."""


class Body:
    """A request body produced while it is sent; it can be produced again for a repeated request."""

    def __init__(self, make: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        self._make = make
        self.error: Exception | None = None
        """The error that ended the production of the body."""

    @asynccontextmanager
    async def open(self, clock: _Clock) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        over = asyncio.Event()
        pieces = self._pieces(clock, over)
        try:
            yield pieces
        finally:
            try:
                await pieces.aclose()
            except RuntimeError:  # Being read: the cancelled reader will end it.
                await over.wait()

    async def _pieces(self, clock: _Clock, over: asyncio.Event) -> AsyncGenerator[bytes, None]:
        made = self._make()
        self.error = None
        try:
            clock.stop()
            async for piece in made:
                clock.start()
                yield piece
                clock.stop()
            clock.start()
        except Exception as error:
            self.error = error
            raise
        finally:
            await made.aclose()
            over.set()


class _Clock:
    """Ends a request once the server has been silent for a time; stopped while the gateway has to act."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._running = False

    async def __aenter__(self) -> _Clock:
        await self._timeout.__aenter__()
        self._running = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._running = False
        await self._timeout.__aexit__(kind, error, at)

    def start(self) -> None:
        if self._running and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def stop(self) -> None:
        if self._running and not self._timeout.expired():
            self._timeout.reschedule(None)


class HttpClient:
    """One system over HTTP. Connections stay open for a while; `close` closes them."""

    def __init__(self, name: str, section: DicomwebDestination | PeerDestination) -> None:
        self.name = name
        self._section = section
        self._credentials = credentials_of(name, section)
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Body | bytes | None = None,
        headers: Mapping[str, str],
        missing: bool = False,
        take: Take | None = None,
    ) -> Reply:
        """Send one request at `path` below the URL; a 401 is retried once with new credentials, if there are any.

        `take` is given the body of a successful response as it arrives, however long it is; then the reply has none.

        Raises: DestinationUnavailable when the system cannot be reached, refuses access, or asks to retry later;
        RequestBroken; the errors of `take`.
        """
        authorization, reply = await self._once(method, path, body, headers, take)
        if reply.status == 401 and self._credentials.rejected(authorization):
            _, reply = await self._once(method, path, body, headers, take)
        if reply.status in _LATER:
            raise DestinationUnavailable(f"{self.name}: {reply.words}", _retry_after(reply))
        if reply.status in _OURS and not (missing and reply.status in _MISSING):
            raise DestinationUnavailable(f"{self.name}: {reply.words}; look at its url and auth")
        if 300 <= reply.status < 400:
            raise DestinationUnavailable(
                f"{self.name}: {reply.words}: it redirects to {reply.headers.get('Location', '')[:_SHOWN]!r}, "
                "which is not followed; set its url to the final address"
            )
        return reply

    async def check(self, path: str) -> None:
        """Test the system after a failed request, whose content may have been the cause.

        Raises: DestinationUnavailable when a harmless request fails as well.
        """
        try:
            reply = await self.request("GET", path, headers={"Accept": "*/*"}, missing=True)
        except RequestBroken as error:
            raise DestinationUnavailable(str(error)) from None
        if reply.status >= 500:
            raise DestinationUnavailable(f"{self.name}: {reply.words}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _once(
        self, method: str, path: str, body: Body | bytes | None, headers: Mapping[str, str], take: Take | None
    ) -> tuple[str, Reply]:
        """Send one request; returns the Authorization used, and the response."""
        import aiohttp

        try:
            context = await asyncio.to_thread(tls_context, self.name, self._section)
            if self._session is None:
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
                )
            authorization = await self._credentials.header(self._session, context)
        except ConfigurationError as error:
            raise DestinationUnavailable(str(error)) from None
        sent = {**headers, **({"Authorization": authorization} if authorization else {})}
        url = self._section.url.rstrip("/") + path
        try:
            async with _Clock(self._section.timeout) as clock:
                clock.start()
                receive = _Receiving(self.name, clock, take)
                if not isinstance(body, Body):
                    return authorization, await self._exchange(self._session, method, url, body, sent, context, receive)
                async with body.open(clock) as pieces:
                    return authorization, await self._exchange(
                        self._session, method, url, pieces, sent, context, receive
                    )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise DestinationUnavailable(f"{self.name}: no connection: {_reason(error)}") from None
        except TimeoutError:
            raise RequestUnanswered(f"{self.name}: no answer for {self._section.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RequestBroken(f"{self.name}: the connection broke: {_reason(error)}") from None

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        body: AsyncGenerator[bytes, None] | bytes | None,
        headers: Mapping[str, str],
        context: ssl.SSLContext,
        receive: _Receiving,
    ) -> Reply:
        headers = dict(headers)
        with tracing.span(method, "client", about={"http.request.method": method, "gateway.system": self.name}) as span:
            tracing.hand_on(headers)
            async with session.request(
                method, url, data=body, headers=headers, ssl=context, allow_redirects=False
            ) as response:
                span.set("http.response.status_code", response.status)
                if response.status >= 400:
                    span.fail(str(response.status))
                self._note_clock(response.headers.get("Date", ""))
                return await receive.reply(response)

    def _note_clock(self, date: str) -> None:
        """Note the clock of the system, by the Date header of an answer that has just come (RFC 9110 §6.6.1)."""
        try:
            at = email.utils.parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        CLOCK_SKEW.labels(self.name).set(round(at + 0.5 - time.time(), 1))  # the header has whole seconds


@dataclass(frozen=True, slots=True)
class _Receiving:
    """What becomes of the body of a response."""

    name: str
    clock: _Clock
    take: Take | None

    async def reply(self, response: aiohttp.ClientResponse) -> Reply:
        headers = dict(response.headers)
        if self.take is not None and 200 <= response.status < 300:
            async with aclosing(self._chunks(response)) as chunks:
                await self.take(response.headers.get("Content-Type", ""), chunks)
            return Reply(response.status, headers, b"")
        read = bytearray()
        async for piece in response.content.iter_any():
            read += piece
            if len(read) > _MAX_ANSWER_BYTES:
                response.close()
                raise RequestBroken(f"{self.name}: it answers more than {_MAX_ANSWER_BYTES} bytes")
        return Reply(response.status, headers, bytes(read))

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        self.clock.start()
        async for piece in response.content.iter_any():
            self.clock.stop()
            yield piece
            self.clock.start()
        self.clock.stop()


def tls_context(name: str, section: DicomwebDestination | PeerDestination) -> ssl.SSLContext:
    """The TLS context of a section. Blocks when files are new. Raises ConfigurationError."""
    return client_context(PemFiles.of_section(f"destinations.{name}", section.certificate, section.key, section.ca))


def _retry_after(reply: Reply) -> float | None:
    """The Retry-After in seconds; None for a date, which depends on another clock (RFC 9110 §10.2.3)."""
    text = reply.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, OSError):
        return describe(cause) if isinstance(cause, ssl.SSLError) or not cause.strerror else cause.strerror.lower()
    return str(cause) or type(cause).__name__
