"""Spans of the day, also over midnight."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.errors import ConfigurationError
from gateway.routing.hours import Hours


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-03-04T{text}").timestamp()


@pytest.mark.parametrize(
    ("spans", "moment", "inside"),
    [
        ([], "03:00", True),
        (["07:00-19:00"], "07:00", True),
        (["07:00-19:00"], "18:59", True),
        (["07:00-19:00"], "19:00", False),
        (["22:00-06:00"], "23:30", True),
        (["22:00-06:00"], "05:59", True),
        (["22:00-06:00"], "12:00", False),
        (["06:00-07:00", "20:00-24:00"], "23:59", True),
    ],
)
def test_include(spans: list[str], moment: str, inside: bool) -> None:
    assert Hours(spans, "here").include(at(moment)) is inside


def test_the_next_moment_is_the_nearest_start() -> None:
    hours = Hours(["22:00-23:00", "05:00-06:00"], "here")
    assert hours.next(at("22:30")) == at("22:30")
    assert hours.next(at("12:00")) == at("22:00")
    assert hours.next(at("23:30")) == datetime.fromisoformat("2026-03-05T05:00").timestamp()


@pytest.mark.parametrize("span", ["7-19", "07:00", "25:00-26:00", "07:00-07:00", "22:00-24:30", ""])
def test_what_is_no_span(span: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rules\.x\.hours"):
        Hours([span], "rules.x.hours")
