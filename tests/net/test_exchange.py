"""Messages both ways on one association, whichever side asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from gateway.dicom import uids
from gateway.dimse import command as c
from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.errors import AssociationLost
from gateway.net.acceptor import Acceptor, listen
from gateway.net.buffers import Block, BlockPool
from gateway.net.exchange import Exchange
from gateway.net.receiver import Receiver
from gateway.net.requestor import Call, Requestor, associate
from gateway.net.requests import Response
from gateway.net.session import Refusal, Session
from gateway.ul import negotiation
from gateway.ul.association import Association, Limits
from gateway.ul.items import RoleSelection, UserInformation
from gateway.ul.negotiation import PresentationContext
from gateway.ul.pdu import AssociateAC, AssociateRQ
from tests.support.waiting import until

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


class Message(Receiver):
    """Receives one request; `take` is called when it is whole."""

    def __init__(
        self, take: Callable[[Message], None], on: Exchange, context: PresentationContext, command: Command
    ) -> None:
        self.take, self.on, self.context, self.command = take, on, context, command
        self.data = b""

    def write(self, data: memoryview, block: Block) -> None:
        self.data += data

    def end(self) -> None:
        self.take(self)

    def respond(self, code: int = 0, data_set: bytes = b"") -> None:
        answer = messages.response(self.command, code, data_set=bool(data_set))
        self.on.respond(self.context.id, answer.encode(), [data_set] if data_set else ())

    def pending(self, data_set: bytes) -> None:
        answer = messages.response(self.command, status.PENDING, data_set=True)
        self.on.send(self.context.id, answer.encode(), [data_set])


class Server:
    """Accepts CT (also the other way round), find and get; `take` answers."""

    def __init__(self) -> None:
        self.take: Callable[[Message], None] = Message.respond
        self.cancelled: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.acceptor = Acceptor(
            listen("127.0.0.1", 0), self, BlockPool(16), limits=Limits(), max_connections=10, max_operations=8
        )
        self.acceptor.start()

    async def admit(self, session: Session, request: AssociateRQ) -> AssociateAC | Refusal:
        results = negotiation.negotiate(request, {uid: [EXPLICIT] for uid in (CT, FIND, GET)}, as_scu={CT})
        user = UserInformation(
            implementation_class_uid="1.2.3",
            operations=negotiation.answer_operations(request.user_information.operations, 4, 1),
            roles=negotiation.answer_roles(request, results, as_scu={CT}),
        )
        return AssociateAC(request.called_aet, request.calling_aet, results, user)

    def receive(self, session: Session, context: PresentationContext, command: Command) -> Message:
        if command.command_field == c.C_CANCEL_RQ:
            self.cancelled.append(command.message_id_being_responded_to or 0)
            return Message(lambda message: session.done(), session, context, command)
        return Message(self.take, session, context, command)

    def start(self, work: Callable[[Message], object]) -> None:
        """Each message is answered by a task."""

        def take(message: Message) -> None:
            self.tasks.append(asyncio.ensure_future(work(message)))  # type: ignore[arg-type]

        self.take = take

    def call(self, *, window: int = 1, response_timeout: float = 5.0) -> Call:
        return Call(
            *self.acceptor.address,
            called_aet="CALLED",
            calling_aet="CALLING",
            contexts=[(uid, [EXPLICIT]) for uid in (CT, FIND, GET)],
            max_operations=window,
            timeout=5.0,
            response_timeout=response_timeout,
            roles=[RoleSelection(CT, scu=True, scp=True)],
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with asyncio.timeout(20):
        yield server
        await server.acceptor.stop(0)
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


async def turns(count: int) -> None:
    """Let everybody else have so many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def find(association: Requestor) -> tuple[PresentationContext, Command, list[bytes]]:
    return association.context_for(FIND), messages.c_find_request(association.next_message_id(), FIND), [b"wanted"]


def store(on: Exchange, uid: str) -> Command:
    return messages.c_store_request(on.next_message_id(), CT, uid)


def answer_with(*matches: bytes) -> Callable[[Message], None]:
    def take(message: Message) -> None:
        for match in matches:
            message.pending(match)
        message.respond()

    return take


