"""DICOM nodes in this process that behave as told, well or badly: what a client has to live with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from gateway.dicom import uids
from gateway.dimse import messages, status
from gateway.dimse.command import C_CANCEL_RQ, Command
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.receiver import Receiver
from gateway.net.session import Refusal, Session
from gateway.scu.node import Node
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserIdentity, UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = uids.IMPLICIT_VR_LITTLE_ENDIAN.uid
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


class Message(Receiver):
    """One request that has come."""

    def __init__(self, node: AskedNode, session: Session, context: PresentationContext, command: Command) -> None:
        self.node, self.session, self.context, self.command = node, session, context, command
        self.data = b""

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def end(self) -> None:
        if self.command.command_field == C_CANCEL_RQ:
            self.node.cancelled.set()
            self.session.done()
            return
        self.node.messages.append(self)
        answer = self.node.answer(self)
        if answer is not None:
            self.node.tasks.append(asyncio.ensure_future(answer))

    def lost(self) -> None:
        self.node.lost += 1

    def respond(self, code: int = 0, comment: str | None = None) -> None:
        self.session.respond(self.context.id, messages.response(self.command, code, comment).encode())

    def send(self, response: Command, data_set: bytes | None = None) -> None:
        """A pending response, or with its status a final one."""
        send = self.session.send if status.category(response.status or 0).value == "pending" else self.session.respond
        send(self.context.id, response.encode(), () if data_set is None else [data_set])


class AskedNode:
    """Accepts `contexts`, grants `window`, and answers as `answer` says: at once, or by the task that it returns."""

    def __init__(self, contexts: Mapping[str, Sequence[str]], window: int) -> None:
        self.messages: list[Message] = []
        self.tasks: list[asyncio.Future[object]] = []
        self.cancelled = asyncio.Event()
        self.lost = 0
        self.associations = 0
        self.most_at_once = 0
        self.answer: Callable[[Message], Awaitable[object] | None] = Message.respond
        self.begin: Callable[[Session], None] = lambda session: None
        """Called when a message begins."""
        self.refusal: Refusal | None = None
        self.silent = False
        """It never answers an association request."""
        self.identities: list[UserIdentity | None] = []
        self.identity_response: bytes | None = None
        self._contexts, self._window = contexts, window
        self.acceptor = Acceptor(
            listen("127.0.0.1", 0), self, BlockPool(64), limits=Limits(), max_connections=50, max_operations=100
        )
        self.acceptor.start()
        self.node = Node("PEER", *self.acceptor.address, association_timeout=5, response_timeout=5)

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        self.identities.append(request.user_information.identity)
        if self.silent:
            await asyncio.Event().wait()
        if self.refusal is not None:
            return self.refusal
        self.associations += 1
        self.most_at_once = max(self.most_at_once, len(self.acceptor.associations()))
        storage = {uid for uid in self._contexts if uid in uids.STORAGE_CLASSES}
        results = negotiation.negotiate(request, self._contexts, as_scu=storage)
        user = UserInformation(
            implementation_class_uid="1.2.3",
            operations=negotiation.answer_operations(request.user_information.operations, self._window, 1),
            roles=negotiation.answer_roles(request, results, as_scu=storage),
            identity_response=self.identity_response,
        )
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Message:
        self.begin(session)
        return Message(self, session, context, command)


@asynccontextmanager
async def asked_node(contexts: Mapping[str, Sequence[str]], *, window: int = 1) -> AsyncIterator[AskedNode]:
    asked = AskedNode(contexts, window)
    try:
        async with asyncio.timeout(20):
            yield asked
    finally:
        await asked.acceptor.stop(0)
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)
