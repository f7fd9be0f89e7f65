"""Memory that two processes see: what one is told of it the other reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.storage.arena import Arena, Buffer, Shown

SIZE = 1 << 16
MOST = 1000


@pytest.fixture
def arena() -> Iterator[Arena]:
    with closing(Arena(SIZE)) as arena:
        yield arena


def shown(arena: Arena) -> Shown:
    return Shown(os.dup(arena.descriptor))


class TestGiving:
    def test_each_part_once_and_no_more_than_there_are(self, arena: Arena) -> None:
        parts = [arena.give(SIZE // 4) for _ in range(4)]
        for number, part in enumerate(parts):
            part[:] = bytes([number]) * len(part)
        assert [set(part) for part in parts] == [{0}, {1}, {2}, {3}]
        with pytest.raises(MemoryError):
            arena.give(1)

    def test_what_is_given_outlives_it(self) -> None:
        with closing(Arena(SIZE)) as arena:
            part = arena.give(10)
        part[:] = b"0123456789"
        assert bytes(part) == b"0123456789"

    def test_it_is_not_inherited(self, arena: Arena) -> None:
        assert not os.get_inheritable(arena.descriptor)


class TestTelling:
    def test_the_other_side_sees_what_is_written(self, arena: Arena) -> None:
        one, two = arena.give(100), arena.give(200)
        other = shown(arena)
        told = arena.told([b"head", two[10:20], one], MOST)
        assert told == (b"head", [(110, 10), (0, 100)])
        two[10:20], one[:] = b"0123456789", b"x" * 100
        assert [bytes(view) for view in other.views(told[1])] == [b"0123456789", b"x" * 100]

    def test_the_other_side_only_reads(self, arena: Arena) -> None:
        (view,) = shown(arena).views([(0, 1)])
        assert view.readonly

    def test_of_another_memory_only_few_bytes_at_the_beginning(self, arena: Arena) -> None:
        part = arena.give(10)
        part[:] = b"0123456789"
        own = memoryview(bytearray(b"own"))
        assert arena.told([b"head", own, bytearray(b"too"), b"", part], MOST) == (b"headowntoo", [(0, 10)])
        assert arena.told([part, b"", own[:0]], MOST) == (b"", [(0, 10)])
        assert arena.told([part, own], MOST) is None
        assert arena.told([part, b"x", part], MOST) is None
        assert arena.told([bytes(MOST), part], MOST) == (bytes(MOST), [(0, 10)])
        assert arena.told([bytes(MOST), b"x", part], MOST) is None
        assert arena.told([], MOST) == (b"", [])

    def test_not_that_of_another_arena(self, arena: Arena) -> None:
        with closing(Arena(SIZE)) as other:
            assert arena.told([other.give(3)], MOST) == (bytes(3), [])
            assert arena.told([arena.give(3), other.give(3)], MOST) is None

    def test_one_that_may_only_be_read_is_copied(self, arena: Arena) -> None:
        part = arena.give(4)
        part[:] = b"read"
        assert arena.told([part.toreadonly()], MOST) == (b"read", [])


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=12))
def test_what_is_told_is_what_is_there(pieces: list[tuple[bool, bytes]]) -> None:
    """Or nothing is told: of any order of memory of ours and others'."""
    with closing(Arena(SIZE)) as arena:
        views: list[Buffer] = []
        for ours, data in pieces:
            if ours:
                view = arena.give(len(data))
                view[:] = data
                views.append(view)
            else:
                views.append(data)
        told = arena.told(views, MOST)
        first = next((at for at, (ours, data) in enumerate(pieces) if ours and data), len(pieces))
        outside = sum(len(data) for ours, data in pieces if not ours)
        assert (told is None) == (outside > MOST or any(data and not ours for ours, data in pieces[first:]))
        if told is not None:
            header, spans = told
            assert header + b"".join(shown(arena).views(spans)) == b"".join(data for _, data in pieces)
