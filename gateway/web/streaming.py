"""Sending an answer of any size in bounded memory, to clients of any speed.

The begin and end of a streamed answer, the minimum rate, and the handling of a failure after the status line are here:
the connection is aborted, so that no client takes half an answer for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from gateway.errors import GatewayError
from gateway.web.context import CONTEXT

log = logging.getLogger(__name__)

WINDOW = 60.0
"""Seconds over which the minimum rate is measured."""
_TICKS = 6


class RateGuard:
    """Aborts the connection of a client that is slower than `min_rate` bytes a second for a whole window."""

    def __init__(self, transport: asyncio.WriteTransport, min_rate: int, window: float = WINDOW) -> None:
        self._transport = transport
        self._wanted = min_rate * window
        self._interval = window / _TICKS
        self._loop = asyncio.get_running_loop()
        self._taken = [-int(self._wanted)] * _TICKS
        self.sent = 0
        self.waiting = False
        """Whether a write is pending; only then can the client be at fault."""
        self.expired = False
        self._timer = self._loop.call_later(self._interval, self._tick)

    def _tick(self) -> None:
        taken = self.sent - self._transport.get_write_buffer_size()
        if not self.waiting:
            self._taken = [taken - int(self._wanted)] * _TICKS
        elif taken - self._taken[0] < self._wanted:
            self.expired = True
            self._transport.abort()
            return
        else:
            self._taken = [*self._taken[1:], taken]
        self._timer = self._loop.call_later(self._interval, self._tick)

    def close(self) -> None:
        self._timer.cancel()


async def stream(
    request: web.Request, response: web.StreamResponse, chunks: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send `chunks` as the body; HEAD gets the header alone. Closes `chunks` in any case.

    An error before the first chunk is raised, so that it can still become an error answer.
    """
    async with aclosing(chunks) as source:
        first = await anext(source, b"")
        await response.prepare(request)
        transport = request.transport
        if request.method == "HEAD" or transport is None:
            return response
        guard = RateGuard(transport, request.app[CONTEXT].settings().http.min_rate)
        try:
            await _write(response, guard, first)
            first = b""  # Frees the chunk, which a slow client would otherwise hold to the end.
            async for chunk in source:
                await _write(response, guard, chunk)
            await response.write_eof()
        except Exception as error:
            transport.abort()
            if not guard.expired and not isinstance(error, ConnectionError):
                known = isinstance(error, (GatewayError, OSError))
                text = "%s %s: cut off after %d bytes: %s"
                log.error(text, request.method, request.path, guard.sent, error, exc_info=not known)
        except asyncio.CancelledError:  # the client is gone, or the gateway is stopping
            transport.abort()
            raise
        finally:
            guard.close()
            if guard.expired:
                log.warning(
                    "%s %s: closed, since %s reads too slowly",
                    request.method,
                    request.path,
                    request.remote,
                )
    return response


async def _write(response: web.StreamResponse, guard: RateGuard, chunk: bytes) -> None:
    guard.sent += len(chunk)
    guard.waiting = True
    await response.write(chunk)
    guard.waiting = False
