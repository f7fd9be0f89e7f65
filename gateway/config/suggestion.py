"""Suggestions for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """The text `; did you mean 'x'?`, or nothing if no name is similar."""
    close = difflib.get_close_matches(name, list(there), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
