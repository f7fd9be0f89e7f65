"""What is counted: operations, moments, quantiles."""

from __future__ import annotations

import random
import time

import msgspec
import pytest

from loadtest import stats as module
from loadtest.histogram import Histogram
from loadtest.stats import Latency, Stats, Summary


class Clock:
    """`time.perf_counter`, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class TestHistogram:
    @pytest.mark.parametrize("q", [0.0, 0.5, 0.9, 0.99, 1.0])
    def test_a_quantile_is_right_to_a_percent(self, q: float) -> None:
        chance = random.Random(3)
        values = sorted(chance.expovariate(20) for _ in range(5000))
        histogram = Histogram()
        for value in values:
            histogram.add(value)
        exact = values[max(0, -int(-q * len(values) // 1) - 1)]
        (found,) = histogram.quantiles(q)
        assert exact <= found <= exact * 1.0101

    def test_one_value_is_all_quantiles(self) -> None:
        histogram = Histogram()
        histogram.add(0.5)
        assert list(histogram.quantiles(0.5, 0.99, 1.0)) == [0.5] * 3

    def test_what_is_merged_counts_together(self) -> None:
        one, other = Histogram(), Histogram()
        one.add(0.001)
        other.add(1.0)
        one.merge(other)
        assert list(one.quantiles(0.5, 1.0)) == [pytest.approx(0.001, rel=0.011), 1.0]
        assert (one.count, one.min, one.max) == (2, 0.001, 1.0)

    def test_of_nothing_there_is_none(self) -> None:
        assert Latency.of(Histogram()) is None
        with pytest.raises(ValueError):
            list(Histogram().quantiles(0.5))


def test_everything_planned_is_accounted_for() -> None:
    stats = Stats("CT", "store", 10)
    for _ in range(5):
        stats.done(time.perf_counter() - 0.01, 1, 100)
    stats.warning("B000H")
    stats.failure("A700H")
    stats.failure("A700H")
    stats.trouble("association lost")
    summary = stats.summary()
    assert (summary.operations, summary.failed, summary.not_begun, summary.bytes) == (5, 2, 3, 500)
    assert summary.failures == {"A700H": 2, "association lost": 1}
    assert summary.warnings == {"B000H": 1}
    assert not summary.complete
    assert summary.latency is not None
    assert summary.latency.p50 >= 0.01
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_latency_counts_from_when_an_operation_should_have_begun(clock: Clock) -> None:
    stats = Stats()
    clock.now = 103.0
    stats.began(101.0)
    clock.now = 103.5
    stats.done(101.0)
    stats.began(103.5)
    summary = stats.summary()
    assert summary.late == 1
    assert summary.latency == Latency(2.5, 2.5, 2.5, 2.5, 2.5)


def test_a_timeline_has_its_gaps_and_keeps_every_count(clock: Clock) -> None:
    stats = Stats()
    for second in (0.2, 0.25, 9.9):
        clock.now = 100 + second
        stats.done(clock.now - 0.1, 2, 1000)
    stats.failure("A700H")
    timeline = stats.summary().timeline
    assert [moment.begin for moment in timeline] == [0.5 * at for at in range(20)] or len(timeline) <= 20
    assert [moment.operations for moment in timeline if moment.operations] == [2, 1]
    assert sum(moment.bytes for moment in timeline) == 3000
    assert timeline[5].latency is None
    assert timeline[-1].failures == 1


def test_a_run_of_days_takes_no_more_memory_than_one_of_a_minute(clock: Clock) -> None:
    stats = Stats()
    for minute in range(3 * 24 * 60):
        clock.now = 100 + minute * 60.0
        stats.done(clock.now - 0.01, 1, 10)
    assert len(stats._slices) <= 600
    timeline = stats.summary().timeline
    assert len(timeline) <= 120
    assert sum(moment.operations for moment in timeline) == 3 * 24 * 60
    assert sum(moment.seconds for moment in timeline) == pytest.approx(stats.summary().seconds, rel=0.01)


def test_recent_is_the_last_second(clock: Clock) -> None:
    stats = Stats()
    for tenth in range(50):
        clock.now = 100 + tenth / 10 + 0.05
        stats.done(clock.now - (1.0 if tenth < 40 else 0.1))
    rate, latency = stats.recent
    assert rate == pytest.approx(10, rel=0.15)
    assert latency is not None
    assert latency.max == pytest.approx(0.1)
