"""gateway/web/conditional.py: RFC 9110 §13 and §14."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.web.conditional import ByteRange, RangeNotSatisfiable, entity_tag, unchanged, validators, wanted_range

TAG = entity_tag("KEY", 1)


def request(**headers: str) -> web.Request:
    return make_mocked_request("GET", "/", headers={name.replace("_", "-"): text for name, text in headers.items()})


class TestEntityTag:
    def test_differs_with_every_part(self):
        assert len({entity_tag("a", "b"), entity_tag("ab"), entity_tag("a", "c"), entity_tag("a", b"b")}) == 4
        assert entity_tag("a", 1) == entity_tag("a", 1)

    @pytest.mark.parametrize("known", [TAG, f"W/{TAG}", f'"other", {TAG}', "*", f'"a,b",{TAG}'])
    def test_known(self, known: str):
        answer = unchanged(request(If_None_Match=known), TAG)
        assert answer is not None
        assert answer.status == 304
        assert answer.headers["ETag"] == TAG
        assert "no-cache" in answer.headers["Cache-Control"]

    @pytest.mark.parametrize("known", ["", '"other"', TAG.strip('"'), 'W/"other"'])
    def test_not_known(self, known: str):
        assert unchanged(request(If_None_Match=known), TAG) is None
        assert unchanged(request(), TAG) is None

    def test_answers_differ_with_what_is_taken(self):
        assert validators(TAG)["Vary"] == "Accept"


class TestRange:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("bytes=0-0", (0, 1)),
            ("bytes=2-", (2, 10)),
            ("bytes=-3", (7, 10)),
            ("bytes=-30", (0, 10)),
            ("bytes=5-99", (5, 10)),
            ("bytes=9-9", (9, 10)),
        ],
    )
    def test_one(self, text: str, expected: tuple[int, int]):
        assert wanted_range(request(Range=text), 10, TAG) == expected

    @pytest.mark.parametrize(
        "text", ["", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=" + "9" * 30]
    )
    def test_none_is_all_of_it(self, text: str):
        assert wanted_range(request(Range=text), 10, TAG) is None

    @pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0"])
    def test_past_the_end(self, text: str):
        with pytest.raises(RangeNotSatisfiable):
            wanted_range(request(Range=text), 10, TAG)

    def test_of_nothing_there_is_no_part(self):
        with pytest.raises(RangeNotSatisfiable):
            wanted_range(request(Range="bytes=0-"), 0, TAG)

    def test_only_of_the_version_that_the_client_has(self):
        assert wanted_range(request(Range="bytes=1-2", If_Range=TAG), 10, TAG) == (1, 3)
        assert wanted_range(request(Range="bytes=1-2", If_Range='"other"'), 10, TAG) is None
        assert wanted_range(request(Range="bytes=1-2", If_Range=f"W/{TAG}"), 10, TAG) is None

    def test_said(self):
        response = web.StreamResponse()
        ByteRange(2, 5).describe(response, 10)
        assert response.status == 206
        assert response.headers["Content-Range"] == "bytes 2-4/10"
        assert response.content_length == 3
