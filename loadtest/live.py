"""Progress of a run, on a terminal. Nothing is shown if standard error is no terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from loadtest import run as runs
from loadtest.scenario import Scenario
from loadtest.stats import Stats
from loadtest.target import Target

if TYPE_CHECKING:
    from rich.console import RenderableType

_EVERY = 0.25


async def run(scenario: Scenario, target: Target, options: runs.Options) -> runs.Result:
    """Do a run (`run.run`) and show its progress. Ctrl-C ends the work, not the report."""
    if not sys.stderr.isatty():
        return await runs.run(scenario, target, options)
    from rich.console import Console
    from rich.live import Live

    began = 0.0
    counted: list[Stats] = []

    def start(stats: Sequence[Stats]) -> None:
        nonlocal began
        began = time.perf_counter()
        counted.extend(stats)

    options.began = start
    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as shown:

        async def show() -> None:
            while True:
                passed = time.perf_counter() - began if counted else None
                shown.update(_table(scenario, counted, passed), refresh=True)
                await asyncio.sleep(_EVERY)

        showing = asyncio.create_task(show())
        try:
            return await runs.run(scenario, target, options)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


def _table(scenario: Scenario, counted: Sequence[Stats], passed: float | None) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if passed is None:
        return Text(f"{scenario.title}: preparing", style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("work", "done", "now /s", "MB/s", "p50 ms", "p99 ms", "late", "failed"):
        table.add_column(name, justify="left" if name == "work" else "right")
    for stats in counted:
        rate, latency = stats.recent
        table.add_row(
            stats.name,
            f"{stats.operations:,}" + (f" of {stats.planned:,}" if stats.planned is not None else ""),
            f"{rate:,.1f}",
            f"{stats.bytes / max(passed, 0.1) / 1e6:,.1f}",
            f"{latency.p50 * 1000:,.1f}" if latency else "",
            f"{latency.p99 * 1000:,.1f}" if latency else "",
            f"{stats.late:,}" if stats.late else "",
            Text(f"{stats.failed:,}", style="bold red") if stats.failures else "",
        )
    if scenario.seconds is not None:
        done, total = min(passed, scenario.seconds), scenario.seconds
    else:
        done = sum(stats.operations + stats.failed for stats in counted)
        total = sum(stats.planned or 0 for stats in counted)
    head = Text.assemble((scenario.title, "bold"), f"   {passed:,.0f} s", style="default")
    return Group(head, ProgressBar(total=total or 1, completed=done, width=60), table)


@contextlib.contextmanager
def bar(unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error; nothing is shown if that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(unit, total=None)
        yield lambda done, total, what: shown.update(task, completed=done, total=total, description=what)
