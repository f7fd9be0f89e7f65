"""A report as one self-contained page, to be opened, mailed and printed: no scripts, no fonts or images from elsewhere.

The templates are in `templates/`; `plot.py` draws the plots. All text from a server is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from loadtest.compare.growth import Growth
from loadtest.compare.table import GATEWAY, Comparison, Entry, RowResult, Spread
from loadtest.report import plot, text
from loadtest.run import Result
from loadtest.stats import Latency, Moment, Summary
from loadtest.watch import Usage

_FOLDER = Path(__file__).with_name("templates")
_ERRORS_SHOWN = 30


def run_page(result: Result) -> str:
    """The page of one run."""
    until = max((work.seconds for work in result.works), default=0.0)
    return _page(
        "run.html",
        result=result,
        works=[_work(work, until) for work in result.works],
        usage=_usage(result.usage) if result.usage is not None else None,
        errors=_errors(result.works),
        together=_together(result.works, until),
        totals=_totals(result),
    )


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison of servers."""
    verdicts = [outcome.verdict for row in comparison.rows for outcome in row.outcomes]
    return _page(
        "comparison.html",
        comparison=comparison,
        rows=[(row, _bars(row), _memory(row)) for row in comparison.rows],
        goals=[(row, outcome, _reached(row, outcome.goal.peer)) for row in comparison.rows for outcome in row.outcomes],
        counts={verdict: verdicts.count(verdict) for verdict in ("held", "missed", "not measured")},
    )


def growth_page(growth: Growth) -> str:
    """The page of one server as it fills."""
    most = float(growth.steps[-1].instances or 1)

    def curve(kind: str) -> Markup:
        points = [(float(step.instances), step.figures.get(kind)) for step in growth.steps]
        return plot.lines(
            [plot.Line(points, "line rate")],
            unit=_short,
            until=most,
            title=f"{kind} over instances held",
            across=lambda held: f"{held / 1e6:g} M" if most >= 1e6 else _short(held),
        )

    return _page("growth.html", growth=growth, curves={kind: curve(kind) for kind in growth.kinds})


def _page(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": text.number,
        "ms": lambda seconds: milliseconds(seconds),
        "bytes": size,
        "spread": text.spread_of,
        "goal": text.goal_text,
    }
    environment.globals["goal_of"] = text.goal_of
    return environment.get_template(template).render(values)


def milliseconds(seconds: float) -> str:
    """A time in three digits: `0.42 ms`, `12.3 ms`, `1.50 s`."""
    return f"{text.number(seconds)} s" if seconds >= 1 else f"{text.number(seconds * 1000)} ms"


def size(count: float) -> str:
    """A number of bytes for readers, such as `512 kB` or `1.34 GB`; a kilobyte is a thousand bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{text.number(count / factor)} {unit}"
    return f"{count:.0f} B"


def _work(work: Summary, until: float) -> dict[str, object]:
    """The values for the template of one piece of work."""
    moments = work.timeline
    begins = [moment.begin + moment.seconds / 2 for moment in moments]

    def per_second(value: Callable[[Moment], int]) -> plot.Points:
        return [(at, value(each) / each.seconds) for at, each in zip(begins, moments, strict=True)]

    def latency(value: Callable[[Latency], float]) -> plot.Points:
        pairs = zip(begins, moments, strict=True)
        return [(at, value(each.latency) if each.latency is not None else None) for at, each in pairs]

    failures = plot.Marks([at for at, each in zip(begins, moments, strict=True) if each.failures], "failures")
    p50, p90, p99 = latency(lambda of: of.p50), latency(lambda of: of.p90), latency(lambda of: of.p99)
    by_instance = work.instances > work.operations and work.kind not in ("qido", "find")
    return {
        "summary": work,
        "rate_name": "instances/s" if by_instance else f"{work.kind}/s",
        "rate": plot.lines(
            [
                plot.Line(per_second(lambda of: of.instances if by_instance else of.operations), "line rate"),
                failures,
            ],
            unit=_short,
            until=until,
            title=f"{work.name}: rate over time",
        ),
        "latency": plot.lines(
            [
                plot.Band(p50, p99, "band"),
                plot.Line(latency(lambda of: of.max), "line worst"),
                plot.Line(p99, "line p99"),
                plot.Line(p90, "line p90"),
                plot.Line(p50, "line p50"),
                failures,
            ],
            unit=milliseconds_short,
            until=until,
            title=f"{work.name}: latency over time",
            log=True,
        )
        if work.latency is not None
        else None,
    }


def _together(works: Sequence[Summary], until: float) -> dict[str, Markup] | None:
    """The plots of all work together: instances and bytes over time; None if no bytes were moved."""
    if not any(work.bytes for work in works):
        return None
    count = max(len(work.timeline) for work in works)
    width = (until or 1.0) / count
    instances, moved = [0.0] * count, [0.0] * count
    for work in works:
        for moment in work.timeline:
            at = min(count - 1, int((moment.begin + moment.seconds / 2) / width))
            if work.kind not in ("find", "qido"):  # Matches are not instances.
                instances[at] += moment.instances / width
            moved[at] += moment.bytes / width / 1e6

    def line(values: Sequence[float], style: str, title: str) -> Markup:
        points = [((at + 0.5) * width, value) for at, value in enumerate(values)]
        return plot.lines([plot.Line(points, style)], unit=_short, until=until, title=title)

    return {
        "instances": line(instances, "line rate", "instances a second over time"),
        "bytes": line(moved, "line bytes", "megabytes a second over time"),
    }


def milliseconds_short(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _short(value: float) -> str:
    """A number on an axis."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,g}"


