"""Times of day as in the settings: `07:00-19:00`, `22:00-06:00` over midnight; by the clock of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from gateway.errors import ConfigurationError

_SPAN: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY: Final = 24 * 60


class Hours:
    """Spans of the day; no span means the whole day. Raises ConfigurationError, with `place`, for an invalid span."""

    def __init__(self, spans: Iterable[str], place: str) -> None:
        self._spans = [_minutes(span, place) for span in spans]

    def include(self, at: float) -> bool:
        """Whether a time, in seconds since 1970, is within a span."""
        if not self._spans:
            return True
        moment = datetime.fromtimestamp(at)
        minute = moment.hour * 60 + moment.minute
        return any(
            start <= minute < end if start < end else minute >= start or minute < end for start, end in self._spans
        )

    def next(self, at: float) -> float:
        """The first time, from `at` on, that is within a span."""
        if self.include(at):
            return at
        moment = datetime.fromtimestamp(at)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        starts = [midnight + timedelta(days=day, minutes=start) for day in (0, 1) for start, _end in self._spans]
        return min(start for start in starts if start > moment).timestamp()


def _minutes(span: str, place: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(span.strip())
    if found is None:
        raise ConfigurationError(f"{place}: {span!r} is not a span of hours; write it like 07:00-19:00")
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if start == end or end > _DAY:
        raise ConfigurationError(f"{place}: {span!r} is empty, or ends after 24:00")
    return start, end