class TestFragments:
    """PS3.8 Annex E.1: DCMTK ends the association at a fragment of odd length."""

    @pytest.mark.case("case 06 what is of odd length is sent on in fragments of even length")
    @pytest.mark.parametrize("asynchronous", [True, False])
    async def test_none_is_of_odd_length(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
    ) -> None:
        pieces = [bytes([n % 251]) * n for n in (1, 300_001, 2, 3, 1_100_001, 0, 4, 1)]
        lengths: list[int] = []
        messages_taken: list[Message] = []
        send_data = Association.send_data

        def noting(self: Association, context_id: int, is_command: bool, data: bytes, last: bool) -> None:
            lengths.append(len(data))
            send_data(self, context_id, is_command, data, last)

        async def as_they_come() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        def take(message: Message) -> None:
            messages_taken.append(message)
            message.respond()

        server.take = take
        async with associate(server.call()) as association:
            context = association.context_for(CT)
            monkeypatch.setattr(Association, "send_data", noting)
            await association.store(context, "1.2", as_they_come() if asynchronous else pieces)
        assert all(length % 2 == 0 for length in lengths)
        data = b"".join(pieces)
        assert messages_taken[0].data == data + bytes(len(data) % 2)


class TestManyResponses:
    async def test_each_with_its_data_set_and_the_final_one_last(self, server: Server) -> None:
        server.take = answer_with(b"once", b"again!" * 100_000)
        async with associate(server.call()) as association:
            found = [(r.status, r.data_set) async for r in association.requests(*find(association))]
        assert found == [(0xFF00, b"once"), (0xFF00, b"again!" * 100_000), (0, None)]

    async def test_who_wants_one_gets_the_final_one(self, server: Server) -> None:
        server.take = answer_with(b"one", b"two")
        async with associate(server.call()) as association:
            command, data_set = await association.request(*find(association))
        assert (command.status, data_set) == (0, None)

    async def test_more_than_are_taken_hold_up_the_sender(self, server: Server) -> None:
        sent = 0

        async def answer(message: Message) -> None:
            nonlocal sent
            for _ in range(400):
                await message.on.drain()
                message.pending(bytes(100_000))
                sent += 1
            message.respond()

        server.start(answer)
        async with associate(server.call()) as association:
            asked = find(association)
            async with aclosing(association.requests(*asked)) as found:
                assert (await anext(found)).is_pending
                request = association._requests.get(asked[1].message_id or 0)
                assert request is not None
                await until(lambda: request.is_full)
                await turns(200)
                assert request._bytes < 4 << 20
                rest = [response async for response in found]
            assert (len(rest), sent) == (400, 400)

    async def test_leaving_early_cancels_and_leaves_the_association_whole(self, server: Server) -> None:
        waiting: list[Message] = []

        def begin(message: Message) -> None:
            message.pending(b"xy")
            waiting.append(message)

        server.take = begin
        async with associate(server.call()) as association:
            async with aclosing(association.requests(*find(association))) as found:
                assert (await anext(found)).data_set == b"xy"
            server.take = Message.respond
            late = asyncio.ensure_future(association.request(*find(association)))
            await until(lambda: bool(server.cancelled))
            assert not late.done()  # One operation at a time was negotiated, and the first one is not over.
            waiting[0].pending(b"nobody wants it")
            waiting[0].respond(status.CANCEL)
            assert (await late).status == 0
        assert server.cancelled == [1]


