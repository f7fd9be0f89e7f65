"""The summary of a comparison, for a document: each goal as a row of a Markdown table, and one plot of the ratios.

The plot is a self-contained SVG file, with colours that are legible on white and on black. `html.py` writes the whole
page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from loadtest.compare.table import GATEWAY, Comparison, Goal, RowResult, Spread, Verdict
from loadtest.report import text

_WIDTH, _LEFT, _RIGHT, _STEP, _TOP = 860, 400, 120, 26, 56
_COLOURS: dict[Verdict, str] = {"held": "#2a9d5c", "missed": "#d1495b", "not measured": "#999999"}
_INK = "#808080"
_TIMES = " \u00d7"
_MIN_RATIO, _MAX_RATIO = 0.1, 1000.0
"""Limits of the plot: a ratio beyond them is drawn at the edge, with its figure as text."""


class Line(NamedTuple):
    """One goal of one row, as text."""

    work: str
    gateway: str
    peer: str
    theirs: str
    reached: str
    goal: str
    verdict: Verdict
    ratio: Spread | None
    """How many times better the gateway was than the peer; None for a goal without a peer."""
    wanted: Goal


def lines(comparison: Comparison) -> Iterator[Line]:
    """The lines of all goals, in the order of the rows."""
    for row in comparison.rows:
        entries = {entry.peer: entry for entry in row.entries}
        ours = entries.get(GATEWAY)
        for goal, verdict in ((outcome.goal, outcome.verdict) for outcome in row.outcomes):
            peer = entries.get(goal.peer) if goal.peer else None
            ratio = peer.gateway_is if peer is not None else None
            yield Line(
                work=row.title,
                gateway=_figure(ours.value if ours is not None else None, row),
                peer=goal.peer,
                theirs=_figure(peer.value if peer is not None else None, row) if goal.peer else "",
                reached=f"{text.number(ratio.median)} x" if ratio is not None else "",
                goal=text.goal_text(goal),
                verdict=verdict,
                ratio=ratio,
                wanted=goal,
            )


def goal_rows(comparison: Comparison) -> list[str]:
    """A table of all goals, in Markdown."""
    rows = ["| work | gateway | compared with | gateway is | goal | |", "|---|---|---|---|---|---|"]
    for line in lines(comparison):
        peer = f"{line.peer} {line.theirs}".strip()
        cells = (line.work, line.gateway, peer, line.reached, line.goal, line.verdict)
        rows.append(table_row(cells))
    return rows


def table_row(cells: Sequence[str]) -> str:
    """A row of a table in Markdown, with a sign for times."""
    return f"| {' | '.join(cell.replace('|', '/').replace(' x', _TIMES) for cell in cells)} |"


def markdown(comparison: Comparison) -> str:
    """A table of all goals, followed by how they were measured."""
    rounds = f"{comparison.rounds} round{'s' if comparison.rounds > 1 else ''}"
    notes = [f"Medians of {rounds} on {comparison.cpus} cores, the sender among them; {comparison.began[:10]}."]
    notes += [f"{remark[:1].upper()}{remark[1:]}." for remark in comparison.remarks]
    return "\n".join([*goal_rows(comparison), "", *notes]) + "\n"


def svg(comparison: Comparison) -> str:
    """A logarithmic plot of how many times better the gateway was than a peer: a bar and a tick for each goal."""
    compared = [line for line in lines(comparison) if line.peer]
    height = _TOP + _STEP * len(compared) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}" role="img" '
        'aria-label="How many times better the gateway is than others">',
        f'<text x="{_LEFT}" y="18">times as good as the server named; the tick is the goal</text>',
    ]
    for power in range(-1, 4):
        x = _x(10.0**power)
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{10.0**power:g}{_TIMES}</text>')
        dashes = "" if power == 0 else ' stroke-opacity="0.35"'
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 12}" stroke="{_INK}"{dashes}/>')
    for at, line in enumerate(compared):
        parts += _bar(line, _TOP + _STEP * at)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(line: Line, top: float) -> Iterator[str]:
    middle = top + _STEP / 2
    work = line.work if len(line.work) <= 44 else f"{line.work[:43]}…"
    yield (
        f'<text x="{_LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(work)}, {escape(line.peer)}'
        f"<title>{escape(line.work)}</title></text>"
    )
    colour = _COLOURS[line.verdict]
    if line.ratio is not None:
        start, end = sorted((_x(1.0), _x(line.ratio.median)))
        yield (
            f'<rect x="{start:.1f}" y="{middle - 7:.1f}" width="{max(end - start, 1):.1f}" height="14" rx="2" '
            f'fill="{colour}" fill-opacity="0.8"/>'
        )
        low, high = _x(line.ratio.min), _x(line.ratio.max)
        yield f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="{_INK}"/>'
    goal = _x(line.wanted.value)
    yield f'<path d="M{goal:.1f} {middle - 10:.1f}v20" stroke="{_INK}" stroke-width="2.5"/>'
    yield (
        f'<text x="{_WIDTH - _RIGHT + 14}" y="{middle + 4:.1f}" fill="{colour}">'
        f"{escape(line.reached.replace(' x', _TIMES))} {escape(line.verdict)}</text>"
    )


def _x(ratio: float) -> float:
    span = math.log10(_MAX_RATIO / _MIN_RATIO)
    share = math.log10(min(max(ratio, _MIN_RATIO), _MAX_RATIO) / _MIN_RATIO) / span
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _figure(value: Spread | None, row: RowResult) -> str:
    return f"{text.number(value.median)} {row.unit}" if value is not None else "failed"
