"""Results as people read them: one run as text, a comparison as a table. JSON is made by `cli.py` from the same."""

from __future__ import annotations

from collections.abc import Mapping

from loadtest.compare import Comparison, Spread
from loadtest.stats import Latency, Summary
from loadtest.verify import Verification

_MISSING_SHOWN = 10


def run_text(summary: Summary, what: str) -> str:
    """The end of one run, several lines."""
    lines = [
        what,
        f"  acknowledged  {summary.acknowledged:,} of {summary.planned:,} in {summary.seconds:.2f} s",
        f"  rate          {summary.instances_per_second:,.1f} instances/s   {summary.megabytes_per_second:,.1f} MB/s",
    ]
    if summary.latency is not None:
        lines.append(f"  latency       {_latency(summary.latency)}")
    if summary.failed or summary.not_sent:
        lines.append(f"  failed        {summary.failed:,}   not sent {summary.not_sent:,}")
    lines += _kinds("failure", summary.failures) + _kinds("warning", summary.warnings)
    return "\n".join(lines)


def verification_text(result: Verification) -> str:
    lines = [f"  verified      {result.found:,} of {result.asked:,} are there, {len(result.missing):,} missing"]
    lines += [f"    missing {uid}" for uid in result.missing[:_MISSING_SHOWN]]
    if len(result.missing) > _MISSING_SHOWN:
        lines.append(f"    and {len(result.missing) - _MISSING_SHOWN:,} more")
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """A table: each work, each server, medians over the rounds, and how many times faster the gateway was."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("work")
    table.add_column("server")
    for name in ("instances/s", "min to max", "MB/s", "p50 ms", "p99 ms", "gateway is", "min to max"):
        table.add_column(name, justify="right")
    remarks = [f"Medians of {comparison.rounds} rounds on {comparison.cpus} cores, the sender among them."]
    for work in comparison.works:
        for at, row in enumerate(work.rows):
            rate, ratio = row.instances_per_second, row.gateway_times
            table.add_row(
                work.name if at == 0 else "",
                row.peer,
                _number(rate.median) if rate else "failed",
                _range(rate),
                _number(row.megabytes_per_second.median) if row.megabytes_per_second else "",
                f"{row.p50.median * 1000:.1f}" if row.p50 else "",
                f"{row.p99.median * 1000:.1f}" if row.p99 else "",
                f"{_number(ratio.median)} x" if ratio else "",
                _range(ratio),
            )
            remarks += [f"{work.name}, {row.peer}: {note}." for note in row.notes]
        table.add_section()
    console = Console(width=200, color_system=None)  # As wide as the table is; nothing is cut.
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().strip("\n").splitlines()]
    return "\n".join([*lines, *remarks, *comparison.remarks])


def _latency(latency: Latency) -> str:
    shown = (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max))
    return "   ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in shown)


def _kinds(title: str, kinds: Mapping[str, int]) -> list[str]:
    return [f"  {title:<12}  {number:,} x {kind}" for kind, number in kinds.items()]


def _range(spread: Spread | None) -> str:
    return f"{_number(spread.min)} to {_number(spread.max)}" if spread else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
