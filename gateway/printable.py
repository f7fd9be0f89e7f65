"""Text of peers made safe for one line of a log or a terminal: it cannot end a line or move a cursor.

Names, UIDs and paths come from anybody. A line feed in one would forge a line of the log; an
escape sequence would control a terminal; a directional mark would reverse the text behind it.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 and C1, line separators, surrogate halves, and directional marks; no word needs any of them."""


def printable(text: str) -> str:
    r"""Replace every control character by its escape: a line feed by `\n`, an escape by `\x1b`."""
    if text.isprintable():  # nearly always
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
