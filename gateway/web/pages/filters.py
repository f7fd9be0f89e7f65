"""Template filters: names, dates and times for display. `wording.py` has numbers and sizes, as languages write them."""

from __future__ import annotations

import datetime


def person(name: str) -> str:
    """Format the first group of a PN value (PS3.5 §6.2.1) that says anything, as `Family, Given Middle`."""
    return next(filter(None, map(_group, name.split("=")[:3])), "")


def other_forms(name: str) -> list[str]:
    """Format the ideographic and phonetic groups of a PN value that `person` does not show."""
    forms = [_group(group) for group in name.split("=")[:3]]
    return [form for form in forms[1:] if form and form != person(name)]


def _group(group: str) -> str:
    family, given, middle, prefix, suffix = ([*(part.strip() for part in group.split("^")), *[""] * 5])[:5]
    rest = " ".join(part for part in (prefix, given, middle) if part)
    whole = ", ".join(part for part in (family, rest) if part)
    return f"{whole}, {suffix}" if suffix and whole else whole or suffix


def date(value: str) -> str:
    """Format a DA value as 2026-11-22; an invalid date is unchanged."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def clock(value: str) -> str:
    """Format a TM value as 14:05."""
    return f"{value[:2]}:{value[2:4]}" if len(value) >= 4 and value[:4].isdigit() else value


def iso(seconds: float) -> str:
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(seconds: float) -> str:
    """Format a time for a page without scripts; with them, the browser shows local time."""
    return _utc(seconds).strftime("%Y-%m-%d %H:%M UTC")


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


FILTERS = {f.__name__: f for f in (person, other_forms, date, clock, iso, stamp)}
