"""Windows of time in which studies are asked for, and the listing of all studies by windows that halve.

Archives limit their answers, some with a failure (A700), some silently; so no answer is believed by itself. A window
is believed when an answer with more studies has been found to be complete before: one whose halves had no more
together. What is in the halves, down to a minute of a day, is thus found whatever the limit is, and where there is
none, a few questions show that. A day is not split where both of its halves are answered like the day itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Protocol

_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """Days from `first` to `last`; for one day also the minutes from `begins` to before `ends`."""

    first: date
    last: date
    begins: int = 0
    ends: int = _DAY_MINUTES

    @property
    def days(self) -> tuple[str, str]:
        """The first and the last day as Study Date has them."""
        return f"{self.first:%Y%m%d}".zfill(8), f"{self.last:%Y%m%d}".zfill(8)

    @property
    def study_date(self) -> str:
        """The range of Study Date that it asks for (PS3.4 C.2.2.2.5)."""
        first, last = self.days
        return first if first == last else f"{first}-{last}"

    @property
    def study_time(self) -> str:
        """The range of Study Time; '' for whole days, so that studies without a time are found too."""
        if (self.begins, self.ends) == (0, _DAY_MINUTES):
            return ""
        last = self.ends - 1
        return f"{self.begins // 60:02}{self.begins % 60:02}00-{last // 60:02}{last % 60:02}59.999999"

    @property
    def is_day(self) -> bool:
        """Whether it is one whole day, whose halves are of hours."""
        return self.first == self.last and not self.study_time

    @property
    def name(self) -> str:
        return f"{self.study_date} {self.study_time}".strip()

    def halves(self) -> tuple[Window, Window] | None:
        """Two windows that are this one together; None for a minute."""
        days = (self.last - self.first).days
        if days > 0:
            middle = self.first + timedelta(days // 2)
            return Window(self.first, middle), Window(middle + timedelta(1), self.last)
        if self.ends - self.begins < 2:
            return None
        middle_minute = (self.begins + self.ends) // 2
        return (
            Window(self.first, self.last, self.begins, middle_minute),
            Window(self.first, self.last, middle_minute, self.ends),
        )


class Listed(Protocol):
    """Notes of windows that have been listed, so that a listing can go on."""

    async def found(self, name: str) -> int | None:
        """How many studies a window had; None while it is not listed."""

    async def note(self, name: str, found: int, proved: int) -> None:
        """Note a window that has been listed, and with how many studies an answer was complete so far."""

    async def doubt(self, name: str, answered: int | None) -> None:
        """Note a window of which there may be more than what was answered; None where the answer failed."""


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """An answer about a window."""

    count: int | None
    """Number of studies; None for a failure."""
    studies: frozenset[str]
    """UIDs of those that came, after which a failure may have come."""


Ask = Callable[[Window], Awaitable[WindowAnswer]]
"""Asks for the studies of a window, and notes them."""


class Listing:
    """One listing of all studies of an archive."""

    def __init__(self, ask: Ask, listed: Listed, proved: int = 2) -> None:
        self._ask = ask
        self._listed = listed
        self.proved = proved
        """Answers with fewer studies than this are complete."""

    async def complete(self, window: Window, known: WindowAnswer | None = None) -> int:
        """List a window, of which the answer may be `known`; returns the number of studies in it. Raises as `ask`
        does."""
        found = await self._listed.found(window.name)
        if found is None:
            found = await self._asked(window, known or await self._ask(window))
            await self._listed.note(window.name, found, self.proved)
        return found

    async def _asked(self, window: Window, answer: WindowAnswer) -> int:
        answered = answer.count
        if answered is not None and answered < self.proved:
            return answered
        halves = window.halves()
        if halves is None:
            await self._listed.doubt(window.name, answered)
            return answered or 0
        known: tuple[WindowAnswer | None, ...] = (None, None)
        if window.is_day and answer.studies and not any([await self._listed.found(half.name) for half in halves]):
            known = first, second = await self._ask(halves[0]), await self._ask(halves[1])
            if first.studies == second.studies == answer.studies:
                # The archive heeds dates and no times: each of the day's minutes would bring the same.
                await self._listed.doubt(window.name, answered)
                return answered or 0
        below = await self.complete(halves[0], known[0]) + await self.complete(halves[1], known[1])
        if window.is_day:
            # Studies without a time are in their day's answer only, not in its hours: they may be what it leaves out.
            await self._listed.doubt(window.name, answered)
        if answered == below:  # No more than the limit in any case, below which answers are complete.
            self.proved = max(self.proved, answered)
        return max(below, answered or 0)
