"""What happened in a run, counted while it runs and summed up at its end. How it is shown is `report.py`'s."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Sequence

import msgspec


class Latency(msgspec.Struct, frozen=True):
    """Seconds from the first byte of a request to its response."""

    p50: float
    p90: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    planned: int
    acknowledged: int
    """Instances answered with success or a warning."""
    failed: int
    not_sent: int
    """Planned, and not tried since their association had ended."""
    bytes: int
    """Of the data sets acknowledged."""
    seconds: float
    """From the first connection to the last answer."""
    instances_per_second: float
    megabytes_per_second: float
    """A megabyte is a million bytes."""
    latency: Latency | None
    """Of those acknowledged; None where nothing was."""
    failures: dict[str, int]
    """By status or kind, in words."""
    warnings: dict[str, int]

    @property
    def complete(self) -> bool:
        return self.acknowledged == self.planned and not self.failures


class Stats:
    """Counts one run. Its clock starts when it is made."""

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.acknowledged = 0
        self.failed = 0
        self.bytes = 0
        self.failures: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._latencies = array("d")
        self._began = self._last = time.perf_counter()

    def success(self, seconds: float, size: int) -> None:
        """An instance of `size` bytes has been acknowledged."""
        self.acknowledged += 1
        self.bytes += size
        self._latencies.append(seconds)
        self._last = time.perf_counter()

    def warning(self, kind: str) -> None:
        """The last success came with a warning."""
        self.warnings[kind] += 1

    def failure(self, kind: str) -> None:
        """An instance has not been acknowledged."""
        self.failed += 1
        self.trouble(kind)

    def trouble(self, kind: str) -> None:
        """Something went wrong that belongs to no instance, such as an association that was rejected."""
        self.failures[kind] += 1
        self._last = time.perf_counter()

    def summary(self) -> Summary:
        seconds = max(self._last - self._began, 1e-9)
        return Summary(
            planned=self.planned,
            acknowledged=self.acknowledged,
            failed=self.failed,
            not_sent=self.planned - self.acknowledged - self.failed,
            bytes=self.bytes,
            seconds=seconds,
            instances_per_second=self.acknowledged / seconds,
            megabytes_per_second=self.bytes / seconds / 1e6,
            latency=latency(self._latencies),
            failures=dict(self.failures.most_common()),
            warnings=dict(self.warnings.most_common()),
        )


def latency(seconds: Sequence[float]) -> Latency | None:
    """Quantiles of what was measured, None where nothing was."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Latency(*(quantile(ordered, q) for q in (0.5, 0.9, 0.99, 1.0)))


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that a share `q` of the sorted, not empty values does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