class TestTheOtherSideAsks:
    async def test_sub_operations_while_our_request_waits(self, server: Server) -> None:
        kept: list[tuple[str | None, int]] = []

        async def get(message: Message) -> None:
            session = message.on
            for number in range(3):
                context = session.context_for(CT)
                answer = await session.request(context, store(session, f"1.{number}"), [bytes(300_000)] * 9)
                assert answer.status == 0xB000
                message.pending(b"progress")
            message.respond()

        def keep(message: Message) -> None:
            kept.append((message.command.affected_sop_instance_uid, len(message.data)))
            message.respond(0xB000)

        def handle(on: Requestor, context: PresentationContext, command: Command) -> Message:
            assert context.as_scp
            return Message(keep, on, context, command)

        server.start(get)
        async with associate(server.call(), handler=handle) as association:
            command = messages.c_get_request(association.next_message_id(), GET)
            context = association.context_for(GET)
            found = [r.status async for r in association.requests(context, command, [b"all"])]
        assert found == [0xFF00] * 3 + [0]
        assert kept == [(f"1.{number}", 2_700_000) for number in range(3)]

    async def test_what_is_said_meanwhile_waits_for_the_end_of_the_message(self, server: Server) -> None:
        """An echo is answered and progress reported while a large data set is under way the other way."""
        half, go_on = asyncio.Event(), asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield bytes(10)
            half.set()
            await go_on.wait()
            yield bytes(10)

        async def get(message: Message) -> None:
            sending = asyncio.ensure_future(
                message.on.request(message.on.context_for(CT), store(message.on, "1.2"), chunks())
            )
            await half.wait()
            message.pending(b"progress")
            go_on.set()
            await message.on.drain()
            assert (await sending).status == 0
            message.respond()

        kept: list[bytes] = []

        def keep(message: Message) -> None:
            kept.append(message.data)
            message.respond()

        def handle(on: Requestor, context: PresentationContext, command: Command) -> Message:
            return Message(keep, on, context, command)

        server.start(get)
        async with associate(server.call(), handler=handle) as association:
            command = messages.c_get_request(association.next_message_id(), GET)
            found = [r async for r in association.requests(association.context_for(GET), command, [b"all"])]
        assert [response.data_set for response in found] == [b"progress", None]
        assert kept == [bytes(20)]

    async def test_a_request_that_nobody_serves_is_answered(self, server: Server) -> None:
        answers: list[Response] = []

        async def get(message: Message) -> None:
            answers.append(await message.on.request(message.on.context_for(CT), store(message.on, "1.2"), [b"12"]))
            message.respond()

        server.start(get)
        async with associate(server.call()) as association:
            command = messages.c_get_request(association.next_message_id(), GET)
            assert (await association.request(association.context_for(GET), command, [b"all"])).status == 0
        assert answers[0].status == status.UNRECOGNIZED_OPERATION

    async def test_a_release_leaves_our_question_unanswered(self, server: Server) -> None:
        troubles: list[str] = []

        async def ask(message: Message) -> None:
            message.respond()
            try:
                await message.on.request(message.on.context_for(CT), store(message.on, "1.2"), [b"12"])
            except AssociationLost as error:
                troubles.append(str(error))

        def ignore(on: Requestor, context: PresentationContext, command: Command) -> Message:
            return Message(lambda message: None, on, context, command)

        server.start(ask)
        async with associate(server.call(), handler=ignore) as association:
            await association.request(*find(association))
        await server.tasks[0]
        assert troubles == ["CALLING releases the association"]


class TestWindow:
    async def test_no_more_at_once_than_was_granted(self, server: Server) -> None:
        waiting: list[Message] = []
        server.take = waiting.append
        async with associate(server.call(window=9)) as association:
            context = association.context_for(CT)
            asked = [asyncio.ensure_future(association.store(context, f"1.{n}", [b"12"])) for n in range(6)]
            await until(lambda: len(waiting) >= 4)
            await turns(50)
            assert len(waiting) == 4
            server.take = Message.respond
            for message in waiting:
                message.respond()
            assert [response.status for response in await asyncio.gather(*asked)] == [0] * 6

    async def test_who_waits_for_a_place_hears_of_the_end(self, server: Server) -> None:
        server.take = lambda message: None
        association = await Requestor.open(server.call(), BlockPool(8))
        asked = [asyncio.ensure_future(association.request(*find(association))) for _ in range(3)]
        await asyncio.sleep(0)
        await association.abort()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [AssociationLost] * 3

    async def test_who_gives_up_waiting_for_a_place_leaves_no_gap(self, server: Server) -> None:
        waiting: list[Message] = []
        server.take = waiting.append
        async with associate(server.call()) as association:
            first, second, third = (asyncio.ensure_future(association.request(*find(association))) for _ in range(3))
            await until(lambda: bool(waiting))
            second.cancel()
            server.take = Message.respond
            waiting[0].respond()
            assert (await first).status == (await third).status == 0


class TestTimeouts:
    async def test_no_answer(self, server: Server) -> None:
        server.take = lambda message: None
        with pytest.raises(AssociationLost, match=r"CALLED did not answer C-FIND-RQ within 0\.05 s"):
            async with associate(server.call()) as association:
                await association.request(*find(association), timeout=0.05)

    async def test_a_peer_that_takes_nothing(self) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = AssociateRQ.decode((await reader.read(4096))[6:])
            results = negotiation.negotiate(request, {CT: [EXPLICIT]})
            answer = AssociateAC(request.called_aet, request.calling_aet, results, UserInformation(max_length=16384))
            writer.write(answer.encode())
            await gone.wait()
            writer.transport.abort()

        gone = asyncio.Event()
        listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024)
        host, port = listener.sockets[0].getsockname()
        call = Call(host, port, "DEAF", "CALLING", [(CT, [EXPLICIT])], timeout=0.2)
        async with asyncio.timeout(10), listener:
            association = await Requestor.open(call, BlockPool(8))
            context, chunks = association.context_for(CT), [bytes(1 << 20)] * 64
            with pytest.raises(AssociationLost, match=r"DEAF read nothing for 0\.1 s"):
                await association.request(context, store(association, "1.2"), chunks, timeout=0.1)
            await association.abort()
            gone.set()
