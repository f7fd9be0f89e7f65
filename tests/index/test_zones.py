"""gateway/index/zones.py: Timezone Offset From UTC."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.encode import Attribute, DataSet
from gateway.index.zones import days_around, moved, offset_of, says_times

DAY, TIME = 0x00400002, 0x00400003


def step(day: str, time: str) -> DataSet:
    return {DAY: Attribute("DA", [day]), TIME: Attribute("TM", [time])}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("+0000", 0), ("-0330", -210), ("+1400", 840), ("-1200", -720), ("+1401", None), ("0100", None), ("", None)],
)
def test_offsets(text: str, minutes: int | None) -> None:
    assert offset_of({0x00080201: Attribute("SH", [text])}) == minutes
    assert offset_of({}) is None


@pytest.mark.parametrize(
    ("day", "time", "minutes", "expected"),
    [
        ("20240105", "0100", -540, ("20240104", "160000.000000")),
        ("20231231", "235959.5", 60, ("20240101", "005959.500000")),
        ("20240105", "", -540, ("20240105", "")),
        ("", "0100", -540, ("", "0100")),
        ("20241399", "0100", 60, ("20241399", "0100")),
        ("00010101", "0000", -60, ("00010101", "0000")),
    ],
)
def test_moved(day: str, time: str, minutes: int, expected: tuple[str, str]) -> None:
    found = moved({0x00400100: Attribute("SQ", [step(day, time)])}, minutes)
    (made,) = found[0x00400100].values
    assert (made[DAY].text, made[TIME].text) == expected


MINUTES = st.integers(-720, 840)
DAYS = st.dates().map(lambda day: day.isoformat().replace("-", ""))


@given(MINUTES, MINUTES, DAYS, st.integers(0, 1439))
@settings(deadline=None)
def test_a_day_is_within_the_days_around_it(theirs: int, ours: int, day: str, minute: int) -> None:
    made = moved(step(day, f"{minute // 60:02}{minute % 60:02}"), ours - theirs)[DAY].text
    first, last = days_around(made, made)
    assert first <= day <= last


def test_what_a_zone_is_about() -> None:
    assert says_times(step("20240105", ""))
    assert says_times({0x00400100: Attribute("SQ", [step("", "0100")])})
    assert not says_times(step("", ""))
    assert not says_times({0x00100030: Attribute("DA", ["19700101"]), 0x00100020: Attribute("LO", ["P"])})
