"""C-ECHO (PS3.4 Annex A)."""

from __future__ import annotations

from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.net.buffers import Block
from gateway.net.session import Session
from gateway.ul.negotiation import PresentationContext


class Echo:
    """Receives one C-ECHO-RQ."""

    def __init__(self, session: Session, context: PresentationContext, command: Command) -> None:
        self._session = session
        self._context = context
        self._command = command

    def write(self, data: memoryview, block: Block) -> None:
        """It has no data set; a peer that sends one all the same is not punished."""

    def flush(self) -> None:
        pass

    def end(self) -> None:
        response = messages.c_echo_response(self._command, status.SUCCESS)
        self._session.respond(self._context.id, response.encode())

    def lost(self) -> None:
        pass
