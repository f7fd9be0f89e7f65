"""What somebody may have meant who has written a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no name is near."""
    close = difflib.get_close_matches(name, list(there), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
