"""Attribute matching of PS3.4 §C.2.2.2 on attributes in memory: those without a column, sequences above all.

The rules are those of `matching.py`, which turns them into conditions for the database; worklist items and attributes
read from files are compared here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.dicom.encode import BINARY, NUMBERS, Attribute, DataSet
from gateway.errors import BadRequest
from gateway.index.matching import EMPTY, ends, lower
from gateway.index.values import MAX_TEXT, comparable_date, comparable_name, comparable_time, sounding

WILD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""VRs in which `*` and `?` are wild cards (§C.2.2.2.4)."""
_NUMBERS: Final = frozenset(NUMBERS) | {"IS", "DS"}
_DATE_TIME: Final = re.compile(r"(\d{4,14}(?:\.\d{1,6})?)(?:[+-]\d{4})?", re.ASCII)
_DATE_TIME_RANGE: Final = re.compile(rf"(?:{_DATE_TIME.pattern})?-(?:{_DATE_TIME.pattern})?", re.ASCII)


class MatchingRules(NamedTuple):
    """Rules of matching negotiated beyond literal matching."""

    fuzzy: bool = False
    """Whether person names match by sound (§C.2.2.2.1)."""
    empty: bool = False
    """Whether a key of two quotation marks matches absent and empty values."""
    any_case: bool = False
    """Whether capitals and small letters are the same."""


LITERAL: Final = MatchingRules()


def is_universal(key: Attribute) -> bool:
    """Whether a key matches everything (§C.2.2.2.3): no value, `*` alone, a sequence with an item of universal keys."""
    if key.vr == "SQ":
        return all(is_universal(each) for item in key.values for each in item.values())
    return all(value in ("", b"") or (isinstance(value, str) and not value.strip("*")) for value in key.values)


def matches(key: Attribute, stored: Attribute | None, rules: MatchingRules = LITERAL) -> bool:
    """Whether a stored attribute matches a key; an absent or empty one matches universal keys alone.

    One of several stored values must match. Raises: BadRequest for a key that is invalid for its VR.
    """
    if is_universal(key):
        return True
    if rules.empty and key.vr not in ("SQ", *BINARY) and key.text.strip() == EMPTY:
        return stored is None or not any(value not in ("", None) for value in stored.values)
    if stored is None or not stored.values:
        return False
    vr = stored.vr
    if "SQ" in (vr, key.vr):
        return vr == key.vr and bool(matching_items(key, stored, rules))
    if vr in BINARY or key.vr in BINARY:
        return list(key.values) == list(stored.values)
    test = _test(vr, key.text, rules.fuzzy, rules.any_case)
    return any(test(str(value)) for value in stored.values)


def all_match(keys: DataSet, stored: DataSet, rules: MatchingRules = LITERAL) -> bool:
    """Whether every key matches."""
    return all(matches(key, stored.get(tag), rules) for tag, key in keys.items())


def matching_items(key: Attribute, stored: Attribute, rules: MatchingRules = LITERAL) -> list[DataSet]:
    """The stored items that match the key's one item (§C.2.2.2.6); all of them if it has none."""
    if not key.values:
        return list(stored.values)
    wanted: DataSet = key.values[0]
    return [item for item in stored.values if all_match(wanted, item, rules)]


def requested(key: Attribute, stored: Attribute | None) -> Attribute:
    """The attribute of a response for a key: stored values; of a sequence, matching items with the requested keys."""
    if stored is None:
        return Attribute(key.vr, [])
    if stored.vr != "SQ" or key.vr != "SQ" or not key.values or not key.values[0]:
        return stored
    wanted: DataSet = key.values[0]
    items = matching_items(key, stored)
    return Attribute("SQ", [{tag: requested(each, item.get(tag)) for tag, each in wanted.items()} for item in items])


@lru_cache(256)
def _test(vr: str, text: str, fuzzy: bool, any_case: bool) -> Callable[[str], bool]:
    """The test of one stored value, for a key that is not universal."""
    if vr == "DA":
        return _in_range(*ends(text, "a date", comparable_date, comparable_date), comparable_date)
    if vr == "TM":
        last = _last_moment
        return _in_range(*ends(text, "a time", comparable_time, last), comparable_time)
    if vr == "DT":
        return _in_range(*_date_time_ends(text), _first_date_time)
    if vr in _NUMBERS:
        numbers = [_number(part) for part in text.split("\\")]
        return lambda value: _number_or_none(value) in numbers
    if vr == "PN":
        return _fuzzy_name(text) if fuzzy else _name(text)
    if any_case and vr in WILD_VRS:
        return _any_case(text)
    alternatives = [part.strip() for part in text.split("\\")]
    if vr not in WILD_VRS:
        return lambda value: value.strip() in alternatives
    patterns = [wild_pattern(part) for part in alternatives if part]
    return lambda value: any(pattern.fullmatch(value.strip()) for pattern in patterns)


