"""Live figures of the page: the change sequence, totals, open associations and the rate of intake.

One task samples once a second for all; each open page has a stream of server-sent events with the samples. They contain
no patient data: the page fetches its studies again when the sequence has grown. Who sees a part of the archive gets
sequence and totals of that part, and neither associations nor rates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import web

from gateway.database.view import VIEW
from gateway.errors import GatewayError
from gateway.web.context import CONTEXT, USER, Context
from gateway.web.errors import error_answer
from gateway.web.pages.totals import RecentTotals, read_sequence, read_totals
from gateway.web.route import Route
from gateway.web.sessions import ISSUED_TOKENS, SESSION, cookie_of
from gateway.web.streaming import stream

log = logging.getLogger(__name__)

_TICK = 1.0
_HISTORY = 120
"""Samples that a page gets when it opens: the last two minutes."""
MAX_PAGES = 200
"""Live pages at once."""
_TRUSTED_S = 600.0
"""Seconds after which who has signed in without a session is asked for it again."""
_SHARE = 0.02
"""Of the time, at most, that is spent on counting for a page whose reader sees a part."""


class Live:
    """The current figures, and a wait for the next ones. Run `run()` as a task."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._seq = -1
        self._counted_at = -2
        self._totals: dict[str, int] = {}
        self._rates: deque[tuple[int, float]] = deque(maxlen=_HISTORY)
        self._samples = 0
        self._last: tuple[float, float, float] | None = None
        self.recent_totals = RecentTotals(context.database)
        self.pages = 0
        self.closing = False

    async def run(self) -> None:
        """Sample once a second, without end."""
        tick = self._loop.time()
        self._sample()
        while True:
            tick = max(tick + _TICK, self._loop.time())
            try:
                self._seq = max(
                    self._seq, await self._context.feed.wait_change(self._seq, max(0.05, tick - self._loop.time()))
                )
                if self.pages and self._counted_at != self._seq:
                    self._totals, self._counted_at = await read_totals(self._context.database), self._seq
            except GatewayError as error:
                log.warning("the page is not up to date: %s", error)
            await asyncio.sleep(max(0.0, tick - self._loop.time()))
            self._sample()
            self._wake()

    def close(self) -> None:
        """End the stream of every page."""
        self.closing = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _sample(self) -> None:
        now, (size, count) = self._loop.time(), self._context.intake()
        if self._last is not None:
            then, size_then, count_then = self._last
            elapsed = max(now - then, 0.001)
            self._samples += 1
            # The totals shrink when a worker has been restarted.
            self._rates.append(
                (round(max(0.0, size - size_then) / elapsed), round(max(0.0, count - count_then) / elapsed, 1))
            )
        self._last = now, size, count

    def state(self, since: int = 0) -> tuple[bytes, int]:
        """JSON for a page with the samples of the rate after number `since`, and the number of the last sample."""
        associations = [
            {
                "number": each.number,
                "calling": each.calling_aet,
                "called": each.called_aet,
                "host": each.host,
                "since": each.since,
                "instances": each.instances,
                "bytes": each.bytes,
            }
            for each in self._context.associations()
        ]
        new = min(self._samples - since, len(self._rates))
        rates = list(self._rates)[-new:] if new else []
        found: dict[str, Any] = {"seq": self._seq, "associations": associations, "rates": rates, "totals": self._totals}
        return msgspec.json.encode(found), self._samples

    async def state_of_part(self) -> bytes:
        """JSON for the page of a reader who sees a part of the archive. Raises DatabaseError."""
        database = self._context.database
        found = {
            "seq": await read_sequence(database),
            "associations": [],
            "rates": [],
            "totals": await read_totals(database),
        }
        return msgspec.json.encode(found)

    @property
    def seq(self) -> int:
        """The number of the last change known."""
        return self._seq

    async def wait(self) -> None:
        """Wait for the next sample."""
        await self._news.wait()


LIVE: web.AppKey[Live] = web.AppKey("live", Live)


async def run_live(app: web.Application) -> AsyncIterator[None]:
    """Run the live figures as a cleanup context of the application."""
    live = app[LIVE] = Live(app[CONTEXT])
    task = asyncio.create_task(live.run(), name="live page")
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def close_live(app: web.Application) -> None:
    """End all streams when the application stops, which would otherwise delay it."""
    app[LIVE].close()


async def events(request: web.Request) -> web.StreamResponse:
    """The stream of a page (text/event-stream): a state at once, then one a second."""
    live = request.app[LIVE]
    if live.pages >= MAX_PAGES:
        return error_answer(request, 503, "too many live pages are open", headers={"Retry-After": "30"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    live.pages += 1
    try:
        is_over = await _end_of(request)
        messages = _messages(live, is_over) if VIEW.get() is None else _messages_of_part(live, is_over)
        return await stream(request, response, messages)
    finally:
        live.pages -= 1


async def _end_of(request: web.Request) -> Callable[[], bool]:
    """Whether the stream of a request is over: once anybody's rights have changed, or its session has ended. The page
    then asks again, and is answered if its reader still may. Meanwhile the stream is no use of the session."""
    issued, settings = request.app[ISSUED_TOKENS], request.app[CONTEXT].settings
    began_with, revocations = settings(), issued.revocations.value
    session = await issued.find(cookie_of(request, SESSION)) if cookie_of(request, SESSION) else None
    until = time.time() + _TRUSTED_S if request.get(USER) else math.inf
    if session is not None:
        idle = began_with.http.session_idle_minutes * 60 or math.inf
        until = min(session.ends_at, max(session.used_at, session.created_at) + idle)

    def is_over() -> bool:
        now = settings()
        changed = now is not began_with and now != began_with
        return changed or issued.revocations.value != revocations or time.time() >= until

    return is_over


async def _messages(live: Live, is_over: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    samples = 0
    while not live.closing and not is_over():
        state, samples = live.state(samples)
        yield b"data: " + state + b"\n\n"
        await live.wait()


async def _messages_of_part(live: Live, is_over: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    """The same for a reader who sees a part of the archive."""
    clock = asyncio.get_running_loop().time
    read_at, due, state = -2, 0.0, b""
    while not live.closing and not is_over():
        if read_at != live.seq and (began := clock()) >= due:
            try:
                read_at, state = live.seq, await live.state_of_part()
            except GatewayError as error:
                log.warning("a page is not up to date: %s", error)
            due = clock() + (clock() - began) / _SHARE
        yield b"data: " + state + b"\n\n" if state else b":\n\n"
        await live.wait()


ROUTES = (
    Route("GET", "/ui/events", events, "view", answers=("text/event-stream",), errors=(503,), name="events", action=""),
)
