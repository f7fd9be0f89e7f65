"""The receiver of a request that is not served: it reads the message to its end, then answers with a status."""

from __future__ import annotations

from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.dimse.status import UNRECOGNIZED_OPERATION
from gateway.net.receiver import Receiver, Responder
from gateway.ul.negotiation import PresentationContext


class RefusedRequest(Receiver):
    """Receives a request that is not served, or not for this caller, and answers with a status (PS3.7 Annex C)."""

    def __init__(
        self,
        responder: Responder,
        context: PresentationContext,
        command: Command,
        status: int = UNRECOGNIZED_OPERATION,
    ) -> None:
        self._responder = responder
        self._context = context
        self._command = command
        self._status = status

    def end(self) -> None:
        response = messages.response(self._command, self._status)
        self._responder.respond(self._context.id, response.encode())
