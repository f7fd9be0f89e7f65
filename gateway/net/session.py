"""An association that a peer opened with us: its events in order, each message to whoever serves it.

What is admitted and what a message leads to is decided by the `Services` that it is given. Messages both ways are
`exchange.py`'s, sockets and timers `link.py`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import Protocol

from gateway.dimse.command import Command
from gateway.errors import AssociationLost, GatewayError, ProtocolError
from gateway.net.buffers import BlockPool
from gateway.net.exchange import RESPONSE_TIMEOUT, Exchange
from gateway.net.link import Link
from gateway.net.receiver import Operation, Receiver
from gateway.net.tls import Peer
from gateway.ul import events
from gateway.ul.association import Association, Limits
from gateway.ul.negotiation import (
    REJECTED_WITHOUT_REASON,
    TEMPORARY_CONGESTION,
    PresentationContext,
    Rejection,
)
from gateway.ul.pdu import AssociateAC, AssociateRQ
from gateway.ul.states import State

__all__ = ["AssociationStatus", "Operation", "Receiver", "Refusal", "Services", "Session"]

log = logging.getLogger(__name__)

_ADMISSION_TIMEOUT = 30.0
"""Seconds to find out who a caller is; a name to resolve and a password to check take time, and may hang."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ to send and, for the log, why."""

    rejection: Rejection
    detail: str


class Services(Protocol):
    """What an acceptor offers."""

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Answer an association request. Cancelled when the association ends before."""

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        """A message begins. Raises ProtocolError for one that this context does not allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class AssociationStatus:
    """One line about an open association, for people."""

    number: int
    calling_aet: str
    called_aet: str
    host: str
    since: float
    """Seconds since 1970."""
    state: str
    instances: int
    """Instances stored over it so far."""
    bytes: int
    """Data set bytes received over it so far."""


