"""The HTTP listener: an application on a socket, with or without TLS.

Start, the port in use, stop. `app.py` has the application.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket

from aiohttp import web

from gateway.config import Http
from gateway.net.accepting import AcceptBalancer, Accepting
from gateway.net.acceptor import listen
from gateway.net.tls import VERIFY, Certificates, PemFiles, server_context
from gateway.supervision import lasting
from gateway.web.connections import CONNECTIONS, Connection, Connections

log = logging.getLogger(__name__)


def certificates_of(http: Http) -> Certificates:
    """The server certificate for HTTPS, and whether it demands one. Blocks. Raises ConfigurationError."""
    files = PemFiles(http.certificate, http.key, http.client_ca, ("http.certificate", "http.key", "http.client_ca"))
    clients = VERIFY[http.client_certificates if http.client_ca else "none"]
    return Certificates(functools.partial(server_context, files, clients), files[:3])


class Listener:
    """Serves one application on a socket."""

    def __init__(self, application: web.Application, *, max_connections: int = 0, grace: float = 10.0) -> None:
        """`max_connections`, 0: the value of the settings at the start. `grace`: seconds for running answers at the
        stop."""
        self._runner = web.AppRunner(application, shutdown_timeout=grace)
        self._watch: asyncio.Task[None] | None = None
        self._certificates: Certificates | None = None
        self._accepting: Accepting | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        self._sock: socket.socket | None = None
        self._connections = application.get(CONNECTIONS) or Connections()
        self.max_connections = max_connections
        self.port = 0

    async def start(self, http: Http, sock: socket.socket | None = None, turns: AcceptBalancer | None = None) -> None:
        """Listen at `http.host` and `http.port`, or on an open socket; with `turns`, on one shared with other
        processes.

        Raises: OSError when the port is not free; ConfigurationError for certificates.
        """
        certificates = None
        if http.certificate:
            certificates = await asyncio.to_thread(certificates_of, http)
        await self._runner.setup()
        self._certificates = certificates
        try:
            self._sock = sock or listen(http.host, http.port)
        except OSError:
            await self.stop()
            raise
        self._sock.setblocking(False)
        if certificates is not None:
            self._watch = asyncio.create_task(
                lasting("watching the certificates of the web", certificates.watch), name="certificates"
            )
        self.max_connections = self.max_connections or http.max_connections
        self.port = self._sock.getsockname()[1]
        server = self._runner.server
        assert server is not None
        self._accepting = Accepting(
            [self._sock],
            functools.partial(self._begin, server),
            held=lambda: len(server.connections) + len(self._beginning),
            most=lambda: self.max_connections,
            make_room=self._connections.newcomers.make_room,
            turns=turns,
        )
        self._accepting.set(True)

    def _begin(self, server: web.Server, accepted: socket.socket, host: str, _on: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(host, accepted, loop.time())
        connection.beginning = task = loop.create_task(self._serve(server, accepted, connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self._connections.newcomers.add(connection)

    async def _serve(self, server: web.Server, accepted: socket.socket, connection: Connection) -> None:
        context = self._certificates.newest if self._certificates is not None else None
        try:
            loop = asyncio.get_running_loop()
            _transport, handler = await loop.connect_accepted_socket(server, accepted, ssl=context)
        except OSError as error:
            log.info("a connection failed before its first request: %s", error)
            accepted.close()
        else:
            self._connections.serve(connection, handler)

    def use(self, certificates: Certificates | None) -> None:
        """Replace the certificate. Changing between HTTP and HTTPS needs a restart."""
        if self._certificates is not None and certificates is not None:
            self._certificates.replace(certificates)

    async def stop(self) -> None:
        """Accept no more connections, give running answers their grace, then close them."""
        if self._watch is not None:
            self._watch.cancel()
        if self._accepting is not None and self._sock is not None:
            self._accepting.set(False)
            self._sock.close()
            for task in self._beginning:
                task.cancel()
            await asyncio.gather(*self._beginning, return_exceptions=True)
        await self._runner.cleanup()
