"""Plots as SVG, drawn here so that a page is self-contained. Colours are CSS classes, defined by the style of the page.

A plot scales with its column. It has little text; the HTML beside it has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

Points = Sequence[tuple[float, float | None]]
"""Points (x, y) in order of x; y is None where the line is interrupted."""

_WIDTH, _HEIGHT = 640, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 26
_X_TICKS, _Y_TICKS = 6, 4


class Line(NamedTuple):
    points: Points
    style: str
    """CSS classes of the path."""


class Band(NamedTuple):
    """The area between two lines with equal x values."""

    lower: Points
    upper: Points
    style: str


class Marks(NamedTuple):
    """Ticks on the time axis, for example failures."""

    xs: Sequence[float]
    style: str


def lines(
    what: Sequence[Line | Band | Marks],
    *,
    unit: Callable[[float], str],
    until: float,
    title: str,
    limit: float | None = None,
    log: bool = False,
    across: Callable[[float], str] | None = None,
) -> Markup:
    """Draw lines, bands and marks over seconds, from 0 to `until`, or over another unit that `across` formats.

    `limit` is drawn as a separate line. With `log`, values must be above 0.
    """
    values = [y for y in _values(what) if y is not None and (y > 0 or not log)]
    if limit is not None:
        values.append(limit)
    scale = (_Log if log else _Linear)(values)
    span = until or 1.0

    def place(x: float, y: float) -> str:
        return f"{_x(x / span):.1f} {_y(scale.share(y)):.1f}"

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{Markup.escape(title)}">']
    for tick in scale.ticks:
        y = _y(scale.share(tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{Markup.escape(unit(tick))}</text>')
    step = nice_step(span / _X_TICKS)
    for at in range(int(span / step + 1e-9) + 1):
        x = _x(at * step / span)
        label = across(at * step) if across is not None else _clock(at * step, step)
        anchor = "middle" if at * step < span * 0.98 else "end"
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{label}</text>')
    for each in what:
        if isinstance(each, Band):
            parts += _area(each, place, log)
        elif isinstance(each, Marks):
            path = "".join(f"M{_x(x / span):.1f} {_HEIGHT - _BOTTOM}v-7" for x in each.xs)
            parts.append(f'<path class="{each.style}" d="{path}"/>')
        else:
            parts += _paths(each, place, log)
    if limit is not None:
        y = _y(scale.share(limit))
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return Markup("".join([*parts, "</svg>"]))


def range_bar(low: float, middle: float, high: float, most: float, style: str) -> Markup:
    """Draw a bar from 0 to `middle`, with a whisker from `low` to `high`; `most` is the whole width."""
    shares = [max(0.0, min(1.0, value / most)) * 100 if most else 0.0 for value in (low, middle, high)]
    return Markup(
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{style}" x="0" y="2" width="{max(shares[1], 0.4):.2f}" height="8" rx="0.6"/>'
        f'<path class="whisker" d="M{shares[0]:.2f} 6H{shares[2]:.2f}M{shares[0]:.2f} 3.5v5M{shares[2]:.2f} 3.5v5"/>'
        "</svg>"
    )


def nice_step(rough: float) -> float:
    """The next number at or above `rough` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


class _Linear:
    def __init__(self, values: Sequence[float]) -> None:
        step = nice_step(max([*values, 1e-9]) / _Y_TICKS)
        count = max(1, math.ceil(max([*values, 0.0]) / step - 1e-9))
        self.ticks = [step * at for at in range(count + 1)]

    def share(self, value: float) -> float:
        return value / self.ticks[-1]


class _Log:
    def __init__(self, values: Sequence[float]) -> None:
        low = math.floor(math.log10(min(values, default=0.001)))
        high = math.ceil(math.log10(max(values, default=1.0)) - 1e-9)
        self._low, self._span = low, max(1, high - low)
        steps = (1, 2, 5) if self._span == 1 else (1,)
        self.ticks = [10.0**power * step for power in range(low, low + self._span) for step in steps]
        self.ticks.append(10.0 ** (low + self._span))

    def share(self, value: float) -> float:
        return (math.log10(value) - self._low) / self._span


def _x(share: float) -> float:
    return _LEFT + max(0.0, min(1.0, share)) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - max(0.0, min(1.0, share)) * (_HEIGHT - _TOP - _BOTTOM)


def _values(what: Sequence[Line | Band | Marks]) -> Iterable[float | None]:
    for each in what:
        if isinstance(each, Line):
            yield from (y for _, y in each.points)
        elif isinstance(each, Band):
            yield from (y for points in (each.lower, each.upper) for _, y in points)


def _runs(points: Points, log: bool) -> list[list[tuple[float, float]]]:
    """The uninterrupted parts of a line, each with at least one point."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None or (log and y <= 0):
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _paths(line: Line, place: Callable[[float, float], str], log: bool) -> Iterable[str]:
    for run in _runs(line.points, log):
        path = "L".join(place(*point) for point in run)
        if len(run) > 1:
            yield f'<path class="{line.style}" d="M{path}"/>'
        else:  # A line without length: round caps make a dot of it.
            yield f'<path class="{line.style} dot" d="M{path}L{path}"/>'


def _area(band: Band, place: Callable[[float, float], str], log: bool) -> Iterable[str]:
    for lower, upper in zip(_runs(band.lower, log), _runs(band.upper, log), strict=True):
        if len(upper) > 1:
            around = [place(*point) for point in [*upper, *reversed(lower)]]
            yield f'<path class="{band.style}" d="M{"L".join(around)}Z"/>'


def _clock(seconds: float, step: float) -> str:
    """A time for the axis, such as `0.5 s`, `30 s`, `5 min`, `2 h` or `1:30`."""
    if step < 1:
        return f"{seconds:.1f} s"
    if step < 30 and seconds < 120:
        return f"{seconds:.0f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d} h"
    return f"{minutes}:{rest:02d}" if rest or step < 60 else f"{minutes} min"
