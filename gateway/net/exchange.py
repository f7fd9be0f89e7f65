"""Messages on one association, whichever side opened it: requests and responses, both ways.

Here: our requests and which of them a response answers, and the peer's requests handed to whoever serves them
(`receiver.py`). Not here: the order of sending (`sender.py`), responses that wait to be taken (`requests.py`), how an
association begins and ends (`session.py`, `requestor.py`), sockets and timers (`link.py`), what a message asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from gateway.dimse import messages
from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, Command
from gateway.errors import AssociationLost, AssociationRefused, GatewayError, ProtocolError
from gateway.net.receiver import Operation, Receiver
from gateway.net.requests import Answer, Request, Response
from gateway.net.sender import Chunks, Sender
from gateway.ul import events
from gateway.ul.association import Association
from gateway.ul.negotiation import PresentationContext

RESPONSE_TIMEOUT = 60.0
"""Seconds until the next response, and for the peer to take the next part of a request."""
_CANCELLABLE = frozenset((C_FIND_RQ, C_GET_RQ, C_MOVE_RQ))


class Exchange(Sender):
    """The messages of one association. The side that owns it feeds `_fragment` and calls `_begin` and `_end`."""

    def __init__(self, association: Association, max_operations: int) -> None:
        """`max_operations`: requests of the peer that may be in progress; past it the association is not read."""
        super().__init__(association)
        self._max_operations = max_operations
        self._assembler: Assembler | None = None
        self._receiver: Receiver | None = None
        self._receiving: set[Receiver] = set()
        self._operations: dict[int, Operation] = {}
        self._refused: GatewayError | None = None
        """Why no further request of ours can be answered."""
        self._requests: dict[int, Request] = {}
        self._message_id = 0
        self._heard = False
        """Something has come since whoever set it to false."""
        self._window: asyncio.Semaphore | None = None

    # What may be asked.

    @property
    def contexts(self) -> dict[int, PresentationContext]:
        """The accepted contexts by id."""
        return self.association.contexts

    def context_for(self, abstract_syntax: str, transfer_syntax: str | None = None) -> PresentationContext:
        """An accepted context in which we may ask. Raises AssociationRefused when there is none."""
        for context in self.association.contexts.values():
            if (
                context.abstract_syntax == abstract_syntax
                and context.as_scu
                and transfer_syntax in (None, context.transfer_syntax)
            ):
                return context
        raise AssociationRefused(f"{self._peer} accepted no context for {abstract_syntax}", 1, 1, 1)

    def next_message_id(self) -> int:
        """1 to 65535, none of which is in use."""
        while True:
            self._message_id = self._message_id % 65535 + 1
            if self._message_id not in self._requests:
                return self._message_id

    # Our requests.

    async def request(
        self,
        context: PresentationContext,
        command: Command,
        data_set: Chunks | None = None,
        *,
        timeout: float = RESPONSE_TIMEOUT,
    ) -> Response:
        """Send a request and wait for its final response; pending ones before it are passed over.

        As many at once as was negotiated (PS3.7 D.3.3.3), further ones wait. Raises AssociationLost when the
        association ends first, which it also does when `timeout` seconds pass without a response, or without the
        peer taking anything of what is sent; 0 waits for ever. Cancelled while it sends, or when iterating `data_set`
        raises, the association is aborted: nothing may follow half a message.
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
        """Send a request and give each response, the final one last; as `request` otherwise.

        Closed before the final response (`contextlib.aclosing`), the peer is asked to cancel, and what still comes is
        dropped. Responses that are not taken hold up everything else on the association.
        """
        message_id = command.message_id or 0
        if self._window is not None:
            await self._window.acquire()
        if (over := self._ended or self._refused) is not None:
            if self._window is not None:
                self._window.release()  # The next one shall hear of it too.
            raise over
        request = self._requests[message_id] = Request(self, context.id, command)
        sent = False
        try:
            async with self._sending:  # Messages must not be mixed on one association (PS3.7 §6.3.1).
                try:
                    await self._send_request(context.id, command, data_set, timeout)
                except BaseException:
                    stuck = not self._link.writable
                    self._give_up("a message was not sent to its end")
                    if stuck:
                        self._link.disconnect()  # It takes nothing, so A-ABORT would not reach it either.
                    raise
            sent = True
            while True:
                self._heard = False
                try:
                    async with asyncio.timeout(timeout or None):
                        response = await request.next()
                except TimeoutError:
                    if self._heard and command.command_field == C_GET_RQ:
                        continue  # Its sub-operations come; it need not tell more than that (PS3.4 C.4.3.1.4).
                    why = f"{self._peer} did not answer {command.name} within {timeout:g} s"
                    self._give_up(why)
                    raise AssociationLost(why) from None
                yield response
                if not response.is_pending:
                    return
        finally:
            if sent:
                request.abandon()
            else:
                self._finish(request)

    def cancel_request(self, message_id: int) -> None:
        """C-CANCEL-RQ for a find, get or move of ours that is under way; its final response still comes."""
        request = self._requests.get(message_id)
        if request is not None and request.command.command_field in _CANCELLABLE:
            self.send(request.context_id, messages.c_cancel_request(message_id).encode())

    # Answers to the peer's requests.

    def respond(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a final response. After the association has ended it goes nowhere, and that is no error."""
        self.send(context_id, command, data_set)
        self.done()

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
        if self._ended is None:
            self._hold_back()
            self._answered()

    def flush_receivers(self) -> None:
        """Blocks have run short."""
        for receiver in tuple(self._receiving):
            receiver.flush()

    # What the owner provides.

    def _serve(self, context: PresentationContext, command: Command) -> Receiver:
        """Who takes a request of the peer. Raises ProtocolError for one that this context does not allow."""
        raise NotImplementedError

    def _give_up(self, why: str) -> None:
        """Abort the association, where there still is one."""
        raise NotImplementedError

    def _answered(self) -> None:
        """A request of the peer has been answered."""

    # What the owner calls.

    def _begin(self, window: int) -> None:
        """The association is accepted; `window` requests of ours may be in progress, 0 for any number."""
        self._assembler = Assembler(self.association.contexts)
        self._window = asyncio.Semaphore(window) if window else None

    def _fragment(self, event: events.DataFragment) -> None:
        """P-DATA. Raises ProtocolError."""
        assert self._assembler is not None
        self._heard = True
        result = self._assembler.feed(event)
        if isinstance(result, DataSetFragment):
            receiver = self._receiver
            assert receiver is not None
            block = self._link.block
            assert block is not None
            receiver.write(result.data, block)
            if result.is_last:
                self._complete(receiver)
        elif isinstance(result, MessageStarted):
            command = result.command
            if command.command_field & 0x8000:
                receiver = self._receiver = self._answer(result.context_id, command)
            else:
                context = self.association.contexts[result.context_id]
                receiver = self._receiver = self._serve(context, command)
                self._receiving.add(receiver)
            if not command.has_data_set:
                self._complete(receiver)

    def _complete(self, receiver: Receiver) -> None:
        self._receiver = None
        if type(receiver) is Answer:
            receiver.end()
            return
        self._receiving.discard(receiver)
        self.association.operations += 1
        receiver.end()
        if self.association.operations > self._max_operations:
            self._hold_back()

    def _answer(self, context_id: int, command: Command) -> Answer:
        message_id = command.message_id_being_responded_to or 0
        request = self._requests.get(message_id)
        if request is None:
            raise ProtocolError(f"a response to message {message_id}, which is not open")
        if command.command_field != request.command.command_field | 0x8000 or context_id != request.context_id:
            raise ProtocolError(
                f"{command.name} in context {context_id} answers {request.command.name} in context {request.context_id}"
            )
        return Answer(request, command)

    def _hold_back(self) -> None:
        """Read no further while more is in progress, or waits to be taken, than may be."""
        self._link.hold_back(
            self.association.operations > self._max_operations
            or any(request.is_full for request in self._requests.values())
        )

    def _end(self, error: GatewayError) -> None:
        """The association is over: whoever has to do with it hears of it."""
        if self._ended is not None:
            return
        self._ended = error
        self._deferred.clear()
        self._end_requests(error)
        self._link.wake()
        receivers, self._receiving = self._receiving, set()
        self._receiver = None
        operations, self._operations = self._operations, {}
        for receiver in receivers:
            receiver.lost()
        for operation in operations.values():
            operation.lost()

    def _end_requests(self, error: GatewayError) -> None:
        """No request of ours will be answered any more."""
        self._refused = self._refused or error
        for request in tuple(self._requests.values()):
            request.fail(error)

    def _finish(self, request: Request) -> None:
        if self._requests.pop(request.command.message_id or 0, None) is not None and self._window is not None:
            self._window.release()
