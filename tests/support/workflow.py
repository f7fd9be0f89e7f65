"""Peers and messages of storage commitment, worklist and performed steps, made with the gateway's own associations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from pydicom.dataset import Dataset

from gateway.dicom import uids
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import encode_data_set
from gateway.dimse import command as c
from gateway.dimse import commitment, messages
from gateway.dimse.command import Command
from gateway.dimse.commitment import Outcome, Reference
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.exchange import Exchange
from gateway.net.receiver import Receiver
from gateway.net.requestor import Requestor, associate
from gateway.net.requests import Response
from gateway.net.session import Refusal, Session
from gateway.scu.mpps import SOP_CLASS as MPPS
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ
from tests.support.datasets import EXPLICIT, decode, encode, instance
from tests.support.intake import CT, Intake

T = TypeVar("T")
WORKLIST = "1.2.840.10008.5.1.4.31"


class Message(Receiver):
    """Receives one request into `peer.messages` and answers it with the status that the peer is set to."""

    def __init__(self, peer: Peer, on: Exchange, context: PresentationContext, command: Command) -> None:
        self.peer, self.on, self.context, self.command = peer, on, context, command
        self.data = b""

    @property
    def data_set(self) -> Dataset:
        return decode(self.data, self.context.transfer_syntax)

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def end(self) -> None:
        self.peer.messages.put_nowait(self)
        if self.peer.aborts:
            assert isinstance(self.on, Session)
            self.on.abort(detail="enough")
        elif self.peer.status is not None:
            answer = messages.n_response(self.command, self.peer.status)
            self.on.respond(self.context.id, answer.encode())


class Peer:
    """A node that listens, accepts everything of the workflow services, and notes what it is asked."""

    aborts = False
    """It aborts instead of an answer."""

    def __init__(self) -> None:
        self.status: int | None = 0
        """What everything is answered with; None for no answer."""
        self.refusal: Refusal | None = None
        self.silent = False
        """It never answers an association request."""
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.requests: list[AssociateRQ] = []
        self.acceptor = Acceptor(
            listen("127.0.0.1", 0), self, BlockPool(16), limits=Limits(), max_connections=10, max_operations=8
        )
        self.acceptor.start()

    def modality(self, aet: str = "TEST", **settings: Any) -> dict[str, Any]:
        """As the settings of a gateway have it."""
        host, port = self.acceptor.address
        return {"aet": aet, "host": host, "port": port, **settings}

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        self.requests.append(request)
        if self.silent:
            await asyncio.Event().wait()
        if self.refusal is not None:
            return self.refusal
        plain = [EXPLICIT, uids.IMPLICIT_VR_LITTLE_ENDIAN.uid]
        classes = {commitment.SOP_CLASS: plain, MPPS: plain}
        results = negotiation.negotiate(request, classes, as_scu=classes)
        user = UserInformation(
            implementation_class_uid="1.2.3", roles=negotiation.answer_roles(request, results, as_scu=classes)
        )
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Message:
        return Message(self, session, context, command)


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    try:
        yield made
    finally:
        await made.acceptor.stop(0)


async def store(gateway: Intake, count: int = 1, **values: Any) -> list[Reference]:
    """Instances in the gateway, as they are referenced."""
    found = []
    async with associate(gateway.call()) as association:
        for _ in range(count):
            made = instance(**values)
            context = association.context_for(CT)
            answer = await association.store(context, made.SOPInstanceUID, [encode(made, EXPLICIT)])
            assert answer.status == 0
            found.append(Reference(CT, str(made.SOPInstanceUID)))
    return found


class Modality:
    """An association to a gateway for these services, and the event reports that come over it."""

    def __init__(self, association: Requestor, reports: asyncio.Queue[Message]) -> None:
        self.association = association
        self.reports = reports

    async def commit(self, transaction_uid: str, references: list[Reference], **changes: Any) -> Response:
        """N-ACTION."""
        context = self.association.context_for(commitment.SOP_CLASS)
        command = messages.n_action_request(
            self.association.next_message_id(),
            commitment.SOP_CLASS,
            changes.get("instance", commitment.SOP_INSTANCE),
            changes.get("action", commitment.REQUEST),
        )
        asked = commitment.request_data_set(transaction_uid, references)
        data = changes.get("data", encode_data_set(asked, context.transfer_syntax))
        return await self.association.request(context, command, [data])

    async def report(self) -> Outcome:
        """The next report on this association."""
        return read_report(await self.reports.get())

    async def send(self, command: Command, data_set: Dataset) -> Response:
        """Any request of a performed step."""
        context = self.association.context_for(MPPS)
        return await self.association.request(context, command, [encode(data_set, context.transfer_syntax)])

    async def create(self, uid: str | None, data_set: Dataset) -> Response:
        return await self.send(messages.n_create_request(self.association.next_message_id(), MPPS, uid), data_set)

    async def set(self, uid: str, data_set: Dataset) -> Response:
        return await self.send(messages.n_set_request(self.association.next_message_id(), MPPS, uid), data_set)

    async def find(self, keys: Dataset, cancel_after: int = 0) -> tuple[list[Dataset], Response]:
        """C-FIND on the worklist: the matches and the final response."""
        context = self.association.context_for(WORKLIST)
        command = messages.c_find_request(self.association.next_message_id(), WORKLIST)
        found = []
        data = encode(keys, context.transfer_syntax)
        async with aclosing(self.association.requests(context, command, [data])) as responses:
            async for response in responses:
                if not response.is_pending:
                    return found, response
                assert response.data_set is not None
                found.append(decode(response.data_set, context.transfer_syntax))
                if len(found) == cancel_after:
                    self.association.cancel_request(command.message_id or 0)
        raise AssertionError("no final response")


@asynccontextmanager
async def modality(gateway: Intake, syntax: str = EXPLICIT, **changes: Any) -> AsyncIterator[Modality]:
    """An association of a modality with the gateway."""
    reports: asyncio.Queue[Message] = asyncio.Queue()

    class Listening(Peer):
        def __init__(self) -> None:
            self.status = changes.pop("report_status", 0)
            self.messages = reports

    listening = Listening()
    call = gateway.call(
        (commitment.SOP_CLASS, [syntax]), (WORKLIST, [syntax]), (MPPS, [syntax]), (CT, [syntax]), **changes
    )
    async with associate(
        call, handler=lambda on, context, command: Message(listening, on, context, command)
    ) as association:
        yield Modality(association, reports)


def read_report(message: Message) -> Outcome:
    """What an N-EVENT-REPORT says; its event type fits."""
    assert message.command.command_field == c.N_EVENT_REPORT_RQ
    assert message.command.affected_sop_instance_uid == commitment.SOP_INSTANCE
    outcome = commitment.read_outcome(decode_data_set(message.data, message.context.transfer_syntax))
    assert message.command.event_type_id == outcome.event_type_id
    return outcome
