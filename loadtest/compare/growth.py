"""Growth: the same four kinds of work once a server holds a number of instances, step by step.

It is filled as in practice, by C-STORE, with small instances in studies of several series: a step costs the index and
the folders, not pixels. `rows.py` measures other work, and compares servers.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.errors import GatewayError
from loadtest import peers
from loadtest.compare.measures import run_work, target_of, trouble_of
from loadtest.compare.table import Goal, Outcome
from loadtest.data import Instance
from loadtest.machine import Machine, describe
from loadtest.peers import about
from loadtest.scenario import Data, Scenario, Work
from loadtest.shelf import Place, Shelf
from loadtest.stats import Summary
from loadtest.watch import resident

_DATA: Final = {
    "ct": Data(size="64B", series=3, instances=60),
    "mr": Data(size="64B", series=5, instances=24),
    "cr": Data(size="64B", series=1, instances=2),
    "us": Data(size="64B", series=1, instances=18),
}
"""The data of a fill: each patient has one study, of 80 instances and 2.5 series on average."""
_MEASURED: Final = {"study": Data(size="8KB", series=2, instances=25)}
_FILL_AT_ONCE: Final = 16
_KINDS: Final = {
    "intake": "instances/s, C-STORE of 8 KB over 8 associations",
    "qido": "answers/s, QIDO-RS for 25 studies, 8 clients",
    "find": "answers/s, C-FIND of one study, 4 associations",
    "metadata": "answers/s, WADO-RS metadata of a study of 50 instances",
}
"""Each kind of work with its unit; more is better."""
_GOALS: Final = {"intake": Goal(0.95), "qido": Goal(0.5)}
"""The share of the first step's figure that must be left at the last."""

Progress = Callable[[int, int, str], None]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements at one number of instances."""

    planned: int
    instances: int
    """The number that it really held before the measurement."""
    filled_in: float
    """Seconds since the previous step."""
    figures: dict[str, float]
    """Kind of work to its figure, without kinds in which anything failed."""
    memory: int
    """Bytes resident afterwards."""


class Growth(msgspec.Struct, frozen=True, kw_only=True, tag="growth"):
    """All steps."""

    server: str
    began: str
    seconds: float
    cpus: int
    steps: list[Step]
    troubles: list[str]
    machine: Machine | None = None
    version: str = ""

    @property
    def kinds(self) -> dict[str, str]:
        return _KINDS

    def share(self, kind: str, step: Step) -> float | None:
        """The share of the first step's figure; 1 is all of it."""
        first, now = self.steps[0].figures.get(kind), step.figures.get(kind)
        return now / first if first and now is not None else None

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Goals by kind, held or missed at the last step."""
        shares = {kind: self.share(kind, self.steps[-1]) if len(self.steps) > 1 else None for kind in _GOALS}
        return {
            kind: Outcome(
                goal, "not measured" if (share := shares[kind]) is None else "held" if share >= goal.value else "missed"
            )
            for kind, goal in _GOALS.items()
        }


def grow(peer: peers.Peer, steps: Sequence[int], count: int, progress: Progress = lambda *_: None) -> Growth:
    """Fill the server to each step in turn and measure there; `count` is the amount of work of one measurement."""
    began = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    clock = time.perf_counter()
    machine = describe(peer.folder or Path())
    troubles: list[str] = []
    found: list[Step] = []
    held = 0
    shelf = Shelf()
    progress(0, steps[-1], "warming up")
    held += _instances(_intake(peer, min(count, 400), shelf.add), troubles)
    _read(peer, shelf, count=8, troubles=troubles)
    for planned in steps:
        since = time.perf_counter()
        progress(held, steps[-1], f"filling to {planned:,}")
        while held < planned and not troubles:
            # In portions, so that progress is visible.
            held += _instances(_fill(peer, min(planned - held, 20_000)), troubles)
            progress(held, steps[-1], f"filling to {planned:,}")
        filled_in = time.perf_counter() - since
        progress(held, steps[-1], f"measuring at {held:,}")
        before = held
        os.sync()  # Pages left dirty by the fill must not slow the measurement.
        summary = _intake(peer, count, shelf.add)
        held += _instances(summary, troubles)
        figures = {} if trouble_of(summary) else {"intake": summary.instances_per_second}
        figures |= _read(peer, shelf, count=max(8, count // 4), troubles=troubles)
        found.append(
            Step(planned=planned, instances=before, filled_in=filled_in, figures=figures, memory=resident(peer.pid))
        )
    return Growth(
        server=peer.name,
        began=began,
        seconds=time.perf_counter() - clock,
        cpus=os.cpu_count() or 1,
        steps=found,
        troubles=list(dict.fromkeys(troubles)),
        machine=machine,
        version=about.version_of(peer),
    )


def _fill(peer: peers.Peer, count: int) -> Summary:
    work = Work(do="store", data=tuple(_DATA), count=count, at_once=min(_FILL_AT_ONCE, count), window=4)
    return run_work(Scenario(title="fill", about="", data=_DATA, work=(work,)), target_of(peer))


def _intake(peer: peers.Peer, count: int, acknowledged: Callable[[Instance], None]) -> Summary:
    work = Work(do="store", data="study", count=count, at_once=8)
    scenario = Scenario(title="intake", about="", data=_MEASURED, work=(work,))
    return run_work(scenario, target_of(peer), acknowledged=acknowledged)


def _read(peer: peers.Peer, shelf: Shelf, *, count: int, troubles: list[str]) -> dict[str, float]:
    """The figures of reading: studies of all steps, early and late ones."""
    places: Sequence[Place] = shelf.all()
    work = {
        "qido": Work(do="qido", count=count, at_once=8),
        "find": Work(do="find", count=count, at_once=4),
        "metadata": Work(do="metadata", count=count, at_once=4),
    }
    figures = {}
    for kind, each in work.items():
        if kind != "find" and not peer.dicomweb:
            continue
        try:
            summary = run_work(Scenario(title=kind, about="", work=(each,)), target_of(peer), places=places)
        except GatewayError as error:
            troubles.append(f"{kind}: {error}")
            continue
        if trouble := trouble_of(summary):
            troubles.append(f"{kind}: {trouble}")
        else:
            figures[kind] = summary.operations_per_second
    return figures


def _instances(summary: Summary, troubles: list[str]) -> int:
    if trouble := trouble_of(summary):
        troubles.append(f"intake: {trouble}")
    return summary.instances
