"""PS3.4 §C.2.2.2 in memory: every kind of matching, and what an answer holds of a sequence."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dicom.encode import Attribute
from gateway.errors import BadRequest
from gateway.index.compare import MatchingRules, all_match, is_universal, matches, requested


@pytest.mark.parametrize(
    ("vr", "key", "stored", "expected"),
    [
        ("LO", "A*", "Abc", True),
        ("LO", "a*", "Abc", False),
        ("LO", "A_c", "Abc", False),
        ("LO", "A?c", "Abc", True),
        ("LO", "A%", "A%", True),
        ("LO", "A.c", "Abc", False),
        ("CS", "CT\\MR", "MR", True),
        ("UI", "1.2\\1.3", "1.3", True),
        ("UI", "1.*", "1.3", False),
        ("DA", "20260101-20260131", "20260115", True),
        ("DA", "20260101-", "2026.01.01", True),
        ("DA", "-20260101", "20260102", False),
        ("DA", "20260101", "", False),
        ("TM", "10-1100", "110059.9", True),
        ("TM", "10-1100", "1101", False),
        ("DT", "20260101-20260102", "20260102235959", True),
        ("DT", "20260101-20260102", "20260103", False),
        ("DT", "202601", "20260131", True),
        ("DT", "2026-", "20270101120000.000+0100", True),
        ("DT", "20260101120000+0100", "20260101120000", True),
        ("IS", "7", "007", True),
        ("DS", "1.50", "1.5", True),
        ("US", "512", 512, True),
        ("US", "512", 511, False),
        ("PN", "doe^j*", "Doe^John", True),
        ("PN", "DOE^*", "Doe", True),
        ("PN", "山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PN", "*=山田*", "Yamada^Tarou=山田^太郎", True),
        ("PN", "*=田中*", "Yamada^Tarou=山田^太郎", False),
        ("LT", "*two", "one\ntwo", True),
    ],
)
def test_kinds_of_matching(vr: str, key: str, stored: Any, expected: bool) -> None:
    held = Attribute(vr, [stored] if stored != "" else [])
    assert matches(Attribute(vr, key.split("\\")), held) is expected


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("Meier", "Mayer^Hans"),
        ("meyer hans", "Meier^Hans"),
        ("Hans Meier", "Maier^Hans"),
        ("Mueller", "Müller^Jürgen"),
        ("Muller^Jurgen", "Müller^Jürgen"),
        ("Schmidt", "Schmitt^A"),
        ("Cernak", "Černák^Jan"),
        ("Иванов", "ИВАНОВ^Пётр"),
    ],
)
def test_fuzzy_names(key: str, stored: str) -> None:
    assert matches(Attribute("PN", [key]), Attribute("PN", [stored]), MatchingRules(fuzzy=True))
    assert not matches(Attribute("PN", [key]), Attribute("PN", ["Nobody^Else"]), MatchingRules(fuzzy=True))


@pytest.mark.parametrize(
    "key",
    [
        Attribute("LO", []),
        Attribute("LO", ["*"]),
        Attribute("LO", ["**"]),
        Attribute("SQ", []),
        Attribute("SQ", [{}]),
        Attribute("SQ", [{0x00080100: Attribute("SH", [])}]),
    ],
)
def test_universal(key: Attribute) -> None:
    assert is_universal(key)
    assert matches(key, None)


@pytest.mark.parametrize(("vr", "text"), [("DA", "yesterday"), ("TM", "-"), ("DT", "x-y"), ("IS", "seven")])
def test_nonsense(vr: str, text: str) -> None:
    with pytest.raises(BadRequest):
        matches(Attribute(vr, [text]), Attribute(vr, ["1"]))


class TestSequences:
    STORED = Attribute(
        "SQ",
        [
            {0x00080100: Attribute("SH", ["T-1"]), 0x00080102: Attribute("SH", ["SRT"])},
            {0x00080100: Attribute("SH", ["D-2"]), 0x00080102: Attribute("SH", ["DCM"])},
        ],
    )

    def test_one_item_must_match_all_keys(self) -> None:
        both = {0x00080100: Attribute("SH", ["T*"]), 0x00080102: Attribute("SH", ["SRT"])}
        mixed = {0x00080100: Attribute("SH", ["T*"]), 0x00080102: Attribute("SH", ["DCM"])}
        assert matches(Attribute("SQ", [both]), self.STORED)
        assert not matches(Attribute("SQ", [mixed]), self.STORED)
        assert not all_match({0x00081032: Attribute("SQ", [both])}, {})

    def test_the_answer_holds_matching_items_with_what_was_asked(self) -> None:
        key = Attribute("SQ", [{0x00080102: Attribute("SH", ["DCM"]), 0x00080104: Attribute("LO", [])}])
        expected = {0x00080102: Attribute("SH", ["DCM"]), 0x00080104: Attribute("LO", [])}
        assert requested(key, self.STORED).values == [expected]
        assert requested(Attribute("SQ", []), self.STORED) == self.STORED
        assert requested(Attribute("LO", ["x"]), None) == Attribute("LO", [])


def test_many_asterisks_take_no_time() -> None:
    assert not matches(Attribute("LO", ["*a" * 20 + "b"]), Attribute("LO", ["a" * 60_000]))
    assert matches(Attribute("LO", ["a*b?d*d"]), Attribute("LO", ["aXXbbbcd-d"]))
    assert not matches(Attribute("LO", ["a*b*b"]), Attribute("LO", ["ab"]))


@pytest.mark.parametrize("key", [Attribute("OB", [b"abc"]), Attribute("UN", [b"abc"]), Attribute("LO", ["abc"])])
def test_a_key_that_is_no_sequence_finds_nothing_in_one(key: Attribute) -> None:
    stored = Attribute("SQ", [{0x00080100: Attribute("SH", ["abc"])}])
    assert not matches(key, stored)
    assert not matches(Attribute("SQ", [{0x00080100: Attribute("SH", ["abc"])}]), key)
