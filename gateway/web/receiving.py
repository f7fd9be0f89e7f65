"""Receiving a body of any size in bounded memory, from clients of any speed: the mirror of `streaming.py`.

The limit on the size, the minimum rate, and slots, which bound concurrent bodies, are here. Handlers interpret the
body.

Slots are shared by client, which is the authenticated user, or else an address. A client holds three quarters of them
at most, so that none has them all, however fast; a free slot goes to the client that holds the fewest.

That alone is not enough: a sender just above `http.min_rate` holds slots for ever, and many may share one address.
While anybody waits, a higher rate is therefore required: of the bodies slower than CROWDED_RATE, the oldest of the
client with the most slots is aborted, one each second. A sender at the speed of any hospital's line is never aborted,
and what a slow sender has stored stays stored; a slow sender alone is not disturbed either.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import Final

from aiohttp import ClientPayloadError, web

from gateway.access.slots import FairSlots, NoSlot, client_of
from gateway.errors import BadRequest
from gateway.http.content_coding import ContentDecoder
from gateway.web.context import CONTEXT, USER
from gateway.web.errors import Busy, TooLarge
from gateway.web.streaming import RateGuard

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a request waits for a slot."""
CROWDED_RATE: Final = 64 << 10
"""Bytes a second below which a body may be aborted while others wait: 512 KB take 8 s at this rate."""
MEASURED_S = 10.0
"""Seconds of waiting for a client before its rate is known; the rate is measured over up to twice that."""
_LOOK_S = 1.0
MAX_SMALL: Final = 1 << 20
"""Bytes of a body without instances: JSON, a form."""
SMALL_AT_ONCE: Final = 64
"""Concurrent bodies without instances."""


class BodyError(BadRequest):
    """The body does not arrive as announced."""


class Body:
    """One body being received: the bytes so far, and the time spent waiting for them."""

    def __init__(self, client: str, transport: asyncio.Transport | None) -> None:
        self.client = client
        self.transport = transport
        self._received = 0
        self._waited_s = 0.0
        self._waiting_since: float | None = None
        self._marks: deque[tuple[int, float]] = deque([(0, 0.0)], maxlen=2)
        """(received, waited) at moments MEASURED_S of waiting apart; the rate counts from the older one."""

    def wait(self, now: float) -> None:
        """Start waiting for the client."""
        self._waiting_since = now

    def take(self, size: int, now: float) -> None:
        """Count bytes that arrived after a wait."""
        assert self._waiting_since is not None
        self._waited_s += now - self._waiting_since
        self._waiting_since = None
        self._received += size
        if self._waited_s - self._marks[-1][1] >= MEASURED_S:
            self._marks.append((self._received, self._waited_s))

    def is_slow(self, now: float) -> bool:
        """Whether the gateway waits for the client, and the rate is below CROWDED_RATE."""
        if self._waiting_since is None:
            return False
        received, waited_s = self._marks[0]
        measured_s = self._waited_s + now - self._waiting_since - waited_s
        return measured_s >= MEASURED_S and self._received - received < CROWDED_RATE * measured_s


