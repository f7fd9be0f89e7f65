"""Reports of storage commitment on associations that the peer opens, for a command that runs without a gateway.

The listener accepts N-EVENT-REPORT and nothing else. A gateway receives reports in `scp/commitment.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.dicom import uids
from gateway.dimse import commitment
from gateway.dimse.command import N_EVENT_REPORT_RQ, Command
from gateway.errors import ConfigurationError
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import BlockPool
from gateway.net.receiver import Receiver
from gateway.net.refused_request import RefusedRequest
from gateway.net.session import Refusal, Session
from gateway.scu.commitment import Report, Take
from gateway.scu.node import PLAIN_SYNTAXES
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

_OFFER = {commitment.SOP_CLASS: PLAIN_SYNTAXES, uids.VERIFICATION: PLAIN_SYNTAXES}
_AS_SCU = frozenset({commitment.SOP_CLASS})
_MAX_ASSOCIATIONS = 16
"""Concurrent associations."""


class _Services:
    def __init__(self, take: Take) -> None:
        self._take = take
        self.tasks: set[asyncio.Task[None]] = set()

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        if (refused := negotiation.refusal(request)) is not None:
            return Refusal(refused, f"its application context is {request.application_context!r}")
        results = negotiation.negotiate(request, _OFFER, as_scu=_AS_SCU)
        return AssociateAC(
            request.called_aet,
            request.calling_aet,
            results,
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                roles=negotiation.answer_roles(request, results, as_scu=_AS_SCU),
            ),
        )

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Receiver:
        if command.command_field == N_EVENT_REPORT_RQ and context.abstract_syntax == commitment.SOP_CLASS:
            return Report(session, context, command, self._take, self.tasks)
        return RefusedRequest(session, context, command)


@asynccontextmanager
async def taking_reports(host: str, port: int, take: Take) -> AsyncIterator[tuple[str, int]]:
    """Listen for reports inside the context; yields the address. Raises ConfigurationError when the port is not
    free."""
    try:
        socket = listen(host, port)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    services = _Services(take)
    acceptor = Acceptor(
        socket, services, BlockPool(8), limits=Limits(), max_connections=_MAX_ASSOCIATIONS, max_operations=1
    )
    acceptor.start()
    try:
        yield acceptor.address
    finally:
        if services.tasks:
            await asyncio.wait(services.tasks)
        await acceptor.stop(1.0)