class Session(Exchange):
    """One association, from connection to close."""

    def __init__(self, services: Services, limits: Limits, host: str, number: int, max_operations: int) -> None:
        super().__init__(Association.acceptor(limits), max_operations)
        self.host = host
        self.number = number
        self.calling_aet = ""
        self.called_aet = ""
        self.since = time.time()
        self.instances = 0
        self.bytes = 0
        self.modality = ""
        """Name of the modality that calls, empty for a caller that is none."""
        self.user = ""
        """The user that its identity has proved to be there, where that was asked for."""
        self.allowed: frozenset[str] = frozenset()
        """Services that it may ask for, once it is admitted."""
        self.response_timeout = RESPONSE_TIMEOUT
        """Seconds for it to answer what we ask on this association, and to take what we send."""
        self.extensions: dict[str, bytes] = {}
        """By SOP class, what we answered to SOP Class Extended Negotiation (PS3.7 D.3.3.5)."""
        self._admission: asyncio.Task[None] | None = None
        self._services = services
        self._releasing = False

    def __str__(self) -> str:
        return f"association {self.number} {self.calling_aet or '?'}@{self.host}"

    def connect(self, blocks: BlockPool) -> Link:
        """The protocol of the connection that this association runs on."""
        self._link = Link(self.association, blocks, self._handle, self.flush_receivers)
        return self._link

    @property
    def tls(self) -> Peer | None:
        """What TLS says about the peer; None on a plain connection."""
        return self._link.tls

    def use_idle_timeout(self, seconds: float) -> None:
        """Another limit on silence than the acceptor's; 0 is none."""
        self.association.limits = dataclasses.replace(self.association.limits, idle_timeout=seconds)

    def status(self) -> AssociationStatus:
        return AssociationStatus(
            number=self.number,
            calling_aet=self.calling_aet,
            called_aet=self.called_aet,
            host=self.host,
            since=self.since,
            state=self.association.state.name,
            instances=self.instances,
            bytes=self.bytes,
        )

    def abort(self, reason: int = 0, detail: str = "") -> None:
        """End the association with A-ABORT from the service-provider. Before it began, close the connection."""
        if self._ended is not None:
            return
        self.association.abort(self._link.now, 2, reason, detail)
        self._link.flush()
        log.info("%s aborted by us (source 2, reason %d) %s", self, reason, detail)
        self._end(AssociationLost(f"we aborted the association{': ' if detail else ''}{detail}"))

    @property
    def _peer(self) -> str:
        return self.calling_aet

    def _give_up(self, why: str) -> None:
        self.abort(detail=why)

    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        return self._services.receive(self, context, command)

    def _handle(self, event: events.Event) -> None:
        if self._ended is not None:
            return  # What came behind the end in the same read.
        match event:
            case events.DataFragment():
                try:
                    self._fragment(event)
                except ProtocolError as error:
                    self.abort(error.reason, str(error))
            case events.AssociateRequested():
                self._associate(event.pdu)
            case events.ReleaseRequested():
                self._releasing = True
                # It may not answer any more (PS3.8 Sta7), so what we have asked it stays unanswered.
                self._end_requests(AssociationLost(f"{self._peer} releases the association"))
                self._answered()
            case events.Aborted():
                who = "the peer" if event.by_peer else "us"
                log.info(
                    "%s aborted by %s (source %d, reason %d) %s", self, who, event.source, event.reason, event.detail
                )
                self._end(AssociationLost(f"{self._peer}: {event.detail}"))
            case events.Closed():
                log.info("%s: the connection closed without a release: %s", self, event.detail)
                self._end(AssociationLost(f"{self._peer} closed the connection"))
            case events.AssociateRejected():
                log.info("%s rejected: it speaks another version of the protocol", self)
                self._end(AssociationLost("the association has been rejected"))

    def _associate(self, request: AssociateRQ) -> None:
        self.calling_aet = request.calling_aet
        self.called_aet = request.called_aet
        if self.association.state is not State.Sta3:
            return  # The peer went on without waiting for the answer, and has been aborted for it.
        self._admission = asyncio.get_running_loop().create_task(self._admit(request))

    async def _admit(self, request: AssociateRQ) -> None:
        answer: AssociateAC | Refusal
        try:
            async with asyncio.timeout(_ADMISSION_TIMEOUT):
                answer = await self._services.admit(self, request)
        except TimeoutError:
            answer = Refusal(TEMPORARY_CONGESTION, "it took too long to find out who it is")
        except Exception:
            log.exception("%s: no answer to its request", self)
            answer = Refusal(REJECTED_WITHOUT_REASON, "an error of ours")
        if self._ended is not None or self.association.state is not State.Sta3:
            return
        if isinstance(answer, Refusal):
            log.warning("%s rejected: %s", self, answer.detail)
            self.association.reject(*answer.rejection, self._link.now)
            self._ended = AssociationLost("the association has been rejected")
        else:
            self.association.accept(answer, self._link.now)
            granted = answer.user_information.operations
            self._begin(granted.performed if granted is not None else 1)
            log.info("%s accepted, %d contexts%s", self, len(self.association.contexts), self._how())
        self._link.flush()

    def _how(self) -> str:
        """For the log: over TLS, as which user."""
        over = self.tls
        return f"{f' over {over.version}' if over else ''}{f', user {self.user}' if self.user else ''}"

    def _end(self, error: GatewayError) -> None:
        super()._end(error)
        if self._admission is not None:
            self._admission.cancel()

    def _answered(self) -> None:
        """A-RELEASE-RP, once everything that was asked is answered (PS3.8 §7.2.2.6)."""
        if self.association.ended:
            return  # Something broken came behind the request, and the event that says so comes next.
        if self._releasing and not self.association.operations:
            self.association.respond_release(self._link.now)
            self._link.flush()
            log.info("%s released, %d instances, %d bytes", self, self.instances, self.bytes)
            self._end(AssociationLost("the association has been released"))
