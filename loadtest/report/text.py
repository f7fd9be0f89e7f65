"""Reports as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from loadtest.compare.growth import Growth
from loadtest.compare.table import GATEWAY, Comparison, Goal, Outcome, RowResult, Spread
from loadtest.run import Result
from loadtest.stats import Latency, Summary
from loadtest.verify import Verification

if TYPE_CHECKING:
    from rich.table import Table

_MISSING_SHOWN = 10


def run_text(result: Result) -> str:
    """The result of one run, as several lines."""
    lines = [f"{result.target}  {result.title}"]
    lines += _work_lines(result.works[0]) if len(result.works) == 1 else _table_lines(result.works)
    if result.usage is not None:
        usage = result.usage
        lines.append(
            f"  server        {usage.cpu_seconds:,.1f} s of processor time, memory {usage.memory_before / 1e6:,.0f} to "
            f"{usage.memory_peak / 1e6:,.0f} MB"
            + (f" of {usage.budget / 1e6:,.0f} MB allowed" if usage.budget is not None else "")
        )
    if result.verification is not None:
        lines += _verification_lines(result.verification)
    lines += [f"  trouble       {trouble}" for trouble in result.troubles]
    return "\n".join(lines + [f"  note          {remark}" for remark in result.remarks])


def number(value: float) -> str:
    """A number with three digits, or with more if they are before the decimal point."""
    if not value:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.{2 if value >= 1 else 3}f}"


def rendered(table: Table) -> list[str]:
    """The lines of a table, as wide as the table is; nothing is truncated."""
    from rich.console import Console

    console = Console(width=240, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().strip("\n").splitlines()]


def _work_lines(work: Summary) -> list[str]:
    planned = f" of {work.planned:,}" if work.planned is not None else ""
    lines = [f"  done          {work.operations:,}{planned} in {work.seconds:.2f} s"]
    rate = f"{work.operations_per_second:,.1f} {work.kind}/s"
    if work.instances:
        instances = f"{work.instances_per_second:,.1f} instances/s"
        rate = instances if work.instances == work.operations else f"{rate}   {instances}"
    lines.append(f"  rate          {rate}   {work.megabytes_per_second:,.1f} MB/s")
    if work.latency is not None:
        lines.append(f"  latency       {_latency(work.latency)}")
    if work.late:
        lines.append(f"  late          {work.late:,} began after their time; latency counts from then")
    if work.failed or work.not_begun:
        lines.append(f"  failed        {work.failed:,}   not begun {work.not_begun:,}")
    return lines + _kinds("failure", work.failures) + _kinds("warning", work.warnings)


def _table_lines(works: Sequence[Summary]) -> list[str]:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("work")
    figures = ("done", "per s", "instances/s", "MB/s", "p50 ms", "p90 ms", "p99 ms", "max ms")
    for name in (*figures, "late", "failed", "not begun"):
        table.add_column(name, justify="right")
    for work in works:
        shown = work.latency
        times = [shown.p50, shown.p90, shown.p99, shown.max] if shown is not None else []
        table.add_row(
            work.name,
            f"{work.operations:,}",
            number(work.operations_per_second),
            number(work.instances_per_second) if work.instances else "",
            number(work.megabytes_per_second) if work.bytes else "",
            *([number(time * 1000) for time in times] or [""] * 4),
            *(f"{count:,}" if count else "" for count in (work.late, work.failed, work.not_begun)),
        )
    lines = ["", *rendered(table), ""]
    for work in works:
        lines += _kinds("failure", work.failures, f"{work.name}: ") + _kinds("warning", work.warnings, f"{work.name}: ")
    return lines


def _verification_lines(found: Verification) -> list[str]:
    lines = [
        f"  verified      {found.found:,} of {found.asked:,} are there, {len(found.missing):,} missing, "
        f"{len(found.differing):,} differ; {found.compared} compared byte for byte"
        + (f", {found.reencoded} of them re-encoded" if found.reencoded else "")
    ]
    lines += [f"    missing {uid}" for uid in found.missing[:_MISSING_SHOWN]]
    if len(found.missing) > _MISSING_SHOWN:
        lines.append(f"    and {len(found.missing) - _MISSING_SHOWN:,} more")
    lines += [f"    {uid}: {what}" for uid, what in list(found.differing.items())[:_MISSING_SHOWN]]
    return lines


def _latency(latency: Latency) -> str:
    shown = (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max))
    return "   ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in shown)


def _kinds(title: str, kinds: Mapping[str, int], before: str = "") -> list[str]:
    return [f"  {title:<12}  {before}{number:,} x {kind}" for kind, number in kinds.items()]


def comparison_text(comparison: Comparison) -> str:
    """A table of a comparison: for each row and server the median, how many times better the gateway was, the goal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("work", "server"):
        table.add_column(name)
    for name in ("median", "min to max"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name in ("gateway is", "min to max", "goal"):
        table.add_column(name, justify="right")
    table.add_column("")
    rounds = f"{comparison.rounds} round{'s' if comparison.rounds > 1 else ''}"
    remarks = [f"Medians of {rounds} on {comparison.cpus} cores, the sender among them."]
    for row in comparison.rows:
        for at, entry in enumerate(row.entries):
            goal = goal_of(row, entry.peer)
            table.add_row(
                row.title if at == 0 else "",
                entry.peer,
                number(entry.value.median) if entry.value else "failed",
                spread_of(entry.value),
                row.unit,
                f"{number(entry.gateway_is.median)} x" if entry.gateway_is else "",
                spread_of(entry.gateway_is),
                goal_text(goal.goal) if goal else "",
                goal.verdict if goal else "",
            )
            remarks += [f"{row.title}, {entry.peer}: {note}." for note in entry.notes]
        table.add_section()
    return "\n".join([*rendered(table), *remarks, *comparison.remarks])


def goal_of(row: RowResult, peer: str) -> Outcome | None:
    """The goal shown in the row of this server, if there is one."""
    return next((each for each in row.outcomes if (each.goal.peer or GATEWAY) == peer), None)


def goal_text(goal: Goal) -> str:
    if goal.peer:
        return f"{goal.value:g} x"
    return f"{'at least' if goal.at_least else 'under'} {goal.value:g}"


def spread_of(spread: Spread | None) -> str:
    return f"{number(spread.min)} to {number(spread.max)}" if spread else ""


def growth_text(growth: Growth) -> str:
    """A table of a fill: a row for each step, with each figure and its share of the first; units and goals below."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("instances", "filled in s", "memory MB", *(name for kind in growth.kinds for name in (kind, ""))):
        table.add_column(name, justify="right")
    for step in growth.steps:
        figures = []
        for kind in growth.kinds:
            figure, share = step.figures.get(kind), growth.share(kind, step)
            figures += [number(figure) if figure is not None else "failed", f"{share:.2f} x" if share else ""]
        table.add_row(f"{step.instances:,}", number(step.filled_in), number(step.memory / 1e6), *figures)
    lines = [*rendered(table), *(f"{kind}: {unit}" for kind, unit in growth.kinds.items())]
    lines += [
        f"{kind}: at least {each.goal.value:g} of the first at the last: {each.verdict}"
        for kind, each in growth.outcomes.items()
    ]
    lines.append(f"{growth.server}, {growth.seconds:,.0f} s on {growth.cpus} cores, the sender among them.")
    return "\n".join([*lines, *(f"trouble: {trouble}" for trouble in growth.troubles)])
