"""Listening for associations: each connection gets a session, within limits, and an orderly end.

How connections are accepted is in `accepting.py`; what an association may do is decided by `Services`.
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
from gateway.net.accepting import AcceptBalancer, Accepting
from gateway.net.associations import OpenAssociations
from gateway.net.buffers import BlockPool
from gateway.net.newcomers import Newcomers, hang_up
from gateway.net.session import AssociationStatus, Services, Session
from gateway.telemetry import ASSOCIATIONS
from gateway.ul.association import Limits
from gateway.ul.pdu import ASSOCIATE_RQ
from gateway.ul.states import State

log = logging.getLogger(__name__)

_BACKLOG = 1024
_ABORT_GRACE_S = 2.0
"""Seconds for an A-ABORT to leave before its connection is dropped."""


def listen(host: str, port: int) -> socket.socket:
    """Open a non-blocking TCP listener; port 0 lets the system choose. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=False)
    listener.setblocking(False)
    return listener


@dataclass(frozen=True, slots=True)
class TlsPort:
    """A listening socket for DICOM over TLS; `context` gives the TLS context of each new connection."""

    listener: socket.socket
    context: Callable[[], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class _Caller:
    """A connection as a newcomer (`newcomers.Newcomer`)."""

    session: Session
    task: asyncio.Task[None]
    connection: socket.socket
    since: float

    @property
    def address(self) -> str:
        return self.session.host

    @property
    def is_open(self) -> bool:
        return not self.task.done()

    @property
    def is_silent(self) -> bool:
        # From Sta3 on the peer has asked for an association, and the answer is ours to give.
        return not self.is_recognized and self.session.association.state is not State.Sta3

    @property
    def is_recognized(self) -> bool:
        return self.session.recognized

    def close(self) -> None:
        hang_up(self.connection)


class Acceptor:
    """Accepts associations on a plain listener, a TLS listener, or both, and owns the sockets.

    `max_connections` bounds open connections, associated or not. At the limit the oldest connection without an
    association request is closed (`newcomers.py`); if there is none, new connections wait in the backlog.
    """

    def __init__(
        self,
        listener: socket.socket | None,
        services: Services,
        blocks: BlockPool,
        *,
        limits: Limits,
        max_connections: int,
        max_operations: int,
        tls_port: TlsPort | None = None,
        numbers: Iterable[int] | None = None,
        turns: AcceptBalancer | None = None,
        changed: Callable[[], None] = lambda: None,
        open_associations: OpenAssociations | None = None,
    ) -> None:
        """`numbers` gives each association its number. `turns` balances with other processes on the same sockets.
        `changed` is called when an association has ended. Open associations are entered in `open_associations`."""
        self._listener = listener
        self._tls_port = tls_port
        self._services = services
        self._blocks = blocks
        self._limits = limits
        self._max_connections = max_connections
        self._max_operations = max_operations
        self._loop = asyncio.get_running_loop()
        self._open = open_associations if open_associations is not None else OpenAssociations()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = iter(numbers if numbers is not None else itertools.count(1))
        self._changed = changed
        self._newcomers = Newcomers(self._loop.time)
        self._accepting = Accepting(
            tuple(self._listeners),
            self._begin,
            held=lambda: len(self._tasks),
            most=lambda: self._max_connections,
            make_room=self._newcomers.make_room,
            turns=turns,
        )
        blocks.on_exhausted = self._flush_all

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first listener: that for plain DICOM if there is one."""
        host, port = next(self._listeners).getsockname()[:2]
        return host, port

    @property
    def plain_address(self) -> tuple[str, int] | None:
        """Host and port of DICOM without TLS."""
        return self.address if self._listener is not None else None

    @property
    def tls_address(self) -> tuple[str, int] | None:
        """Host and port of DICOM over TLS."""
        if self._tls_port is None:
            return None
        host, port = self._tls_port.listener.getsockname()[:2]
        return host, port

    def associations(self) -> list[AssociationStatus]:
        """The status of each open association, oldest first."""
        return self._open.statuses()

    def established(self) -> Counter[str]:
        """Associations that have been accepted and are open, by calling AE title."""
        return self._open.established()

    def start(self) -> None:
        self._accepting.set(True)

    def use(self, limits: Limits, max_connections: int, max_operations: int) -> None:
        """Apply new limits to connections accepted from here on."""
        self._limits, self._max_connections, self._max_operations = limits, max_connections, max_operations
        self._accepting.look_again()

    async def stop(self, grace: float) -> None:
        """Serve open associations for up to `grace` seconds, then send A-ABORT; return when all connections are closed.

        Until then connections are still accepted, for `Services` to reject with a reason: that says more to a sender
        than a closed port does.
        """
        if self._tasks:
            log.info("draining: %d open associations, up to %.0f s", len(self._tasks), grace)
            await asyncio.wait(self._tasks, timeout=grace)
        self._accepting.set(False)
        for listener in self._listeners:
            listener.close()
        for session in self._open:
            session.abort(detail="the gateway stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_ABORT_GRACE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _listeners(self) -> Iterator[socket.socket]:
        if self._listener is not None:
            yield self._listener
        if self._tls_port is not None:
            yield self._tls_port.listener

    def _begin(self, connection: socket.socket, host: str, listener: socket.socket) -> None:
        port = self._tls_port if self._tls_port is not None and listener is self._tls_port.listener else None
        session = Session(self._services, self._blocks, self._limits, host, next(self._numbers), self._max_operations)
        task = self._loop.create_task(self._serve(connection, session, port))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, session))
        self._newcomers.add(_Caller(session, task, connection, self._loop.time()))

    async def _serve(self, connection: socket.socket, session: Session, port: TlsPort | None) -> None:
        patience, link, connected = self._limits.artim_timeout, session.link, False
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
            self._open.add(session)
            ASSOCIATIONS.inc()
            await asyncio.shield(link.closed)
        except OSError as error:
            if port is not None and not connected:
                reason = tls.describe(error)
                session.note_failed("handshake", reason)
                log.warning("%s: TLS handshake failed: %s", session, reason)
            else:
                log.info("%s: %s", session, error)
        finally:
            link.disconnect()
            if not connected:
                connection.close()
            if self._open.remove(session):
                ASSOCIATIONS.dec()

    async def _speaks_tls(self, session: Session, connection: socket.socket, patience: float) -> bool:
        """Whether the first byte begins a TLS handshake; if it does not, log what the peer speaks.

        The loop's TLS would answer with an alert and close, without a word about the peer and the reason.
        """
        try:
            async with asyncio.timeout(patience):
                first = await _peek(self._loop, connection)
        except TimeoutError:
            log.info("%s: connection closed, no data in %.0f s", session, patience)
            return False
        if first and first[0] != tls.HANDSHAKE:
            what = "plain DICOM" if first[0] == ASSOCIATE_RQ else "something else"
            session.note_failed("plain", f"the peer speaks {what} on the port for TLS")
            plain = f", or have it call port {self.plain_address[1]}" if self.plain_address is not None else ""
            log.warning(
                "%s: connection closed: the peer speaks %s on the port for TLS; turn on TLS in the peer%s",
                session,
                what,
                plain,
            )
        return first[:1] == bytes([tls.HANDSHAKE])

    def _ended(self, task: asyncio.Task[None], session: Session) -> None:
        self._tasks.discard(task)
        if session.recognized:
            self._newcomers.recognize(session.host)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an association ended with an error", exc_info=error)
        self._changed()
        self._accepting.look_again()

    def _flush_all(self) -> None:
        for session in self._open:
            session.flush_receivers()


async def _peek(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """The first byte that arrives, left in the socket's buffer; empty if the peer closes before sending one."""
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)
