"""Message fragments of even length: nothing is lost, nothing is copied that need not be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.dimse.fragments import EvenFragments


def fragments(pieces: list[bytes]) -> list[bytes | memoryview]:
    even = EvenFragments()
    return [each for piece in pieces for each in even.take(piece)] + even.end()


@given(st.lists(st.binary(max_size=7), max_size=12))
def test_each_is_even_and_all_is_there(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = fragments(pieces)
    assert all(len(each) % 2 == 0 for each in found)
    assert b"".join(found) == data + b"\0" * (len(data) & 1)
    assert all(found) or found == [b""]


def test_what_is_even_goes_on_as_it_is() -> None:
    pieces = [bytes(4), bytes(6)]
    assert all(found is given for found, given in zip(fragments(pieces), pieces, strict=True))


def test_what_is_odd_goes_on_as_a_view() -> None:
    first, second = b"abcde", b"fghijkl"
    found = fragments([first, second])
    assert found == [b"abcd", b"ef", b"ghijkl"]
    assert [each.obj for each in found if isinstance(each, memoryview)] == [first, second]
