from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.database.commit_counter import CommitCounter


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[tuple[CommitCounter, CommitCounter]]:
    """Those of two processes."""
    with closing(CommitCounter(tmp_path / "lock")) as one, closing(CommitCounter(tmp_path / "lock")) as other:
        yield one, other


def test_it_is_the_same_for_all(counters: tuple[CommitCounter, CommitCounter]) -> None:
    one, other = counters
    before = one.current()
    one.begin()
    one.end()
    assert one.current() == other.current() != before


def test_nothing_is_known_while_a_commit_is_made_or_its_process_has_died(
    counters: tuple[CommitCounter, CommitCounter],
) -> None:
    one, other = counters
    seen = {one.current()}
    one.begin()
    for _ in range(3):
        assert other.current() not in seen
        seen.add(other.current())
    other.begin()
    other.end()
    assert other.current() not in seen
    assert one.current() == one.current()


def test_after_closing_it_is_always_another(tmp_path: Path) -> None:
    counter = CommitCounter(tmp_path / "lock")
    counter.close()
    assert counter.current() != counter.current()
