"""The result of a comparison: spreads over rounds, ratios round by round, goals held or missed. Measures nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from loadtest.machine import Machine
from loadtest.watch import Usage

GATEWAY, SINK = "gateway", "sink"
NEAR_CEILING = 0.8
Verdict = Literal["held", "missed", "not measured"]


class Measured(msgspec.Struct, frozen=True):
    """One run of one server. A run with any failure is not counted."""

    value: float
    trouble: str = ""
    """The first failure; empty for none."""
    usage: Usage | None = None
    """The resources used by the server, if measured."""


class Spread(msgspec.Struct, frozen=True):
    """One figure over all rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of some values; None for no value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


class Goal(msgspec.Struct, frozen=True):
    """A goal of the gateway: to be so many times as good as a peer, or, without a peer, an absolute figure."""

    value: float
    peer: str = ""
    at_least: bool = True
    """Whether more is better, for an absolute figure."""


class Outcome(msgspec.Struct, frozen=True):
    goal: Goal
    verdict: Verdict


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One server in one row."""

    peer: str
    value: Spread | None
    """Spread over the runs without failures."""
    gateway_is: Spread | None
    """How many times better the gateway was in the same round; None for the gateway and the sink."""
    notes: list[str]
    runs: list[Measured]


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    unit: str
    less_is_better: bool
    entries: list[Entry]
    outcomes: list[Outcome]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    began: str
    rounds: int
    scale: float
    cpus: int
    remarks: list[str]
    """Reservations that a reader of the figures should know."""
    rows: list[RowResult]
    machine: Machine | None = None
    versions: dict[str, str] = {}
    """The version of each server by its name."""

    @property
    def complete(self) -> bool:
        """Whether nothing failed in any run of any server."""
        return not any(run.trouble for row in self.rows for entry in row.entries for run in entry.runs)


def entries(runs: Mapping[str, Sequence[Measured]], *, less_is_better: bool) -> list[Entry]:
    """The entries of one row from the runs of each server, round by round."""
    ceiling = Spread.of(run.value for run in runs.get(SINK, []) if not run.trouble)
    found = []
    for name, own in runs.items():
        good = [run.value for run in own if not run.trouble]
        value, notes = Spread.of(good), []
        if len(good) < len(own):
            trouble = next(run.trouble for run in own if run.trouble)
            notes.append(f"{len(own) - len(good)} of {len(own)} runs failed ({trouble})")
        if value and ceiling and name != SINK:
            share = ceiling.median / value.median if less_is_better else value.median / ceiling.median
            if share > NEAR_CEILING:
                notes.append(f"at {share:.0%} of what the sender can do: the server may be faster")
        compared = name not in (GATEWAY, SINK)
        found.append(
            Entry(
                peer=name,
                value=value,
                gateway_is=_ratio(runs.get(GATEWAY, []), own, less_is_better) if compared else None,
                notes=notes,
                runs=list(own),
            )
        )
    return found


def outcomes(goals: Sequence[Goal], found: Sequence[Entry]) -> list[Outcome]:
    """Each goal, held or missed by the median."""
    by_name = {entry.peer: entry for entry in found}
    return [Outcome(goal, _verdict(goal, by_name)) for goal in goals]


def _verdict(goal: Goal, found: Mapping[str, Entry]) -> Verdict:
    entry = found.get(goal.peer or GATEWAY)
    spread = None if entry is None else entry.gateway_is if goal.peer else entry.value
    if spread is None:
        return "not measured"
    better = spread.median >= goal.value if goal.at_least else spread.median <= goal.value
    return "held" if better else "missed"


def _ratio(ours: Sequence[Measured], theirs: Sequence[Measured], less_is_better: bool) -> Spread | None:
    """The ratio round by round, where neither failed."""
    pairs = [
        (our.value, their.value)
        for our, their in zip(ours, theirs, strict=False)
        if not our.trouble and not their.trouble and our.value and their.value
    ]
    return Spread.of(their / our if less_is_better else our / their for our, their in pairs)
