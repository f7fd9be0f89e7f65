"""What is said of the end of a process of ours."""

from __future__ import annotations

import pytest

from gateway.processes.spawning import ending


@pytest.mark.parametrize(("code", "words"), [(-9, "was killed by signal 9"), (0, "ended with code 0")])
def test_the_end_in_words(code: int, words: str) -> None:
    assert ending(code) == words
