"""Requests of ours under way: responses that wait to be taken, who waits for them, and how many there may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.dimse import messages, status
from gateway.dimse.command import Command
from gateway.errors import AssociationLost, ProtocolError
from gateway.net import requests
from gateway.net.buffers import Block
from gateway.net.requests import MAX_WAITING, MAX_WAITING_BYTES, PendingRequest, RequestTable, Response

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
NOWHERE = Block(memoryview(b""), lambda block: None)


def find(message_id: int) -> Command:
    return messages.c_find_request(message_id, FIND)


def pending(size: int = 0) -> Response:
    return Response(messages.response(find(1), status.PENDING, data_set=size > 0), bytes(size) or None)


FINAL = Response(messages.response(find(1), status.SUCCESS), None)


@dataclass
class Asked:
    """A request, and what it has called."""

    final: list[PendingRequest] = field(default_factory=list)
    backlogs: list[bool] = field(default_factory=list)
    """Whether it was full, at each call of `on_backlog`."""
    abandoned: list[PendingRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.request = PendingRequest(
            1, find(1), self.final.append, lambda: self.backlogs.append(self.request.is_full), self.abandoned.append
        )


class TestResponses:
    async def test_are_taken_in_the_order_in_which_they_came(self) -> None:
        asked = Asked()
        first, second = pending(1), pending(2)
        for response in (first, second, FINAL):
            asked.request.put(response)
        assert [await asked.request.next() for _ in range(3)] == [first, second, FINAL]
        assert asked.final == [asked.request]
        assert asked.backlogs == []

    async def test_wake_the_one_who_waits(self) -> None:
        asked = Asked()
        taking = asyncio.ensure_future(asked.request.next())
        await asyncio.sleep(0)
        assert not taking.done()
        asked.request.put(FINAL)
        asked.request.put(pending())
        assert await taking is FINAL

    async def test_that_came_before_the_end_are_still_taken(self) -> None:
        asked = Asked()
        asked.request.put(pending())
        asked.request.fail(AssociationLost("gone"))
        assert (await asked.request.next()).is_pending
        with pytest.raises(AssociationLost, match="gone"):
            await asked.request.next()
        assert asked.final == [asked.request]

    async def test_the_end_wakes_the_one_who_waits(self) -> None:
        asked = Asked()
        taking = asyncio.ensure_future(asked.request.next())
        await asyncio.sleep(0)
        asked.request.fail(AssociationLost("gone"))
        with pytest.raises(AssociationLost, match="gone"):
            await taking

    async def test_a_waiter_that_gave_up_is_no_hindrance(self) -> None:
        asked = Asked()
        taking = asyncio.ensure_future(asked.request.next())
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.sleep(0)
        asked.request.put(FINAL)
        assert await asked.request.next() is FINAL


class TestBacklog:
    @pytest.mark.parametrize(
        ("many", "size"), [(MAX_WAITING, 0), (4, MAX_WAITING_BYTES // 4)], ids=["responses", "bytes"]
    )
    async def test_begins_past_the_limit_and_ends_at_it(self, many: int, size: int) -> None:
        asked = Asked()
        for _ in range(many):
            asked.request.put(pending(size))
        assert not asked.request.is_full
        assert asked.backlogs == []
        asked.request.put(pending(size or 1))
        assert asked.request.is_full
        assert asked.backlogs == [True]
        await asked.request.next()
        assert asked.backlogs == [True, False]
        await asked.request.next()
        assert asked.backlogs == [True, False]

    async def test_stays_while_it_is_still_too_long(self) -> None:
        asked = Asked()
        for _ in range(MAX_WAITING + 2):
            asked.request.put(pending())
        await asked.request.next()
        assert asked.request.is_full
        assert asked.backlogs == [True, True]

    async def test_is_gone_when_nobody_wants_it(self) -> None:
        asked = Asked()
        for _ in range(MAX_WAITING + 1):
            asked.request.put(pending(10))
        asked.request.abandon()
        assert asked.backlogs == [True, False]
        assert asked.abandoned == [asked.request]
        asked.request.put(pending(2 * MAX_WAITING_BYTES))
        assert not asked.request.is_full
        assert asked.final == []
        asked.request.put(FINAL)
        assert asked.final == [asked.request]


class TestTable:
    def table(self) -> RequestTable:
        return RequestTable(on_backlog=lambda: None, on_abandon=lambda request: None)

    async def test_message_ids_in_use_are_passed_over(self) -> None:
        table = self.table()
        assert [table.next_message_id() for _ in range(3)] == [1, 2, 3]
        table._last_message_id = 65534
        await table.open(1, find(65535))
        await table.open(1, find(1))
        assert table.next_message_id() == 2

    async def test_no_more_at_once_than_the_window(self) -> None:
        table = self.table()
        table.limit(2)
        first, _ = await table.open(1, find(1)), await table.open(1, find(2))
        third = asyncio.ensure_future(table.open(1, find(3)))
        await asyncio.sleep(0)
        assert not third.done()
        table.remove(first)
        table.remove(first)
        await third
        fourth = asyncio.ensure_future(table.open(1, find(4)))
        await asyncio.sleep(0)
        assert not fourth.done()  # Removed twice, the first has freed one place.
        fourth.cancel()

    async def test_a_window_of_zero_is_none(self) -> None:
        table = self.table()
        table.limit(0)
        async with asyncio.timeout(1):
            for number in range(1, 300):
                await table.open(1, find(number))

    async def test_the_final_response_frees_the_place_before_it_is_taken(self) -> None:
        table = self.table()
        table.limit(1)
        request = await table.open(1, find(1))
        table.receive(1, messages.response(request.command, 0)).end()
        assert table.get(1) is None
        async with asyncio.timeout(1):
            await table.open(1, find(2))
        assert (await request.next()).status == 0

    async def test_its_end_reaches_each_and_all_that_wait(self) -> None:
        table = self.table()
        table.limit(1)
        first = await table.open(1, find(1))
        waiting = [asyncio.ensure_future(table.open(1, find(number))) for number in (2, 3)]
        await asyncio.sleep(0)
        table.close(AssociationLost("first reason"))
        table.close(AssociationLost("second reason"))
        for each in waiting:
            with pytest.raises(AssociationLost, match="first reason"):
                await each
        with pytest.raises(AssociationLost, match="first reason"):
            await first.next()

    async def test_is_full_where_one_request_is(self) -> None:
        table = self.table()
        first, second = await table.open(1, find(1)), await table.open(1, find(2))
        assert not table.is_full
        for _ in range(MAX_WAITING + 1):
            second.put(pending())
        assert table.is_full
        assert not first.is_full


class TestWhichRequestIsAnswered:
    """PS3.7 §9.1: the message ID, the command and the presentation context are those of the request."""

    async def test_the_one_with_its_message_id(self) -> None:
        table = RequestTable(lambda: None, lambda request: None)
        first, second = await table.open(1, find(1)), await table.open(1, find(2))
        receiver = table.receive(1, messages.response(second.command, status.PENDING, data_set=True))
        receiver.write(memoryview(b"ab"), NOWHERE)
        receiver.write(memoryview(b"cd"), NOWHERE)
        receiver.end()
        assert (await second.next()).data_set == b"abcd"
        assert not first.is_full
        assert table.get(1) is first

    @pytest.mark.parametrize(
        ("context_id", "answer", "why"),
        [
            (1, messages.response(find(2), 0), "a response to message 2, which is not open"),
            (3, messages.response(find(1), 0), "C-FIND-RSP in context 3 answers C-FIND-RQ in context 1"),
            (
                1,
                messages.response(messages.c_echo_request(1), 0),
                "C-ECHO-RSP in context 1 answers C-FIND-RQ in context 1",
            ),
        ],
    )
    async def test_nothing_else_is_an_answer(self, context_id: int, answer: Command, why: str) -> None:
        table = RequestTable(lambda: None, lambda request: None)
        await table.open(1, find(1))
        with pytest.raises(ProtocolError, match=why):
            table.receive(context_id, answer)

    async def test_a_data_set_is_of_limited_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "MAX_RESPONSE_BYTES", 10)
        table = RequestTable(lambda: None, lambda request: None)
        await table.open(1, find(1))
        receiver = table.receive(1, messages.response(find(1), status.PENDING, data_set=True))
        receiver.write(memoryview(bytes(10)), NOWHERE)
        with pytest.raises(ProtocolError, match="longer than 10 bytes"):
            receiver.write(memoryview(b"x"), NOWHERE)
