"""The pace of a run: when the next operation begins.

A closed loop begins an operation as soon as the previous one is done. It measures how fast a server is, and spares it:
while the server stalls, no request is sent. An open loop begins operations at their times, as patients come to a
hospital whatever the server does. Its latency counts from the moment at which an operation was to begin, not from when
a connection was free for it; otherwise stalls would hide themselves (coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Protocol


class Pace(Protocol):
    """The pace of one piece of work, shared by all its connections."""

    async def next(self) -> float | None:
        """Wait for the next operation, and return when it begins or should have begun (`time.perf_counter`); None after
        the last.
        """

    def put_back(self) -> None:
        """Return an operation that was not used, so that another connection may do it."""

    @property
    def planned(self) -> int | None:
        """The number of operations; None if unknown."""

    @property
    def over(self) -> bool:
        """Whether no operation is left."""


class Closed:
    """A closed loop: each connection begins an operation after its previous one."""

    def __init__(self, count: int | None, end: float | None, pause: float = 0.0) -> None:
        """Begin a loop of `count` operations that stops at `end` (`time.perf_counter`)."""
        self.planned = count
        self._left = count
        self._end = end
        self._pause = pause

    @property
    def over(self) -> bool:
        return self._left == 0 or (self._end is not None and time.perf_counter() >= self._end)

    async def next(self) -> float | None:
        if self._pause:
            # At random, or all connections would begin at once and stay in step.
            pause = self._pause * random.uniform(0.5, 1.5)
            if self._end is not None and time.perf_counter() + pause > self._end:
                return None
            await asyncio.sleep(pause)
        if self.over:
            return None
        if self._left is not None:
            self._left -= 1
        return time.perf_counter()

    def put_back(self) -> None:
        if self._left is not None:
            self._left += 1


class Open:
    """An open loop: operations at given times, each on a free connection; one not begun by the end is dropped."""

    def __init__(self, times: Sequence[float], began: float, end: float | None) -> None:
        """Begin a loop: `times` are seconds after `began`, ascending; `began` and `end` are of `time.perf_counter`."""
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

    def put_back(self) -> None:
        """Do nothing: the time of the operation has passed."""


def arrivals(
    rate: float, count: int | None, duration: float | None, profile: Sequence[float], chance: random.Random | None
) -> list[float]:
    """The times at which operations begin, in seconds: `count` of them, or all within `duration`. One is needed.

    The rate is multiplied by the numbers of `profile`, over equal parts of `duration`. With `chance` the times are
    random (a Poisson process), without it even.
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
