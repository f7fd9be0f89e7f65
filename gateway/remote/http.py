"""Requests to a system that we send to over HTTP: its address, TLS and credentials, and how long it may take.

An answer is given as it came, whatever its status; what it means is for the kind of destination to say. Redirects are
not followed: they would take patients' data and our credentials where nobody has said that they may go.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gateway.config.destinations import DicomwebDestination, PeerDestination
from gateway.errors import ConfigurationError, GatewayError
from gateway.net.tls import Stamp, describe, load_chain, stamp
from gateway.remote.credentials import credentials_of
from gateway.remote.destination import DestinationUnavailable

if TYPE_CHECKING:
    import aiohttp

_CONNECT: Final = 30.0
"""Seconds to connect, TLS included."""
_LARGEST: Final = 4 << 20
"""Bytes of an answer that are read."""
_KEPT: Final = 4.0
"""Seconds for which an idle connection is kept; most servers keep them for longer, and none loses a race so."""
_SHOWN: Final = 200
"""Characters of an answer that go into a text for people."""
_LATER: Final = frozenset({429, 503, 507})
_OURS: Final = frozenset({401, 403, 404, 405, 406, 407, 421})
"""Statuses that say that we are not let in, or are at the wrong address: nothing sent there fares better."""
_MISSING: Final = frozenset({404, 405})


class RequestBroken(GatewayError):
    """The connection ended in the middle of a request. The text says how."""


class RequestUnanswered(RequestBroken):
    """Nothing came for too long."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """The beginning of it, for people."""
        text = " ".join(self.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
        text = "".join(character for character in text if character.isprintable())[:_SHOWN]
        return f"it answers {self.status}" + (f": {text}" if text and not text.startswith("<") else "")


class Body:
    """What is sent, made while it is sent; it can be made again where a request has to be repeated."""

    def __init__(self, make: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        self._make = make
        self.error: Exception | None = None
        """What kept it from being made to its end."""

    @asynccontextmanager
    async def open(self, clock: _Clock) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        over = asyncio.Event()
        pieces = self._pieces(clock, over)
        try:
            yield pieces
        finally:
            try:
                await pieces.aclose()
            except RuntimeError:  # It is being read: who reads it has been cancelled and ends it.
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
    """Ends a request once the other side has done nothing for so many seconds; while it is our turn it stands still."""

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
    """One system over HTTP. Connections are kept for a while; `close` lets go of them."""

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
    ) -> Reply:
        """Ask at `path` behind the url. Where it does not know us, once more with new credentials, if there are any.

        Raises DestinationUnavailable where nobody is there, it does not let us in, or says that it can do nothing for
        now, and RequestBroken.
        """
        shown, reply = await self._once(method, path, body, headers)
        if reply.status == 401 and self._credentials.rejected(shown):
            _, reply = await self._once(method, path, body, headers)
        if reply.status in _LATER:
            raise DestinationUnavailable(f"{self.name}: {reply.words}", _retry_after(reply))
        if reply.status in _OURS and not (missing and reply.status in _MISSING):
            raise DestinationUnavailable(f"{self.name}: {reply.words}; look at its url and auth")
        if 300 <= reply.status < 400:
            raise DestinationUnavailable(
                f"{self.name}: {reply.words}: it sends us to {reply.headers.get('Location', '')[:_SHOWN]!r}, "
                "where we do not go; set its url to where it really is"
            )
        return reply

    async def check(self, path: str) -> None:
        """Whether it is well, after a request that failed: the fault may be that of what was sent.

        Raises DestinationUnavailable where it answers nothing sensible to a harmless one either.
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
        self, method: str, path: str, body: Body | bytes | None, headers: Mapping[str, str]
    ) -> tuple[str, Reply]:
        """The Authorization that was shown, and what came of it."""
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
                if not isinstance(body, Body):
                    return authorization, await self._exchange(self._session, method, url, body, sent, context)
                async with body.open(clock) as pieces:
                    return authorization, await self._exchange(self._session, method, url, pieces, sent, context)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise DestinationUnavailable(f"{self.name}: no connection: {_reason(error)}") from None
        except TimeoutError:
            raise RequestUnanswered(f"{self.name}: nothing came for {self._section.timeout:g} s") from None
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
    ) -> Reply:
        async with session.request(
            method, url, data=body, headers=headers, ssl=context, allow_redirects=False
        ) as response:
            read = bytearray()
            async for piece in response.content.iter_any():
                read += piece
                if len(read) > _LARGEST:
                    response.close()
                    raise RequestBroken(f"{self.name}: it answers more than {_LARGEST} bytes")
            return Reply(response.status, dict(response.headers), bytes(read))


def tls_context(name: str, section: DicomwebDestination | PeerDestination) -> ssl.SSLContext:
    """How its certificate is checked and ours shown. Raises ConfigurationError. Blocks where files are new."""
    files = (section.ca, section.certificate, section.key)
    return _made_context(name, *files, tuple(stamp(Path(file)) if file else None for file in files))


@functools.lru_cache(maxsize=16)
def _made_context(name: str, ca: str, certificate: str, key: str, _stamps: tuple[Stamp, ...]) -> ssl.SSLContext:
    """Made again when a file has changed. Blocks. Raises ConfigurationError."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigurationError(f"destinations.{name}.ca {ca}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        load_chain(context, certificate, key, f"destinations.{name}")
    return context


def _retry_after(reply: Reply) -> float | None:
    """Seconds; a date is as good as nothing, for its clock is not ours (RFC 9110 §10.2.3)."""
    text = reply.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, OSError):
        return describe(cause) if isinstance(cause, ssl.SSLError) or not cause.strerror else cause.strerror.lower()
    return str(cause) or type(cause).__name__
