"""When operations begin."""

from __future__ import annotations

import itertools
import random
import statistics
import time

import pytest

from loadtest.pace import Closed, Open, arrivals


def test_even_arrivals() -> None:
    assert arrivals(4, None, 1.0, (1.0,), None) == pytest.approx([0, 0.25, 0.5, 0.75])
    assert arrivals(4, 2, 1.0, (1.0,), None) == pytest.approx([0, 0.25])
    assert arrivals(4, 3, None, (1.0,), None) == pytest.approx([0, 0.25, 0.5])


def test_a_profile_changes_the_rate_over_equal_parts() -> None:
    times = arrivals(100, None, 30.0, (0.5, 0.0, 2.0), None)
    counts = [sum(1 for at in times if part * 10 <= at < part * 10 + 10) for part in range(3)]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(500, abs=1)
    assert counts[2] == pytest.approx(2000, abs=1)


def test_random_arrivals_are_a_poisson_process() -> None:
    times = arrivals(50, None, 200.0, (1.0,), random.Random(1))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) == pytest.approx(10_000, rel=0.04)
    assert statistics.pstdev(gaps) == pytest.approx(statistics.fmean(gaps), rel=0.06)
    assert times == arrivals(50, None, 200.0, (1.0,), random.Random(1))


async def test_an_open_loop_is_not_held_up_by_whoever_is_slow() -> None:
    """Coordinated omission: what waited while a connection was stuck began when it should have, and says so."""
    now = time.perf_counter()
    began = now - 10  # the connection was stuck until now
    pace = Open(arrivals(1, 10, None, (1.0,), None), began, None)
    intended = [await pace.next() for _ in range(10)]
    assert [at - began for at in intended if at is not None] == pytest.approx(list(range(10)))
    assert time.perf_counter() - now < 5, "nothing waits for a time that has passed"
    assert await pace.next() is None


async def test_an_open_loop_waits_for_its_times_and_ends_with_them() -> None:
    began = time.perf_counter()
    pace = Open([0.0, 0.03], began, None)
    assert pace.planned == 2
    await pace.next()
    await pace.next()
    assert time.perf_counter() - began >= 0.025  # Timers of the loop count in milliseconds.
    assert pace.over


async def test_what_has_not_begun_by_the_end_never_does() -> None:
    now = time.perf_counter()
    pace = Open([0.0, 0.1], now - 10, now - 1)
    assert await pace.next() is None


async def test_a_closed_loop_counts_and_takes_turns_back() -> None:
    pace = Closed(2, None)
    assert await pace.next() is not None
    assert await pace.next() is not None
    assert await pace.next() is None
    pace.put_back()
    assert await pace.next() is not None
    assert Closed(None, time.perf_counter() - 1).over
