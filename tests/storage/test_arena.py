"""Memory that two processes see: what is written in one is read in the other, by offset and length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.storage.arena import Arena, Shown, Span

MOST = 100


@pytest.fixture
def arena() -> Iterator[Arena]:
    with closing(Arena(1 << 16)) as arena:
        yield arena


def seen(arena: Arena, spans: list[Span]) -> list[bytes]:
    with closing(Shown(os.dup(arena.descriptor))) as there:
        return [bytes(view) for view in there.views(spans)]


def test_what_is_written_here_is_seen_there(arena: Arena) -> None:
    first, second = arena.give(100), arena.give(200)
    first[:] = b"a" * 100
    second[:] = b"b" * 200
    told = arena.told([first[10:20], second[50:], first[:1]], MOST)
    assert told is not None
    before, spans = told
    assert before == b""
    assert seen(arena, spans) == [b"a" * 10, b"b" * 150, b"a"]


def test_no_more_is_given_than_there_is(arena: Arena) -> None:
    arena.give(1 << 16)
    with pytest.raises(MemoryError):
        arena.give(1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=8))
def test_bytes_from_elsewhere_come_first_and_are_few_or_it_cannot_be_told(parts: list[tuple[bool, int]]) -> None:
    """(whether it is in the arena, its length) for each view."""
    with closing(Arena(4096)) as arena:
        _tell(arena, parts)


def _tell(arena: Arena, parts: list[tuple[bool, int]]) -> None:
    block = arena.give(4096)
    block[:] = os.urandom(4096)
    views = [
        block[at * 64 : at * 64 + length] if inside else os.urandom(length) for at, (inside, length) in enumerate(parts)
    ]
    told = arena.told(views, MOST)
    kinds = [inside for inside, length in parts if length]
    in_order = kinds == sorted(kinds)
    outside = sum(length for inside, length in parts if not inside)
    assert (told is not None) == (in_order and outside <= MOST)
    if told is not None:
        before, spans = told
        assert b"".join([before, *seen(arena, spans)]) == b"".join(map(bytes, views))


@pytest.mark.parametrize("foreign", [bytearray(8), memoryview(bytearray(8)), memoryview(b"12345678")])
def test_memory_of_others_is_told_as_bytes(arena: Arena, foreign: bytearray | memoryview) -> None:
    assert arena.told([foreign], MOST) == (bytes(foreign), [])
