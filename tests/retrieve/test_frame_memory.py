"""gateway/retrieve/frame_memory.py: who takes memory, waits for it, and is sent away."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.errors import Overloaded
from gateway.processes import board
from gateway.processes.board import Scoreboard
from gateway.retrieve import frame_memory
from gateway.retrieve.frame_memory import FrameMemory, Ledger, OwnLedger


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture(params=["own", "shared"])
def ledgers(request: pytest.FixtureRequest) -> Iterator[tuple[Ledger, Ledger]]:
    """Those of two parts of a gateway: threads of one process, or two processes."""
    if request.param == "own":
        own = OwnLedger()
        yield own, own
        return
    descriptor = board.make(2)
    first, second = Scoreboard(descriptor, 0), Scoreboard(os.dup(descriptor), 1)
    yield first, second
    second.close()
    first.close()


def test_all_together_take_no_more_than_there_is(ledgers: tuple[Ledger, Ledger]):
    first, second = ledgers
    assert first.reserve(60, 100)
    assert not second.reserve(41, 100)
    assert second.reserve(40, 100)
    first.release(60)
    assert second.reserve(60, 100)


def test_what_is_larger_than_all_of_it_is_done_alone(ledgers: tuple[Ledger, Ledger]):
    first, second = ledgers
    assert first.reserve(1 << 40, 100)
    assert not second.reserve(1, 100)
    first.release(1 << 40)
    assert second.reserve(1, 100)
    assert not first.reserve(1 << 40, 100)


def test_what_a_killed_worker_had_is_free():
    descriptor = board.make(2)
    parent, killed = Scoreboard(descriptor), Scoreboard(os.dup(descriptor), 0)
    assert killed.reserve(100, 100)
    parent.clear(0)
    worker = Scoreboard(os.dup(descriptor), 1)
    assert worker.reserve(100, 100)
    for each in (worker, killed, parent):
        each.close()


def test_it_is_waited_for(executor: ThreadPoolExecutor):
    memory, entered, leave = FrameMemory(lambda: 100), threading.Event(), threading.Event()

    def hold() -> None:
        with memory.reserved(80):
            entered.set()
            assert leave.wait(10)

    def work() -> bool:
        with memory.reserved(30):
            return leave.is_set()

    holding = executor.submit(hold)
    assert entered.wait(10)
    waiting = executor.submit(work)
    leave.set()
    assert waiting.result(10)
    holding.result(10)


def test_not_for_ever(executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frame_memory, "PATIENCE_S", 0.05)
    memory = FrameMemory(lambda: 100)
    with memory.reserved(80):
        with pytest.raises(Overloaded, match=r"imaging\.memory"), memory.reserved(30):
            pass
        with memory.reserved(20):
            pass
    with memory.reserved(100):
        pass
