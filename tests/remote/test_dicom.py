"""A DICOM node as a destination: associations that are shared, nodes that refuse, vanish or stumble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.config import Settings
from gateway.net.session import Refusal
from gateway.remote.destination import Answer, DestinationUnavailable
from gateway.remote.dicom import DicomNode
from gateway.remote.rate_limit import Bandwidth
from gateway.ul import negotiation
from tests.scu.test_store import MR, item
from tests.support.destination import Destination, Message
from tests.support.nodes import EXPLICIT


@asynccontextmanager
async def node(peer: Destination, **section: Any) -> AsyncIterator[DicomNode]:
    """`peer` as a destination; both are closed in the end."""
    settings = msgspec.convert(
        {
            "modalities": {"pacs": {"aet": "PACS", "host": "127.0.0.1", "port": peer.port, "response_timeout": 5.0}},
            "destinations": {"pacs": {"kind": "dicom", "modality": "pacs", **section}},
        },
        Settings,
    )
    destination = DicomNode("pacs", settings.destinations["pacs"], lambda: settings)
    try:
        async with asyncio.timeout(20):
            yield destination
    finally:
        await destination.close()
        await peer.acceptor.stop(0)


async def send(destination: DicomNode, count: int) -> list[Answer]:
    return await asyncio.gather(*[destination.send(item(f"1.{number}")) for number in range(count)])


async def test_many_share_few_associations() -> None:
    peer = Destination()
    async with node(peer, connections=2) as destination:
        answers = await send(destination, 40)
        assert {(each.outcome, each.status, each.sent) for each in answers} == {("delivered", 0, 10)}
        assert len(peer.received) == 40
        await send(destination, 3)
    assert len(peer.requests) == 2


async def test_asynchronous_operations_are_used_where_granted() -> None:
    peer = Destination(window=4)
    held: list[Message] = []

    def answer(message: Message) -> None:
        held.append(message)
        if len(held) == 4:
            for each in held:
                each.respond()
            held.clear()

    peer.answer = answer
    async with node(peer, connections=1) as destination:
        await send(destination, 8)
    assert peer.most_open == 4


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, "delivered"),
        (0xB000, "delivered"),
        (0x0111, "delivered"),
        (0xA700, "again"),
        (0xA7FF, "again"),
        (0x0110, "again"),
        (0xC123, "again"),
        (0x0122, "refused"),
        (0xA900, "refused"),
    ],
)
async def test_temporary_is_told_from_permanent(status: int, outcome: str) -> None:
    peer = Destination()
    peer.answer = lambda message: message.respond(status)
    async with node(peer) as destination:
        (answer,) = await send(destination, 1)
    assert (answer.outcome, answer.status) == (outcome, status)
    assert f"{status:04X}H" in answer.detail


async def test_the_table_is_that_of_the_destination() -> None:
    peer = Destination()
    peer.answer = lambda message: message.respond(0xA900)
    async with node(peer, retried=["A9xx"]) as destination:
        (answer,) = await send(destination, 1)
    assert answer.outcome == "again"


async def test_what_it_does_not_accept_is_refused_and_the_rest_goes() -> None:
    peer = Destination(syntaxes={EXPLICIT})
    async with node(peer) as destination:
        video, image = await asyncio.gather(
            destination.send(item("1.1", syntax="1.2.840.10008.1.2.4.100")), destination.send(item("1.2"))
        )
    assert (video.outcome, video.status, video.sent) == ("refused", None, 0)
    assert "does not accept" in video.detail
    assert image.outcome == "delivered"


async def test_another_class_gets_an_association_that_proposes_it() -> None:
    peer = Destination()
    async with node(peer, connections=1) as destination:
        await send(destination, 1)
        answer = await destination.send(item("2.1", sop_class=MR))
        assert answer.outcome == "delivered"
        await send(destination, 1)
    assert len(peer.requests) == 2  # the second has both


async def test_a_rejection_is_the_destinations_as_a_whole() -> None:
    peer = Destination()
    peer.refusal = Refusal(negotiation.TEMPORARY_CONGESTION, "busy")
    async with node(peer) as destination:
        answers = await asyncio.gather(*[destination.send(item(f"1.{n}")) for n in range(5)], return_exceptions=True)
        assert all(isinstance(each, DestinationUnavailable) for each in answers)
        assert "congestion" in str(answers[0])
        peer.refusal = None
        assert (await send(destination, 1))[0].outcome == "delivered"


async def test_nobody_there() -> None:
    peer = Destination()
    async with node(peer) as destination:
        await peer.acceptor.stop(0)
        with pytest.raises(DestinationUnavailable, match="refused"):
            await send(destination, 1)


async def test_one_that_makes_it_stumble_takes_no_other_down() -> None:
    peer = Destination()

    def answer(message: Message) -> None:
        if message.uid == "1.3":
            message.on.abort()
        else:
            message.respond()

    peer.answer = answer
    async with node(peer, connections=1) as destination:
        answers = await send(destination, 8)
    assert [each.outcome for each in answers] == ["delivered"] * 3 + ["again"] + ["delivered"] * 4


async def test_who_does_not_wait_any_more_is_passed_over() -> None:
    peer = Destination()
    async with node(peer, connections=1) as destination:
        first = asyncio.create_task(destination.send(item("1.1")))
        second = asyncio.create_task(destination.send(item("1.2")))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first).outcome == "delivered"
    assert list(peer.received) == ["1.1"]


async def test_a_destination_that_is_closed_sends_nothing_more() -> None:
    peer = Destination()
    begun = asyncio.Event()
    peer.begin, peer.answer = lambda on: begun.set(), lambda message: None
    async with node(peer, connections=1) as destination:
        first = asyncio.create_task(destination.send(item("1.1")))
        await begun.wait()
        sending = asyncio.create_task(destination.send(item("1.2")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(destination.close())
        await asyncio.sleep(0)
        for message in peer.messages:
            message.respond()
        peer.answer = Message.respond
        await closing
        assert (await first).outcome == "delivered"
        with pytest.raises(DestinationUnavailable):
            await sending


async def test_bandwidth() -> None:
    """100 bytes at 50 a second are two seconds, whoever sends them."""
    now, waits = 10.0, list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    bandwidth = Bandwidth(50, clock=lambda: now, sleep=sleep)
    for _ in range(4):
        await bandwidth.take(25)
    assert waits == [0.5, 1.0, 1.5, 2.0]
    await Bandwidth(0, clock=lambda: now, sleep=sleep).take(1 << 40)
    assert len(waits) == 4


async def test_one_that_takes_a_single_association_gets_no_more() -> None:
    peer = Destination()
    peer.begin = lambda on: setattr(peer, "refusal", Refusal(negotiation.LOCAL_LIMIT_EXCEEDED, "full"))
    async with node(peer, connections=3) as destination:
        await destination.send(item("1.0"))
        assert {each.outcome for each in await send(destination, 30)} == {"delivered"}
    assert len(peer.requests) <= 3
