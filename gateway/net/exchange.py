"""Messages on one association, whichever side opened it: requests and responses, both ways.

Here: our requests, and the dispatch of the peer's requests to receivers (`receiver.py`). Not here: the order of
writing (`message_writer.py`), the matching of responses to requests (`requests.py`), how an association begins and ends
(`session.py`, `requestor.py`), sockets and timers (`link.py`), what a message asks for.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from gateway.dimse import messages
from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, Command
from gateway.errors import AssociationLost, AssociationRefused, GatewayError
from gateway.net.buffers import BlockPool
from gateway.net.link import Link
from gateway.net.message_writer import Chunks, MessageWriter, NothingTaken
from gateway.net.receiver import Operation, Receiver
from gateway.net.requests import PendingRequest, RequestTable, Response, ResponseReceiver
from gateway.ul import events
from gateway.ul.association import Association
from gateway.ul.negotiation import PresentationContext

RESPONSE_TIMEOUT = 60.0
"""Seconds until the next response, and for the peer to read the next part of a request."""
_CANCELLABLE = frozenset((C_FIND_RQ, C_GET_RQ, C_MOVE_RQ))


class Exchange(ABC):
    """The message exchange of one association.

    A subclass for each side (`Session`, `Requestor`) handles the association's events, feeds `_fragment`, and calls
    `_begin` and `_end`.
    """

    def __init__(self, association: Association, blocks: BlockPool, max_operations: int) -> None:
        """`max_operations` bounds the peer's requests in progress; past it the association is not read."""
        self.association = association
        self.link = Link(association, blocks, self._handle, self.flush_receivers)
        """The protocol of the connection under the association."""
        self.unresponsive = False
        """Whether the peer has let a timeout pass without reading or answering what was sent."""
        self._writer = MessageWriter(association, self.link)
        self._requests = RequestTable(on_backlog=self._regulate, on_abandon=self._cancel)
        self._max_operations = max_operations
        self._assembler: Assembler | None = None
        self._receiver: Receiver | None = None
        self._receiving: set[Receiver] = set()
        self._operations: dict[int, Operation] = {}
        self._ended: GatewayError | None = None
        """The reason why the association is over; None while it is not."""
        self._heard = False
        """Whether P-DATA has arrived since this flag was last cleared."""

    # What a subclass provides.

    @property
    @abstractmethod
    def peer_name(self) -> str:
        """The peer's name in error messages."""

    @abstractmethod
    def _handle(self, event: events.Event) -> None:
        """Handle the next event of the association."""

    @abstractmethod
    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        """Choose the receiver of a peer's request. Raises: ProtocolError if the context does not allow the request."""

    @abstractmethod
    def _give_up(self, why: str) -> None:
        """Abort the association, unless it is over."""

    @abstractmethod
    def _answered(self) -> None:
        """Called when a request of the peer has been answered."""

    # The state of the association.

    @property
    def contexts(self) -> dict[int, PresentationContext]:
        """The accepted contexts by id."""
        return self.association.contexts

    @property
    def established(self) -> bool:
        """The association is accepted and data may still be sent on it (PS3.8 Sta6, Sta8)."""
        return self._writer.established

    def context_for(self, abstract_syntax: str, transfer_syntax: str | None = None) -> PresentationContext:
        """An accepted context in which we may send requests. Raises: AssociationRefused when there is none."""
        for context in self.association.contexts.values():
            if (
                context.abstract_syntax == abstract_syntax
                and context.as_scu
                and transfer_syntax in (None, context.transfer_syntax)
            ):
                return context
        raise AssociationRefused(f"{self.peer_name} accepted no context for {abstract_syntax}", 1, 1, 1)

    def next_message_id(self) -> int:
        """Choose a message ID, 1 to 65535, that no request of ours in progress has."""
        return self._requests.next_message_id()

    # Our requests.

    async def request(
        self,
        context: PresentationContext,
        command: Command,
        data_set: Chunks | None = None,
        *,
        timeout: float = RESPONSE_TIMEOUT,
    ) -> Response:
        """Send a request and return its final response; pending responses before it are dropped.

        As many requests run at once as were negotiated (PS3.7 D.3.3.3); further ones wait. `timeout` is in seconds, for
        the next response and for the peer to read anything of what is sent; 0 waits for ever. After a timeout, a
        cancellation while sending, or an error from `data_set` the association is aborted: nothing may follow half a
        message. Raises: AssociationLost when the association ends before the response.
        """
        async with aclosing(self.requests(context, command, data_set, timeout=timeout)) as responses:
            async for response in responses:
                if not response.is_pending:
                    return response
        raise AssertionError("responses end with a final one")

    async def requests(
        self,
        context: PresentationContext,
        command: Command,
        data_set: Chunks | None = None,
        *,
        timeout: float = RESPONSE_TIMEOUT,
    ) -> AsyncGenerator[Response, None]:
        """Send a request and yield each response, the final one last; otherwise as `request`.

        Closing the generator before the final response (`contextlib.aclosing`) sends C-CANCEL where the message has one
        and drops later responses. Responses that are not consumed hold up everything else on the association.
        """
        request = await self._requests.open(context.id, command)
        sent = False
        try:
            async with self._writer.turn:  # Messages must not be mixed on one association (PS3.7 §6.3.1).
                try:
                    await self._writer.write(context.id, command.encode(), data_set, timeout)
                except BaseException as error:
                    self._break_off()
                    if isinstance(error, NothingTaken):
                        self.unresponsive = True
                        raise AssociationLost(f"{self.peer_name} read nothing for {timeout:g} s") from None
                    raise
            sent = True
            while True:
                self._heard = False
                try:
                    async with asyncio.timeout(timeout or None):
                        response = await request.next()
                except TimeoutError:
                    if self._heard and command.command_field == C_GET_RQ:
                        continue  # Its sub-operations arrive; pending responses are optional (PS3.4 C.4.3.1.4).
                    self.unresponsive = True
                    why = f"{self.peer_name} did not answer {command.name} within {timeout:g} s"
                    self._give_up(why)
                    raise AssociationLost(why) from None
                yield response
                if not response.is_pending:
                    return
        finally:
            if sent:
                request.abandon()
            else:
                self._requests.remove(request)

    def cancel_request(self, message_id: int) -> None:
        """Send C-CANCEL-RQ for a C-FIND, C-GET or C-MOVE of ours in progress; its final response still comes."""
        request = self._requests.get(message_id)
        if request is not None:
            self._cancel(request)

    def _cancel(self, request: PendingRequest) -> None:
        """Send C-CANCEL-RQ if the request is in progress and can be cancelled."""
        underway = self._requests.get(request.message_id) is request
        if underway and request.command.command_field in _CANCELLABLE:
            self.send(request.context_id, messages.c_cancel_request(request.message_id).encode())

    def _break_off(self) -> None:
        """Abort after half a message: nothing may follow it."""
        stuck = self._writer.is_stalled
        self._give_up("a message was not sent to its end")
        if stuck:
            self.link.disconnect()  # The peer reads nothing, so A-ABORT would not reach it either.

    # Answers to the peer's requests.

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a message that ends no operation, such as a pending response; it waits behind a request being sent.

        After the end of the association the message is dropped, which is no error.
        """
        self._writer.send(context_id, command, data_set)

    def respond(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a final response, as `send` does, and end the operation."""
        self.send(context_id, command, data_set)
        self.done()

    async def drain(self) -> None:
        """Wait until the peer has read most of what was sent to it."""
        await self._writer.drain()

    def begin_operation(self, message_id: int, operation: Operation) -> None:
        """Register `operation` for a C-CANCEL of this message and for the end of the association."""
        self._operations[message_id] = operation

    def end_operation(self, message_id: int) -> None:
        self._operations.pop(message_id, None)

    def cancel(self, message_id: int) -> None:
        """Handle C-CANCEL-RQ; an operation that is over ignores it (PS3.7 §9.3.2.3)."""
        operation = self._operations.get(message_id)
        if operation is not None:
            operation.cancel()

    def done(self) -> None:
        """Count an operation as ended: its final response is sent, or none is needed."""
        self.association.operations -= 1
        if self._ended is None:
            self._regulate()
            self._answered()

    def flush_receivers(self) -> None:
        """Have the receivers release their blocks: the pool is exhausted."""
        for receiver in tuple(self._receiving):
            receiver.flush()

    # What a subclass calls.

    def _begin(self, window: int) -> None:
        """Start after acceptance; `window` requests of ours may be in progress, 0 for any number."""
        self._assembler = Assembler(self.association.contexts)
        self._requests.limit(window)

    def _fragment(self, event: events.DataFragment) -> None:
        """Process a P-DATA fragment. Raises: ProtocolError when it breaks the order of messages."""
        assert self._assembler is not None
        self._heard = True
        result = self._assembler.feed(event)
        if isinstance(result, DataSetFragment):
            receiver = self._receiver
            assert receiver is not None
            block = self.link.block
            assert block is not None
            receiver.write(result.data, block)
            if result.is_last:
                self._complete(receiver)
        elif isinstance(result, MessageStarted):
            command = result.command
            if command.command_field & 0x8000:
                receiver = self._receiver = self._requests.receive(result.context_id, command)
            else:
                context = self.association.contexts[result.context_id]
                receiver = self._receiver = self._serve(context, command)
                self._receiving.add(receiver)
            if not command.has_data_set:
                self._complete(receiver)

    def _complete(self, receiver: Receiver) -> None:
        self._receiver = None
        if type(receiver) is ResponseReceiver:
            receiver.end()
            return
        self._receiving.discard(receiver)
        self.association.operations += 1
        receiver.end()
        if self.association.operations > self._max_operations:
            self._regulate()

    def _regulate(self) -> None:
        """Pause reading while more operations or unread responses are pending than allowed."""
        if self._ended is None:
            self.link.pause_reading(self.association.operations > self._max_operations or self._requests.is_full)

    def _end(self, error: GatewayError) -> None:
        """End the exchange: every request, receiver and operation gets `error`. Idempotent."""
        if self._ended is not None:
            return
        self._ended = error
        self._requests.close(error)
        self._writer.end(error)
        receivers, self._receiving = self._receiving, set()
        self._receiver = None
        operations, self._operations = self._operations, {}
        for receiver in receivers:
            receiver.lost()
        for operation in operations.values():
            operation.lost()
