"""A storage SCP in this process that does what it is told: takes, refuses, keeps silent, aborts.

Also `Taking`, which receives the instances of a C-GET on an association of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.exchange import Exchange
from gateway.net.receiver import Receiver
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

ALL = frozenset(uids.TRANSFER_SYNTAXES)


@dataclass
class Message(Receiver):
    """Receives one C-STORE-RQ; `answer` of who took it decides what becomes of it."""

    owner: Taking
    on: Exchange
    context: PresentationContext
    command: Command
    data: bytearray = field(default_factory=bytearray)

    def __hash__(self) -> int:
        return id(self)

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def end(self) -> None:
        self.owner.messages.append(self)
        self.owner.open += 1
        self.owner.most_open = max(self.owner.most_open, self.owner.open)
        self.owner.answer(self)

    def respond(self, status: int = 0) -> None:
        self.owner.open -= 1
        response = messages.c_store_response(self.command, status)
        self.on.respond(self.context.id, response.encode())

    @property
    def uid(self) -> str:
        return self.command.affected_sop_instance_uid or ""


class Taking:
    """Takes C-STORE requests on whatever association they come."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.open = 0
        self.most_open = 0
        self.answer: Callable[[Message], None] = Message.respond
        self.begun = 0
        self.begin: Callable[[Exchange], None] = lambda on: None
        """Called when an instance begins."""

    def handler(self, on: Exchange, context: PresentationContext, command: Command) -> Message:
        self.begun += 1
        self.begin(on)
        return Message(self, on, context, command)

    @property
    def received(self) -> dict[str, bytes]:
        return {message.uid: bytes(message.data) for message in self.messages}


class Destination(Taking):
    """An acceptor that takes every SOP class in `syntaxes`; `window` operations at once."""

    def __init__(self, syntaxes: Collection[str] = ALL, window: int = 1) -> None:
        super().__init__()
        self.syntaxes = syntaxes
        self.window = window
        self.refusal: Refusal | None = None
        self.silent = False
        self.requests: list[AssociateRQ] = []
        limits, pool = Limits(), BlockPool(16)
        listener = listen("127.0.0.1", 0)
        self.acceptor = Acceptor(listener, self, pool, limits=limits, max_connections=20, max_operations=64)
        self.acceptor.start()

    @property
    def port(self) -> int:
        return self.acceptor.address[1]

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        self.requests.append(request)
        if self.silent:
            await asyncio.Event().wait()
        if self.refusal is not None:
            return self.refusal
        results = negotiation.negotiate(request, {}, on_unknown=lambda uid: self.syntaxes)
        operations = negotiation.answer_operations(request.user_information.operations, self.window, 1)
        user = UserInformation(implementation_class_uid="1.2.3", operations=operations)
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Message:
        return self.handler(session, context, command)
