"""What happened in a run, counted while it runs and summed up at its end. How it is shown is `report/`'s.

An *operation* is what one piece of work does again and again: one C-STORE, a whole study sent, one search, one
retrieval. Instances and bytes are what it moved, in either direction.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable

import msgspec

from loadtest.histogram import Histogram

_FINEST = 0.1
"""Seconds that one moment of a timeline spans, to begin with."""
_MOST_MOMENTS = 600
"""Past it, moments are joined two by two."""
_LEAST_TOLD, _MOST_TOLD = 10, 120
"""Moments of the timeline that is told at the end."""
_FINEST_TOLD = 0.5
"""Seconds that each of them spans, where the run is long enough."""
_LATE = 0.01
"""Seconds after its time that an operation of an open loop may begin without being called late."""


class Latency(msgspec.Struct, frozen=True):
    """Seconds until an operation was done: from its beginning, in an open loop from when it should have begun."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, histogram: Histogram) -> Latency | None:
        """None of nothing."""
        if not histogram.count:
            return None
        return cls(*histogram.quantiles(0.5, 0.9, 0.99, 0.999, 1.0))


class Moment(msgspec.Struct, frozen=True):
    """What happened in one stretch of time, `begin` seconds after the run began."""

    begin: float
    seconds: float
    operations: int
    instances: int
    bytes: int
    failures: int
    latency: Latency | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work in one run."""

    name: str
    kind: str
    planned: int | None
    """Operations; None where it went on for as long as it had time."""
    operations: int
    """Those that went well, with a warning or without."""
    failed: int
    not_begun: int
    """Planned, and not tried: its connection was lost, or its time was over."""
    late: int
    """Begun later than they should have been: the server held the sender up (or the sender is too slow)."""
    instances: int
    bytes: int
    """Of the data sets that were acknowledged, or of the bodies that were received."""
    seconds: float
    """From the beginning to the last answer."""
    operations_per_second: float
    instances_per_second: float
    megabytes_per_second: float
    """A megabyte is a million bytes."""
    latency: Latency | None
    """Of what went well; None where nothing did."""
    failures: dict[str, int]
    """By status or kind, in words."""
    warnings: dict[str, int]
    timeline: list[Moment]

    @property
    def complete(self) -> bool:
        return not self.failures and not self.not_begun


class _Slice:
    """A moment that is being counted."""

    __slots__ = ("bytes", "failures", "instances", "latencies", "operations")

    def __init__(self) -> None:
        self.operations = self.instances = self.bytes = self.failures = 0
        self.latencies = Histogram()

    def merge(self, other: _Slice) -> None:
        self.operations += other.operations
        self.instances += other.instances
        self.bytes += other.bytes
        self.failures += other.failures
        self.latencies.merge(other.latencies)


class Stats:
    """Counts one piece of work. Its clock starts when it is made, or at `began` (of `time.perf_counter`)."""

    def __init__(
        self, name: str = "store", kind: str = "store", planned: int | None = None, began: float | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.planned = planned
        self.operations = self.failed = self.late = self.instances = self.bytes = 0
        self.failures: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._width = _FINEST
        self._slices: list[_Slice] = []
        self._began = self._last = time.perf_counter() if began is None else began

    def done(self, since: float, instances: int = 0, size: int = 0) -> None:
        """An operation that began, or should have begun, at `since` (of `time.perf_counter`) went well."""
        self.moved(instances, size)
        self.operations += 1
        now = self._slices[-1]
        now.operations += 1
        now.latencies.add(self._last - since)

    def moved(self, instances: int, size: int) -> None:
        """A part of an operation: instances acknowledged or received, and their bytes."""
        now = self._slice()
        self.instances += instances
        self.bytes += size
        now.instances += instances
        now.bytes += size

    def began(self, since: float) -> None:
        """An operation of an open loop begins that should have begun at `since`."""
        if time.perf_counter() - since > _LATE:
            self.late += 1

    def warning(self, kind: str) -> None:
        """Something went well, with a warning."""
        self.warnings[kind] += 1

    def failure(self, kind: str) -> None:
        """An operation went wrong."""
        self.failed += 1
        self.trouble(kind)

    def trouble(self, kind: str) -> None:
        """Something went wrong that belongs to no operation, such as an association that was rejected."""
        self.failures[kind] += 1
        self._slice().failures += 1

    @property
    def recent(self) -> tuple[float, Latency | None]:
        """Operations a second and latency over the last second or so."""
        last = self._slices[-max(1, round(1 / self._width)) :]
        together = Histogram()
        for each in last:
            together.merge(each.latencies)
        return sum(each.operations for each in last) / (len(last) * self._width or 1), Latency.of(together)

    def summary(self) -> Summary:
        seconds = max(self._last - self._began, 1e-9)
        together = Histogram()
        for each in self._slices:
            together.merge(each.latencies)
        tried = self.operations + self.failed
        return Summary(
            name=self.name,
            kind=self.kind,
            planned=self.planned,
            operations=self.operations,
            failed=self.failed,
            not_begun=max(0, (tried if self.planned is None else self.planned) - tried),
            late=self.late,
            instances=self.instances,
            bytes=self.bytes,
            seconds=seconds,
            operations_per_second=self.operations / seconds,
            instances_per_second=self.instances / seconds,
            megabytes_per_second=self.bytes / seconds / 1e6,
            latency=Latency.of(together),
            failures=dict(self.failures.most_common()),
            warnings=dict(self.warnings.most_common()),
            timeline=list(self._timeline()),
        )

    def _slice(self) -> _Slice:
        """The moment that is now; those in which nothing happened are made too."""
        self._last = time.perf_counter()
        at = max(0, int((self._last - self._began) / self._width))
        while at >= _MOST_MOMENTS:
            for each in range(0, len(self._slices) - 1, 2):
                self._slices[each].merge(self._slices[each + 1])
            del self._slices[1::2]
            self._width *= 2
            at //= 2
        while len(self._slices) <= at:
            self._slices.append(_Slice())
        return self._slices[at]

    def _timeline(self) -> Iterable[Moment]:
        """Moments long enough to say something, and few enough for a plot."""
        end = self._last - self._began
        most = max(_LEAST_TOLD, min(_MOST_TOLD, int(end / _FINEST_TOLD)))
        step = math.ceil(len(self._slices) / most)
        for at in range(0, len(self._slices), step or 1):
            each = _Slice()
            for one in self._slices[at : at + step]:
                each.merge(one)
            begin = at * self._width
            yield Moment(
                begin,
                max(min(self._width * step, end - begin), _FINEST),
                each.operations,
                each.instances,
                each.bytes,
                each.failures,
                Latency.of(each.latencies),
            )
