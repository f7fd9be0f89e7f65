"""Associations that we open: connect, associate, release.

For service class users, and for tools. Messages both ways are `exchange.py`'s, and what a service means is `scu/`'s;
here are C-ECHO and C-STORE in their barest form, because everything that sends needs them.
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
from gateway.net.link import Link
from gateway.net.receiver import Receiver, Unserved
from gateway.net.requests import Response
from gateway.net.sender import Chunks
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

_ABORT_GRACE = 2.0
"""Seconds for an A-ABORT to leave and the peer to close, before the connection is dropped."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """Whom to call, as whom, for what. `contexts` are (abstract syntax, transfer syntaxes), at most 128."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    contexts: Sequence[tuple[str, Sequence[str]]]
    max_length: int = 256 * 1024
    max_operations: int = 1
    """Requests without an answer yet that we propose (PS3.7 D.3.3.3)."""
    timeout: float = 30.0
    """Seconds to connect, to be answered, to release."""
    response_timeout: float = RESPONSE_TIMEOUT
    """Seconds until the next response to a request, and for the peer to take the next part of one; 0 is for ever."""
    roles: Sequence[RoleSelection] = ()
    """Roles that we propose to take (PS3.7 D.3.3.4); SCU of everything where there are none."""
    extended: Sequence[ExtendedNegotiation] = ()
    tls: ClientTls | None = None
    """Over TLS, and how; None is plain."""
    identity: UserIdentity | None = None


Handler = Callable[["Requestor", PresentationContext, Command], Receiver]
"""Takes the requests of the peer on an association of ours: C-STORE for a C-GET of ours, N-EVENT-REPORT."""


@asynccontextmanager
async def associate(
    call: Call, blocks: BlockPool | None = None, handler: Handler = Unserved
) -> AsyncIterator[Requestor]:
    """An association, released on the way out, aborted when the body raised.

    Raises OSError when there is nobody, AssociationRefused when it was rejected, AssociationLost.
    """
    requestor = await Requestor.open(call, blocks or BlockPool(8), handler)
    try:
        yield requestor
    except BaseException:
        await requestor.abort()
        raise
    await requestor.release()


class Requestor(Exchange):
    """One association of ours. Requests may overlap as far as the peer allows; use it from one loop."""

    def __init__(self, call: Call, handler: Handler = Unserved) -> None:
        # The peer may have as many requests in progress as we proposed to perform: one.
        super().__init__(Association.requestor(_limits(call)), 1)
        self.call = call
        self.max_operations = 1
        """Operations that may be in progress, as negotiated; 0 is no limit."""
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._established: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, call: Call, blocks: BlockPool, handler: Handler = Unserved) -> Requestor:
        """Connect and associate."""
        self = cls(call, handler)
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
        link = self._link = Link(self.association, blocks, self._handle, self.flush_receivers)
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
            async with asyncio.timeout(call.timeout):
                await self._established
        except TimeoutError:
            raise AssociationLost(f"{call.called_aet} did not answer within {call.timeout:g} s") from None
        finally:
            if self._ended is not None or not self._established.done() or self._established.cancelled():
                link.disconnect()
        return self

    @property
    def identity_confirmed(self) -> bool:
        """The peer has answered to the user identity that we showed (PS3.7 D.3.3.7): it has checked it."""
        accepted = self.association.accepted
        return accepted is not None and accepted.user_information.identity_response is not None

    async def echo(self) -> int:
        """C-ECHO. The status of the response. The context must be among those called for."""
        context = self.context_for(uids.VERIFICATION)
        command = messages.c_echo_request(self.next_message_id())
        return (await self.request(context, command, timeout=self.call.response_timeout)).status

    async def store(self, context: PresentationContext, sop_instance_uid: str, data_set: Chunks) -> Response:
        """C-STORE of a data set that is already in the transfer syntax of `context`."""
        command = messages.c_store_request(self.next_message_id(), context.abstract_syntax, sop_instance_uid)
        return await self.request(context, command, data_set, timeout=self.call.response_timeout)

    async def release(self) -> None:
        """A-RELEASE, and wait until the connection is closed."""
        if self._ended is None:
            self.association.release(self._loop.time())
            self._link.flush()
            await self._closed(self.call.timeout)
        else:
            await self._closed(_ABORT_GRACE)

    async def abort(self) -> None:
        """A-ABORT from the service-user, and wait until the connection is closed."""
        self._give_up("we aborted the association")
        await self._closed(_ABORT_GRACE)

    @property
    def _peer(self) -> str:
        return self.call.called_aet

    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        return self._handler(self, context, command)

    def _give_up(self, why: str) -> None:
        """A-ABORT, where there still is an association: every request that waits raises AssociationLost."""
        if self._ended is None:
            self.association.abort(self._loop.time())
            self._end(AssociationLost(why))
            self._link.flush()

    async def _closed(self, timeout: float) -> None:
        await asyncio.wait([self._link.closed], timeout=timeout)
        self._link.disconnect()

    def _handle(self, event: events.Event) -> None:
        if self._ended is not None:
            return  # What came behind the end in the same read.
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
                self._end(AssociationRefused(f"{self._peer}: {text}", event.result, event.source, event.reason))
            case events.ReleaseRequested():
                self.association.respond_release(self._loop.time())
                self._end(AssociationLost(f"{self._peer} released the association"))
            case events.Aborted():
                self._end(AssociationLost(f"{self._peer}: {event.detail}"))
            case events.Closed():
                self._end(AssociationLost(f"{self._peer} closed the connection"))
            case events.Released():
                self._end(AssociationLost("the association has been released"))

    def _end(self, error: GatewayError) -> None:
        super()._end(error)
        if not self._established.done():
            self._established.set_exception(error)
            self._established.exception()  # Where nobody waits for it any more, that is no news.


def _limits(call: Call) -> Limits:
    return Limits(max_length_received=call.max_length, idle_timeout=0, response_timeout=call.timeout)
