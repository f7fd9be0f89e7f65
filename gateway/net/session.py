"""An association that a peer opened with us: its events in order, each message to whoever serves it.

What is admitted and what a message leads to is decided by the `Services` that it is given. Sockets and timers are
`link.py`'s.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable
from typing import Protocol

from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import Command
from gateway.errors import ProtocolError
from gateway.net.buffers import Block, BlockPool
from gateway.net.link import Link
from gateway.ul import events
from gateway.ul.association import Association, Limits
from gateway.ul.negotiation import PresentationContext, Rejection
from gateway.ul.pdu import AssociateAC, AssociateRQ
from gateway.ul.states import State

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ to send and, for the log, why."""

    rejection: Rejection
    detail: str


class Receiver(Protocol):
    """Takes one message whose command has come. Nothing here blocks or awaits."""

    def write(self, data: memoryview, block: Block) -> None:
        """Bytes of the data set. They are valid during the call, and for as long as `block` is held."""

    def end(self) -> None:
        """The message is complete; answer with `Session.respond`, now or later."""

    def flush(self) -> None:
        """Blocks have run short: let go of what is held as soon as may be."""

    def lost(self) -> None:
        """The association ended before the message did."""


class Operation(Protocol):
    """A request that is being worked on and can be told to stop: C-CANCEL, or its association has ended."""

    def cancel(self) -> None: ...
    def lost(self) -> None: ...


class Services(Protocol):
    """What an acceptor offers."""

    def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        """Answer an association request."""

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


class Session:
    """One association, from connection to close. Its link is made in `connect`, as the loop wants it."""

    def __init__(self, services: Services, limits: Limits, host: str, number: int, max_operations: int) -> None:
        self.association = Association.acceptor(limits)
        self.host = host
        self.number = number
        self.calling_aet = ""
        self.called_aet = ""
        self.since = time.time()
        self.instances = 0
        self.bytes = 0
        self._services = services
        self._max_operations = max_operations
        self._ended = False
        self._releasing = False
        self._operations: dict[int, Operation] = {}
        self._assembler: Assembler | None = None
        self._receiver: Receiver | None = None
        self._receiving: set[Receiver] = set()
        self._link: Link

    def __str__(self) -> str:
        return f"association {self.number} {self.calling_aet or '?'}@{self.host}"

    def connect(self, blocks: BlockPool) -> Link:
        """The protocol for this session's connection."""
        self._link = Link(self.association, blocks, self._handle, self.flush_receivers)
        return self._link

    @property
    def established(self) -> bool:
        """The association is accepted and data may still be sent on it (PS3.8 Sta6, Sta8)."""
        return self.association.state in (State.Sta6, State.Sta8)

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

    def respond(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a final response. After the association has ended it goes nowhere, and that is no error."""
        self.send(context_id, command, data_set)
        self.done()

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a message that ends no operation, such as a pending response."""
        if self._ended or not self.established:
            return
        self.association.send_data(context_id, True, command, True)
        chunks = list(data_set)
        for index, chunk in enumerate(chunks):
            self.association.send_data(context_id, False, chunk, index == len(chunks) - 1)
        self._link.flush()

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent to it."""
        if not self._ended:
            await self._link.drain()

    def begin_operation(self, message_id: int, operation: Operation) -> None:
        """From now on `operation` hears of a C-CANCEL of this message, and of the end of the association."""
        self._operations[message_id] = operation

    def end_operation(self, message_id: int) -> None:
        self._operations.pop(message_id, None)

    def cancel(self, message_id: int) -> None:
        """C-CANCEL-RQ; nothing happens when that operation is over already (PS3.7 §9.3.2.3)."""
        operation = self._operations.get(message_id)
        if operation is not None:
            operation.cancel()

    def done(self) -> None:
        """A request has had its final response, or needs none."""
        self.association.operations -= 1
        if self._ended:
            return
        self._link.hold_back(self.association.operations > self._max_operations)
        self._release_when_done()

    def abort(self, reason: int = 0, detail: str = "") -> None:
        """End the association with A-ABORT from the service-provider. Before it began, close the connection."""
        if self._ended:
            return
        self.association.abort(self._link.now, 2, reason, detail)
        self._link.flush()
        log.info("%s aborted by us (source 2, reason %d) %s", self, reason, detail)
        self._lost()

    def flush_receivers(self) -> None:
        """Blocks have run short."""
        for receiver in tuple(self._receiving):
            receiver.flush()

    def _handle(self, event: events.Event) -> None:
        if self._ended:
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
                self._release_when_done()
            case events.Aborted():
                who = "the peer" if event.by_peer else "us"
                log.info(
                    "%s aborted by %s (source %d, reason %d) %s", self, who, event.source, event.reason, event.detail
                )
                self._lost()
            case events.Closed():
                log.info("%s: the connection closed without a release %s", self, event.detail)
                self._lost()
            case events.AssociateRejected():
                log.info("%s rejected: it speaks another version of the protocol", self)
                self._lost()

    def _associate(self, request: AssociateRQ) -> None:
        self.calling_aet = request.calling_aet
        self.called_aet = request.called_aet
        if self.association.state is not State.Sta3:
            return  # The peer went on without waiting for the answer, and has been aborted for it.
        answer = self._services.admit(self, request)
        if isinstance(answer, Refusal):
            log.warning("%s rejected: %s", self, answer.detail)
            self.association.reject(*answer.rejection, self._link.now)
            self._ended = True
        else:
            self.association.accept(answer, self._link.now)
            self._assembler = Assembler(self.association.contexts)
            log.info("%s accepted, %d contexts", self, len(self.association.contexts))

    def _fragment(self, event: events.DataFragment) -> None:
        assert self._assembler is not None
        result = self._assembler.feed(event)
        if isinstance(result, DataSetFragment):
            receiver = self._receiver
            assert receiver is not None
            block = self._link.block
            assert block is not None
            receiver.write(result.data, block)
            if result.is_last:
                self._end(receiver)
        elif isinstance(result, MessageStarted):
            context = self.association.contexts[result.context_id]
            receiver = self._receiver = self._services.receive(self, context, result.command)
            self._receiving.add(receiver)
            if not result.command.has_data_set:
                self._end(receiver)

    def _end(self, receiver: Receiver) -> None:
        self._receiver = None
        self._receiving.discard(receiver)
        self.association.operations += 1
        receiver.end()
        if self.association.operations > self._max_operations:
            self._link.hold_back(True)

    def _release_when_done(self) -> None:
        """A-RELEASE-RP, once everything that was asked is answered (PS3.8 §7.2.2.6)."""
        if self.association.ended:
            return  # Something broken came behind the request, and the event that says so comes next.
        if self._releasing and not self.association.operations:
            self.association.respond_release(self._link.now)
            self._link.flush()
            log.info("%s released, %d instances, %d bytes", self, self.instances, self.bytes)
            self._lost()

    def _lost(self) -> None:
        self._ended = True
        receivers, self._receiving = self._receiving, set()
        self._receiver = None
        operations, self._operations = self._operations, {}
        for receiver in receivers:
            receiver.lost()
        for operation in operations.values():
            operation.lost()
