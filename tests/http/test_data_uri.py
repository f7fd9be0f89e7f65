"""Data URIs: what they hold, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.http.data_uri import parse_data_uri


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data:image/png;base64,AAEC", ("image/png", b"\0\1\2")),
        ("data:Image/PNG;name=x.png;base64,", ("image/png", b"")),
        ("data:;base64,AA==", ("", b"\0")),
        ("data:text/plain,hello", None),
        ("data:image/png;base64", None),
        ("hello", None),
        ("", None),
        (" data:;base64,AA==", None),
        ("data:" + ";" * 100_000 + "base64,", None),
    ],
)
def test_what_they_hold(text: str, found: tuple[str, bytes] | None) -> None:
    assert parse_data_uri(text) == found


@pytest.mark.parametrize("content", ["A", "AA=", "%%%", "AA\n==", "ÄÄ=="])
def test_what_is_not_in_base64(content: str) -> None:
    with pytest.raises(BadRequest):
        parse_data_uri(f"data:a/b;base64,{content}")


@settings(deadline=None)
@given(st.text() | st.text().map(lambda text: f"data:a/b;base64,{text}"))
def test_whatever_comes(text: str) -> None:
    try:
        parse_data_uri(text)
    except BadRequest:
        pass
