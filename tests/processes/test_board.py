"""The board: what one worker writes the others read, and nothing of one that was killed stays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.processes import board
from gateway.processes.board import DICOM, HTTP, Scoreboard
from gateway.processes.group import Turn


@pytest.fixture
def boards() -> Iterator[list[Scoreboard]]:
    """The parent's, and those of three workers."""
    descriptor = board.make(3)
    made = [Scoreboard(os.dup(descriptor), index) for index in (-1, 0, 1, 2)]
    os.close(descriptor)
    yield made
    for each in made:
        each.close()


def test_seats_are_counted_over_all(boards: list[Scoreboard]) -> None:
    _, one, two, three = boards
    with one.association_slots(Counter()) as open_now:
        assert not open_now
        open_now["CT"] += 1
    with two.association_slots(Counter(MR=2)) as open_now:
        assert open_now == Counter(CT=1, MR=2)
        open_now["CT"] += 1
    with three.association_slots(Counter()) as open_now:
        assert open_now == Counter(CT=2, MR=2)
    two.enter(Counter())
    with three.association_slots(Counter()) as open_now:
        assert open_now == Counter(CT=1)


def test_what_a_killed_worker_held_is_free(boards: list[Scoreboard]) -> None:
    parent, one, two, _ = boards
    one.note(DICOM, 4)
    one.enter(Counter(CT=4))
    one.report(b"{}")
    assert two.reports() == [b"{}"]
    parent.clear(0)
    assert two.reports() == []
    assert two.others(DICOM) == [0]  # of the third; the first is no more
    with two.association_slots(Counter()) as open_now:
        assert not open_now


def test_who_holds_more_waits(boards: list[Scoreboard]) -> None:
    _, one, two, three = boards
    turns = [Turn(each, DICOM) for each in (one, two, three)]
    assert [turn.delay() for turn in turns] == [0, 0, 0]
    turns[0].note(3)
    turns[1].note(1)
    assert [turn.delay() for turn in turns] == [pytest.approx(0.006), pytest.approx(0.002), 0]
    assert Turn(one, HTTP).delay() == 0
    turns[0].note(1000)
    assert turns[0].delay() == 0.05
