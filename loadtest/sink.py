"""An acceptor that takes everything and keeps nothing: what answers no slower shows the generator's own ceiling."""

from __future__ import annotations

import asyncio

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.command import C_CANCEL_RQ, Command
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.session import Receiver, Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

AET = "SINK"
_BLOCKS = 256
_CONNECTIONS = 2000
_OPERATIONS = 64


class _Discard:
    """Receives one message, and answers its end with success."""

    def __init__(self, session: Session, context: PresentationContext, command: Command) -> None:
        self._session, self._context, self._command = session, context, command

    def write(self, data: memoryview, block: Block) -> None:
        pass

    def end(self) -> None:
        if self._command.command_field == C_CANCEL_RQ:
            self._session.done()
        else:
            self._session.respond(self._context.id, messages.response(self._command, 0).encode())

    def flush(self) -> None:
        pass

    def lost(self) -> None:
        pass


class Sink:
    """The `Services` of an acceptor that says yes to all."""

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        results = negotiation.negotiate(request, {}, on_unknown=lambda uid: uids.TRANSFER_SYNTAXES)
        proposed = request.user_information.operations
        return AssociateAC(
            request.called_aet,
            request.calling_aet,
            results,
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                operations=negotiation.answer_operations(proposed, _OPERATIONS, 1),
            ),
        )

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        return _Discard(session, context, command)


def open_sink(host: str, port: int, services: Sink | None = None) -> Acceptor:
    """A sink that has begun to accept; whoever opens it stops it. Raises OSError."""
    acceptor = Acceptor(
        listen(host, port),
        services or Sink(),
        BlockPool(_BLOCKS),
        limits=Limits(),
        max_connections=_CONNECTIONS,
        max_operations=_OPERATIONS,
    )
    acceptor.start()
    return acceptor


async def serve(host: str, port: int) -> None:
    """Take everything until cancelled. Says where it listens as the gateway does, on standard output."""
    acceptor = open_sink(host, port)
    try:
        print("DICOM  {}@{}:{}".format(AET, *acceptor.address), flush=True)
        await asyncio.Event().wait()
    finally:
        await acceptor.stop(0)
