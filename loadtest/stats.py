"""Statistics of a run: counted while it runs, summed up at its end, shown by `report/`.

An *operation* is the unit that a piece of work repeats: one C-STORE, a whole study sent, one query, one retrieval.
Instances and bytes are those it moved, in either direction.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable

import msgspec

from loadtest.histogram import Histogram

_FINEST = 0.1
"""Initial length of a moment of the timeline, in seconds."""
_MAX_MOMENTS = 600
"""Moments counted at most; past this number, they are merged in pairs."""
_LEAST_TOLD, _MOST_TOLD = 10, 120
"""Least and greatest number of moments in the timeline of a summary."""
_FINEST_TOLD = 0.5
"""Shortest moment in the timeline of a summary, in seconds, if the run is long enough."""
_LATE = 0.01
"""Seconds after its time at which an operation of an open loop counts as late."""


class Latency(msgspec.Struct, frozen=True):
    """Latency of operations in seconds, from their beginning; in an open loop, from when they should have begun."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, histogram: Histogram) -> Latency | None:
        """The latency of a histogram; None if it is empty."""
        if not histogram.count:
            return None
        return cls(*histogram.quantiles(0.5, 0.9, 0.99, 0.999, 1.0))


class Moment(msgspec.Struct, frozen=True):
    """The counts of one interval, `begin` seconds after the run began."""

    begin: float
    seconds: float
    operations: int
    instances: int
    bytes: int
    failures: int
    latency: Latency | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one piece of work in one run."""

    name: str
    kind: str
    planned: int | None
    """Number of planned operations; None if only the duration limits the work."""
    operations: int
    """Number of successful operations, with a warning or without."""
    failed: int
    not_begun: int
    """Number of planned operations that were not tried: the connection was lost, or the time was over."""
    late: int
    """Number of operations begun after their time: the server delayed the sender (or the sender is too slow)."""
    instances: int
    bytes: int
    """Bytes of acknowledged data sets, or of received bodies."""
    seconds: float
    """Seconds from the beginning to the last answer."""
    operations_per_second: float
    instances_per_second: float
    megabytes_per_second: float
    """A megabyte is a million bytes."""
    latency: Latency | None
    """Latency of the successful operations; None without any."""
    failures: dict[str, int]
    """Number of failures by status or kind, in words."""
    warnings: dict[str, int]
    timeline: list[Moment]

    @property
    def complete(self) -> bool:
        return not self.failures and not self.not_begun


class _Slice:
    """The counts of a moment while it is counted."""

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
    """The counters of one piece of work. The clock starts at construction, or at `began` (`time.perf_counter`)."""

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
        """Count a successful operation that began, or should have begun, at `since` (`time.perf_counter`)."""
        self.moved(instances, size)
        self.operations += 1
        now = self._slices[-1]
        now.operations += 1
        now.latencies.add(self._last - since)

    def moved(self, instances: int, size: int) -> None:
        """Count a part of an operation: instances acknowledged or received, and their bytes."""
        now = self._slice()
        self.instances += instances
        self.bytes += size
        now.instances += instances
        now.bytes += size

    def began(self, since: float) -> None:
        """Note that an operation of an open loop begins; it is late if `since`, its time, is more than `_LATE` ago."""
        if time.perf_counter() - since > _LATE:
            self.late += 1

    def warning(self, kind: str) -> None:
        """Count a warning of a successful operation."""
        self.warnings[kind] += 1

    def failure(self, kind: str) -> None:
        """Count a failed operation."""
        self.failed += 1
        self.trouble(kind)

    def trouble(self, kind: str) -> None:
        """Count a failure that belongs to no operation, such as a rejected association."""
        self.failures[kind] += 1
        self._slice().failures += 1

    @property
    def recent(self) -> tuple[float, Latency | None]:
        """The operations per second and the latency of about the last second."""
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
        """The current moment; moments since the previous count are made, empty."""
        self._last = time.perf_counter()
        at = max(0, int((self._last - self._began) / self._width))
        while at >= _MAX_MOMENTS:
            for each in range(0, len(self._slices) - 1, 2):
                self._slices[each].merge(self._slices[each + 1])
            del self._slices[1::2]
            self._width *= 2
            at //= 2
        while len(self._slices) <= at:
            self._slices.append(_Slice())
        return self._slices[at]

    def _timeline(self) -> Iterable[Moment]:
        """The moments of a summary: long enough for a rate, and few enough for a plot."""
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
