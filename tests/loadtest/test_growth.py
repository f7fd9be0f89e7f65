"""A gateway as it fills: that it is filled, measured at every step, and shown."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from loadtest import peers, records
from loadtest.compare.growth import Growth, Step, grow
from loadtest.report import html, text


def growth(*figures: dict[str, float], troubles: tuple[str, ...] = ()) -> Growth:
    steps = [
        Step(planned=at * 1000, instances=at * 1000, filled_in=1.0, figures=each, memory=1 << 20)
        for at, each in enumerate(figures)
    ]
    return Growth(server="gateway", began="", seconds=1.0, cpus=2, steps=steps, troubles=list(troubles))


def verdicts(found: Growth) -> dict[str, str]:
    return {kind: outcome.verdict for kind, outcome in found.outcomes.items()}


def test_goals_compare_the_last_step_with_the_first() -> None:
    assert verdicts(growth({"intake": 100, "qido": 50}, {"intake": 95, "qido": 24})) == {
        "intake": "held",
        "qido": "missed",
    }


def test_what_failed_or_has_one_step_alone_is_not_measured() -> None:
    assert verdicts(growth({"intake": 100})) == {"intake": "not measured", "qido": "not measured"}
    assert verdicts(growth({"intake": 100, "qido": 1}, {"qido": 1}))["intake"] == "not measured"


def test_a_server_is_filled_and_measured(tmp_path: Path) -> None:
    with peers.gateway(tmp_path / "gateway") as peer:
        found = grow(peer, [0, 300], 40)
    assert not found.troubles
    assert [step.instances >= step.planned for step in found.steps] == [True, True]
    assert all(set(step.figures) == set(found.kinds) for step in found.steps)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Growth) == found
    page = html.growth_page(found)
    assert page.count("<svg") == len(found.kinds)
    assert "held" in text.growth_text(found) or "missed" in text.growth_text(found)


def test_a_fill_leaves_a_file_for_the_page(tmp_path: Path) -> None:
    from tests.loadtest.test_cli import run

    code, out, _ = run("growth", "--steps", "0,60", "--count", 8, "--results", tmp_path)
    assert code == 0, out
    (found,) = records.read(tmp_path).values()
    assert isinstance(found, Growth)
    assert [step.planned for step in found.steps] == [0, 60]
    assert found.version.startswith("gateway ")
    assert found.machine is not None


@pytest.mark.parametrize("steps", ["", "5,3", "1,1", "-1", "a"])
def test_steps_rise(steps: str) -> None:
    from tests.loadtest.test_cli import run

    code, _, err = run("growth", "--steps", steps)
    assert code == 2
    assert "--steps" in err
