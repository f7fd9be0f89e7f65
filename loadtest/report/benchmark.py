"""The tables of BENCHMARK.md: what is measured, what servers promise, and every recorded result.

Each stands between two comments of the page, `<!-- made: NAME -->` and `<!-- end: NAME -->`, and is made anew from the
code and from `results/`, so that page and data cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.errors import ConfigurationError
from loadtest.compare.growth import Growth
from loadtest.compare.row import Row
from loadtest.compare.table import Comparison
from loadtest.machine import Machine
from loadtest.peers.about import PROMISES
from loadtest.records import Record
from loadtest.report import summary, text

_NEEDS = {
    "dicom": "a DICOM node",
    "web": "a DICOM node with DICOMweb",
    "start": "a server that was started here",
}
_NONE = "No run is recorded yet."


def page(before: str, rows: Mapping[str, Row], records: Mapping[str, Record]) -> str:
    """The text of the page with its tables made anew. Raises ConfigurationError where it has no place for one."""
    parts = {"rows": _rows(rows), "promises": _promises(), "results": _results(records)}
    for name, lines in parts.items():
        begin, end = f"<!-- made: {name} -->\n", f"<!-- end: {name} -->"
        head, found, rest = before.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ConfigurationError(f"the page has no place for its {name}: <!-- made: {name} --> and <!-- end: … -->")
        before = "\n".join([head + begin, *lines, "", end + tail])
    return before


def plots(records: Mapping[str, Record]) -> dict[str, str]:
    """The plots that the page shows, by the name of the file beside that of the result."""
    return {_plot(name): summary.svg(each) for name, each in records.items() if isinstance(each, Comparison)}


def _plot(name: str) -> str:
    return name.replace(".json", ".svg")


def _rows(rows: Mapping[str, Row]) -> Iterator[str]:
    yield "| row | work | figure | goals of the gateway | can be done by |"
    yield "|---|---|---|---|---|"
    for row in rows.values():
        better = "less is better" if row.less_is_better else "more is better"
        goals = ", ".join(f"{goal.peer} {text.goal_text(goal)}".strip() for goal in row.goals)
        cells = (f"`{row.name}`", row.title, f"{row.unit}, {better}", goals, _NEEDS[row.needs])
        yield summary.table_row(cells)


def _promises() -> Iterator[str]:
    yield "| server | bytes on the disk | found by queries | that survives a power cut | |"
    yield "|---|---|---|---|---|"
    for each in PROMISES:
        said = (_yes(each.object_flushed), _yes(each.indexed), _yes(each.index_flushed) if each.indexed else "")
        yield f"| {', '.join(each.servers)} | {' | '.join(said)} | {each.remark} |"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _results(records: Mapping[str, Record]) -> Iterator[str]:
    if not records:
        yield _NONE
    for at, (name, record) in enumerate(records.items()):
        if at:
            yield ""
        yield from _growth(name, record) if isinstance(record, Growth) else _comparison(name, record)


def _comparison(name: str, found: Comparison) -> Iterator[str]:
    rounds = f"{found.rounds} round{'s' if found.rounds > 1 else ''}"
    yield f"### {found.began[:10]}: {len(found.rows)} rows, {rounds}"
    yield ""
    yield from _machine(found.machine)
    yield from (f"- {server}: {version}" for server, version in found.versions.items())
    yield f"- every run: [{name}](results/{name})"
    yield from (f"- {remark}" for remark in found.remarks)
    yield ""
    yield f"![Ratios to the peers, and the goals](results/{_plot(name)})"
    yield ""
    yield from summary.goal_rows(found)
    yield ""
    yield "| work | server | median | smallest to largest | | gateway is | smallest to largest | runs |"
    yield "|---|---|---|---|---|---|---|---|"
    notes = []
    for row in found.rows:
        for entry in row.entries:
            good = sum(not run.trouble for run in entry.runs)
            ratio = f"{text.number(entry.gateway_is.median)} x" if entry.gateway_is else ""
            median = text.number(entry.value.median) if entry.value else "failed"
            cells = (row.title, entry.peer, median, text.spread_of(entry.value), row.unit, ratio)
            yield summary.table_row((*cells, text.spread_of(entry.gateway_is), f"{good} of {len(entry.runs)}"))
            notes += [f"- {row.title}, {entry.peer}: {note}" for note in entry.notes]
    if notes:
        yield from ("", *notes)


def _growth(name: str, found: Growth) -> Iterator[str]:
    yield f"### {found.began[:10]}: {found.server} as it fills"
    yield ""
    yield from _machine(found.machine)
    yield f"- {found.server}: {found.version}"
    yield f"- every step: [{name}](results/{name})"
    yield from (f"- {trouble}" for trouble in found.troubles)
    yield ""
    yield f"| instances | memory | {' | '.join(found.kinds)} |"
    yield f"|---|---|{'---|' * len(found.kinds)}"
    for step in found.steps:
        cells = [f"{step.instances:,}", f"{step.memory / 1e6:,.0f} MB"]
        for kind in found.kinds:
            figure, share = step.figures.get(kind), found.share(kind, step)
            part = f", {share:.2f} of the first" if share and step is not found.steps[0] else ""
            cells.append(f"{text.number(figure)}{part}" if figure is not None else "failed")
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield from (f"- {kind}: {unit}" for kind, unit in found.kinds.items())
    yield from (
        f"- {kind}: at least {outcome.goal.value:g} of the first at the last: {outcome.verdict}"
        for kind, outcome in found.outcomes.items()
    )


def _machine(machine: Machine | None) -> Iterator[str]:
    if machine is None:
        yield "- the machine is not recorded"
        return
    yield f"- {machine.sentence}"
    yield f"- load in the minute before the run: {machine.load:g}"
