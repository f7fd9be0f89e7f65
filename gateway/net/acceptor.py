"""Listening for associations: who gets a session, how many there may be, and how they end.

How connections are accepted is in `accepting.py`, what an association may do is the `Services`' business.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.net import tls
from gateway.net.accepting import Accepting, Turns
from gateway.net.buffers import BlockPool
from gateway.net.session import AssociationStatus, Services, Session
from gateway.telemetry import ASSOCIATIONS
from gateway.ul.association import Limits
from gateway.ul.pdu import ASSOCIATE_RQ

log = logging.getLogger(__name__)

_BACKLOG = 1024
_ABORT_GRACE = 2.0
"""Seconds for an A-ABORT to leave before its connection is dropped."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket, not blocking. Port 0 lets the system choose. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=False)
    listener.setblocking(False)
    return listener


@dataclass(frozen=True, slots=True)
class TlsPort:
    """A listening socket for DICOM over TLS, and the context of each new connection to it."""

    listener: socket.socket
    context: Callable[[], ssl.SSLContext]


class Acceptor:
    """Accepts on one listening socket, and on one for TLS where there is such; it owns them from then on.

    `max_connections` bounds what is open, associated or not; past it new connections wait in the backlog.
    """

    def __init__(
        self,
        listener: socket.socket,
        services: Services,
        blocks: BlockPool,
        *,
        limits: Limits,
        max_connections: int,
        max_operations: int,
        tls_port: TlsPort | None = None,
        numbers: Iterable[int] | None = None,
        turns: Turns | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`numbers`: what associations are called, one after the other. `turns`: where other processes accept on the
        same sockets. `changed` is called when an association has ended."""
        self._listener = listener
        self._tls_port = tls_port
        self._services = services
        self._blocks = blocks
        self._limits = limits
        self._max_connections = max_connections
        self._max_operations = max_operations
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[int, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = iter(numbers if numbers is not None else itertools.count(1))
        self._changed = changed
        self._accepting = Accepting(
            tuple(self._listeners),
            self._begin,
            held=lambda: len(self._tasks),
            most=lambda: self._max_connections,
            turns=turns,
        )
        blocks.on_dry = self._flush_all

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that we listen on."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def tls_address(self) -> tuple[str, int] | None:
        """Host and port of DICOM over TLS."""
        if self._tls_port is None:
            return None
        host, port = self._tls_port.listener.getsockname()[:2]
        return host, port

    @property
    def sessions(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def associations(self) -> list[AssociationStatus]:
        """What is open now, oldest first."""
        return [session.status() for session in self._sessions.values()]

    def established(self) -> Counter[str]:
        """Associations that have been accepted and are open, by calling AE title."""
        return Counter(s.calling_aet for s in self._sessions.values() if s.established)

    def start(self) -> None:
        self._accepting.set(True)

    def use(self, limits: Limits, max_connections: int, max_operations: int) -> None:
        """New limits for what is accepted from now on."""
        self._limits, self._max_connections, self._max_operations = limits, max_connections, max_operations
        self._accepting.look_again()

    async def stop(self, grace: float) -> None:
        """Serve what is open for up to `grace` seconds, then A-ABORT; return when everything is closed.

        Connections are still accepted meanwhile: the `Services` are expected to reject them with a reason, which
        tells a sender more than a closed port does.
        """
        if self._tasks:
            log.info("draining: %d open associations, up to %.0f s", len(self._tasks), grace)
            await asyncio.wait(self._tasks, timeout=grace)
        self._accepting.set(False)
        for listener in self._listeners:
            listener.close()
        for session in self.sessions:
            session.abort(detail="the gateway stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_ABORT_GRACE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _listeners(self) -> Iterator[socket.socket]:
        yield self._listener
        if self._tls_port is not None:
            yield self._tls_port.listener

    def _begin(self, connection: socket.socket, host: str, listener: socket.socket) -> None:
        port = self._tls_port if self._tls_port is not None and listener is self._tls_port.listener else None
        task = self._loop.create_task(self._serve(connection, host, next(self._numbers), port))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _serve(self, connection: socket.socket, host: str, number: int, port: TlsPort | None) -> None:
        session = Session(self._services, self._limits, host, number, self._max_operations)
        patience, link, connected = self._limits.artim_timeout, session.connect(self._blocks), False
        try:
            if port is not None and not await self._speaks_tls(session, connection, patience):
                return
            await self._loop.connect_accepted_socket(
                lambda: link,
                connection,
                ssl=port.context() if port is not None else None,
                ssl_handshake_timeout=patience if port is not None else None,
            )
            connected = True
            self._sessions[number] = session
            ASSOCIATIONS.inc()
            await asyncio.shield(link.closed)
        except OSError as error:
            if port is not None and not connected:
                log.warning("%s: no TLS with it: %s", session, tls.describe(error))
            else:
                log.info("%s: %s", session, error)
        finally:
            link.disconnect()
            if not connected:
                connection.close()
            if self._sessions.pop(number, None) is not None:
                ASSOCIATIONS.dec()

    async def _speaks_tls(self, session: Session, connection: socket.socket, patience: float) -> bool:
        """Look at the first byte, and say in the log what a peer does that does not begin with a handshake.

        The loop's TLS would answer it with an alert and close, without a word about who it was and why.
        """
        try:
            async with asyncio.timeout(patience):
                first = await _peek(self._loop, connection)
        except TimeoutError:
            log.info("%s: the connection is closed, nothing came in %.0f s", session, patience)
            return False
        if first and first[0] != tls.HANDSHAKE:
            what = "plain DICOM" if first[0] == ASSOCIATE_RQ else "something else"
            log.warning(
                "%s: the connection is closed, it speaks %s and this is the port for TLS; turn TLS on in it, or let "
                "it call port %d",
                session,
                what,
                self.address[1],
            )
        return first[:1] == bytes([tls.HANDSHAKE])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an association ended with an error", exc_info=error)
        self._changed()
        self._accepting.look_again()

    def _flush_all(self) -> None:
        for session in self._sessions.values():
            session.flush_receivers()


async def _peek(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """The first byte that comes, left where it is; empty when the peer closes before one does."""
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)
