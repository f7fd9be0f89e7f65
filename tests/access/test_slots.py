"""gateway/access/slots.py: who is one client, and whose turn it is."""

from __future__ import annotations

import asyncio

import pytest

from gateway.access import slots
from gateway.access.slots import FairSlots, NoSlot, client_of


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_clients(address: str, client: str):
    assert client_of(address) == client


class Room:
    """Slots, and who holds one, in the order in which they got it."""

    def __init__(self, count: int, each: int | None = None) -> None:
        self.slots = FairSlots(count, each)
        self.got: list[str] = []
        self._left: dict[asyncio.Task[None], asyncio.Event] = {}

    async def enter(self, client: str) -> asyncio.Task[None]:
        left = asyncio.Event()

        async def stay() -> None:
            async with self.slots.slot(client):
                self.got.append(client)
                await left.wait()

        task = asyncio.create_task(stay())
        self._left[task] = left
        await settled()
        return task

    async def leave(self, task: asyncio.Task[None]) -> None:
        self._left[task].set()
        await task
        await settled()

    async def clear(self) -> None:
        for task in self._left:
            task.cancel()
        await asyncio.wait(self._left)


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_free_slot_goes_to_who_holds_the_fewest():
    room = Room(2)
    first, second = await room.enter("a"), await room.enter("a")
    for client in "aab":
        await room.enter(client)
    await room.leave(first)
    assert room.got == ["a", "a", "b"]
    await room.leave(second)
    assert room.got == ["a", "a", "b", "a"]
    await room.clear()


async def test_nobody_holds_all():
    room = Room(4, each=3)
    tasks = [await room.enter("a") for _ in range(5)]
    assert room.got == ["a"] * 3
    await room.enter("b")
    assert room.got == ["a"] * 3 + ["b"]
    await room.enter("b")
    await room.leave(tasks[0])
    assert room.got == ["a"] * 3 + ["b"] * 2, "b has fewer"
    await room.clear()


async def test_who_leaves_the_queue_holds_nothing():
    room = Room(1)
    first = await room.enter("a")
    waiting = await room.enter("b")
    waiting.cancel()
    await settled()
    await room.leave(first)
    await room.leave(await room.enter("c"))
    assert room.got == ["a", "c"]
    assert not room.slots._waiting
    assert not room.slots._held


async def test_who_is_cancelled_with_a_slot_just_granted_gives_it_back():
    room = Room(1)
    first = await room.enter("a")
    second = await room.enter("b")
    room._left[first].set()
    await first  # its slot has been granted, and the next has not run yet
    second.cancel()
    await settled()
    await room.leave(await room.enter("c"))
    assert room.got[-1] == "c"


async def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slots, "MAX_WAITING", 1)
    room = Room(1)
    await room.enter("a")
    await room.enter("b")
    refused = await room.enter("c")
    assert isinstance(refused.exception(), NoSlot)
    await room.clear()