def _usage(usage: Usage) -> dict[str, object]:
    until = usage.samples[-1].at if usage.samples else 1.0
    return {
        "of": usage,
        "cpu": plot.lines(
            [plot.Line([(sample.at, sample.cpus) for sample in usage.samples[1:]], "line cpu")],
            unit=lambda value: f"{value:g}",
            until=until,
            title="processors busy over time",
        ),
        "memory": _memory_plot(usage),
    }


def _memory(row: RowResult) -> list[tuple[str, Markup]]:
    """The memory of each server over time, in the rows that measure it."""
    usages = [(entry.peer, run.usage) for entry in row.entries for run in entry.runs[-1:] if run.usage is not None]
    return [(peer, _memory_plot(usage)) for peer, usage in usages]


def _memory_plot(usage: Usage) -> Markup:
    return plot.lines(
        [plot.Line([(sample.at, sample.memory / 1e6) for sample in usage.samples], "line memory")],
        unit=lambda value: f"{value:,g} MB",
        until=usage.samples[-1].at if usage.samples else 1.0,
        title="memory over time",
        limit=usage.budget / 1e6 if usage.budget is not None else None,
    )


def _totals(result: Result) -> dict[str, float]:
    seconds = max([work.seconds for work in result.works], default=0.0) or 1.0
    instances = sum(work.instances for work in result.works if work.kind not in ("find", "qido"))
    moved = sum(work.bytes for work in result.works)
    return {
        "instances": instances,
        "bytes": moved,
        "instances_per_second": instances / seconds,
        "bytes_per_second": moved / seconds,
        "operations": sum(work.operations for work in result.works),
        "failures": sum(sum(work.failures.values()) for work in result.works),
        "not_begun": sum(work.not_begun for work in result.works),
        "late": sum(work.late for work in result.works),
        "seconds": seconds,
    }


def _errors(works: Sequence[Summary]) -> list[tuple[str, str, int, Markup]]:
    """The failures as rows of work, kind, number and bar, the most frequent first."""
    found = sorted(
        ((work.name, kind, count) for work in works for kind, count in work.failures.items()), key=lambda row: -row[2]
    )
    most = found[0][2] if found else 1
    return [
        (name, kind, count, plot.range_bar(count, count, count, most, "bad"))
        for name, kind, count in found[:_ERRORS_SHOWN]
    ]


def _reached(row: RowResult, peer: str) -> Spread | None:
    """The measured value that a goal is compared with."""
    for entry in row.entries:
        if entry.peer == (peer or GATEWAY):
            return entry.gateway_is if peer else entry.value
    return None


def _bars(row: RowResult) -> list[tuple[Entry, Markup | None]]:
    most = max((entry.value.max for entry in row.entries if entry.value is not None), default=0.0)

    def bar(entry: Entry) -> Markup | None:
        if entry.value is None:
            return None
        style = "ours" if entry.peer == GATEWAY else "ceiling" if entry.peer == "sink" else "theirs"
        return plot.range_bar(entry.value.min, entry.value.median, entry.value.max, most, style)

    return [(entry, bar(entry)) for entry in row.entries]
