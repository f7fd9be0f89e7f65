"""Listings of archives that limit their answers: everything is found, or it is said what may be missing."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.migration.windows import Listing, Window, WindowAnswer

FIRST, LAST = date(2000, 1, 1), date(2003, 12, 31)
Study = tuple[date, int | None]
"""Day and minute of a study; None for one without a time."""


class Notes:
    def __init__(self) -> None:
        self.listed: dict[str, int] = {}
        self.doubts: dict[str, int | None] = {}

    async def found(self, name: str) -> int | None:
        return self.listed.get(name)

    async def note(self, name: str, found: int, proved: int) -> None:
        self.listed[name] = found

    async def doubt(self, name: str, answered: int | None) -> None:
        self.doubts[name] = answered


class Archive:
    """Studies, of which an answer has `limit` at most: the rest is left out silently, or the answer fails."""

    def __init__(self, studies: list[Study], limit: int, *, fails: bool, heeds_times: bool = True) -> None:
        self.heeds_times = heeds_times
        self.studies = studies
        self.limit = limit
        self.fails = fails
        self.seen: set[int] = set()
        self.asked = 0

    async def ask(self, window: Window) -> WindowAnswer:
        self.asked += 1
        if not self.heeds_times:
            window = Window(window.first, window.last)
        matching = [number for number, (day, minute) in enumerate(self.studies) if _matches(window, day, minute)]
        self.seen.update(matching[: self.limit])
        found = frozenset(map(str, matching[: self.limit]))
        return WindowAnswer(None if self.fails and len(matching) > self.limit else len(found), found)


def _matches(window: Window, day: date, minute: int | None) -> bool:
    if not window.first <= day <= window.last:
        return False
    return not window.study_time or (minute is not None and window.begins <= minute < window.ends)


def run(archive: Archive, notes: Notes | None = None) -> tuple[Listing, Notes]:
    notes = notes or Notes()
    listing = Listing(archive.ask, notes)
    asyncio.run(listing.complete(Window(FIRST, LAST)))
    return listing, notes


DAYS = st.integers(0, (LAST - FIRST).days).map(lambda days: FIRST + timedelta(days))
STUDIES = st.lists(st.tuples(DAYS | st.sampled_from([FIRST, LAST]), st.integers(0, 1439) | st.none()), max_size=60)


@settings(deadline=None, max_examples=300)
@given(STUDIES, st.integers(3, 50), st.booleans())
@example([(FIRST, 0)] * 20, 3, False)
@example([(FIRST, None)] * 20, 3, True)
@example([(FIRST + timedelta(each), 5) for each in range(50)], 50, False)
def test_whatever_the_limit_is(studies: list[Study], limit: int, fails: bool) -> None:
    archive = Archive(studies, limit, fails=fails)
    listing, notes = run(archive)
    lacking = set(range(len(studies))) - archive.seen
    doubtful = [name for name, answered in notes.doubts.items() if answered is None or answered >= listing.proved]
    for number in lacking:
        day = f"{studies[number][0]:%Y%m%d}"
        assert any(name.startswith(day) for name in doubtful), (studies[number], notes.doubts, listing.proved)


@settings(deadline=None)
@given(STUDIES)
def test_without_a_limit_nothing_is_doubted(studies: list[Study]) -> None:
    """Unless a day, or a minute, has more studies than any other window that could be halved."""
    archive = Archive(studies, 1000, fails=False)
    listing, notes = run(archive)
    assert archive.seen == set(range(len(studies)))
    days = [day for day, _minute in studies]
    if len(set(days)) > 1:
        assert listing.proved == max(2, len(studies))
        assert [each for each in notes.doubts.values() if each is None or each >= listing.proved] == []


def test_few_questions_suffice_where_there_is_no_limit() -> None:
    studies: list[Study] = [(FIRST + timedelta(number % 1400), number % 1440) for number in range(5000)]
    archive = Archive(studies, 10**6, fails=False)
    run(archive)
    assert archive.asked < 100


@pytest.mark.parametrize("fails", [False, True])
def test_days_are_not_split_where_times_are_not_heeded(fails: bool) -> None:
    """Two questions about each busy day show it, and it is said that there may be more; other days are split."""
    studies: list[Study] = [(FIRST + timedelta(number // 40), number * 7 % 1440) for number in range(400)]
    archive = Archive(studies, 20, fails=fails, heeds_times=False)
    _, notes = run(archive)
    assert archive.asked < 200
    days = {f"{FIRST + timedelta(number):%Y%m%d}" for number in range(10)}
    assert notes.doubts == dict.fromkeys(days, None if fails else 20)
    heeding = Archive(studies, 20, fails=fails)
    run(heeding)
    assert heeding.seen == set(range(400))


def test_a_day_of_mornings_is_split() -> None:
    """Its first half is answered like the day, its second is empty."""
    studies: list[Study] = [(FIRST, number) for number in range(60)]
    archive = Archive(studies, 20, fails=False)
    run(archive)
    assert archive.seen == set(range(60))


def test_one_that_was_broken_off_goes_on() -> None:
    studies: list[Study] = [(FIRST + timedelta(number), 600) for number in range(1000)]
    whole = Archive(studies, 10, fails=True)
    run(whole)
    archive, notes = Archive(studies, 10, fails=True), Notes()
    real = archive.ask

    async def ask(window: Window) -> WindowAnswer:
        if archive.asked == whole.asked // 2:
            raise ConnectionError
        return await real(window)

    archive.ask = ask  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        run(archive, notes)
    archive.ask = real  # type: ignore[method-assign]
    run(archive, notes)
    assert archive.seen == set(range(1000))
    assert archive.asked < whole.asked * 1.2


@pytest.mark.parametrize(
    ("window", "day", "time"),
    [
        (Window(date(2026, 1, 1), date(2026, 12, 31)), "20260101-20261231", ""),
        (Window(date(2026, 1, 1), date(2026, 1, 1)), "20260101", ""),
        (Window(date(2026, 1, 1), date(2026, 1, 1), 0, 720), "20260101", "000000-115959.999999"),
        (Window(date(2026, 1, 1), date(2026, 1, 1), 1439, 1440), "20260101", "235900-235959.999999"),
        (Window(date(900, 1, 1), date(900, 1, 1)), "09000101", ""),
    ],
)
def test_keys(window: Window, day: str, time: str) -> None:
    assert (window.study_date, window.study_time) == (day, time)


def test_halves_are_the_whole() -> None:
    window: Window | None = Window(date(2024, 2, 28), date(2024, 3, 1))
    assert window is not None
    first, second = window.halves() or (window, window)
    assert (first.last, second.first) == (date(2024, 2, 29), date(2024, 3, 1))
    begins, ends = second.halves() or (window, window)
    assert (begins.begins, begins.ends, ends.begins, ends.ends) == (0, 720, 720, 1440)
    assert Window(FIRST, FIRST, 7, 8).halves() is None
