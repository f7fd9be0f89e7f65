"""What every kind of destination must do. A test class inherits DestinationContract and gives a `house` fixture."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from gateway.config import Settings
from gateway.errors import TruncatedDataSet
from gateway.remote.destination import Answer, Destination
from gateway.scu.transfer import Choose, Content, Instance
from tests.scu.test_store import CT, EXPLICIT
from tests.scu.test_store import item as make_item
from tests.support.datasets import encode, instance

STUDY, SERIES = "1.2.3", "1.2.3.4"


class House(Protocol):
    """A destination, and where what it sends arrives."""

    destination: Destination

    def arrived(self) -> dict[str, bytes]:
        """Data sets by SOP Instance UID."""


def data_set(uid: str, **values: Any) -> bytes:
    return encode(instance(SOPInstanceUID=uid, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, **values))


def item(uid: str, **values: Any) -> Instance:
    return make_item(uid, data_set(uid, **values))


@dataclass(frozen=True)
class Broken:
    """An instance that ends too early when it is read."""

    good: Instance
    late: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.good, name)

    async def prepare(self, choose: Choose) -> Content:
        if not self.late:
            raise TruncatedDataSet("it ends inside an element")
        return _BrokenContent(await self.good.prepare(choose))  # type: ignore[return-value]


class _BrokenContent:
    def __init__(self, content: Content) -> None:
        self.transfer_syntax_uid = content.transfer_syntax_uid
        self.close = content.close

    async def chunks(self) -> Any:
        yield b"beginning"
        raise TruncatedDataSet("it ends inside an element")


def settings_of(**section: Any) -> Settings:
    import msgspec

    return msgspec.convert({"destinations": {"it": section}}, Settings)


class DestinationContract:
    async def test_what_is_sent_arrives_byte_for_byte(self, house: House) -> None:
        uids = [f"1.2.3.4.{number}" for number in range(20)]
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*[house.destination.send(item(uid)) for uid in uids])
        assert {each.outcome for each in answers} == {"delivered"}
        assert house.arrived() == {uid: data_set(uid) for uid in uids}
        assert [each.sent for each in answers] == [len(data_set(uid)) for uid in uids]

    async def test_twice_the_same_is_fine(self, house: House) -> None:
        async with asyncio.timeout(20):
            answers = [await house.destination.send(item("1.2.3.4.1")) for _ in range(2)]
        assert [each.outcome for each in answers] == ["delivered", "delivered"]

    @pytest.mark.parametrize("late", [True, False])
    async def test_what_cannot_be_read_takes_nothing_with_it(self, house: House, late: bool) -> None:
        wrong: Any = Broken(item("1.2.3.4.7"), late)
        sent = [item(f"1.2.3.4.{number}") for number in range(5)]
        async with asyncio.timeout(20):
            answers: list[Answer] = await asyncio.gather(
                *[house.destination.send(each) for each in [*sent[:2], wrong, *sent[2:]]]
            )
        assert answers.pop(2).outcome != "delivered"
        assert {each.outcome for each in answers} == {"delivered"}
        assert "1.2.3.4.7" not in house.arrived()

    async def test_what_it_has(self, house: House) -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*[house.destination.send(item(f"1.2.3.4.{number}")) for number in range(5)])
            asked = [(STUDY, SERIES, f"1.2.3.4.{number}") for number in range(3, 8)]
            assert await house.destination.has(asked) == {"1.2.3.4.3", "1.2.3.4.4"}

    async def test_who_stops_waiting_disturbs_nobody(self, house: House) -> None:
        tasks = [asyncio.ensure_future(house.destination.send(item(f"1.2.3.4.{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        async with asyncio.timeout(20):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {each.outcome for each in results[1::2] if isinstance(each, Answer)} == {"delivered"}
        assert all(isinstance(each, Answer) for each in results[1::2])


__all__ = ["CT", "EXPLICIT", "DestinationContract", "House", "item", "settings_of"]
