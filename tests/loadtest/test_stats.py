"""What is counted, and what rounds and rows come to."""

from __future__ import annotations

import msgspec
import pytest

from loadtest import report
from loadtest.compare import Comparison, Row, Spread, WorkResult, evaluate
from loadtest.stats import Latency, Stats, Summary, latency, quantile
from loadtest.verify import Verification


def run(rate: float, **changes: object) -> Summary:
    fields: dict[str, object] = {
        "planned": 10,
        "acknowledged": 10,
        "failed": 0,
        "not_sent": 0,
        "bytes": 1000,
        "seconds": 10 / rate,
        "instances_per_second": rate,
        "megabytes_per_second": rate / 2,
        "latency": Latency(0.001, 0.002, 0.003, 0.004),
        "failures": {},
        "warnings": {},
    }
    return Summary(**(fields | changes))  # type: ignore[arg-type]


def failed(rate: float) -> Summary:
    return run(rate, acknowledged=9, failed=1, failures={"A700H out of resources": 1})


def rows(**runs: list[Summary]) -> dict[str, Row]:
    return {row.peer: row for row in evaluate(runs)}


@pytest.mark.parametrize(("q", "value"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.91, 10), (0.99, 10), (1.0, 10)])
def test_a_quantile_is_a_value_that_occurred(q: float, value: int) -> None:
    assert quantile(range(1, 11), q) == value


def test_no_latency_of_nothing() -> None:
    assert latency([]) is None
    assert latency([0.5]) == Latency(0.5, 0.5, 0.5, 0.5)


def test_everything_planned_is_accounted_for() -> None:
    stats = Stats(10)
    for _ in range(5):
        stats.success(0.01, 100)
    stats.warning("B000H")
    stats.failure("A700H")
    stats.failure("A700H")
    stats.trouble("association lost")
    summary = stats.summary()
    assert (summary.acknowledged, summary.failed, summary.not_sent, summary.bytes) == (5, 2, 3, 500)
    assert summary.failures == {"A700H": 2, "association lost": 1}
    assert summary.warnings == {"B000H": 1}
    assert not summary.complete
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_a_text_names_what_went_wrong() -> None:
    text = report.run_text(failed(50.0), "GATEWAY@host:4242")
    assert "9 of 10" in text
    assert "1 x A700H out of resources" in text
    lost = Verification("http://host", 40, 28, [f"1.{n}" for n in range(12)])
    assert "28 of 40 are there, 12 missing" in report.verification_text(lost)
    assert "and 2 more" in report.verification_text(lost)


def test_ratios_are_taken_round_by_round() -> None:
    found = rows(gateway=[run(100), run(300)], orthanc=[run(10), run(20)])
    assert found["orthanc"].gateway_times == Spread(12.5, 10, 15)
    assert found["orthanc"].instances_per_second == Spread(15, 10, 20)
    assert found["gateway"].gateway_times is None


def test_a_run_with_failures_counts_for_nothing_but_is_said() -> None:
    found = rows(gateway=[run(100), failed(900)], orthanc=[run(10), run(20)], storescp=[failed(5), failed(5)])
    assert found["gateway"].instances_per_second == Spread(100, 100, 100)
    assert found["gateway"].notes == ["1 of 2 runs failed (A700H out of resources)"]
    assert found["orthanc"].gateway_times == Spread(10, 10, 10)
    assert found["storescp"].instances_per_second is None
    assert found["storescp"].gateway_times is None


def test_a_result_near_the_ceiling_of_the_sender_is_marked() -> None:
    found = rows(gateway=[run(850)], storescp=[run(700)], sink=[run(1000)])
    assert "85%" in found["gateway"].notes[0]
    assert found["storescp"].notes == []
    assert found["sink"].notes == []


def test_the_table_has_every_row_uncut() -> None:
    work = WorkResult("64 associations, 512KB", evaluate({"gateway": [run(850)], "storescp-tuned": [failed(1)]}))
    text = report.comparison_text(Comparison(rounds=1, cpus=2, remarks=["left out: orthanc"], works=[work]))
    assert "64 associations, 512KB" in text
    assert "storescp-tuned: 1 of 1 runs failed" in text
    assert "left out: orthanc" in text
