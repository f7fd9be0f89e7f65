"""Our requests in progress, the responses that arrive for them, and the coroutines that wait for responses.

How a request is sent is in `message_writer.py`; `exchange.py` feeds the peer's responses.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gateway.dimse.command import Command
from gateway.dimse.status import Category, category
from gateway.errors import GatewayError, ProtocolError
from gateway.net.buffers import Block
from gateway.net.receiver import Receiver

MAX_RESPONSE_BYTES = 16 << 20
"""Bytes of the data set of one response: a list of 250 000 failed instances fits."""
MAX_WAITING = 64
MAX_WAITING_BYTES = 1 << 20
"""Unread responses, and their bytes, past which the association is not read."""


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
        """The peer's comment on the status; often empty."""
        return self.command.error_comment or ""


class PendingRequest:
    """A request of ours without a final response: responses that have arrived, or the coroutine waiting for one."""

    def __init__(
        self,
        context_id: int,
        command: Command,
        on_final: Callable[[PendingRequest], None],
        on_backlog: Callable[[], None],
        on_abandon: Callable[[PendingRequest], None],
    ) -> None:
        """`on_final` is called when no further response will come, `on_backlog` when `is_full` may have changed,
        `on_abandon` when the rest of the responses is no longer wanted."""
        self.context_id = context_id
        self.command = command
        self._on_final = on_final
        self._on_backlog = on_backlog
        self._on_abandon = on_abandon
        self._responses: deque[Response] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: GatewayError | None = None
        self._abandoned = False

    @property
    def message_id(self) -> int:
        return self.command.message_id or 0

    @property
    def is_full(self) -> bool:
        """Whether more responses, or bytes of them, are unread than allowed."""
        return len(self._responses) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES

    async def next(self) -> Response:
        """The next response. Raises: the error given to `fail`, after the responses before it have been read."""
        while not self._responses:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        was_full = self.is_full
        response = self._responses.popleft()
        self._bytes -= len(response.data_set or b"")
        if was_full and not self.is_full:
            self._on_backlog()
        return response

    def put(self, response: Response) -> None:
        """Add a complete response."""
        if not response.is_pending:
            self._on_final(self)
        if self._abandoned:
            return
        self._responses.append(response)
        self._bytes += len(response.data_set or b"")
        self._wake()
        if self.is_full:
            self._on_backlog()

    def fail(self, error: GatewayError) -> None:
        """End the request with an error: no further response can come."""
        self._error = error
        self._on_final(self)
        self._wake()

    def abandon(self) -> None:
        """Drop unread responses and all later ones."""
        self._abandoned = True
        was_full = self.is_full
        self._responses.clear()
        self._bytes = 0
        if was_full:
            self._on_backlog()
        self._on_abandon(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class RequestTable:
    """Our requests on one association that have no final response yet, by message ID."""

    def __init__(self, on_backlog: Callable[[], None], on_abandon: Callable[[PendingRequest], None]) -> None:
        """`on_backlog` and `on_abandon` are passed to each `PendingRequest`."""
        self._on_backlog = on_backlog
        self._on_abandon = on_abandon
        self._pending: dict[int, PendingRequest] = {}
        self._last_message_id = 0
        self._window: asyncio.Semaphore | None = None
        self._closed: GatewayError | None = None

    @property
    def is_full(self) -> bool:
        """Whether a request has more unread responses than allowed."""
        return any(request.is_full for request in self._pending.values())

    def limit(self, window: int) -> None:
        """Allow `window` requests in progress at once (PS3.7 D.3.3.3); 0 is any number."""
        self._window = asyncio.Semaphore(window) if window else None

    def next_message_id(self) -> int:
        """Choose a message ID, 1 to 65535, that none of the requests has."""
        while True:
            self._last_message_id = self._last_message_id % 65535 + 1
            if self._last_message_id not in self._pending:
                return self._last_message_id

    async def open(self, context_id: int, command: Command) -> PendingRequest:
        """Add a request, once the window has a place for it. Raises: the error given to `close`."""
        if self._window is not None:
            await self._window.acquire()
        if self._closed is not None:
            if self._window is not None:
                self._window.release()  # The next waiter shall get the error too.
            raise self._closed
        request = PendingRequest(context_id, command, self.remove, self._on_backlog, self._on_abandon)
        self._pending[request.message_id] = request
        return request

    def get(self, message_id: int) -> PendingRequest | None:
        """The request with this message ID; None if there is none, or its final response has arrived."""
        return self._pending.get(message_id)

    def remove(self, request: PendingRequest) -> None:
        """Remove a request that is over or was never sent, and free its place. Idempotent."""
        if self._pending.pop(request.message_id, None) is not None and self._window is not None:
            self._window.release()

    def close(self, error: GatewayError) -> None:
        """Fail each request, present and later, with `error`; a second call does not replace the first error."""
        self._closed = self._closed or error
        for request in tuple(self._pending.values()):
            request.fail(error)

    def receive(self, context_id: int, command: Command) -> ResponseReceiver:
        """The receiver of a response. Raises: ProtocolError if the response answers no request of ours."""
        message_id = command.message_id_being_responded_to or 0
        request = self._pending.get(message_id)
        if request is None:
            raise ProtocolError(f"a response to message {message_id}, which is not open")
        if command.command_field != request.command.command_field | 0x8000 or context_id != request.context_id:
            raise ProtocolError(
                f"{command.name} in context {context_id} answers {request.command.name} in context {request.context_id}"
            )
        return ResponseReceiver(request, command)


class ResponseReceiver(Receiver):
    """Receives one response to a request of ours."""

    def __init__(self, request: PendingRequest, command: Command) -> None:
        self._request = request
        self._command = command
        self._data = bytearray()

    def write(self, data: memoryview, block: Block) -> None:
        if len(self._data) + len(data) > MAX_RESPONSE_BYTES:
            raise ProtocolError(f"the data set of {self._command.name} is longer than {MAX_RESPONSE_BYTES} bytes")
        self._data += data

    def end(self) -> None:
        self._request.put(Response(self._command, bytes(self._data) if self._command.has_data_set else None))
