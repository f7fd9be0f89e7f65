"""gateway/web/accept.py: RFC 9110 §12.5.1, as viewers really write it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.case("a media type that does not parse is passed over")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("toto, application/dicom+json", ["application/dicom+json"]),
        ("application/dicom+json, toto", ["application/dicom+json"]),
        # What HttpURLConnection sends by default.
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", ["text/html", "image/gif", "image/jpeg", "*/*"]),
        ("application/dicom+json;", ["application/dicom+json"]),
        ("application/dicom+json; , a/b;; q=0.5 ;", ["application/dicom+json", "a/b"]),
        ("a/b; q=high, c/d", ["c/d"]),
        ("a/b; q=nan, c/d; q=-1, e/f; q=2", ["e/f"]),
        ("a/b c/d, e/f", ["e/f"]),
        ('a/b; x="open, c/d', ["c/d"]),
        ("nonsense", []),
    ],
)
def test_what_does_not_parse_is_passed_over(text: str, found: list[str]):
    assert types(text) == found


@pytest.mark.case("q=.2 is a quality, though RFC 9110 wants a digit before the point")
def test_a_quality_without_a_digit_before_the_point():
    assert [each.quality for each in parse("a/b; q=.2")] == [0.2]


@pytest.mark.case("the most specific range counts for a media type, be it to refuse it")
@pytest.mark.parametrize(
    ("text", "offers", "chosen"),
    [
        ("*/*, image/jpeg;q=0", ("image/jpeg", "image/png"), "image/png"),
        ("image/*, image/jpeg;q=0.1", ("image/jpeg", "image/png"), "image/png"),
        ("*/*;q=0.9, image/*;q=0", ("image/jpeg", "text/html"), "text/html"),
        ("*/*;q=0.1, image/*;q=0.5, image/jpeg;q=0.2", ("text/html", "image/jpeg", "image/gif"), "image/gif"),
        # Of a type with parameters only some forms are meant: the others are still in the wider range.
        ("*/*, image/jpeg;x=y;q=0", ("image/jpeg",), "image/jpeg"),
    ],
)
def test_precedence(text: str, offers: tuple[str, ...], chosen: str):
    found = [offer for each in parse(text) for offer in offers if each.covers(offer)]
    assert found[0] == chosen


@pytest.mark.case("multipart/* includes what comes in parts")
def test_anything_in_parts():
    (found,) = parse("multipart/*")
    assert found.covers("multipart/related")
    assert found.accepts("application/dicom+xml")
    assert not found.accepts("application/dicom+json")
    assert parse('multipart/*; type="application/*"')[0].accepts("application/dicom+xml")
    assert not parse('multipart/related; type="image/*"')[0].accepts("application/dicom+xml")


def test_wildcards_cover():
    assert MediaRange("*/*", {}, 1.0).covers("application/json")
    assert MediaRange("application/*", {}, 1.0).covers("application/json")
    assert not MediaRange("image/*", {}, 1.0).covers("application/json")


@given(st.text(max_size=80) | st.text('ab/;,="\\ q01.*', max_size=80))
@settings(deadline=None)
def test_anything_is_ranges(text: str):
    assert all(0 < each.quality <= 1 for each in parse(text))
