"""Associations that we open, against an acceptor in the same process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.dicom import uids
from gateway.dimse import messages
from gateway.dimse.command import Command
from gateway.errors import AssociationLost, AssociationRefused
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.receiver import Receiver
from gateway.net.requestor import Call, Requestor, associate
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Limits
from gateway.ul.items import UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


class Message(Receiver):
    """Receives one message; `server.answer` decides what becomes of it."""

    def __init__(self, server: Server, session: Session, context: PresentationContext, command: Command) -> None:
        self.server, self.session, self.context, self.command = server, session, context, command
        self.data = b""

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def end(self) -> None:
        self.server.messages.append(self)
        self.server.answer(self)

    def lost(self) -> None:
        self.server.lost += 1

    def respond(self, status: int = 0) -> None:
        self.session.respond(self.context.id, messages.response(self.command, status).encode())


class Server:
    """Accepts CT and verification, and answers as `answer` says."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.lost = 0
        self.answer: Callable[[Message], None] = Message.respond
        self.refusal: Refusal | None = None
        self.acceptor = Acceptor(
            listen("127.0.0.1", 0), self, BlockPool(16), limits=Limits(), max_connections=10, max_operations=8
        )
        self.acceptor.start()

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        if self.refusal is not None:
            return self.refusal
        results = negotiation.negotiate(request, {CT: [EXPLICIT], uids.VERIFICATION: [EXPLICIT]})
        operations = negotiation.answer_operations(request.user_information.operations, 4, 1)
        user = UserInformation(implementation_class_uid="1.2.3", operations=operations)
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Message:
        return Message(self, session, context, command)

    def call(self, *, window: int = 1, timeout: float = 5.0) -> Call:
        contexts = [(CT, [EXPLICIT]), (uids.VERIFICATION, [EXPLICIT]), ("1.2.3.4", [EXPLICIT])]
        return Call(
            *self.acceptor.address,
            called_aet="CALLED",
            calling_aet="CALLING",
            contexts=contexts,
            max_operations=window,
            timeout=timeout,
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with asyncio.timeout(20):
        yield server
        await server.acceptor.stop(0)


class TestRequests:
    async def test_echo(self, server: Server) -> None:
        async with associate(server.call()) as association:
            assert await association.echo() == 0
            assert await association.echo() == 0

    async def test_what_is_stored_arrives_whole_whatever_its_chunks(self, server: Server) -> None:
        data = bytes(range(256)) * 5000
        chunkings = ([data], [data[:7], data[7:999_999], data[999_999:]], [data, b""], [])
        async with associate(server.call()) as association:
            context = association.context_for(CT, EXPLICIT)
            for chunks in chunkings:
                assert (await association.store(context, "1.2.3", chunks)).status == 0
        assert [message.data for message in server.messages] == [b"".join(chunks) for chunks in chunkings]
        assert server.messages[0].command.affected_sop_instance_uid == "1.2.3"

    async def test_the_status_comes_back(self, server: Server) -> None:
        server.answer = lambda message: message.respond(0xA700)
        async with associate(server.call()) as association:
            assert (await association.store(association.context_for(CT), "1.2.3", [b"1234"])).status == 0xA700

    async def test_overlapping_requests_get_their_own_answers(self, server: Server) -> None:
        def answer_backwards(message: Message) -> None:
            if len(server.messages) == 3:
                for number, held in reversed(list(enumerate(server.messages))):
                    held.respond(0xC000 + number)

        server.answer = answer_backwards
        async with associate(server.call(window=9)) as association:
            assert association.max_operations == 4
            context = association.context_for(CT)
            responses = await asyncio.gather(*(association.store(context, f"1.{n}", [b"12"]) for n in range(3)))
        assert [response.status for response in responses] == [0xC000, 0xC001, 0xC002]

    async def test_without_negotiation_one_at_a_time(self, server: Server) -> None:
        async with associate(server.call()) as association:
            assert association.max_operations == 1


class TestRefusals:
    async def test_a_rejection_is_told_with_its_reason(self, server: Server) -> None:
        server.refusal = Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, "full")
        with pytest.raises(AssociationRefused, match="local limit exceeded") as caught:
            async with associate(server.call()):
                pass
        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)

    async def test_a_context_that_was_not_accepted(self, server: Server) -> None:
        with pytest.raises(AssociationRefused, match=r"no context for 1\.2\.3\.4"):
            async with associate(server.call()) as association:
                association.context_for("1.2.3.4")

    async def test_nobody_there(self, server: Server) -> None:
        call = server.call()
        await server.acceptor.stop(0)
        with pytest.raises(OSError):
            async with associate(call):
                pass


class TestEnds:
    async def test_the_peer_aborts_while_requests_wait(self, server: Server) -> None:
        server.answer = lambda message: message.session.abort(detail="enough")
        with pytest.raises(AssociationLost, match="CALLED"):
            async with associate(server.call()) as association:
                await association.echo()

    async def test_an_answer_to_nothing_is_a_violation(self, server: Server) -> None:
        def answer_another(message: Message) -> None:
            message.command.message_id = 77
            message.respond()

        server.answer = answer_another
        with pytest.raises(AssociationLost, match="message 77"):
            async with associate(server.call()) as association:
                await association.echo()

    async def test_nothing_follows_half_a_message(self, server: Server) -> None:
        def chunks() -> Iterator[bytes]:
            yield bytes(2 << 20)
            yield b"more"
            raise OSError("the file is gone")

        association = await Requestor.open(server.call(), BlockPool(8))
        with pytest.raises(OSError, match="the file is gone"):
            await association.store(association.context_for(CT), "1.2.3", chunks())
        with pytest.raises(AssociationLost, match="not sent to its end"):
            await association.echo()
        await association.release()
        assert server.messages == []

    async def test_what_waits_for_its_turn_ends_with_the_association(self, server: Server) -> None:
        server.answer = lambda message: message.session.abort()
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
        association = await Requestor.open(server.call(window=4), BlockPool(8))
        context = association.context_for(CT)
        stores = [association.store(context, f"1.{n}", [bytes(8 << 20)]) for n in range(4)]
        results = await asyncio.gather(*stores, return_exceptions=True)
        assert [type(result) for result in results] == [AssociationLost] * 4
        await association.release()
        del association, stores, results  # The exception keeps the frames that it went through.
        gc.collect()
        assert troubles == []
