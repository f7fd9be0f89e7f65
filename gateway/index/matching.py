"""Attribute matching of PS3.4 §C.2.2.2, turned into conditions of a WHERE clause.

Single value, list of UID, universal, wild card and range matching. Every function gives a condition, or None where
the value matches everything. Values reach SQL only as parameters. Which attribute is which column is in `search.py`.

Where the standard leaves room: person names match without regard to case, any component group may match, and
trailing carets count for nothing; everything else is case-sensitive. A backslash separates alternatives for text
too, as Orthanc has it; in code strings and UIDs a comma does as well. A `*` alone is universal for every VR.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.errors import BadRequest
from gateway.index.queries import NAMED, NOT_NAMED, OF_SOP_CLASS
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
"""The key that matches what is absent or has no value, where empty value matching is on (§C.2.2.2.7)."""
_WILD = re.compile(r"[*?]")


class Parameters:
    """The parameters of a statement as it is put together: each gets the next number."""

    def __init__(self) -> None:
        self.values: list[str | int | float] = []

    def add(self, value: str | float) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


Matcher = Callable[[str, str, Parameters], str | None]
"""(column, value, parameters) to a condition, or None for universal matching."""


def text(column: str, value: str, parameters: Parameters) -> str | None:
    """Single value and wild card matching (§C.2.2.2.1, §C.2.2.2.4) of LO, SH and the like."""
    return _any(_split(value, "\\"), parameters, lambda one: _one_text(column, one, parameters))


def code(column: str, value: str, parameters: Parameters) -> str | None:
    """The same for CS, where a comma separates values too."""
    return _any(_split(value, "\\,"), parameters, lambda one: _one_text(column, one, parameters))


def uid(column: str, value: str, parameters: Parameters) -> str | None:
    """List of UID matching (§C.2.2.2.2)."""
    values = list(dict.fromkeys(one for one in _split(value, "\\,", MAX_UIDS) if one))
    if not values or values == ["*"]:
        return None
    if len(values) == 1:
        return f"{column} = {parameters.add(values[0])}"
    return f"{column} IN ({', '.join([parameters.add(one) for one in values])})"


def date(column: str, value: str, parameters: Parameters) -> str | None:
    """DA: single value, or a range with either end open, ends included (§C.2.2.2.5.1)."""
    return _range(column, value, parameters, "a date", comparable_date, comparable_date)


def time(column: str, value: str, parameters: Parameters) -> str | None:
    """TM: the same. A time without seconds means all of that minute, as an end of a range too (§C.2.2.2.5.2)."""
    return _range(column, value, parameters, "a time", comparable_time, lambda end: comparable_time(end, "9"))


def integer(column: str, value: str, parameters: Parameters) -> str | None:
    """IS: numbers are compared, so that 007 matches 7. Wild cards do not exist for IS."""

    def one(item: str) -> str | None:
        if item in ("", "*"):
            return None
        if not re.fullmatch(r"[+-]?\d{1,12}", item, re.ASCII):
            raise BadRequest(f"{item!r} is not an integer")
        return f"{column} = {parameters.add(int(item))}"

    return _any(_split(value, "\\,"), parameters, one)


def listed(column: str, value: str, parameters: Parameters) -> str | None:
    """Text of which the column holds several values, a backslash before, between and after them."""

    def one(item: str) -> str | None:
        pattern = _pattern(item)
        if pattern is None:
            return None
        return f"{column} LIKE {parameters.add(ENCLOSED.format(pattern))} ESCAPE '!'"

    return _any(_split(value, "\\,"), parameters, one)


def name(tag: int) -> Matcher:
    """Person names of a study: any component group may match."""

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
    """Person names of a study by what they sound like: every word of the key, in any order and component.

    What matches literally matches too, which matters for `?` and for names indexed before sounds were.
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


def sop_class(_column: str, value: str, parameters: Parameters) -> str | None:
    """SOP Classes in Study: one instance at least is of one of these."""
    condition = uid("ci.sop_class_uid", value, parameters)
    return None if condition is None else OF_SOP_CLASS.format(condition=condition)


def empty(tag: int, column: str, match: Matcher) -> str:
    """Empty value matching (§C.2.2.2.7). UIDs and counts are never empty; a date that is none counts as absent."""
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

    Conditions that all hold; None where either alone says it all: a value of universal matching, a range without days.
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
        # `DOE^*` is also the DOE who has no given name: his trailing caret is not written.
        condition = f"{condition} OR {_one_text('n.name', bare, parameters)}"
    return condition


def _split(value: str, separators: str, most: int = MAX_ALTERNATIVES) -> list[str]:
    parts = re.split(f"[{re.escape(separators)}]", value)
    if len(parts) > most:
        raise BadRequest(f"{len(parts)} values in one list; at most {most} are taken")
    return [part.strip() for part in parts]


def _any(values: list[str], parameters: Parameters, condition: Callable[[str], str | None]) -> str | None:
    """One of the values matches. An empty one says nothing beside others; alone, it matches everything."""
    conditions = []
    before = len(parameters.values)
    for value in [value for value in values if value]:
        found = condition(value)
        if found is None:
            del parameters.values[before:]  # the statement must not leave any unused
            return None
        conditions.append(found)
    if len(conditions) <= 1:
        return conditions[0] if conditions else None
    return "(" + " OR ".join([f"({one})" for one in conditions]) + ")"


def _pattern(value: str) -> str | None:
    """A LIKE pattern for `*` and `?`; None where it matches everything."""
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
    """Both ends of a range of dates or times in comparable form, '' for an open one; alike for a single value."""
    value = value.strip()
    low_text, dash, high_text = value.partition("-")
    if not dash:
        high_text = low_text
    low_text, high_text = low_text.strip(), high_text.strip()
    low, high = first(low_text), last(high_text)
    if (low_text and not low) or (high_text and not high) or not (low or high):
        raise BadRequest(f"{value!r} is neither {what} nor a range of them")
    return low, high
