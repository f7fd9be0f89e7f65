"""A histogram of durations in little memory: buckets grow by one percent, which is the error of every quantile.

All histograms have the same buckets, and can therefore be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

_STEP: Final = math.log(1.01)
_SMALLEST: Final = 1e-6
"""Seconds; shorter durations count as this."""


class Histogram:
    """Durations in seconds."""

    __slots__ = ("_buckets", "count", "max", "min")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.min = math.inf
        self.max = 0.0

    def add(self, seconds: float) -> None:
        bucket = math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        if seconds > self.max:
            self.max = seconds
        if seconds < self.min:
            self.min = seconds

    def merge(self, other: Histogram) -> None:
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def quantiles(self, *shares: float) -> Iterator[float]:
        """Yield the quantile of each share, in ascending order: the smallest duration that it does not exceed, up to
        one percent more.

        Raises ValueError for an empty histogram.
        """
        if not self.count:
            raise ValueError("no quantile of nothing")
        buckets = iter(sorted(self._buckets.items()))
        seen, upper = 0, 0.0
        for share in shares:
            wanted = max(1, math.ceil(share * self.count))
            while seen < wanted:
                bucket, count = next(buckets)
                seen += count
                upper = _SMALLEST * math.exp(bucket * _STEP)
            yield min(max(upper, self.min), self.max)
