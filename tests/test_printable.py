"""gateway/printable.py: what peers say stays on its line, in the log and on a terminal."""

from __future__ import annotations

import logging

import pytest

from gateway import telemetry
from gateway.cli.common import complain, print_line
from gateway.printable import printable

pytestmark = pytest.mark.case("what a peer says begins no line of the log and moves no cursor")
HOSTILE = "a\r\nb\x1b[2J\x9b1mc\u202ed\u2028e\0"
SHOWN = r"a\r\nb\x1b[2J\x9b1mc\u202ed\u2028e\x00"


@pytest.mark.parametrize(
    "text", ["", "Müller^Jürgen", "山田^太郎=やまだ^たろう", "a\u3000b\u00a0c", "क\u094d\u200dष", r"C:\x"]
)
def test_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def test_what_moves_something_is_written_out() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("\ud800") == r"\ud800"


def test_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    complain(HOSTILE)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"dicom-gateway: {SHOWN}\n")


def test_a_record_is_a_line_and_a_traceback_stands_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        telemetry.setup_logging()
        forged = "x\n2026-01-01 00:00:00.000+00:00 INFO    gateway: all is well"
        try:
            raise ValueError(forged)
        except ValueError:
            logging.getLogger("gateway.x").exception("GET %s failed", forged)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith(r"gateway.x: GET x\n2026-01-01 00:00:00.000+00:00 INFO    gateway: all is well failed")
    assert others[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in others)
