"""Requests of ours that are under way: the responses that come to them, and who waits for these.

How a request is sent is `sender.py`'s, which of them a response answers `exchange.py`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.dimse.command import Command
from gateway.dimse.status import Category, category
from gateway.errors import GatewayError, ProtocolError
from gateway.net.buffers import Block

if TYPE_CHECKING:
    from gateway.net.exchange import Exchange

MAX_RESPONSE = 16 << 20
"""Bytes of the data set of one response, at most: a list of 250 000 failed instances fits."""
_MOST_WAITING = 64
_MOST_BYTES_WAITING = 1 << 20
"""Responses that nobody has taken yet, and their bytes, past which the association is not read."""


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


class Request:
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


class Answer:
    """Receives one response to a request of ours."""

    def __init__(self, request: Request, command: Command) -> None:
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
