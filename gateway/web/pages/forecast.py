"""How long the disk will do: from what was received in the last weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.index.traffic import Traffic

_DAY_S: Final = 86400.0
_WEEKS_S: Final = 28 * _DAY_S
_LEAST_S: Final = 2 * _DAY_S
"""Seconds of history without which nothing is foretold."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The use of the disk, and what is to be expected."""

    used: int
    """Bytes of all files."""
    free: int
    """Bytes that are free in the file system."""
    floor: int
    """Bytes that must stay free."""
    over_days: int
    """Days of history that the forecast is from; 0: too few."""
    daily: int
    """Bytes that were received on each of them, on average."""
    days_left: int
    """Days until nothing more is accepted, at this pace; -1 if nothing is foretold."""

    @property
    def share(self) -> float:
        """The part of the disk that is used up, 0 to 1, as far as it can be told."""
        whole = self.used + self.free
        return self.used / whole if whole else 1.0


def forecast(hourly: Sequence[Traffic], *, now: float, used: int, free: int, floor: int) -> Forecast:
    """Foretell from what came in the last four weeks; `hourly` are amounts by study."""
    recent = [each for each in hourly if each.at >= now - _WEEKS_S]
    span = now - min((each.at for each in recent), default=now)
    if span < _LEAST_S:
        return Forecast(used, free, floor, 0, 0, -1)
    days = max(1, round(span / _DAY_S))
    daily = int(sum(each.bytes for each in recent) / days)
    left = int(max(0, free - floor) / daily) if daily else -1
    return Forecast(used, free, floor, days, daily, left)
