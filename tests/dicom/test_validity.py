"""What a value of each VR may be (PS3.5 Table 6.2-1)."""

from __future__ import annotations

import pytest

from gateway.dicom.validity import fault_of

CASE = pytest.mark.case("no invalid value is written, whatever its VR")


@CASE
@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("AE", ["STORE SCP", "a", "x" * 16]),
        ("AS", ["018M", "000D", "999Y"]),
        ("CS", ["CT", "A_B 1", "DERIVED\\PRIMARY"]),
        ("DA", ["20260228", "20240229", "20260101\\20260102", ""]),
        ("DS", ["1", "-1.5", "+.5", "1.", "1e-10", " 1 ", "1\\2"]),
        (
            "DT",
            ["2026", "202601", "20260101", "2026010110", "20260101101112.123456+0100", "2026+1400"],
        ),
        ("IS", ["0", "-2147483648", "+12", " 5 "]),
        ("LO", ["any text, ö", "x" * 64, "a\\b"]),
        ("LT", ["lines\r\n\tand \\ more"]),
        ("PN", ["Doe^Jane", "A^B^C^D^E=王^小明=x", "x" * 64]),
        ("TM", ["10", "1011", "101112", "101112.1", "235960"]),
        ("UI", ["1.2.840", "2.25.0", "1.2\\1.3"]),
        ("UR", ["https://example.org/a?b=%20"]),
        ("UC", ["x" * 1000]),
    ],
)
def test_right(vr: str, values: list[str]) -> None:
    assert {value: fault_of(vr, value) for value in values} == dict.fromkeys(values, "")


@CASE
@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("AE", ["x" * 17, "ä", "   ", "a\x07"]),
        ("AS", ["18M", "018m", "018X", "\u0660\u0661\u0668M"]),
        ("CS", ["ct", "A-B", "x" * 17, "A\\b"]),
        (
            "DA",
            [
                "2026-01-01",
                "20261399",
                "20260230",
                "2026.01.01",
                "20260101-20260102",
                "today",
                "00000101",
                "\uff12\uff10260101",
            ],
        ),
        ("DS", ["1,5", "nan", "inf", "0x1", "1.2.3", "1" * 17, "a"]),
        ("DT", ["2026-01-01", "20261399", "2026010125", "20260101101112+1500", "20260101101112-0000", "20260101 10"]),
        ("IS", ["1.0", "2147483648", "1e3", "one"]),
        ("LO", ["x" * 65, "a\nb", "a\x1bb"]),
        ("LT", ["x" * 10241, "a\x00b"]),
        ("PN", ["x" * 65, "a=b=c=d", "a^b^c^d^e^f", "a\tb"]),
        ("SH", ["x" * 17]),
        ("ST", ["x" * 1025]),
        ("TM", ["10:11", "24", "1060", "101161", "101112.1234567", "1"]),
        ("UI", ["1.02", "1..2", "a", "1" * 65, "1.2."]),
        ("UR", ["a b", " http://x", "ä"]),
    ],
)
def test_wrong(vr: str, values: list[str]) -> None:
    assert [value for value in values if not fault_of(vr, value)] == []
