"""The protocols by which service classes receive a peer's requests: nothing but interfaces.

The receiver of a request that no service class serves is in `refused_request.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Protocol

from gateway.net.buffers import Block


class Receiver(Protocol):
    """Receives one message whose command set has arrived. No method blocks or awaits.

    A subclass need only implement `end`.
    """

    def write(self, data: memoryview, block: Block) -> None:
        """Receive bytes of the data set, valid during the call and for as long as `block` is retained."""
        return

    @abstractmethod
    def end(self) -> None:
        """The message is complete; answer with `Exchange.respond`, now or later."""

    def flush(self) -> None:
        """Release retained blocks as soon as possible: the pool is exhausted."""
        return

    def lost(self) -> None:
        """The association ended before the message did."""
        return


class Responder(Protocol):
    """Sends the final response to a request of the peer: an `Exchange`."""

    def respond(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None: ...


class Operation(Protocol):
    """A request in progress that can be stopped: by C-CANCEL, or by the end of its association."""

    def cancel(self) -> None: ...
    def lost(self) -> None: ...
