"""The HTTP listener: an application on a socket, with or without TLS.

Start, the ports in use, stop. What is answered is in `app.py`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from aiohttp import web

from gateway.config import Http
from gateway.net.accepting import Accepting, Turns
from gateway.net.tls import Certificates, load_chain

log = logging.getLogger(__name__)

_BACKLOG = 1024
_MOST = 1 << 20
"""Connections where processes share the socket: as without, the limit is that of the descriptors."""


def certificates_of(http: Http) -> Certificates:
    """What we show over HTTPS. Blocks. Raises ConfigurationError."""

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_chain(context, http.certificate, http.key, "http")
        return context

    return Certificates(make, (http.certificate, http.key))


class Listener:
    """One application that listens."""

    def __init__(self, application: web.Application, *, grace: float = 10.0) -> None:
        """`grace`: seconds that answers still get once we stop."""
        self._runner = web.AppRunner(application, shutdown_timeout=grace)
        self._watch: asyncio.Task[None] | None = None
        self._certificates: Certificates | None = None
        self._accepting: Accepting | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        self._sock: socket.socket | None = None
        self.port = 0

    async def start(self, http: Http, sock: socket.socket | None = None, turns: Turns | None = None) -> None:
        """Listen at `http.host` and `http.port`, or on a socket that is bound already; with `turns`, on one that other
        processes share.

        Raises OSError where the port cannot be had, ConfigurationError for certificates.
        """
        certificates = None
        if http.certificate:
            certificates = await asyncio.to_thread(certificates_of, http)
        context = certificates.context if certificates is not None else None
        await self._runner.setup()
        self._certificates = certificates
        if certificates is not None:
            self._watch = asyncio.create_task(certificates.watch(), name="certificates")
        if sock is not None and turns is not None:
            self._share(sock, turns)
            return
        site: web.BaseSite
        if sock is not None:
            site = web.SockSite(self._runner, sock, ssl_context=context, backlog=_BACKLOG)
        else:
            site = web.TCPSite(self._runner, http.host, http.port, ssl_context=context, backlog=_BACKLOG)
        try:
            await site.start()
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    def _share(self, sock: socket.socket, turns: Turns) -> None:
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None
        self._sock, self.port = sock, sock.getsockname()[1]

        async def serve(connection: socket.socket) -> None:
            context = self._certificates.newest if self._certificates is not None else None
            try:
                await loop.connect_accepted_socket(server, connection, ssl=context)
            except OSError as error:
                log.info("a connection that came to nothing: %s", error)
                connection.close()

        def taken(connection: socket.socket, _host: str, _listener: socket.socket) -> None:
            task = loop.create_task(serve(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

        self._accepting = Accepting(
            [sock],
            taken,
            held=lambda: len(server.connections) + len(self._beginning),
            most=lambda: _MOST,
            turns=turns,
        )
        self._accepting.set(True)

    def use(self, certificates: Certificates | None) -> None:
        """Show other certificates from now on. Between HTTP and HTTPS only a new start can change."""
        if self._certificates is not None and certificates is not None:
            self._certificates.replace(certificates)

    async def stop(self) -> None:
        """Take no more connections, give running answers their grace, then cut them off."""
        if self._watch is not None:
            self._watch.cancel()
        if self._accepting is not None and self._sock is not None:
            self._accepting.set(False)
            self._sock.close()
            for task in self._beginning:
                task.cancel()
            await asyncio.gather(*self._beginning, return_exceptions=True)
        await self._runner.cleanup()
