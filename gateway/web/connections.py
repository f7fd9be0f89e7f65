"""The connections of the web: address, age, requests in progress, and whether the client has been authenticated.

`net/newcomers.py` decides which one to close when there is no room.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from gateway.net.newcomers import Newcomers, hang_up

_SWEEP_EVERY = 256
"""New connections after which closed ones are removed from the table."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection as a newcomer (`newcomers.Newcomer`)."""

    address: str
    accepted: socket.socket
    since: float
    """Time of the connect, or of the last answer."""
    beginning: asyncio.Task[None] | None = None
    """The task that connects it, TLS included."""
    handler: web.RequestHandler | None = None
    """The handler that serves it afterwards."""
    requests: int = 0
    """Requests in progress."""
    is_recognized: bool = False
    """Whether a request on it has been authenticated."""

    @property
    def is_open(self) -> bool:
        if self.handler is not None:
            return self.handler.transport is not None
        return self.beginning is not None and not self.beginning.done()

    @property
    def is_silent(self) -> bool:
        return self.requests == 0

    def close(self) -> None:
        hang_up(self.accepted)


@dataclass(slots=True)
class Connections:
    """All connections of a listener, by handler. Belongs to one event loop."""

    newcomers: Newcomers = field(default_factory=lambda: Newcomers(lambda: asyncio.get_running_loop().time()))
    _by_handler: dict[web.RequestHandler, Connection] = field(default_factory=dict)
    _served: int = 0

    def serve(self, connection: Connection, handler: web.RequestHandler) -> None:
        """Record that `handler` serves a connection."""
        self._served += 1
        if self._served % _SWEEP_EVERY == 0:
            self._by_handler = {each: open_ for each, open_ in self._by_handler.items() if open_.is_open}
        connection.handler = handler
        self._by_handler[handler] = connection

    def of(self, request: web.Request) -> Connection | None:
        """The connection of a request; None if another listener has accepted it."""
        return self._by_handler.get(request.protocol)


CONNECTIONS: web.AppKey[Connections] = web.AppKey("connections", Connections)


@web.middleware
async def count_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Count the requests in progress on each connection, which is then not silent."""
    connection = request.app[CONNECTIONS].of(request)
    if connection is None:
        return await handler(request)
    connection.requests += 1
    try:
        return await handler(request)
    finally:
        connection.requests -= 1
        connection.since = asyncio.get_running_loop().time()


def recognize(request: web.Request) -> None:
    """Mark the connection of an authenticated request, and its address, as known."""
    connections = request.app[CONNECTIONS]
    connection = connections.of(request)
    if connection is not None and not connection.is_recognized:
        connection.is_recognized = True
        connections.newcomers.recognize(connection.address)
