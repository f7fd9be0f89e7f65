"""When the next operation begins: as soon as the last is done, or when its time has come.

A closed loop measures how fast a server is, and is kind to it: when it stalls, nobody asks. An open loop is what a
hospital is: patients come whatever the server does. There, latency counts from the moment at which an operation was
to begin, not from when a connection was free for it, or the stalls would hide themselves (coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Protocol


class Pace(Protocol):
    """Shared by all connections of one piece of work."""

    async def next(self) -> float | None:
        """Wait for the turn of the next operation: when it begins or should have, of `time.perf_counter`; None when
        there is none any more.
        """

    def give_back(self) -> None:
        """Whoever took the last turn has nothing to do; another may have it."""

    @property
    def planned(self) -> int | None:
        """Operations in all, None where nobody can tell."""

    @property
    def over(self) -> bool:
        """There is none any more."""


class Closed:
    """One after the other, as many as there are connections at once."""

    def __init__(self, count: int | None, end: float | None, pause: float = 0.0) -> None:
        """`end` is of `time.perf_counter`."""
        self.planned = count
        self._left = count
        self._end = end
        self._pause = pause

    @property
    def over(self) -> bool:
        return self._left == 0 or (self._end is not None and time.perf_counter() >= self._end)

    async def next(self) -> float | None:
        if self._pause:
            # Spread out, or everybody would begin at once and stay in step.
            pause = self._pause * random.uniform(0.5, 1.5)
            if self._end is not None and time.perf_counter() + pause > self._end:
                return None
            await asyncio.sleep(pause)
        if self.over:
            return None
        if self._left is not None:
            self._left -= 1
        return time.perf_counter()

    def give_back(self) -> None:
        if self._left is not None:
            self._left += 1


class Open:
    """At given times. Whoever is free takes the next; what is not begun by the end never is."""

    def __init__(self, times: Sequence[float], began: float, end: float | None) -> None:
        """`times` are seconds after `began`, ascending; `began` and `end` are of `time.perf_counter`."""
        self.planned: int | None = len(times)
        self._times = iter(times)
        self._left = len(times)
        self._began = began
        self._end = end

    @property
    def over(self) -> bool:
        return not self._left or (self._end is not None and time.perf_counter() >= self._end)

    async def next(self) -> float | None:
        if self.over:
            return None
        self._left -= 1
        intended = self._began + next(self._times)
        if (wait := intended - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        return intended

    def give_back(self) -> None:
        """Its time has passed."""


def arrivals(
    rate: float, count: int | None, duration: float | None, profile: Sequence[float], chance: random.Random | None
) -> list[float]:
    """When operations are to begin, seconds: `count` of them, or all within `duration`; at least one of both is given.

    The rate is multiplied by the numbers of `profile`, over equal parts of `duration`. With `chance` they come at
    random (a Poisson process), without it evenly.
    """
    times = itertools.islice(_arrivals(rate, duration, profile, chance), count)
    return list(times if duration is None else itertools.takewhile(lambda at: at < duration, times))


def _arrivals(
    rate: float, duration: float | None, profile: Sequence[float], chance: random.Random | None
) -> Iterator[float]:
    part = duration / len(profile) if duration is not None else float("inf")
    at, due = 0.0, 0.0
    for index, factor in enumerate(profile):
        end = part * (index + 1)
        while factor:
            step = due / (rate * factor)
            if at + step >= end:
                due -= (end - at) * rate * factor
                break
            at += step
            yield at
            due = chance.expovariate(1.0) if chance is not None else 1.0
        at = end
