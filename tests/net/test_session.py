"""An association from its request to its end, and the messages on it, over wires in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.dimse import messages, status
from gateway.dimse.command import C_STORE_RQ
from gateway.errors import AssociationLost, AssociationRefused
from gateway.net import requests
from gateway.net.buffers import BlockPool
from gateway.net.receiver import Operation
from gateway.net.requestor import Requestor
from gateway.ul.states import State
from tests.support.wires import CT, EXPLICIT, FIND, GET, Pair, Request


def respond(request: Request) -> None:
    request.on.respond(request.context.id, messages.response(request.command, 0).encode())


def pending(request: Request) -> None:
    answer = messages.response(request.command, status.PENDING, data_set=True)
    request.on.send(request.context.id, answer.encode(), [b"ab"])


Opener = Callable[..., "asyncio.Future[Pair]"]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    pairs: list[Pair] = []

    async def make(take: Callable[[Request], None] = respond, **options: object) -> Pair:
        pairs.append(Pair(take, **options))  # type: ignore[arg-type]
        return await pairs[-1].open()

    async with asyncio.timeout(10):
        yield make  # type: ignore[misc]
        for pair in pairs:
            pair.close()


def store(requestor: Requestor, number: int, data: bytes = b"12") -> asyncio.Task[int]:
    async def send() -> int:
        return (await requestor.store(requestor.context_for(CT), f"1.{number}", [data])).status

    return asyncio.create_task(send())


def find(requestor: Requestor) -> asyncio.Task[int]:
    async def ask() -> int:
        command = messages.c_find_request(requestor.next_message_id(), FIND)
        return (await requestor.request(requestor.context_for(FIND), command, [b"all"])).status

    return asyncio.create_task(ask())


class Work(Operation):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def cancel(self) -> None:
        self.heard.append("cancel")

    def lost(self) -> None:
        self.heard.append("lost")


class TestContexts:
    async def test_only_those_that_were_accepted_for_our_role(self, opened: Opener) -> None:
        pair = await opened()
        requestor, session = pair.requestor, pair.session
        assert requestor.context_for(FIND, EXPLICIT).abstract_syntax == FIND
        assert session.context_for(CT).as_scu
        for side, wanted in ((requestor, ("1.2.3", None)), (requestor, (FIND, "1.2.3")), (session, (FIND, None))):
            with pytest.raises(AssociationRefused, match="accepted no context for") as raised:
                side.context_for(*wanted)
            assert (raised.value.result, raised.value.source, raised.value.reason) == (1, 1, 1)


class TestOperationsInProgress:
    async def test_no_more_are_read_than_may_be(self, opened: Opener) -> None:
        pair = await opened(lambda request: None, max_operations=2, window=10)
        asked = [store(pair.requestor, number) for number in range(5)]
        await pair.turns()
        assert not pair.theirs.reading
        assert len(pair.received) == 3  # The third says that it is one too many.
        respond(pair.received[0])
        assert pair.theirs.reading
        await pair.turns()
        assert not pair.theirs.reading
        assert len(pair.received) == 4
        pair.take = respond
        for request in pair.received[1:]:
            respond(request)
        await pair.until(lambda: all(task.done() for task in asked))
        assert [task.result() for task in asked] == [0] * 5

    async def test_as_many_as_may_be_are_read_on(self, opened: Opener) -> None:
        pair = await opened(lambda request: None, max_operations=2, window=10)
        store(pair.requestor, 1), store(pair.requestor, 2)
        await pair.until(lambda: len(pair.received) == 2)
        assert pair.theirs.reading

    async def test_a_cancel_reaches_the_operation(self, opened: Opener) -> None:
        work = Work()

        def begin(request: Request) -> None:
            if request.command.message_id_being_responded_to:
                request.on.cancel(request.command.message_id_being_responded_to)
                request.on.done()
                return
            request.on.begin_operation(request.command.message_id or 0, work)

        pair = await opened(begin)
        asked = find(pair.requestor)
        await pair.until(lambda: bool(pair.received))
        pair.requestor.cancel_request(99)
        pair.requestor.cancel_request(1)
        await pair.until(lambda: bool(work.heard))
        pair.session.end_operation(1)
        pair.session.end_operation(1)
        pair.session.cancel(1)
        respond(pair.received[0])
        await pair.until(asked.done)
        assert work.heard == ["cancel"]

    async def test_a_store_cannot_be_cancelled(self, opened: Opener) -> None:
        """C-CANCEL is for find, get and move (PS3.7 §9.3.2.3 and the like)."""
        pair = await opened(lambda request: None)
        store(pair.requestor, 1)
        await pair.until(lambda: bool(pair.received))
        pair.requestor.cancel_request(1)
        await pair.turns()
        assert [request.command.command_field for request in pair.received] == [C_STORE_RQ]


class TestTheEnd:
    async def test_everybody_hears_of_it_once(self, opened: Opener) -> None:
        work = Work()
        pair = await opened(lambda request: pair.session.begin_operation(1, work))
        asked = find(pair.requestor)
        await pair.until(lambda: bool(pair.received))
        pair.close()
        await asyncio.sleep(0)
        assert work.heard == ["lost"]
        with pytest.raises(AssociationLost, match="CALLED closed the connection"):
            await asked
        respond(pair.received[0])  # It goes nowhere, and that is no error.

    async def test_half_a_message_is_lost(self, opened: Opener) -> None:
        pair = await opened(lambda request: None)
        sending = store(pair.requestor, 1, bytes(300_000))
        await asyncio.sleep(0)
        pair.ours.carry(100_000)
        (request,) = pair.received
        assert not request.is_lost
        assert 0 < len(request.data) < 300_000
        pair.close()
        assert request.is_lost
        with pytest.raises(AssociationLost):
            await sending

    async def test_a_whole_message_is_not_lost(self, opened: Opener) -> None:
        pair = await opened(lambda request: None)
        sending = store(pair.requestor, 1)
        await pair.until(lambda: bool(pair.received))
        pair.close()
        assert not pair.received[0].is_lost
        with pytest.raises(AssociationLost):
            await sending

    async def test_a_release_is_answered_after_the_last_answer(self, opened: Opener) -> None:
        """PS3.8 §7.2.2.6."""
        pair = await opened(lambda request: None, window=2)
        asked = [store(pair.requestor, 1), store(pair.requestor, 2)]
        await pair.until(lambda: len(pair.received) == 2)
        pair.requestor.association.release(pair.requestor.link.now)
        pair.requestor.link.flush()
        await pair.turns()
        assert pair.session.association.state is State.Sta8
        respond(pair.received[0])
        await pair.turns()
        assert pair.session.association.state is State.Sta8
        respond(pair.received[1])
        await pair.until(lambda: all(task.done() for task in asked))
        assert [task.result() for task in asked] == [0, 0]
        await pair.until(lambda: pair.requestor.link.closed.done())
        assert pair.session.association.ended

    async def test_the_peer_is_told_of_our_abort(self, opened: Opener) -> None:
        pair = await opened(lambda request: None)
        asked = store(pair.requestor, 1)
        await pair.until(lambda: bool(pair.received))
        pair.session.abort(detail="no more")
        pair.session.abort(detail="again")
        await pair.until(asked.done)
        with pytest.raises(AssociationLost, match="CALLED: "):
            await asked

    async def test_a_message_that_is_half_sent_ends_it(self, opened: Opener) -> None:
        pair = await opened(lambda request: None)

        def broken() -> object:
            yield b"ab"
            raise OSError("cannot be read")

        requestor = pair.requestor
        with pytest.raises(OSError, match="cannot be read"):
            await requestor.store(requestor.context_for(CT), "1.2", broken())  # type: ignore[arg-type]
        with pytest.raises(AssociationLost, match="a message was not sent to its end"):
            await requestor.store(requestor.context_for(CT), "1.3", [b"ab"])
        await pair.until(lambda: pair.session.association.ended)
        assert not requestor.unresponsive

    async def test_one_that_waits_for_its_turn_may_give_up(self, opened: Opener) -> None:
        pair = await opened(window=2)
        requestor = pair.requestor
        async with requestor._writer.turn:
            first = store(requestor, 1)
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
        second = store(requestor, 2)
        await pair.until(second.done)
        assert second.result() == 0
        assert requestor.established


class TestSilence:
    async def test_a_peer_that_takes_nothing_is_dropped(self, opened: Opener) -> None:
        pair = await opened()
        pair.ours.high = 0
        pair.theirs.pause_reading()
        requestor = pair.requestor
        command = messages.c_store_request(requestor.next_message_id(), CT, "1.2")
        with pytest.raises(AssociationLost, match=r"CALLED read nothing for 0\.01 s"):
            await requestor.request(requestor.context_for(CT), command, [b"12"], timeout=0.01)
        assert requestor.unresponsive
        assert pair.ours.closing
        assert not pair.ours.written  # Not even the A-ABORT, which would never leave.

    async def test_a_get_waits_as_long_as_anything_comes(self, opened: Opener) -> None:
        """Its sub-operations come; it need not tell more than that (PS3.4 C.4.3.1.4)."""
        pair = await opened(lambda request: None)
        requestor, session = pair.requestor, pair.session
        command = messages.c_get_request(requestor.next_message_id(), GET)
        getting = asyncio.ensure_future(requestor.request(requestor.context_for(GET), command, [b"all"]))
        await pair.until(lambda: bool(pair.received))
        for number in range(2):
            wanted = messages.c_store_request(session.next_message_id(), CT, f"1.{number}")
            sub = asyncio.ensure_future(session.request(session.context_for(CT), wanted, [b"12"]))
            await pair.until(sub.done)
            time_out(requestor)
            await pair.turns()
            assert not getting.done()
        time_out(requestor)
        await pair.until(getting.done)
        with pytest.raises(AssociationLost, match="CALLED did not answer C-GET-RQ within 60 s"):
            await getting
        assert requestor.unresponsive

    async def test_a_find_does_not(self, opened: Opener) -> None:
        pair = await opened(lambda request: None, window=2)
        asked = find(pair.requestor)
        stored = store(pair.requestor, 1)
        await pair.until(lambda: len(pair.received) == 2)
        respond(pair.received[1])
        await pair.until(stored.done)
        time_out(pair.requestor)
        await pair.until(asked.done)
        with pytest.raises(AssociationLost, match="CALLED did not answer C-FIND-RQ within 60 s"):
            await asked


def time_out(requestor: Requestor) -> None:
    """As if the time for the response to its first request had run out, without waiting for that."""
    request = requestor._requests.get(1)
    assert request is not None
    assert request._waiter is not None
    request._waiter.set_exception(TimeoutError())


class TestBlocks:
    async def test_only_messages_under_way_are_flushed(self, opened: Opener) -> None:
        pair = await opened(lambda request: None, window=2)
        store(pair.requestor, 1)
        await pair.until(lambda: len(pair.received) == 1)
        store(pair.requestor, 2, bytes(300_000))
        await asyncio.sleep(0)
        pair.ours.carry(100_000)
        pair.session.flush_receivers()
        assert [request.flushed for request in pair.received] == [0, 1]

    async def test_are_all_back_after_many_messages(self, opened: Opener) -> None:
        blocks = BlockPool(4)
        pair = await opened(blocks=blocks)
        for number in range(5):
            sent = store(pair.requestor, number, bytes(700_000))
            await pair.until(sent.done)
            assert sent.result() == 0
        assert [len(request.data) for request in pair.received] == [700_000] * 5
        assert blocks.available == 4


class TestResponses:
    async def test_that_are_not_taken_hold_up_the_association(self, opened: Opener) -> None:
        def answer(request: Request) -> None:
            for _ in range(100):
                pending(request)
            respond(request)

        pair = await opened(answer)
        requestor = pair.requestor
        command = messages.c_find_request(requestor.next_message_id(), FIND)
        responses = requestor.requests(requestor.context_for(FIND), command, [b"all"])
        first = asyncio.ensure_future(anext(responses))
        await pair.until(first.done)
        assert not pair.ours.reading
        taken = [first.result()]
        async for response in responses:
            taken.append(response)
            pair.carry()
        assert len(taken) == 101
        assert pair.ours.reading

    async def test_that_nobody_waits_for_hold_up_nothing(self, opened: Opener) -> None:
        def answer(request: Request) -> None:
            if request.command.message_id_being_responded_to:
                request.on.done()
                return
            for _ in range(100):
                pending(request)

        pair = await opened(answer)
        requestor = pair.requestor
        command = messages.c_find_request(requestor.next_message_id(), FIND)
        responses = requestor.requests(requestor.context_for(FIND), command, [b"all"])
        first = asyncio.ensure_future(anext(responses))
        await pair.until(first.done)
        assert not pair.ours.reading
        await responses.aclose()
        assert pair.ours.reading
        await pair.until(lambda: len(pair.received) == 2)
        assert pair.received[1].command.message_id_being_responded_to == command.message_id
        respond(pair.received[0])
        again = find(requestor)
        await pair.until(lambda: len(pair.received) == 3)
        respond(pair.received[2])
        await pair.until(again.done)
        assert again.result() == 0

    async def test_to_what_was_never_asked_end_the_association(self, opened: Opener) -> None:
        pair = await opened(lambda request: None)
        pair.session.send(1, messages.response(messages.c_echo_request(7), 0).encode())
        await pair.until(lambda: pair.session.association.ended)
        with pytest.raises(AssociationLost, match="a response to message 7, which is not open"):
            await find(pair.requestor)

    async def test_without_end_end_the_association(self, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "MAX_RESPONSE_BYTES", 1)
        pair = await opened(pending)
        asked = find(pair.requestor)
        await pair.until(asked.done)
        with pytest.raises(AssociationLost, match="longer than 1 bytes"):
            await asked
        await pair.until(lambda: pair.session.association.ended)
