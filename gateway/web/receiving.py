"""Taking a body of any size in bounded memory, from clients of any speed: the mirror of `streaming.py`.

Here live the limit on its size, the minimum rate, and how many such requests there are at once. What a body means is
its handler's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientPayloadError, web

from gateway.errors import BadRequest
from gateway.web.context import CONTEXT
from gateway.web.errors import Busy, TooLarge
from gateway.web.streaming import RateGuard

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a request waits for its turn."""


class Broken(BadRequest):
    """The body does not come as it was announced."""


class Turns:
    """At most so many requests at once that bring instances."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """While inside, it is this request's turn. Raises Busy."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise Busy("too many requests bring instances already (dicomweb.uploads)") from None
        try:
            yield
        finally:
            self._free.release()


TURNS: web.AppKey[Turns] = web.AppKey("turns", Turns)


async def body(request: web.Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises TooLarge, before the first byte where that can be seen, and Broken.

    A client that is too slow is cut off, which cancels its handler.
    """
    limit = request.app[CONTEXT].settings().dicomweb.max_upload
    too_large = f"more than {limit} bytes are not taken (dicomweb.max_upload)"
    if (request.content_length or 0) > limit:
        raise TooLarge(too_large)
    if request.transport is None:
        return
    guard = RateGuard(request.transport, request.app[CONTEXT].settings().http.min_rate)
    received = 0
    try:
        while True:
            guard.waiting = True
            # Not `readany`, which joins what has come: a copy of the whole body.
            chunk, ends_http_chunk = await request.content.readchunk()
            guard.waiting = False
            if not chunk:
                if ends_http_chunk and not request.content.at_eof():
                    continue
                return
            guard.sent += len(chunk)
            received += len(chunk)
            if received > limit:
                raise TooLarge(too_large)
            yield chunk
    except (ClientPayloadError, web.RequestPayloadError, ValueError) as error:
        raise Broken(f"the body cannot be read: {error}") from None
    finally:
        guard.close()
        if guard.expired:
            log.warning("%s %s: let go of %s: it sends too slowly", request.method, request.path, request.remote)
