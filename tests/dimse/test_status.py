"""PS3.7 Annex C: categories, held against pynetdicom's tables."""

from __future__ import annotations

import pytest
from pynetdicom.status import code_to_category

from gateway.dimse import status
from gateway.dimse.status import Category


def test_categories_are_those_of_pynetdicom() -> None:
    known = 0
    for code in range(0x10000):
        theirs = code_to_category(code)
        if theirs != "Unknown":
            assert status.category(code).value == theirs.lower(), f"{code:04X}"
            known += 1
    assert known > 100


def test_every_constant_has_a_name_in_words() -> None:
    for name, code in vars(status).items():
        if name.isupper() and isinstance(code, int):
            assert status.describe(code).startswith(f"{code:04X}H ")
            assert len(status.describe(code)) > 8


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0xA755, "A755H out of resources"),
        (0xA900, "A900H data set does not match SOP class"),
        (0xA999, "A999H data set does not match SOP class"),
        (0xC123, "C123H cannot understand"),
        (0xB123, "B123H warning"),
        (0x1234, "1234H failure"),
    ],
)
def test_in_words(code: int, words: str) -> None:
    assert status.describe(code) == words


def test_unknown_is_failure() -> None:
    assert status.category(0x7777) is Category.FAILURE
