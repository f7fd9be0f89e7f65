"""Who takes the requests of a peer: what the service classes implement, and what answers where none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.dimse.status import UNRECOGNIZED_OPERATION
from gateway.net.buffers import Block
from gateway.ul.negotiation import PresentationContext

if TYPE_CHECKING:
    from gateway.net.exchange import Exchange


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
