"""Dates and times shifted by whole days (PS3.15 E.3.6), so that the intervals of a patient are preserved.

Times of day and offsets from UTC stay: a date shifts by the same days wherever and however it is written.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

_DATE: Final = re.compile(r"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)")
"""YYYYMMDD, or the form before DICOM 3.0 (PS3.5 Table 6.2-1)."""
_DATE_TIME: Final = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)((?:\d\d){0,3}(?:\.\d{1,6})?))?)?([+-]\d{4})?")

_TIME: Final = re.compile(r"\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?|\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_OFFSET: Final = re.compile(r"[+-]\d{4}")


def moved(text: str, vr: str, days: int) -> str | None:
    """Shift the dates in the values of a DA, DT or TM, or an offset from UTC (SH), by `days` back; None for any invalid
    one.

    A date without day or month is shifted from its middle.
    """
    shift = {"DA": _date, "DT": _date_time, "TM": _time, "SH": _offset}[vr]
    values = [shift(value.strip(" \0"), days) for value in text.split("\\")]
    return None if None in values else "\\".join(map(str, values))


def _date(text: str, days: int) -> str | None:
    if not text:
        return ""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    old = found[1] is None
    year, month, day = found.groups()[3:] if old else found.groups()[:3]
    earlier = _earlier(int(year), int(month), int(day), days)
    if earlier is None:
        return None
    return f"{earlier.year:04}.{earlier.month:02}.{earlier.day:02}" if old else _digits(earlier)


def _date_time(text: str, days: int) -> str | None:
    if not text:
        return ""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, time, offset = found.groups()
    earlier = _earlier(int(year), int(month or 7), int(day or 15), days)
    if earlier is None:
        return None
    length = 8 if day else 6 if month else 4
    return _digits(earlier)[:length] + (time or "") + (offset or "")


def _time(text: str, _days: int) -> str | None:
    return text if not text or _TIME.fullmatch(text) else None


def _offset(text: str, _days: int) -> str | None:
    return text if not text or _OFFSET.fullmatch(text) else None


def _digits(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


def _earlier(year: int, month: int, day: int, days: int) -> date | None:
    try:
        return date(year, month, day) - timedelta(days)
    except (ValueError, OverflowError):
        return None
