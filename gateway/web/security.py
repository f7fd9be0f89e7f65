"""The security headers: what a browser may do with an answer, for all answers, and for the gateway's own pages.

Any answer may contain data of a peer's object: a document, a name, a report. Nothing is active, therefore, unless its
handler declares a page of the gateway. An opaque origin (`sandbox`) has no cookies, no credentials and no way to read
an answer, and `default-src 'none'` leaves it nothing to load; both hold for a guessed type too, which `nosniff`
forbids. `viewer/viewer.py` has the viewer's policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NOTHING: Final = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
INERT: Final = f"default-src 'none'; sandbox; {_NOTHING}"
"""The Content-Security-Policy of everything that is not a page of the gateway."""

EVERY_ANSWER: Final[Mapping[str, str]] = {
    "Content-Security-Policy": INERT,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PAGE: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # With no-referrer, a browser sends "Origin: null" with a form of the page (Fetch standard, "append a request Origin
    # header"), which looks like a page of anybody's. Other origins still get no referrer.
    "Referrer-Policy": "same-origin",
}
"""A page of the gateway: its own scripts, styles and forms, nothing inline."""

ATTACHMENT: Final[Mapping[str, str]] = {"Content-Disposition": "attachment"}
"""Content of an object is saved as a file, never shown as a page of the gateway."""

_MAX_FILE_NAME: Final = 255


def attachment_named(name: str, otherwise: str) -> str:
    """The Content-Disposition of a file that a client calls `name`, or `otherwise` where that is no name.

    Of the name only letters, digits, spaces, dots, hyphens and underscores remain: nothing ends the header, and nothing
    leaves the folder that the file is saved in.
    """
    plain = "".join([letter for letter in name if letter.isascii() and (letter.isalnum() or letter in "._- ")])
    return f'attachment; filename="{plain[:_MAX_FILE_NAME].strip(" .") or otherwise}"'


_DOCUMENT_TYPES: Final = frozenset(
    ("application/pdf", "text/plain", "text/xml", "model/stl", "model/obj", "model/mtl")  # CDA is text/xml
)


def document_type(named: str) -> str | None:
    """The media type for sending a document that its object calls `named`; None to send it as octets.

    The name is a peer's: text/html or text/javascript would be a page or a script in the gateway's origin. The list is
    that of the encapsulated documents of PS3.3 A.45, A.85 and A.104, with plain text.
    """
    plain = named.partition(";")[0].strip().lower()
    return plain if plain in _DOCUMENT_TYPES else None
