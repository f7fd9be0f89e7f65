"""What `.ci/audit` makes of pip-audit's report: nothing is passed over in silence."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "audit"))
judged, accepted = AUDIT["judged"], AUDIT["ACCEPTED"]
OURS = {"name": "dicom-gateway", "skip_reason": "not found"}
FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}


def package(name: str, *found: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": list(found)}


def test_a_vulnerability_fails_and_says_what_to_do() -> None:
    lines, code = judged([OURS, package("a"), package("b", FOUND)])
    assert code == 1
    assert "b 1: PYSEC-1: fixed in 2" in lines[0]


def test_one_that_is_accepted_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accepted, "CVE-1", "we do not call it")
    monkeypatch.setitem(accepted, "CVE-2", "an old one")
    lines, code = judged([package("b", FOUND)])
    assert code == 0
    assert lines[0] == "b 1: PYSEC-1: we do not call it"
    assert lines[1].startswith("CVE-2 is accepted and found no longer")


def test_a_source_that_knows_nothing_is_no_good_news() -> None:
    lines, code = judged([OURS, {"name": "a", "skip_reason": "not found"}])
    assert code == 0
    assert "NOT AUDITED" in lines[0]
    lines, _ = judged([OURS, {"name": "a", "skip_reason": "not found"}, package("b")])
    assert lines[0] == "not audited: a: not found"
