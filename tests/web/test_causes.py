"""gateway/web/pages/causes: every failure that the gateway words itself is told apart, and explained."""

from __future__ import annotations

import pytest

from gateway.dimse import status
from gateway.ul.negotiation import describe_rejection
from gateway.web.pages.causes import cause_of, explained
from gateway.web.pages.wording import CATALOGUE, words_of


@pytest.mark.parametrize(
    ("text", "code", "cause"),
    [
        ("pacs (PACS@10.1.2.3:104): no connection: connection refused", None, "unreachable"),
        ("PACS: no connection to 10.1.2.3:104 in 30 s", None, "unreachable"),
        ("pacs: no connection: connection reset by peer; does it expect TLS there?", None, "tls"),
        ("PACS closed the connection without an answer: does it expect TLS (--tls)?", None, "tls"),
        (f"PACS: {describe_rejection(1, 1, 3)}", None, "calling"),
        (f"PACS: {describe_rejection(1, 1, 7)}", None, "called"),
        (f"PACS: {describe_rejection(2, 3, 2)}", None, "busy"),
        (f"PACS: {describe_rejection(1, 1, 1)}", None, "rejected"),
        ("PACS accepted no context for 1.2.840.10008.5.1.4.1.2.2.1", None, "not_offered"),
        ("PACS did not answer C-FIND within 60 s", None, "silent"),
        ("PACS closed the connection", None, "lost"),
        ("modalities.x: it has no port, so it cannot be called; set modalities.x.port", None, "no_port"),
        ("web: it answers 401: who are you; look at its url and auth", None, "access"),
        ("web: it answers 404; look at its url and auth", None, "address"),
        ("web: it answers 503", None, "busy"),
        ("web: it answers 500 to a search", None, "server"),
        ("web: no answer for 60 s", None, "silent"),
        (f"C-MOVE SCU has failed with {status.describe(0xA801)}", None, "move_destination"),
        ("anything", 0xA702, "resources"),
        (status.describe(0xA900), None, "mismatch"),
        ("anything", 0x0122, "sop_class"),
        ("anything", 0xC001, "failed"),
        ("anything", None, ""),
    ],
)
def test_cause(text: str, code: int | None, cause: str) -> None:
    assert cause_of(text, code) == cause
    found = explained(words_of("de"), text, code)
    assert found.detail == text
    assert bool(found.cause) is bool(found.advice) is bool(cause)


def test_each_has_advice() -> None:
    keys = {part: {name for name in CATALOGUE if name.startswith(f"causes.{part}.")} for part in ("cause", "advice")}
    assert {name.replace(".cause.", ".advice.") for name in keys["cause"]} == keys["advice"]
