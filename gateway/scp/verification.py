"""The verification service class: C-ECHO (PS3.4 Annex A)."""

from __future__ import annotations

from typing import Final

from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import C_ECHO_RQ, Command
from gateway.net.buffers import Block
from gateway.net.receiver import Receiver
from gateway.net.session import Session
from gateway.scp.context import Context
from gateway.scp.service_class import ServiceClass
from gateway.ul.negotiation import PresentationContext


class Echo(Receiver):
    """The receiver of one C-ECHO-RQ."""

    def __init__(self, context: Context, session: Session, presentation: PresentationContext, command: Command) -> None:
        self._session = session
        self._context = presentation
        self._command = command

    def write(self, data: memoryview, block: Block) -> None:
        """Ignore the data set: C-ECHO has none, but a peer that sends one is answered all the same."""

    def end(self) -> None:
        self._session.echoes += 1
        response = messages.c_echo_response(self._command, status.SUCCESS)
        self._session.respond(self._context.id, response.encode())


SERVICE: Final = ServiceClass("echo", "Verification", (uids.VERIFICATION,), {C_ECHO_RQ: Echo})
