"""Messages on one association, whichever side opened it: requests and responses, both ways.

Here: our requests and the answers to them, the peer's requests handed to whoever serves them, and the rule that one
message is sent to its end before the next begins. Not here: how an association begins and ends (`session.py`,
`requestor.py`), sockets and timers (`link.py`), what a message asks for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from typing import NamedTuple, Protocol

from gateway.dimse import messages
from gateway.dimse.assembler import Assembler, DataSetFragment, MessageStarted
from gateway.dimse.command import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, Command
from gateway.dimse.status import UNRECOGNIZED_OPERATION, Category, category
from gateway.errors import AssociationLost, AssociationRefused, GatewayError, ProtocolError
from gateway.net.buffers import Block
from gateway.net.link import Link
from gateway.ul import events
from gateway.ul.association import Association
from gateway.ul.negotiation import PresentationContext
from gateway.ul.states import State

MAX_RESPONSE = 16 << 20
"""Bytes of the data set of one response, at most: a list of 250 000 failed instances fits."""
RESPONSE_TIMEOUT = 60.0
"""Seconds until the next response, and for the peer to take the next part of a request."""
_WRITE_CHUNK = 1 << 20
"""Data set bytes that are queued before we wait for the peer to take them."""
_MOST_WAITING = 64
_MOST_BYTES_WAITING = 1 << 20
"""Responses that nobody has taken yet, and their bytes, past which the association is not read."""
_CANCELLABLE = frozenset((C_FIND_RQ, C_GET_RQ, C_MOVE_RQ))

Chunks = Iterable[bytes | memoryview] | AsyncIterable[bytes | memoryview]
"""A data set in pieces of any size. Asynchronous where making a piece may block, as reading files does."""


class Receiver(Protocol):
    """Takes one message whose command has come. Nothing here blocks or awaits."""

    def write(self, data: memoryview, block: Block) -> None:
        """Bytes of the data set. They are valid during the call, and for as long as `block` is held."""

    def end(self) -> None:
        """The message is complete; answer with `Exchange.respond`, now or later."""

    def flush(self) -> None:
        """Blocks have run short: let go of what is held as soon as may be."""

    def lost(self) -> None:
        """The association ended before the message did."""


class Operation(Protocol):
    """A request that is being worked on and can be told to stop: C-CANCEL, or its association has ended."""

    def cancel(self) -> None: ...
    def lost(self) -> None: ...


class Response(NamedTuple):
    """One response to a request of ours. The data set is in the transfer syntax of the request's context."""

    command: Command
    data_set: bytes | None

    @property
    def status(self) -> int:
        return self.command.status or 0

    @property
    def is_pending(self) -> bool:
        return category(self.status) is Category.PENDING

    @property
    def error_comment(self) -> str:
        """What the peer says about the status; often nothing."""
        return self.command.error_comment or ""


