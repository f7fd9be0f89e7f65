"""Associations that we open: connect, associate, release.

For service class users, and for tools. Messages both ways are in `exchange.py`, service classes in `scu/`; C-ECHO and
C-STORE are here in their barest form because everything that sends needs them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.errors import AssociationLost, AssociationRefused, GatewayError, ProtocolError
from gateway.net.buffers import BlockPool
from gateway.net.exchange import RESPONSE_TIMEOUT, Exchange
from gateway.net.message_writer import Chunks
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.requests import Response
from gateway.net.tls import ClientTls
from gateway.ul import events
from gateway.ul.association import Association, Limits
from gateway.ul.items import (
    AsynchronousOperations,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    UserInformation,
)
from gateway.ul.negotiation import PresentationContext, describe_rejection
from gateway.ul.pdu import AssociateRQ

_ABORT_GRACE_S = 2.0
"""Seconds for an A-ABORT to leave and the peer to close, before the connection is dropped."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """An association to open. `contexts` are proposed: (abstract syntax, transfer syntaxes), at most 128."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    contexts: Sequence[tuple[str, Sequence[str]]]
    max_length: int = 256 * 1024
    max_operations: int = 1
    """Unanswered requests of ours that we propose (PS3.7 D.3.3.3)."""
    timeout: float = 30.0
    """Seconds to connect, for the answer to the association request, and to release."""
    response_timeout: float = RESPONSE_TIMEOUT
    """Seconds until the next response to a request, and for the peer to read the next part of one; 0 is for ever."""
    roles: Sequence[RoleSelection] = ()
    """Roles that we propose (PS3.7 D.3.3.4); empty means SCU of everything."""
    extended: Sequence[ExtendedNegotiation] = ()
    tls: ClientTls | None = None
    """The TLS context and name; None is plain DICOM."""
    identity: UserIdentity | None = None


Handler = Callable[["Requestor", PresentationContext, Command], Receiver]
"""Chooses the receiver of a peer's request on our association: C-STORE during our C-GET, N-EVENT-REPORT."""


@asynccontextmanager
async def associate(
    call: Call, blocks: BlockPool | None = None, handler: Handler = RefusedRequest
) -> AsyncIterator[Requestor]:
    """Open an association; it is released on leaving, or aborted when the body raised.

    Raises: OSError when the host cannot be reached; AssociationRefused when it was rejected; AssociationLost.
    """
    requestor = await Requestor.open(call, blocks or BlockPool(8), handler)
    try:
        yield requestor
    except BaseException:
        await requestor.abort()
        raise
    await requestor.release()