class BodySlots:
    """Slots for bodies of one kind. Belongs to one event loop."""

    def __init__(self, count: int, reason: str) -> None:
        """`reason` is the error for a client without a slot."""
        self._reason = reason
        self._slots = FairSlots(count, each=max(1, count - max(1, count // 4)))
        self._bodies: dict[Body, None] = {}
        """The bodies that hold a slot, oldest first."""
        self._waiting: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, request: web.Request) -> AsyncIterator[Body]:
        """Hold a slot for the body of a request inside the context. Raises Busy after PATIENCE."""
        user = request.get(USER)
        client = client_of(request.remote or "") if user is None else f"user {user}"
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(PATIENCE):
                    with self._wanted_by(client):
                        await held.enter_async_context(self._slots.slot(client))
            except (TimeoutError, NoSlot):
                raise Busy(self._reason) from None
            body = Body(client, request.transport)
            self._bodies[body] = None
            held.callback(self._bodies.pop, body)
            yield body

    @contextmanager
    def _wanted_by(self, client: str) -> Iterator[None]:
        self._waiting[client] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        try:
            yield
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
            if not self._waiting and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look(self) -> None:
        """Abort one slow body if anybody waits for a slot."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_S, self._look)
        # A client at its own limit is helped only by one of its own slots.
        shared = any(not self._slots.is_full_for(client) for client in self._waiting)
        slow = [body for body in self._bodies if body.is_slow(loop.time()) and (shared or body.client in self._waiting)]
        if slow:
            body = max(slow, key=lambda each: self._slots.held_by(each.client))  # the oldest of them
            log.warning("closed a connection of %s: it sends slowly, and others wait", body.client)
            if body.transport is not None:
                body.transport.abort()


UPLOADS: web.AppKey[BodySlots] = web.AppKey("uploads", BodySlots)
"""Slots for bodies with instances."""
SMALL_BODIES: web.AppKey[BodySlots] = web.AppKey("small bodies", BodySlots)
"""Slots for all other bodies."""


def upload_slots(count: int) -> BodySlots:
    """Build the slots for requests with instances."""
    return BodySlots(count, "too many requests with instances are in progress (dicomweb.uploads)")


def small_slots() -> BodySlots:
    """Build the slots for all other requests with a body."""
    return BodySlots(SMALL_AT_ONCE, f"{SMALL_AT_ONCE} requests are in progress already")


@asynccontextmanager
async def receiving(
    request: web.Request, limit: int | None = None, setting: str = "dicomweb.max_upload"
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """Hold a slot for instances inside the context; yields the body in chunks, of `limit` bytes at most as `setting`
    has it.

    The body raises TooLarge, before the first byte if its length is known, and BodyError. The connection of a client
    that is too slow is aborted, which cancels the handler. Raises Busy without a slot.
    """
    if limit is None:
        limit = request.app[CONTEXT].settings().dicomweb.max_upload
    async with (
        request.app[UPLOADS].slot(request) as body,
        aclosing(_chunks(request, body, limit, f" ({setting})")) as chunks,
    ):
        yield chunks


async def small_body(request: web.Request) -> bytes:
    """Read a whole body without instances; aborts too slow a client. Raises TooLarge, BodyError, Busy."""
    if not request.can_read_body:
        return b""
    async with (
        request.app[SMALL_BODIES].slot(request) as body,
        aclosing(_chunks(request, body, MAX_SMALL, "")) as chunks,
    ):
        return b"".join([chunk async for chunk in chunks])


async def _chunks(request: web.Request, body: Body, limit: int, setting: str) -> AsyncGenerator[bytes, None]:
    too_large = f"more than {limit} bytes are not accepted{setting}"
    if (request.content_length or 0) > limit:
        raise TooLarge(too_large)
    if request.transport is None:
        return
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    decoder = ContentDecoder(coding) if coding not in ("identity", "") else None
    loop = asyncio.get_running_loop()
    guard = RateGuard(request.transport, request.app[CONTEXT].settings().http.min_rate)
    received = 0
    try:
        while True:
            guard.waiting = True
            body.wait(loop.time())
            # Not `readany`, which joins what has arrived: a copy of the whole body.
            chunk, ends_http_chunk = await request.content.readchunk()
            body.take(len(chunk), loop.time())
            guard.waiting = False
            if not chunk:
                if ends_http_chunk and not request.content.at_eof():
                    continue
                if decoder is not None:
                    decoder.finish()
                return
            guard.sent += len(chunk)
            for piece in (chunk,) if decoder is None else decoder.feed(chunk):
                received += len(piece)
                if received > limit:
                    raise TooLarge(too_large)
                yield piece
    except (ClientPayloadError, web.RequestPayloadError, ValueError) as error:
        raise BodyError(f"the body cannot be read: {error}") from None
    finally:
        guard.close()
        if guard.expired:
            log.warning("%s %s: closed, since %s sends too slowly", request.method, request.path, request.remote)
