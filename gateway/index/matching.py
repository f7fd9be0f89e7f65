"""Attribute matching of PS3.4 §C.2.2.2 as conditions of a WHERE clause.

Single value, list of UID, universal, wild card and range matching. Every function returns a condition, or None if
the value matches everything. Values reach SQL only as parameters. The column of each attribute is in `places.py`.

Where the standard leaves room: person names match without regard to case, any component group may match, and
trailing carets are ignored; everything else is case-sensitive. A backslash separates alternatives for text
too, as in Orthanc; in code strings and UIDs a comma does as well. A `*` alone is universal for every VR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase

from gateway.errors import BadRequest
from gateway.index.queries.search import NAMED, NOT_NAMED, OF_SOP_CLASS
from gateway.index.values import (
    MAX_TEXT,
    NO_NUMBER,
    comparable_date,
    comparable_name,
    comparable_time,
    like,
    sounding,
)

MAX_UIDS = 2000
"""UIDs in one list."""
MAX_ALTERNATIVES = 100
"""Values in any other list."""
_LAST = "\U0010ffff"
ENCLOSED = "%\\{}\\%"
EMPTY = '""'
"""The key that matches absent and empty values, where empty value matching is on (§C.2.2.2.7)."""
_WILD = re.compile(r"[*?]")


class Parameters:
    """The parameters of a statement under construction: each gets the next number."""

    def __init__(self) -> None:
        self.values: list[str | int | float] = []

    def add(self, value: str | float) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


Matcher = Callable[[str, str, Parameters], str | None]
"""(column, value, parameters) to a condition, or None for universal matching."""


def text(column: str, value: str, parameters: Parameters) -> str | None:
    """Single value and wild card matching (§C.2.2.2.1, §C.2.2.2.4) of LO, SH and the like."""
    return _any(_split(value, "\\"), parameters, lambda item: _one_text(column, item, parameters))


def code(column: str, value: str, parameters: Parameters) -> str | None:
    """Single value and wild card matching of CS, where a comma separates values too."""
    return _any(_split(value, "\\,"), parameters, lambda item: _one_text(column, item, parameters))


def uid(column: str, value: str, parameters: Parameters) -> str | None:
    """List of UID matching (§C.2.2.2.2)."""
    values = list(dict.fromkeys(item for item in _split(value, "\\,", MAX_UIDS) if item))
    if not values or values == ["*"]:
        return None
    if len(values) == 1:
        return f"{column} = {parameters.add(values[0])}"
    return f"{column} IN ({', '.join([parameters.add(item) for item in values])})"


def date(column: str, value: str, parameters: Parameters) -> str | None:
    """Matching of DA: single value, or a range with either end open, ends included (§C.2.2.2.5.1)."""
    return _range(column, value, parameters, "a date", comparable_date, comparable_date)


def time(column: str, value: str, parameters: Parameters) -> str | None:
    """Matching of TM as of DA. A time without seconds means all of that minute, also as an end (§C.2.2.2.5.2)."""
    return _range(column, value, parameters, "a time", comparable_time, lambda end: comparable_time(end, "9"))


def integer(column: str, value: str, parameters: Parameters) -> str | None:
    """Matching of IS: numbers are compared, so that 007 matches 7. There are no wild cards for IS."""

    def one(item: str) -> str | None:
        if item in ("", "*"):
            return None
        if not re.fullmatch(r"[+-]?\d{1,12}", item, re.ASCII):
            raise BadRequest(f"{item!r} is not an integer")
        return f"{column} = {parameters.add(int(item))}"

    return _any(_split(value, "\\,"), parameters, one)


def listed(column: str, value: str, parameters: Parameters) -> str | None:
    """Matching of text in a column with several values, which have a backslash before, between and after them."""

    def one(item: str) -> str | None:
        pattern = _pattern(item)
        if pattern is None:
            return None
        return f"{column} LIKE {parameters.add(ENCLOSED.format(pattern))} ESCAPE '!'"

    return _any(_split(value, "\\,"), parameters, one)


def name(tag: int) -> Matcher:
    """Matching of person names of a study: any component group may match."""

    def match(_column: str, value: str, parameters: Parameters) -> str | None:
        def one(item: str) -> str | None:
            groups = [group for group in map(comparable_name, item.split("=")) if group.strip("*^")]
            if not groups:
                return None
            conditions = [_one_name(group, parameters) for group in groups]
            return " AND ".join([NAMED.format(tag=tag, condition=condition) for condition in conditions])

        return _any(_split(value, "\\"), parameters, one)

    return match


def fuzzy_name(tag: int) -> Matcher:
    """Matching of person names of a study by sound: every word of the key, in any order and component.

    Literal matches count too, which matters for `?` and for names indexed before sounds were.
    """
    literal = name(tag)

    def match(_column: str, value: str, parameters: Parameters) -> str | None:
        def one(item: str) -> str | None:
            words = [word for word in sounding(item).split() if word.strip("*")]
            if not words:
                return None
            patterns = [_pattern(f"* {word} *") for word in words]
            condition = " AND ".join([f"n.name LIKE {parameters.add(str(each))} ESCAPE '!'" for each in patterns])
            either = [NAMED.format(tag=-tag, condition=condition)]
            exact = literal("", item, parameters)
            return f"({' OR '.join(either + ([exact] if exact else []))})"

        return _any(_split(value, "\\"), parameters, one)

    return match


def any_case(match: Matcher) -> Matcher:
    """Matching without regard to the case of ASCII letters, which databases agree on. Names and UIDs have no case."""
    if match not in (text, code, listed):
        return match

    def lowered(column: str, value: str, parameters: Parameters) -> str | None:
        return match(f"LOWER({column})", lower(value), parameters)

    return lowered


def lower(value: str) -> str:
    """With the capitals of ASCII made small, as SQLite's LOWER does."""
    return value.translate(_LOWER)


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def sop_class(_column: str, value: str, parameters: Parameters) -> str | None:
    """Matching of SOP Classes in Study: at least one instance is of one of these."""
    condition = uid("ci.sop_class_uid", value, parameters)
    return None if condition is None else OF_SOP_CLASS.format(condition=condition)


