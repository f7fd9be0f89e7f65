"""The HTTP listener: an application on a socket, with or without TLS.

Start, the ports in use, stop. What is answered is in `app.py`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from aiohttp import web

from gateway.config import Http
from gateway.net.tls import Certificates, load_chain

_BACKLOG = 1024


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
        self.port = 0

    async def start(self, http: Http, sock: socket.socket | None = None) -> None:
        """Listen at `http.host` and `http.port`, or on a socket that is bound already.

        Raises OSError where the port cannot be had, ConfigurationError for certificates.
        """
        certificates = None
        if http.certificate:
            certificates = await asyncio.to_thread(certificates_of, http)
        context = certificates.context if certificates is not None else None
        await self._runner.setup()
        site: web.BaseSite
        if sock is not None:
            site = web.SockSite(self._runner, sock, ssl_context=context, backlog=_BACKLOG)
        else:
            site = web.TCPSite(self._runner, http.host, http.port, ssl_context=context, backlog=_BACKLOG)
        try:
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        self._certificates = certificates
        if certificates is not None:
            self._watch = asyncio.create_task(certificates.watch(), name="certificates")

    def use(self, certificates: Certificates | None) -> None:
        """Show other certificates from now on. Between HTTP and HTTPS only a new start can change."""
        if self._certificates is not None and certificates is not None:
            self._certificates.replace(certificates)

    async def stop(self) -> None:
        """Take no more connections, give running answers their grace, then cut them off."""
        if self._watch is not None:
            self._watch.cancel()
        await self._runner.cleanup()
