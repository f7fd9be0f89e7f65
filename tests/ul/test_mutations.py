"""A few thousand mutated PDUs with every run; `tests/fuzz` does a million."""

from __future__ import annotations

from tests.support import mutations


def test_mutated_pdus() -> None:
    outcome = mutations.run(20_000, seed=2026)
    assert outcome.aborted > 1000
    assert outcome.established > 100
    assert outcome.fragments > 1000
    assert outcome.commands_refused > 100
