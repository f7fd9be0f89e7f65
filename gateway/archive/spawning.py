"""Processes of our own beside this one: how they are called, how they ended, and when they are started again.

What they do, and who has them, is in `keepers.py` and in `gateway/workers/`.
"""

from __future__ import annotations

import sys
from typing import Final

_STEADY: Final = 10.0
"""Seconds of life after which a death counts as the first again."""
_FIRST, _LONGEST = 0.5, 30.0
"""Seconds before the second start of a process that dies at once, twice that before the next, and so on."""


def command(module: str, *arguments: str) -> list[str]:
    """What runs `main` of a module. Spawned, not forked, so that it has none of our threads, locks and descriptors; it
    looks for modules where we do.
    """
    program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return [sys.executable, "-c", program, *arguments]


def ending(code: int) -> str:
    """In words, from an exit code that is negative where a signal ended it."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


class Deaths:
    """Of a process that is started again: how many came one after the other, at once."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, seconds: float) -> float:
        """It has died after so long a life. Seconds until it is to be started again."""
        self.count = 1 if seconds > _STEADY else self.count + 1
        return 0.0 if self.count == 1 else min(_LONGEST, _FIRST * 2.0 ** min(self.count - 2, 10))
