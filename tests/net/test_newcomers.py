"""Who goes when there is no room: the silent, strangers first, and never those who work."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.net import newcomers
from gateway.net.newcomers import GRACE_S, Newcomers

pytestmark = pytest.mark.case("the oldest silent connection goes first, strangers before others")


@dataclass(eq=False)
class One:
    address: str
    since: float
    is_silent: bool = True
    is_recognized: bool = False
    is_open: bool = True
    closed: list[One] = field(default_factory=list)

    def close(self) -> None:
        self.is_open = False
        self.closed.append(self)


class House:
    """Connections by a clock that stands still until it is moved."""

    def __init__(self, max_silent: int = 100) -> None:
        self.now = 0.0
        self.newcomers = Newcomers(lambda: self.now, max_silent)
        self.closed: list[One] = []

    def add(self, address: str, *, silent: bool = True, recognized: bool = False) -> One:
        self.now += 1.0
        one = One(address, self.now, silent, recognized, closed=self.closed)
        self.newcomers.add(one)
        return one

    def later(self) -> None:
        self.now += GRACE_S


def test_the_oldest_silent_one():
    house = House()
    house.add("a", silent=False)
    first, second = house.add("b"), house.add("c")
    house.later()
    assert house.newcomers.make_room()
    assert house.newcomers.make_room()
    assert house.closed == [first, second]
    assert not house.newcomers.make_room()


def test_not_one_that_has_only_just_come():
    house = House()
    house.add("a")
    assert not house.newcomers.make_room()
    house.later()
    assert house.newcomers.make_room()


def test_strangers_before_neighbours_before_those_we_know():
    house = House()
    idle = house.add("clinic", recognized=True)
    neighbour = house.add("clinic")
    house.newcomers.recognize("office")
    returning = house.add("office")
    stranger = house.add("elsewhere")
    house.later()
    while house.newcomers.make_room():
        pass
    assert house.closed == [stranger, neighbour, returning, idle]


def test_an_address_with_too_many_silent_ones_loses_its_oldest():
    house = House(max_silent=3)
    other = house.add("b")
    some = [house.add("a") for _ in range(3)]
    house.later()
    for _ in range(5):
        some.append(house.add("a"))
        house.later()
    house.add("a")
    assert house.closed == some[:5]
    assert other.is_open


def test_many_devices_behind_one_address_are_no_flood():
    house = House(max_silent=3)
    for _ in range(50):
        house.add("a", recognized=True)
        house.add("a", silent=False)
    house.later()
    house.add("a")
    assert house.closed == []


def test_many_that_come_at_once_are_no_flood():
    house = House(max_silent=3)
    for _ in range(50):
        house.newcomers.add(One("a", house.now, closed=house.closed))
    assert house.closed == []


def test_those_that_have_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(newcomers, "MAX_KNOWN", 10)
    house = House()
    for number in range(1000):
        house.newcomers.recognize(str(number))
        house.add(str(number)).is_open = False
    assert len(house.newcomers._by_address) < 300
    assert len(house.newcomers._known) == 10
