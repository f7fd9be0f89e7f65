"""An association that a peer opened with us: its events in order, each message to the receiver that serves it.

`Services` decides on admission and on what a message does. Messages both ways are in `exchange.py`, sockets and timers
in `link.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway import tracing
from gateway.config import Settings
from gateway.config.roles import Role
from gateway.dimse.command import Command
from gateway.errors import AssociationLost, GatewayError, ProtocolError
from gateway.net.buffers import BlockPool
from gateway.net.exchange import RESPONSE_TIMEOUT, Exchange
from gateway.net.message_trace import MessageTrace
from gateway.net.receiver import Receiver
from gateway.net.tls import TlsPeer
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

__all__ = ["AssociationStatus", "Refusal", "Services", "Session"]

log = logging.getLogger(__name__)

MAX_STUDIES = 1000
"""Study Instance UIDs counted for one association."""
MAX_STUDIES_NAMED = 50
"""Study Instance UIDs named in one log line."""

_ADMISSION_TIMEOUT_S = 30.0
"""Seconds to identify a caller; resolving a name and checking a password take time, and may hang."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ to send, and its reason for the log."""

    rejection: Rejection
    detail: str


class Services(Protocol):
    """The services that an acceptor offers."""

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Answer an association request. Cancelled when the association ends before the answer."""

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        """The receiver of a message that begins. Raises: ProtocolError if the context does not allow the message."""


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
    """Instances stored over the association so far."""
    bytes: int
    """Data set bytes received over the association so far."""


class Session(Exchange):
    """An association of a peer, from connection to close."""

    def __init__(
        self, services: Services, blocks: BlockPool, limits: Limits, host: str, number: int, max_operations: int
    ) -> None:
        super().__init__(Association.acceptor(limits), blocks, max_operations)
        self.host = host
        self.number = number
        self.calling_aet = ""
        self.called_aet = ""
        self.since = time.time()
        self.instances = 0
        self.bytes = 0
        self.refused = 0
        """Instances that were refused."""
        self.refusal = ""
        """Why the last of them was refused."""
        self.echoes = 0
        """C-ECHO requests that were answered."""
        self.answer: AssociateAC | Refusal | None = None
        """Our answer to it."""
        self.outcome = ""
        """How the association ended, as a word of `association_record.py`; empty while it is open."""
        self.detail = ""
        """The reason of the end."""
        self.trace: MessageTrace | None = None
        """The messages, where the settings want those of failed associations."""
        self.failure = ""
        """Why the connection brought no association request: `tls` or `plain`."""
        self.studies: set[str] = set()
        """Study Instance UIDs of stored instances, the first `MAX_STUDIES` of them."""
        self.modality = ""
        """Name of the modality that calls; empty for a caller that is not configured."""
        self.user = ""
        """The user whose identity was verified, where a user identity was required."""
        self.allowed: frozenset[str] = frozenset()
        """Services that the caller may use, once admitted."""
        self.roles: tuple[tuple[Role, ...], ...] = ()
        """The roles of the modality, and of the user, as far as they have any; each limits what the caller may see."""
        self.renew: Callable[[Settings], None] = lambda settings: None
        """Brings `allowed` and `roles` up to a snapshot of the settings, once admitted."""
        self.recognized = False
        """Whether the association has been accepted."""
        self.response_timeout = RESPONSE_TIMEOUT
        """Seconds for the peer to answer our requests on this association, and to read what we send."""
        self.extensions: dict[str, bytes] = {}
        """By SOP class, our answer to SOP Class Extended Negotiation (PS3.7 D.3.3.5)."""
        self.span = tracing.NO_SPAN
        """The association in its trace."""
        self._admission: asyncio.Task[None] | None = None
        self._services = services
        self._releasing = False

    def __str__(self) -> str:
        return f"association {self.number} {self.calling_aet or '?'}@{self.host}"

    @property
    def log_fields(self) -> dict[str, object]:
        """The association's fields in the JSON log (`gateway/telemetry.py`)."""
        return {
            "association": self.number,
            "calling_aet": self.calling_aet,
            "called_aet": self.called_aet,
            "peer": self.host,
            **({"trace_id": self.span.trace_id} if self.span is not tracing.NO_SPAN else {}),
        }

    def note_stored(self, study_instance_uid: str) -> None:
        """Count an instance that has been stored."""
        self.instances += 1
        if len(self.studies) < MAX_STUDIES:
            self.studies.add(study_instance_uid)

    def note_refused(self, reason: str) -> None:
        """Count an instance that was refused."""
        self.refused += 1
        self.refusal = reason

    def note_failed(self, failure: str, detail: str) -> None:
        """Note why a connection cannot become an association: the peer speaks another protocol than its port does."""
        self.outcome, self.failure, self.detail = "failed", failure, detail

    @property
    def proposal(self) -> AssociateRQ | None:
        """The peer's association request, once it has come."""
        return self.association.requested

    @property
    def tls(self) -> TlsPeer | None:
        """The peer's TLS version, cipher and names; None on a plain connection."""
        return self.link.tls

    def use_idle_timeout(self, seconds: float) -> None:
        """Replace the acceptor's limit on silence for this association; 0 is none."""
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
        """Abort as service-provider (A-ABORT); before the association began, close the connection."""
        if self._ended is not None:
            return
        self.association.abort(self.link.now, 2, reason, detail)
        self.link.flush()
        log.info("%s aborted by us (source 2, reason %d) %s%s", self, reason, detail, self._brought())
        self._note_end("aborted", detail)
        self._end(AssociationLost(f"we aborted the association{': ' if detail else ''}{detail}"))

    @property
    def peer_name(self) -> str:
        return self.calling_aet

    def _give_up(self, why: str) -> None:
        self.abort(detail=why)

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        if self.trace is not None:
            self.trace.add_command(Command.decode(command), by_peer=False)
        super().send(context_id, command, data_set)

    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        if self.trace is not None:
            self.trace.add_command(command, by_peer=True)
        if self.span is tracing.NO_SPAN:
            return self._services.receive(self, context, command)
        with tracing.under(self.span.context):
            return self._services.receive(self, context, command)

    def _handle(self, event: events.Event) -> None:
        if self._ended is not None:
            return  # The event came behind the end of the association in the same read.
        match event:
            case events.DataFragment():
                if self.trace is not None and not event.is_command:
                    self.trace.add_fragment(len(event.data), is_last=event.is_last)
                try:
                    self._fragment(event)
                except ProtocolError as error:
                    self.abort(error.reason, str(error))
            case events.AssociateRequested():
                self._associate(event.pdu)
            case events.ReleaseRequested():
                self._releasing = True
                # The peer may not answer any more (PS3.8 Sta7), so our requests to it stay unanswered.
                self._requests.close(AssociationLost(f"{self.peer_name} releases the association"))
                self._answered()
            case events.Aborted():
                who = "the peer" if event.by_peer else "us"
                how = f"(source {event.source}, reason {event.reason}) {event.detail}"
                log.info("%s aborted by %s %s%s", self, who, how, self._brought(), extra=self._counted())
                self._note_end("aborted", f"by {who} {how}")
                self._end(AssociationLost(f"{self.peer_name}: {event.detail}"))
            case events.Closed():
                what = f"the connection closed without a release: {event.detail}{self._brought()}"
                log.info("%s: %s", self, what, extra=self._counted())
                self._note_end("closed", event.detail)
                self._end(AssociationLost(f"{self.peer_name} closed the connection"))
            case events.AssociateRejected():
                log.info("%s rejected: it speaks another version of the protocol", self)
                self._note_end("rejected", "it speaks another version of the protocol")
                self._end(AssociationLost("the association has been rejected"))

    def _note_end(self, outcome: str, detail: str) -> None:
        if not self.outcome:
            self.outcome, self.detail = outcome, detail
            if self.trace is not None:
                self.trace.add(outcome, by_peer="the peer" in detail or outcome == "released")
            if self.proposal is None and self.association.speaks_tls:
                self.note_failed("tls", detail)

    def _associate(self, request: AssociateRQ) -> None:
        self.calling_aet = request.calling_aet
        self.called_aet = request.called_aet
        if self.association.state is not State.Sta3:
            return  # The peer went on without waiting for the answer, and has been aborted for that.
        self.span = tracing.begin(
            "association",
            "server",
            about={"dicom.calling_aet": self.calling_aet, "dicom.called_aet": self.called_aet},
        )
        self._admission = asyncio.get_running_loop().create_task(self._admit(request))

    async def _admit(self, request: AssociateRQ) -> None:
        answer: AssociateAC | Refusal
        try:
            async with asyncio.timeout(_ADMISSION_TIMEOUT_S):
                answer = await self._services.admit(self, request)
        except TimeoutError:
            answer = Refusal(TEMPORARY_CONGESTION, f"the caller could not be identified in {_ADMISSION_TIMEOUT_S:g} s")
        except Exception:
            log.exception("%s: error while answering the association request", self)
            answer = Refusal(REJECTED_WITHOUT_REASON, "an internal error")
        if self._ended is not None or self.association.state is not State.Sta3:
            return
        self.answer = answer
        if isinstance(answer, Refusal):
            self._note_end("rejected", answer.detail)
            log.warning("%s rejected: %s", self, answer.detail)
            self._end_span()
            self.association.reject(*answer.rejection, self.link.now)
            self._ended = AssociationLost("the association has been rejected")
        else:
            self.association.accept(answer, self.link.now)
            self.recognized = True
            granted = answer.user_information.operations
            self._begin(granted.performed if granted is not None else 1)
            if self.trace is not None:
                self.trace.add("A-ASSOCIATE-AC", by_peer=False)
            log.info("%s accepted, %d contexts%s", self, len(self.association.contexts), self._how())
        self.link.flush()

    def _how(self) -> str:
        """The end of the log line of an acceptance: TLS version and user."""
        over = self.tls
        return f"{f' over {over.version}' if over else ''}{f', user {self.user}' if self.user else ''}"

    def _brought(self) -> str:
        """The end of the log line of an association: what it sent; empty if nothing."""
        if not self.instances and not self.refused:
            return ""
        more = "more than " * (len(self.studies) == MAX_STUDIES)
        brought = f"{_count(self.instances, 'instance')} of {more}{_count(len(self.studies), 'study', 'studies')}"
        return f"; received {brought}, {self.bytes} bytes; {_count(self.refused, 'instance')} refused"

    def _counted(self) -> dict[str, object]:
        """The counts of `_brought` as fields of the JSON log."""
        counts = {"instances": self.instances, "refused": self.refused, "bytes": self.bytes}
        return {"log_fields": {**counts, "studies": sorted(self.studies)[:MAX_STUDIES_NAMED]}}

    def _end(self, error: GatewayError) -> None:
        super()._end(error)
        self._end_span()
        if self._admission is not None:
            self._admission.cancel()

    def _end_span(self) -> None:
        """End the association in its trace."""
        if self.span is not tracing.NO_SPAN:
            self.span.set("gateway.instances", self.instances)
            self.span.set("gateway.refused", self.refused)
            if self.outcome != "released":
                self.span.fail(self.outcome or "lost")
            self.span.end()

    def _answered(self) -> None:
        """Send A-RELEASE-RP once every request is answered (PS3.8 §7.2.2.6)."""
        if self.association.ended:
            return  # Invalid bytes came behind the request; the event for them comes next.
        if self._releasing and not self.association.operations:
            self.association.respond_release(self.link.now)
            self.link.flush()
            log.info("%s released%s", self, self._brought(), extra=self._counted())
            self._note_end("released", "")
            self._end(AssociationLost("the association has been released"))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
