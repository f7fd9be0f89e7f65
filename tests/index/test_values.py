"""Names, dates and times in the form in which they are compared."""

from __future__ import annotations

import pytest

from gateway.index.values import NO_NUMBER, comparable_date, comparable_names, comparable_time, like, number


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("Doe^John", ["doe^john"]),
        (" Doe ^ John ^^^ ", ["doe^john"]),
        ("Müller^Jörg", ["müller^jörg"]),
        ("Mu\u0308ller", ["müller"]),
        ("STRAßE", ["strasse"]),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["yamada^tarou", "山田^太郎", "やまだ^たろう"]),
        ("=山田^太郎", ["山田^太郎"]),
        ("A\\B=C", ["a", "b", "c"]),
        ("A=A=A", ["a"]),
        ("", []),
        ("^^^", []),
    ],
)
def test_names(value: str, names: list[str]) -> None:
    assert comparable_names(value) == names


@pytest.mark.parametrize(
    ("value", "date"),
    [("20260102", "20260102"), ("2026.01.02", "20260102"), (" 20260102 ", "20260102"), ("2026", ""), ("2026ABCD", "")],
)
def test_dates(value: str, date: str) -> None:
    assert comparable_date(value) == date


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("101530", "101530.000000", "101530.999999"),
        ("10", "100000.000000", "105959.999999"),
        ("1015", "101500.000000", "101559.999999"),
        ("10:15:30", "101530.000000", "101530.999999"),
        ("101530.5", "101530.500000", "101530.599999"),
        ("101530.123456", "101530.123456", "101530.123456"),
        ("1", "", ""),
        ("1015.5", "", ""),
        ("noon", "", ""),
        ("", "", ""),
        ("101530.1234567", "", ""),
    ],
)
def test_times(value: str, first: str, last: str) -> None:
    assert (comparable_time(value), comparable_time(value, "9")) == (first, last)


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7), ("-3", -3), ("007", 7), ("", NO_NUMBER), ("x", NO_NUMBER), ("9" * 20, NO_NUMBER)]
)
def test_numbers(value: str, expected: int) -> None:
    assert number(value) == expected


def test_like_escapes() -> None:
    assert like("50%_!x") == "50!%!_!!x"