def _any_case(text: str) -> Callable[[str], bool]:
    patterns = [wild_pattern(lower(part.strip())) for part in text.split("\\") if part.strip()]
    return lambda value: any(pattern.fullmatch(lower(value.strip())) for pattern in patterns)


def wild_pattern(text: str) -> re.Pattern[str]:
    """Compile a text with `*` and `?`, for `fullmatch`.

    Each run but the last takes the shortest match and never backtracks (as in `fnmatch`): the result is equal, and time
    does not grow exponentially with the number of asterisks, which a peer chooses.
    """
    if len(text) > MAX_TEXT:
        raise BadRequest(f"a value of {len(text)} characters; at most {MAX_TEXT} can be searched for")
    first, *others = [re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", text)]
    if not others:
        return re.compile(first, re.DOTALL)
    middle = "".join([f"(?>.*?{part})" for part in others[:-1]])
    return re.compile(f"{first}{middle}.*{others[-1]}", re.DOTALL)


def _name(text: str) -> Callable[[str], bool]:
    """Test whether every component group of the key matches one of the stored name, without regard to case."""
    alternatives = [_groups(item) for item in text.split("\\")]
    keys = [[_name_pattern(group) for group in groups if group.strip("*^")] for groups in alternatives]

    def test(value: str) -> bool:
        stored = _groups(value)
        return any(all(any(map(pattern.fullmatch, stored)) for pattern in patterns) for patterns in keys)

    return test


def _groups(text: str) -> Sequence[str]:
    return [comparable_name(group) for group in text.split("=")]


def _name_pattern(group: str) -> re.Pattern[str]:
    pattern = wild_pattern(group)
    bare = group.rstrip("*").rstrip("^")
    if group.endswith("*") and bare != group.rstrip("*"):
        return re.compile(f"{pattern.pattern}|{wild_pattern(bare).pattern}", re.DOTALL)  # as in `matching.py`
    return pattern


def _fuzzy_name(text: str) -> Callable[[str], bool]:
    literal = _name(text)
    words = [wild_pattern(f"* {word} *") for word in sounding(text).split() if word.strip("*")]

    def test(value: str) -> bool:
        heard = sounding(value)
        return literal(value) or (bool(words) and all(pattern.fullmatch(heard) for pattern in words))

    return test


def _in_range(low: str, high: str, comparable: Callable[[str], str]) -> Callable[[str], bool]:
    def test(value: str) -> bool:
        comparable_value = comparable(value)
        return bool(comparable_value) and comparable_value >= low and (not high or comparable_value <= high)

    return test


def _last_moment(text: str) -> str:
    return comparable_time(text, "9")


def _date_time_ends(text: str) -> tuple[str, str]:
    """Both ends of a DT key. Offsets from UTC are ignored, as dates and times have none either."""
    text = text.strip()
    if _DATE_TIME.fullmatch(text):
        return _first_date_time(text), _last_date_time(text)
    found = _DATE_TIME_RANGE.fullmatch(text)
    if found is None or not any(found.groups()):
        raise BadRequest(f"{text!r} is neither a date time nor a range of them")
    low, high = found.groups()
    return _first_date_time(low or ""), _last_date_time(high or "")


def _first_date_time(text: str) -> str:
    return _fill(text, "00000101000000")


def _last_date_time(text: str) -> str:
    return _fill(text, "99991231235959", "9")


def _fill(text: str, template: str, fraction: str = "0") -> str:
    found = _DATE_TIME.match(text.strip())
    if found is None:
        return ""
    whole, _dot, rest = found[1].partition(".")
    return f"{whole}{template[len(whole) :]}.{rest.ljust(6, fraction)}"


def _number(text: str) -> float:
    found = _number_or_none(text)
    if found is None:
        raise BadRequest(f"{text!r} is not a number")
    return found


def _number_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