def empty(tag: int, column: str, match: Matcher) -> str:
    """Empty value matching (§C.2.2.2.7). UIDs and counts are never empty; an invalid date counts as absent."""
    if match in (uid, sop_class):
        return "false"
    if match is integer:
        return f"{column} = {NO_NUMBER}"
    if match is listed:
        return f"REPLACE({column}, '\\', '') = ''"
    return f"{column} = ''" if column else NOT_NAMED.format(tag=tag)


def moment(
    date_column: str, time_column: str, date_value: str, time_value: str, parameters: Parameters
) -> list[str] | None:
    """Combined date time matching (§C.2.2.2.5.4): one range, from a time of the first day to one of the last.

    Returns conditions that must all hold; None if separate matching suffices: universal matching, no days.
    """
    if date_value.strip() in ("", "*") or time_value.strip() in ("", "*"):
        return None
    first_day, last_day = ends(date_value, "a date", comparable_date, comparable_date)
    first_time, last_time = ends(time_value, "a time", comparable_time, lambda end: comparable_time(end, "9"))
    conditions = []
    if first_day:
        day = parameters.add(first_day)
        conditions.append(f"{date_column} >= {day}")
        if first_time:
            conditions.append(f"({date_column} > {day} OR {time_column} >= {parameters.add(first_time)})")
    else:
        conditions.append(f"{date_column} > ''")
    if last_day:
        day = parameters.add(last_day)
        conditions.append(f"{date_column} <= {day}")
        if last_time:
            late = f"{time_column} > '' AND {time_column} <= {parameters.add(last_time)}"
            conditions.append(f"({date_column} < {day} OR ({late}))")
    return conditions


def _one_name(group: str, parameters: Parameters) -> str:
    condition = _one_text("n.name", group, parameters) or "true"
    bare = group.rstrip("*").rstrip("^")
    if group.endswith("*") and bare != group.rstrip("*"):
        # `DOE^*` also matches a DOE without given name: the trailing caret of that name is not stored.
        condition = f"{condition} OR {_one_text('n.name', bare, parameters)}"
    return condition


def _split(value: str, separators: str, most: int = MAX_ALTERNATIVES) -> list[str]:
    parts = re.split(f"[{re.escape(separators)}]", value)
    if len(parts) > most:
        raise BadRequest(f"{len(parts)} values in one list; at most {most} are allowed")
    return [part.strip() for part in parts]


def _any(values: list[str], parameters: Parameters, condition: Callable[[str], str | None]) -> str | None:
    """The condition that one of the values matches. An empty value is ignored beside others; alone, it is universal."""
    conditions = []
    before = len(parameters.values)
    for value in [value for value in values if value]:
        matched = condition(value)
        if matched is None:
            del parameters.values[before:]  # The statement must not have unused parameters.
            return None
        conditions.append(matched)
    if len(conditions) <= 1:
        return conditions[0] if conditions else None
    return "(" + " OR ".join([f"({each})" for each in conditions]) + ")"


def _pattern(value: str) -> str | None:
    """A LIKE pattern for `*` and `?`; None if it matches everything."""
    if len(value) > MAX_TEXT:
        raise BadRequest(f"a value of {len(value)} characters; at most {MAX_TEXT} can be searched for")
    if not value.strip("*"):
        return None
    return like(re.sub(r"\*+", "*", value)).replace("*", "%").replace("?", "_")


def _one_text(column: str, value: str, parameters: Parameters) -> str | None:
    pattern = _pattern(value)
    if pattern is None:
        return None
    wild = _WILD.search(value)
    if wild is None:
        return f"{column} = {parameters.add(value)}"
    conditions = []
    prefix = value[: wild.start()]
    if prefix:
        # The index can serve a range, whatever collation and optimiser think of LIKE.
        conditions += [f"{column} >= {parameters.add(prefix)}", f"{column} < {parameters.add(prefix + _LAST)}"]
    if value.rstrip("*") != prefix:
        conditions.append(f"{column} LIKE {parameters.add(pattern)} ESCAPE '!'")
    return " AND ".join(conditions)


def _range(
    column: str,
    value: str,
    parameters: Parameters,
    what: str,
    first: Callable[[str], str],
    last: Callable[[str], str],
) -> str | None:
    if value.strip() in ("", "*"):
        return None
    low, high = ends(value, what, first, last)
    if low == high:
        return f"{column} = {parameters.add(low)}"
    # Without a lower end, '' would match too: an absent value is in no range.
    conditions = [f"{column} >= {parameters.add(low)}" if low else f"{column} > ''"]
    if high:
        conditions.append(f"{column} <= {parameters.add(high)}")
    return " AND ".join(conditions)


def ends(value: str, what: str, first: Callable[[str], str], last: Callable[[str], str]) -> tuple[str, str]:
    """Both ends of a range of dates or times in comparable form, '' for an open one; equal for a single value."""
    value = value.strip()
    low_text, dash, high_text = value.partition("-")
    if not dash:
        high_text = low_text
    low_text, high_text = low_text.strip(), high_text.strip()
    low, high = first(low_text), last(high_text)
    if (low_text and not low) or (high_text and not high) or not (low or high):
        raise BadRequest(f"{value!r} is neither {what} nor a range of them")
    return low, high
