"""Plots of counts over time as stacked bars, in numbers that a template makes an SVG of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

HEIGHT: Final = 100.0
"""Units from the bottom of a plot to the top of its highest bar."""
MAX_SOURCES: Final = 6
"""Sources with a colour of their own; the others share one."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of one source at one time, in seconds since 1970."""

    at: float
    source: str
    count: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlotSource:
    """A source in the legend."""

    name: str
    """Empty for all those without a colour of their own."""
    colour: int
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BarPart:
    """A part of a bar, from the top of the plot."""

    y: float
    height: float
    colour: int


@dataclass(frozen=True, slots=True)
class Bar:
    """All amounts of one interval."""

    at: float
    count: int
    blocks: Sequence[BarPart]


@dataclass(frozen=True, slots=True)
class Plot:
    """Stacked bars, one for each interval, the oldest first."""

    bars: Sequence[Bar]
    sources: Sequence[PlotSource]
    most: int
    """The count of the highest bar."""
    begins: float
    ends: float

    @property
    def count(self) -> int:
        return sum(each.count for each in self.sources)


def plot(amounts: Iterable[Amount], *, ends: float, interval_s: float, bars: int) -> Plot:
    """The plot of the `bars` intervals before `ends`; amounts outside are left out."""
    last = int(ends / interval_s)
    inside = [each for each in amounts if last - bars < int(each.at / interval_s) <= last]
    counts, sizes = Counter[str](), Counter[str]()
    for each in inside:
        counts[each.source] += each.count
        sizes[each.source] += each.bytes
    named = [name for name, _ in counts.most_common(MAX_SOURCES)]
    colours = {name: at for at, name in enumerate(named)}
    others = [name for name in counts if name not in colours]
    stacks = [Counter[int]() for _ in range(bars)]
    for each in inside:
        stacks[int(each.at / interval_s) - last + bars - 1][colours.get(each.source, MAX_SOURCES)] += each.count
    most = max((sum(stack.values()) for stack in stacks), default=0)
    begins = (last - bars + 1) * interval_s
    sources = [PlotSource(name, colours[name], counts[name], sizes[name]) for name in named]
    if others:
        sources.append(
            PlotSource("", MAX_SOURCES, sum(counts[each] for each in others), sum(sizes[each] for each in others))
        )
    return Plot(
        [_bar(begins + at * interval_s, stack, max(most, 1)) for at, stack in enumerate(stacks)],
        sources,
        most,
        begins,
        ends,
    )


def _bar(at: float, stack: Counter[int], most: int) -> Bar:
    blocks, y = [], HEIGHT
    for colour, count in sorted(stack.items()):
        height = HEIGHT * count / most
        y -= height
        blocks.append(BarPart(round(y, 2), round(height, 2), colour))
    return Bar(at, sum(stack.values()), blocks)