class Exchange:
    """The messages of one association. The side that owns it feeds `_fragment` and calls `_begin` and `_end`."""

    def __init__(self, association: Association, max_operations: int) -> None:
        """`max_operations`: requests of the peer that may be in progress; past it the association is not read."""
        self.association = association
        self._max_operations = max_operations
        self._link: Link
        self._assembler: Assembler | None = None
        self._receiver: Receiver | None = None
        self._receiving: set[Receiver] = set()
        self._operations: dict[int, Operation] = {}
        self._ended: GatewayError | None = None
        """Why there is no association any more."""
        self._refused: GatewayError | None = None
        """Why no further request of ours can be answered."""
        self._requests: dict[int, _Request] = {}
        self._message_id = 0
        self._heard = False
        """Something has come since whoever set it to false."""
        self._window: asyncio.Semaphore | None = None
        self._sending = asyncio.Lock()
        self._midway = False
        self._deferred: list[tuple[int, bytes, list[bytes]]] = []

    # What may be asked.

    @property
    def established(self) -> bool:
        """The association is accepted and data may still be sent on it (PS3.8 Sta6, Sta8)."""
        return self.association.state in (State.Sta6, State.Sta8)

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
        request = self._requests[message_id] = _Request(self, context.id, command)
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

    async def _send_request(self, context_id: int, command: Command, data_set: Chunks | None, timeout: float) -> None:
        self._put(context_id, True, command.encode(), True)
        if data_set is not None:
            self._midway = True
            previous: bytes | memoryview | None = None
            queued = 0
            if isinstance(data_set, AsyncIterable):
                async for chunk in data_set:
                    if previous is not None:
                        self._put(context_id, False, previous, False)
                        queued = await self._after(queued + len(previous), timeout)
                    previous = chunk
            else:
                for chunk in data_set:
                    if previous is not None:
                        self._put(context_id, False, previous, False)
                        queued = await self._after(queued + len(previous), timeout)
                    previous = chunk
            self._put(context_id, False, previous or b"", True)
            self._midway = False
            for message in self._deferred:
                self._send_now(*message)
            self._deferred.clear()
        self._link.flush()
        await self._drain(timeout)

    async def _after(self, queued: int, timeout: float) -> int:
        """Bytes queued since we last waited, once we have perhaps waited."""
        if queued < _WRITE_CHUNK:
            return queued
        self._link.flush()
        await self._drain(timeout)
        return 0

    async def _drain(self, timeout: float) -> None:
        if self._link.writable:
            return
        try:
            async with asyncio.timeout(timeout or None):
                await self._link.drain()
        except TimeoutError:
            raise AssociationLost(f"{self._peer} has taken nothing for {timeout:g} s") from None

    def _put(self, context_id: int, is_command: bool, data: bytes | memoryview, last: bool) -> None:
        if self._ended is not None:
            raise self._ended
        self.association.send_data(context_id, is_command, data, last)

    # Answers to the peer's requests.

    def respond(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a final response. After the association has ended it goes nowhere, and that is no error."""
        self.send(context_id, command, data_set)
        self.done()

    def send(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a message that ends no operation, such as a pending response; behind a request that is being sent."""
        if self._ended is not None or not self.established:
            return
        if self._midway:
            self._deferred.append((context_id, command, list(data_set)))
            return
        self._send_now(context_id, command, data_set)
        self._link.flush()

    def _send_now(self, context_id: int, command: bytes, data_set: Iterable[bytes]) -> None:
        self.association.send_data(context_id, True, command, True)
        chunks = list(data_set)
        for index, chunk in enumerate(chunks):
            self.association.send_data(context_id, False, chunk, index == len(chunks) - 1)

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent to it."""
        if self._midway:
            async with self._sending:
                pass
        if self._ended is None:
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
        if self._ended is None:
            self._hold_back()
            self._answered()

    def flush_receivers(self) -> None:
        """Blocks have run short."""
        for receiver in tuple(self._receiving):
            receiver.flush()

    # What the owner provides.

    @property
    def _peer(self) -> str:
        """The other side, as errors name it."""
        raise NotImplementedError

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
        if type(receiver) is _Answer:
            receiver.end()
            return
        self._receiving.discard(receiver)
        self.association.operations += 1
        receiver.end()
        if self.association.operations > self._max_operations:
            self._hold_back()

    def _answer(self, context_id: int, command: Command) -> _Answer:
        message_id = command.message_id_being_responded_to or 0
        request = self._requests.get(message_id)
        if request is None:
            raise ProtocolError(f"a response to message {message_id}, which is not open")
        if command.command_field != request.command.command_field | 0x8000 or context_id != request.context_id:
            raise ProtocolError(
                f"{command.name} in context {context_id} answers {request.command.name} in context {request.context_id}"
            )
        return _Answer(request, command)

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

    def _finish(self, request: _Request) -> None:
        if self._requests.pop(request.command.message_id or 0, None) is not None and self._window is not None:
            self._window.release()


class _Request:
    """A request of ours: responses that have come and not been taken, or who waits for the next."""

    def __init__(self, exchange: Exchange, context_id: int, command: Command) -> None:
        self.context_id = context_id
        self.command = command
        self._exchange = exchange
        self._responses: deque[Response] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: GatewayError | None = None
        self._abandoned = False

    @property
    def is_full(self) -> bool:
        return len(self._responses) > _MOST_WAITING or self._bytes > _MOST_BYTES_WAITING

    async def next(self) -> Response:
        while not self._responses:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        was_full = self.is_full
        response = self._responses.popleft()
        self._bytes -= len(response.data_set or b"")
        if was_full and not self.is_full and self._exchange._ended is None:
            self._exchange._hold_back()
        return response

    def put(self, response: Response) -> None:
        if not response.is_pending:
            self._exchange._finish(self)
        if self._abandoned:
            return
        self._responses.append(response)
        self._bytes += len(response.data_set or b"")
        self._wake()
        if self.is_full:
            self._exchange._hold_back()

    def fail(self, error: GatewayError) -> None:
        self._error = error
        self._exchange._finish(self)
        self._wake()

    def abandon(self) -> None:
        """Nobody takes responses any more. Asks the peer to stop, where there is something to stop."""
        self._abandoned = True
        was_full = self.is_full
        self._responses.clear()
        self._bytes = 0
        if self._exchange._ended is None:
            if was_full:
                self._exchange._hold_back()
            self._exchange.cancel_request(self.command.message_id or 0)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Answer:
    """Receives one response to a request of ours."""

    def __init__(self, request: _Request, command: Command) -> None:
        self._request = request
        self._command = command
        self._data = bytearray()

    def write(self, data: memoryview, block: Block) -> None:
        if len(self._data) + len(data) > MAX_RESPONSE:
            raise ProtocolError(f"the data set of {self._command.name} is longer than {MAX_RESPONSE} bytes")
        self._data += data

    def end(self) -> None:
        self._request.put(Response(self._command, bytes(self._data) if self._command.has_data_set else None))

    def flush(self) -> None:
        pass

    def lost(self) -> None:
        pass


class Unserved:
    """Receives a request that nobody here serves, and says so (PS3.7 §C.5.22)."""

    def __init__(self, exchange: Exchange, context: PresentationContext, command: Command) -> None:
        self._exchange = exchange
        self._context = context
        self._command = command

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def end(self) -> None:
        response = messages.response(self._command, UNRECOGNIZED_OPERATION)
        self._exchange.respond(self._context.id, response.encode())

    def flush(self) -> None:
        pass

    def lost(self) -> None:
        pass
