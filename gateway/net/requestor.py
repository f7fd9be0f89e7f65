"""Associations that we open: connect, ask, wait for the answer.

For service class users, and for tools. What a service means is `scu/`'s; here are C-ECHO and C-STORE in their
barest form, because everything that sends needs them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import Command
from gateway.errors import AssociationLost, AssociationRefused, GatewayError, ProtocolError
from gateway.net.buffers import BlockPool
from gateway.net.link import Link
from gateway.ul import events
from gateway.ul.association import Association, Limits
from gateway.ul.items import AsynchronousOperations, ProposedContext, UserInformation
from gateway.ul.negotiation import PresentationContext, describe_rejection
from gateway.ul.pdu import AssociateRQ

_WRITE_CHUNK = 1 << 20
"""Data set bytes that are queued before we wait for the peer to take them."""


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


@asynccontextmanager
async def associate(call: Call, blocks: BlockPool | None = None) -> AsyncIterator[Requestor]:
    """An association, released on the way out, aborted when the body raised.

    Raises OSError when there is nobody, AssociationRefused when it was rejected, AssociationLost.
    """
    requestor = await Requestor.open(call, blocks or BlockPool(8))
    try:
        yield requestor
    except BaseException:
        await requestor.abort()
        raise
    await requestor.release()


class Requestor:
    """One association of ours. Requests may overlap as far as the peer allows; use it from one loop."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.association = Association.requestor(Limits(max_length_received=call.max_length, idle_timeout=0))
        self.max_operations = 1
        """Operations that may be in progress, as negotiated; 0 is no limit."""
        self._link: Link | None = None
        self._assembler: Assembler | None = None
        self._loop = asyncio.get_running_loop()
        self._established: asyncio.Future[None] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[Command]] = {}
        self._sending = asyncio.Lock()
        self._message_id = 0
        self._ended: GatewayError | None = None

    @classmethod
    async def open(cls, call: Call, blocks: BlockPool) -> Requestor:
        """Connect and associate."""
        self = cls(call)
        request = AssociateRQ(
            call.called_aet,
            call.calling_aet,
            [ProposedContext(2 * at + 1, uid, list(syntaxes)) for at, (uid, syntaxes) in enumerate(call.contexts)],
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=AsynchronousOperations(call.max_operations, 1) if call.max_operations != 1 else None,
            ),
        )
        self.association.request(request, self._loop.time())
        self._link = Link(self.association, blocks, self._handle)
        async with asyncio.timeout(call.timeout):
            await self._loop.create_connection(lambda: self._the_link, call.host, call.port, family=socket.AF_UNSPEC)
        try:
            async with asyncio.timeout(call.timeout):
                await self._established
        except TimeoutError:
            self._link.disconnect()
            raise AssociationLost(f"{call.called_aet} did not answer within {call.timeout:.0f} s") from None
        return self

    @property
    def contexts(self) -> dict[int, PresentationContext]:
        """The accepted contexts by id."""
        return self.association.contexts

    def context_for(self, abstract_syntax: str, transfer_syntax: str | None = None) -> PresentationContext:
        """An accepted context. Raises AssociationRefused when the peer accepted none."""
        for context in self.association.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (None, context.transfer_syntax):
                return context
        raise AssociationRefused(f"{self.call.called_aet} accepted no context for {abstract_syntax}", 1, 1, 1)

    async def echo(self) -> int:
        """C-ECHO. The status of the response. The context must be among those called for."""
        context = self.context_for(uids.VERIFICATION)
        command = messages.c_echo_request(self.next_message_id())
        return (await self.request(context, command)).status or 0

    async def store(
        self, context: PresentationContext, sop_instance_uid: str, data_set: Iterable[bytes | memoryview]
    ) -> Command:
        """C-STORE of a data set that is already in the transfer syntax of `context`. The response."""
        command = messages.c_store_request(self.next_message_id(), context.abstract_syntax, sop_instance_uid)
        return await self.request(context, command, data_set)

    def next_message_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    async def request(
        self, context: PresentationContext, command: Command, data_set: Iterable[bytes | memoryview] | None = None
    ) -> Command:
        """Send a request and wait for its one response. Raises AssociationLost when the association ends first.

        Cancelled while it sends, or when iterating `data_set` raises, the association is aborted: nothing may follow
        half a message.
        """
        if self._ended is not None:
            raise self._ended
        message_id = command.message_id or 0
        answer: asyncio.Future[Command] = self._loop.create_future()
        self._answers[message_id] = answer
        try:
            async with self._sending:  # Messages must not be mixed on one association (PS3.7 §6.3.1).
                try:
                    await self._send(context.id, command, data_set)
                except BaseException:
                    self._break_off("a message was not sent to its end")
                    raise
            return await answer
        finally:
            del self._answers[message_id]
            if answer.done() and not answer.cancelled():
                answer.exception()  # It has been set even where sending had failed before; that is no news.

    async def _send(self, context_id: int, command: Command, data_set: Iterable[bytes | memoryview] | None) -> None:
        link = self._the_link
        self._send_data(context_id, True, command.encode(), True)
        if data_set is not None:
            previous: bytes | memoryview | None = None
            queued = 0
            for chunk in data_set:
                if previous is not None:
                    self._send_data(context_id, False, previous, False)
                    queued += len(previous)
                    if queued >= _WRITE_CHUNK:
                        queued = 0
                        link.flush()
                        await link.drain()
                previous = chunk
            self._send_data(context_id, False, previous or b"", True)
        link.flush()
        await link.drain()

    def _send_data(self, context_id: int, is_command: bool, data: bytes | memoryview, last: bool) -> None:
        if self._ended is not None:
            raise self._ended
        self.association.send_data(context_id, is_command, data, last)

    async def release(self) -> None:
        """A-RELEASE, and wait until the connection is closed."""
        if self._ended is None:
            self.association.release(self._loop.time())
            self._the_link.flush()
        await self._closed()

    async def abort(self) -> None:
        """A-ABORT from the service-user, and wait until the connection is closed."""
        self._break_off("we aborted the association")
        await self._closed()

    def _break_off(self, why: str) -> None:
        """A-ABORT, where there still is an association: every request that waits raises AssociationLost."""
        if self._ended is None:
            self.association.abort(self._loop.time())
            self._end(AssociationLost(why))
            self._the_link.flush()

    @property
    def _the_link(self) -> Link:
        assert self._link is not None
        return self._link

    async def _closed(self) -> None:
        await asyncio.wait([self._the_link.closed], timeout=self.call.timeout)
        self._the_link.disconnect()

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.DataFragment():
                self._fragment(event)
            case events.AssociateAccepted():
                self._assembler = Assembler(self.association.contexts)
                granted = event.pdu.user_information.operations
                self.max_operations = granted.invoked if granted is not None else 1
                self._established.set_result(None)
            case events.AssociateRejected():
                text = describe_rejection(event.result, event.source, event.reason)
                self._end(
                    AssociationRefused(
                        f"{self.call.called_aet}: {text}",
                        event.result,
                        event.source,
                        event.reason,
                    )
                )
            case events.ReleaseRequested():
                self.association.respond_release(self._loop.time())
                self._end(AssociationLost(f"{self.call.called_aet} released the association"))
            case events.Aborted():
                self._end(AssociationLost(f"{self.call.called_aet}: {event.detail}"))
            case events.Closed():
                self._end(AssociationLost(f"{self.call.called_aet} closed the connection"))
            case events.Released():
                self._end(AssociationLost("the association has been released"))

    def _fragment(self, event: events.DataFragment) -> None:
        assert self._assembler is not None
        try:
            result = self._assembler.feed(event)
            if isinstance(result, MessageStarted):
                self._answer(result.command)
            elif isinstance(result, DataSetFragment):
                raise ProtocolError("a data set that was not asked for")
        except ProtocolError as error:
            self.association.abort(self._loop.time(), 2, error.reason, str(error))
            self._end(AssociationLost(f"we aborted the association: {error}"))

    def _answer(self, command: Command) -> None:
        message_id = command.message_id_being_responded_to
        waiting = self._answers.get(message_id or 0)
        if waiting is None:
            raise ProtocolError(f"a response to message {message_id}, which is not open")
        if not waiting.done():
            waiting.set_result(command)

    def _end(self, error: GatewayError) -> None:
        self._ended = self._ended or error
        waiting: list[asyncio.Future[Command] | asyncio.Future[None]] = [self._established, *self._answers.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        if self._established.done() and not self._established.cancelled():
            self._established.exception()