class Requestor(Exchange):
    """An association opened by us. Requests may overlap as far as the peer allows; use it from one loop."""

    def __init__(self, call: Call, blocks: BlockPool, handler: Handler = RefusedRequest) -> None:
        # The peer may have as many requests in progress as we proposed to perform: one.
        super().__init__(Association.requestor(_limits(call)), blocks, 1)
        self.call = call
        self.max_operations = 1
        """Operations that may be in progress, as negotiated; 0 is no limit."""
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._established: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, call: Call, blocks: BlockPool, handler: Handler = RefusedRequest) -> Requestor:
        """Connect and associate. Raises as `associate`."""
        self = cls(call, blocks, handler)
        request = AssociateRQ(
            call.called_aet,
            call.calling_aet,
            [ProposedContext(2 * at + 1, uid, list(syntaxes)) for at, (uid, syntaxes) in enumerate(call.contexts)],
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=AsynchronousOperations(call.max_operations, 1) if call.max_operations != 1 else None,
                roles=list(call.roles),
                extended=list(call.extended),
                identity=call.identity,
            ),
        )
        self.association.request(request, self._loop.time())
        link = self.link
        try:
            async with asyncio.timeout(call.timeout):
                await self._loop.create_connection(
                    lambda: link,
                    call.host,
                    call.port,
                    family=socket.AF_UNSPEC,
                    ssl=call.tls.context if call.tls is not None else None,
                    server_hostname=call.tls.name if call.tls is not None else None,
                    ssl_handshake_timeout=call.timeout if call.tls is not None else None,
                )
        except TimeoutError:
            where = f"{call.host}:{call.port}"
            raise AssociationLost(f"{call.called_aet}: no connection to {where} in {call.timeout:g} s") from None
        try:
            # The association's own timer bounds this (Sta5): a second one of the same length would race with it.
            await self._established
        finally:
            if self._ended is not None or not self._established.done() or self._established.cancelled():
                link.disconnect()
        return self

    @property
    def identity_confirmed(self) -> bool:
        """Whether the peer has answered our user identity, which says that it was verified (PS3.7 D.3.3.7)."""
        accepted = self.association.accepted
        return accepted is not None and accepted.user_information.identity_response is not None

    async def echo(self) -> int:
        """Send C-ECHO; returns the status of the response. Verification must be among the proposed contexts."""
        context = self.context_for(uids.VERIFICATION)
        command = messages.c_echo_request(self.next_message_id())
        return (await self.request(context, command, timeout=self.call.response_timeout)).status

    async def store(self, context: PresentationContext, sop_instance_uid: str, data_set: Chunks) -> Response:
        """Send C-STORE with a data set that is already in the transfer syntax of `context`."""
        command = messages.c_store_request(self.next_message_id(), context.abstract_syntax, sop_instance_uid)
        return await self.request(context, command, data_set, timeout=self.call.response_timeout)

    async def release(self) -> None:
        """Release the association (A-RELEASE) and wait until the connection is closed."""
        if self._ended is None:
            self.association.release(self._loop.time())
            self.link.flush()
            await self._closed(self.call.timeout)
        else:
            await self._closed(_ABORT_GRACE_S)

    async def abort(self) -> None:
        """Abort as service-user (A-ABORT) and wait until the connection is closed."""
        self._give_up("we aborted the association")
        await self._closed(_ABORT_GRACE_S)

    @property
    def peer_name(self) -> str:
        return self.call.called_aet

    def _answered(self) -> None:
        """Nothing: we release when we are done, whatever the peer has requested meanwhile."""

    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        return self._handler(self, context, command)

    def _give_up(self, why: str) -> None:
        """Send A-ABORT, unless the association is over: every waiting request raises AssociationLost."""
        if self._ended is None:
            self.association.abort(self._loop.time())
            self._end(AssociationLost(why))
            self.link.flush()

    async def _closed(self, timeout: float) -> None:
        await asyncio.wait([self.link.closed], timeout=timeout)
        self.link.disconnect()

    def _handle(self, event: events.Event) -> None:
        if self._ended is not None:
            return  # The event came behind the end of the association in the same read.
        match event:
            case events.DataFragment():
                try:
                    self._fragment(event)
                except ProtocolError as error:
                    self.association.abort(self._loop.time(), 2, error.reason, str(error))
                    self._end(AssociationLost(f"we aborted the association: {error}"))
            case events.AssociateAccepted():
                granted = event.pdu.user_information.operations
                self.max_operations = granted.invoked if granted is not None else 1
                self._begin(self.max_operations)
                self._established.set_result(None)
            case events.AssociateRejected():
                text = describe_rejection(event.result, event.source, event.reason)
                self._end(AssociationRefused(f"{self.peer_name}: {text}", event.result, event.source, event.reason))
            case events.ReleaseRequested():
                self.association.respond_release(self._loop.time())
                self._end(AssociationLost(f"{self.peer_name} released the association"))
            case events.Aborted():
                self._end(AssociationLost(f"{self.peer_name}: {event.detail}"))
            case events.Closed():
                how = "closed the connection"
                if self.call.tls is None and not self._established.done():
                    how += " without an answer: does it expect TLS (--tls, or tls = true of the modality)?"
                self._end(AssociationLost(f"{self.peer_name} {how}"))
            case events.Released():
                self._end(AssociationLost("the association has been released"))

    def _end(self, error: GatewayError) -> None:
        super()._end(error)
        if not self._established.done():
            self._established.set_exception(error)
            self._established.exception()  # Marked as retrieved: there may be no waiter any more.


def _limits(call: Call) -> Limits:
    return Limits(max_length_received=call.max_length, idle_timeout=0, response_timeout=call.timeout)
