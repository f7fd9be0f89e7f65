"""gateway/web/accept.py: RFC 9110 §12.5.1, as viewers really write it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.web.accept import MediaRange, parse


def types(text: str) -> list[str]:
    return [each.media_type for each in parse(text)]


def test_quoted_and_unquoted_parameters():
    wanted = [MediaRange("multipart/related", {"type": "application/dicom", "transfer-syntax": "*"}, 1.0)]
    assert parse('multipart/related; type="application/dicom"; transfer-syntax=*') == wanted
    assert parse("multipart/related;type=application/dicom;transfer-syntax=*") == wanted
    assert parse('Multipart/Related ; TYPE="application\\/dicom" ; Transfer-Syntax="*"') == wanted


def test_a_comma_in_quotes_does_not_end_a_range():
    assert parse('a/b; x="1, 2", c/d') == [MediaRange("a/b", {"x": "1, 2"}, 1.0), MediaRange("c/d", {}, 1.0)]


def test_best_first_and_the_order_kept():
    assert types("a/a;q=0.5, b/b, c/c;q=0.5, d/d;q=0") == ["b/b", "a/a", "c/c"]


def test_what_is_named_goes_before_what_is_included():
    assert types("*/*, application/*, application/json") == ["application/json", "application/*", "*/*"]


def test_empty_members_are_passed_over():
    assert types(", a/b,, c/d ,") == ["a/b", "c/d"]


@pytest.mark.parametrize("text", ["nonsense", "a/b; q=high", "a/b c/d", 'a/b; x="open'])
def test_unreadable(text: str):
    with pytest.raises(BadRequest):
        parse(text)


def test_wildcards_cover():
    assert MediaRange("*/*", {}, 1.0).covers("application/json")
    assert MediaRange("application/*", {}, 1.0).covers("application/json")
    assert not MediaRange("image/*", {}, 1.0).covers("application/json")


@given(st.text(max_size=80) | st.text('ab/;,="\\ q01.*', max_size=80))
@settings(deadline=None)
def test_anything_is_ranges_or_a_bad_request(text: str):
    try:
        assert all(0 < each.quality <= 1 for each in parse(text))
    except BadRequest:
        pass
