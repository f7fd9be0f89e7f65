"""gateway/http/multipart.py: RFC 2046 as it is written, and as clients write it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.multipart import MAX_HEAD_BYTES, MAX_PREAMBLE_BYTES, Head, Malformed, Parser, Tail

Part = tuple[dict[str, str], bytes]


def read(body: bytes, sizes: list[int] | None = None, boundary: str = "b") -> list[Part]:
    """The whole parts of a body that comes in pieces of these sizes, the last one of them again and again."""
    parser = Parser(boundary)
    events, at, number = [], 0, 0
    while at < len(body):
        size = sizes[min(number, len(sizes) - 1)] if sizes else len(body)
        events += [bytes(e) if isinstance(e, memoryview) else e for e in parser.feed(body[at : at + size])]
        at += size
        number += 1
    events += parser.close()
    parts: list[Part] = []
    content: list[bytes] = []
    headers: dict[str, str] = {}
    for event in events:
        match event:
            case Head():
                headers, content = dict(event.headers), []
            case Tail():
                parts.append((headers, b"".join(content)))
            case bytes():
                assert event, "an empty piece says nothing"
                content.append(event)
    return parts


def write(parts: list[Part], boundary: bytes = b"b", line: bytes = b"\r\n") -> bytes:
    body = b""
    for headers, content in parts:
        fields = b"".join(f"{name}: {value}".encode() + line for name, value in headers.items())
        body += b"--" + boundary + line + fields + line + content + line
    return body + b"--" + boundary + b"--" + line


TWO = [({"content-type": "application/dicom"}, b"first\r\n--not\r\n"), ({}, b"\r\n-\r--\n\r")]


class TestAsRfc2046HasIt:
    def test_parts_and_their_headers(self):
        assert read(write(TWO)) == TWO

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
    def test_in_pieces_of_any_size(self, size: int):
        assert read(write(TWO), [size]) == TWO

    def test_an_empty_part(self):
        assert read(b"--b\r\n\r\n\r\n--b\r\nA: 1\r\n\r\n\r\n--b--") == [({}, b""), ({"a": "1"}, b"")]

    def test_an_empty_part_whose_header_ends_with_the_boundary_line(self):
        """The line end of the empty line is that of the delimiter (the body part has no octets at all)."""
        assert read(b"--b\r\nA: 1\r\n\r\n--b--") == [({"a": "1"}, b"")]
        assert read(b"--b\r\nA: 1\r\n\r\n--b--", [1]) == [({"a": "1"}, b"")]

    def test_preamble_and_epilogue(self):
        body = b"This is MIME.\r\n--bb\r\nx--b\r\n" + write(TWO) + b"--b\r\n\r\nmore\r\n--b--"
        assert read(body) == TWO
        assert read(body, [1]) == TWO

    def test_a_boundary_within_a_line_is_content(self):
        parts: list[Part] = [({}, b"x--b\r\ny\r\n--bc\r\n--b-\r\n--b -")]
        assert read(write(parts)) == parts
        assert read(write(parts), [1]) == parts

    def test_folded_header_lines(self):
        assert read(b"--b\r\nContent-Type: a/b;\r\n\t c=d\r\n\r\nx\r\n--b--") == [({"content-type": "a/b; c=d"}, b"x")]


class TestAsClientsHaveIt:
    def test_line_end_before_the_first_boundary(self):
        assert read(b"\r\n" + write(TWO)) == TWO

    def test_no_line_end_after_the_last(self):
        assert read(write(TWO).removesuffix(b"\r\n")) == TWO

    def test_line_feeds_alone(self):
        parts: list[Part] = [({"content-type": "application/dicom"}, b"1\r\n2"), ({}, b"3")]
        assert read(write(parts, line=b"\n")) == parts
        assert read(write(parts, line=b"\n"), [1]) == parts

    def test_line_feeds_in_headers_alone(self):
        assert read(b"--b\r\nA: 1\nB: 2\n\nx\r\n--b--") == [({"a": "1", "b": "2"}, b"x")]

    def test_blanks_after_a_boundary(self):
        assert read(b"--b \t\r\n\r\nx\r\n--b  \r\n\r\ny\r\n--b--  ") == [({}, b"x"), ({}, b"y")]

    def test_the_last_boundary_without_its_dashes(self):
        assert read(b"--b\r\n\r\nx\r\n--b") == [({}, b"x")]
        assert read(b"--b\r\n\r\nx\r\n--b\r\n") == [({}, b"x")]

    def test_lines_that_are_no_headers(self):
        assert read(b"--b\r\nnonsense\r\nA: 1\r\nA: 2\r\n: 3\r\n\r\nx\r\n--b--") == [({"a": "1"}, b"x")]


class TestMalformed:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\r\n",
            b"no boundary",
            b"--c\r\n\r\nx\r\n--c--",
            b"--b\r\nA: 1",
            b"--b\r\n\r\n",
            b"--b\r\n\r\nx",
            b"--b\r\n\r\nx\r\n--c--",
            b"--b\r\n\r\nx\r\n--b-",
        ],
    )
    def test_ends_too_early(self, body: bytes):
        for sizes in (None, [1]):
            with pytest.raises(Malformed):
                read(body, sizes)

    def test_a_header_without_end(self):
        parser = Parser("b")
        parser.feed(b"--b\r\n")
        pieces = [b"A: 1234567\r"] * (MAX_HEAD_BYTES // 10 + 2)
        with pytest.raises(Malformed, match="header"):
            list(map(parser.feed, pieces))

    def test_a_preamble_without_end(self):
        parser = Parser("b")
        pieces = [bytes(1000)] * (MAX_PREAMBLE_BYTES // 1000 + 2)
        with pytest.raises(Malformed, match="no boundary"):
            list(map(parser.feed, pieces))

    @pytest.mark.case("a boundary too late is none, in one piece as in many")
    def test_a_boundary_behind_a_preamble_without_end(self):
        body = b"\n".join([bytes(MAX_PREAMBLE_BYTES), b"--b--"])
        for size in (len(body), 1000):
            parser = Parser("b")
            with pytest.raises(Malformed, match="no boundary"):
                list(map(parser.feed, [body[at : at + size] for at in range(0, len(body), size)]))

    @pytest.mark.case("what comes before the first boundary is looked at once, however small its pieces")
    @pytest.mark.parametrize("preamble", [b"\n--bx" * 13_000, b"x--b" * 16_000, b"\r\n" * 32_000])
    def test_a_preamble_in_small_pieces(self, preamble: bytes):
        parser = Parser("b")
        body = preamble + b"\n--b\n\n"
        began = time.thread_time()
        events = [event for at in range(0, len(body), 2) for event in parser.feed(body[at : at + 2])]
        assert time.thread_time() - began < 2  # it took 20
        assert events == [Head({})]

    @pytest.mark.case("what comes before the first boundary is looked at once, however small its pieces")
    def test_of_a_header_in_small_pieces(self):
        parser = Parser("b")
        body = b"--b\r\n" + b"\rA:\r" * (MAX_HEAD_BYTES // 4 - 2) + b"\n\r\n"
        events = [event for at in range(len(body)) for event in parser.feed(body[at : at + 1])]
        assert len(events) == 1

    @pytest.mark.parametrize("boundary", ["", "x" * 257])
    def test_a_boundary_that_is_none(self, boundary: str):
        with pytest.raises(Malformed):
            Parser(boundary)


CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"b", b"--b", b"\r\n--", b"\r\n--bx", b"\n--", b"x", b"\0"])
).map(b"".join)


@given(
    st.lists(st.tuples(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "1"])), CONTENT), min_size=1),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_what_is_written_is_read_however_it_is_cut(parts: list[Part], sizes: list[int]):
    boundary = b"b" if not any(b"\r\n--b" in b"\r\n" + content + b"\r\n" for _, content in parts) else b"zz"
    assert read(write(parts, boundary), sizes, boundary.decode()) == parts


@given(st.lists(st.one_of(CONTENT, st.binary(max_size=20))).map(b"".join), st.lists(st.integers(1, 9), min_size=1))
def test_anything_is_read_alike_however_it_is_cut(body: bytes, sizes: list[int]):
    def outcome(sizes: list[int] | None) -> object:
        try:
            return read(body, sizes)
        except Malformed as error:
            return str(error)

    assert outcome(None) == outcome(sizes)


async def test_contents_are_views_and_not_copies():
    data = b"--b\r\n\r\n" + bytes(1 << 20)
    views = [event for event in Parser("b").feed(data) if isinstance(event, memoryview)]
    assert [view.obj for view in views] == [data]
