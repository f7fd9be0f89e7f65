"""Why another system did not do what was asked of it, in words: what happened, and what to do about it.

The causes are told apart by DIMSE status and by the gateway's own error texts, which are all that a job that has ended
has of its error. A text that fits none is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from gateway.web.pages.wording import Words

_BY_TEXT: Final = (
    ("tls", re.compile(r"\bTLS\b|\bSSL|certificate", re.IGNORECASE)),
    ("calling", re.compile(r"calling AE title not recognized")),
    ("called", re.compile(r"called AE title not recognized")),
    ("busy", re.compile(r"rejected for now|temporary congestion|local limit")),
    ("rejected", re.compile(r"\brejected\b")),
    ("not_offered", re.compile(r"accepted no context|accepts no reports")),
    ("no_port", re.compile(r"has no port")),
    ("access", re.compile(r"it answers (401|403|407)\b")),
    ("address", re.compile(r"it answers (404|405|406|421)\b|it redirects to")),
    ("busy", re.compile(r"it answers (429|503|507)\b")),
    ("server", re.compile(r"it answers 5\d\d\b")),
    ("unreachable", re.compile(r"no connection")),
    ("silent", re.compile(r"did not answer|no answer for|read nothing")),
    ("lost", re.compile(r"closed the connection|connection broke|aborted|released the association")),
    ("unreadable", re.compile(r"cannot be read")),
)
_STATUS: Final = re.compile(r"\b([0-9A-F]{4})H\b")
_BY_STATUS: Final = {
    0xA801: "move_destination",
    0x0122: "sop_class",
    0x0124: "not_authorized",
    0x0213: "resources",
    0x0111: "duplicate",
}


@dataclass(frozen=True, slots=True)
class ExplainedFailure:
    """A failure in words of the reader's language; `detail` is the text of the error."""

    cause: Markup | str
    advice: Markup | str
    detail: str


def cause_of(text: str, status: int | None = None) -> str:
    """The key of the cause of a failure, by its text and its DIMSE status; empty if it is none of the known ones."""
    if status is None and (found := _STATUS.search(text)) is not None:
        status = int(found[1], 16)
    if status:
        if status in _BY_STATUS:
            return _BY_STATUS[status]
        if status >> 8 == 0xA7:
            return "resources"
        if status >> 8 == 0xA9:
            return "mismatch"
        if status >> 12 == 0xC or status == 0x0110:
            return "failed"
    return next((key for key, pattern in _BY_TEXT if pattern.search(text)), "")


def explained(t: Words, text: str, status: int | None = None) -> ExplainedFailure:
    """A failure in words, with what to do about it."""
    key = cause_of(text, status)
    if not key:
        return ExplainedFailure("", "", text)
    return ExplainedFailure(t("causes.cause." + key), t("causes.advice." + key), text)
