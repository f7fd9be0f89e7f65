"""Child processes: the command that starts one, and the words for its end.

Their purposes are in `committer_pool.py` and in `gateway/workers/`.
"""

from __future__ import annotations

import sys


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs `main` of a module in a new process. It is spawned, not forked, so that it inherits no
    threads, locks or descriptors; its module path is ours.
    """
    program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return [sys.executable, "-c", program, *arguments]


def ending(code: int) -> str:
    """The end of a process in words, from its exit code; negative codes are signals."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
