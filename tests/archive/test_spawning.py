"""When a process of ours is started again, and what is said of its end."""

from __future__ import annotations

import pytest

from gateway.archive.spawning import Deaths, ending


def test_who_dies_at_once_waits_longer_each_time_and_not_for_ever() -> None:
    deaths = Deaths()
    assert [deaths.after(0.1) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert deaths.after(10.5) == 0.0, "after a steady life it is the first death again"
    assert (deaths.after(9.5), deaths.count) == (0.5, 2)


@pytest.mark.parametrize(("code", "words"), [(-9, "was killed by signal 9"), (0, "ended with code 0")])
def test_the_end_in_words(code: int, words: str) -> None:
    assert ending(code) == words
