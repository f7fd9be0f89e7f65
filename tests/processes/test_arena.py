"""Memory that two processes see: what one is told of it the other reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.processes.arena import COPY_BYTES, Arena, Buffer, MappedArena

SIZE = 1 << 16
MAX_BYTES = 1000


@pytest.fixture
def arena() -> Iterator[Arena]:
    with closing(Arena(SIZE)) as arena:
        yield arena


def shown(arena: Arena) -> MappedArena:
    return MappedArena(os.dup(arena.descriptor))


class TestGiving:
    def test_each_part_once_and_no_more_than_there_are(self, arena: Arena) -> None:
        parts = [arena.allocate(SIZE // 4) for _ in range(4)]
        for number, part in enumerate(parts):
            part[:] = bytes([number]) * len(part)
        assert [set(part) for part in parts] == [{0}, {1}, {2}, {3}]
        with pytest.raises(MemoryError):
            arena.allocate(1)

    def test_what_is_given_outlives_it(self) -> None:
        with closing(Arena(SIZE)) as arena:
            part = arena.allocate(10)
        part[:] = b"0123456789"
        assert bytes(part) == b"0123456789"

    def test_it_is_not_inherited(self, arena: Arena) -> None:
        assert not os.get_inheritable(arena.descriptor)


class TestTelling:
    def test_the_other_side_sees_what_is_written(self, arena: Arena) -> None:
        one, two = arena.allocate(100), arena.allocate(200)
        other = shown(arena)
        told = arena.to_spans([b"head", two[10:20], one], MAX_BYTES)
        assert told == (b"head", [(110, 10), (0, 100)])
        two[10:20], one[:] = b"0123456789", b"x" * 100
        assert [bytes(view) for view in other.views(told[1])] == [b"0123456789", b"x" * 100]

    def test_the_other_side_only_reads(self, arena: Arena) -> None:
        (view,) = shown(arena).views([(0, 1)])
        assert view.readonly

    def test_of_another_memory_only_few_bytes_at_the_beginning(self, arena: Arena) -> None:
        part = arena.allocate(10)
        part[:] = b"0123456789"
        own = memoryview(bytearray(b"own"))
        assert arena.to_spans([b"head", own, bytearray(b"too"), b"", part], MAX_BYTES) == (b"headowntoo", [(0, 10)])
        assert arena.to_spans([part, b"", own[:0]], MAX_BYTES) == (b"", [(0, 10)])
        assert arena.to_spans([part, own], MAX_BYTES) is None
        assert arena.to_spans([part, b"x", part], MAX_BYTES) is None
        assert arena.to_spans([bytes(MAX_BYTES), part], MAX_BYTES) == (bytes(MAX_BYTES), [(0, 10)])
        assert arena.to_spans([bytes(MAX_BYTES), b"x", part], MAX_BYTES) is None
        assert arena.to_spans([], MAX_BYTES) == (b"", [])

    def test_not_that_of_another_arena(self, arena: Arena) -> None:
        with closing(Arena(SIZE)) as other:
            assert arena.to_spans([other.allocate(3)], MAX_BYTES) == (bytes(3), [])
            assert arena.to_spans([arena.allocate(3), other.allocate(3)], MAX_BYTES) is None

    def test_one_that_may_only_be_read_is_copied(self, arena: Arena) -> None:
        part = arena.allocate(4)
        part[:] = b"read"
        assert arena.to_spans([part.toreadonly()], MAX_BYTES) == (b"read", [])


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=12))
def test_what_is_told_is_what_is_there(pieces: list[tuple[bool, bytes]]) -> None:
    """Or nothing is told: of any order of memory of ours and others'."""
    with closing(Arena(SIZE)) as arena:
        views: list[Buffer] = []
        for ours, data in pieces:
            if ours:
                view = arena.allocate(len(data))
                view[:] = data
                views.append(view)
            else:
                views.append(data)
        told = arena.to_spans(views, MAX_BYTES)
        first = next((at for at, (ours, data) in enumerate(pieces) if ours and data), len(pieces))
        outside = sum(len(data) for ours, data in pieces if not ours)
        assert (told is None) == (outside > MAX_BYTES or any(data and not ours for ours, data in pieces[first:]))
        if told is not None:
            header, spans = told
            assert header + b"".join(shown(arena).views(spans)) == b"".join(data for _, data in pieces)


class TestCopies:
    def test_another_process_reads_one(self) -> None:
        with contextlib.closing(Arena(1 << 16, copies=2)) as arena:
            copied = arena.copy([b"head", bytearray(b"body"), memoryview(b"tail")])
            assert copied is not None
            told = arena.to_spans([copied], 0)
            assert told is not None
            other = MappedArena(os.dup(arena.descriptor))
            assert [bytes(view) for view in other.views(told[1])] == [b"headbodytail"]
            arena.end_copy(copied)

    def test_there_are_so_many_and_of_that_size(self) -> None:
        with contextlib.closing(Arena(1 << 16, copies=2)) as arena:
            assert arena.copy([bytes(COPY_BYTES + 1)]) is None
            held = [arena.copy([bytes([number]) * COPY_BYTES]) for number in range(2)]
            assert arena.copy([b"x"]) is None
            assert [view is not None and bytes(view[:1]) for view in held] == [b"\0", b"\1"]
            assert held[0] is not None
            arena.end_copy(held[0])
            again = arena.copy([b"again"])
            assert again is not None
            assert bytes(again) == b"again"
            assert held[1] is not None
            assert bytes(held[1][-1:]) == b"\1"

    def test_they_take_nothing_from_what_is_allocated(self) -> None:
        with contextlib.closing(Arena(4096, copies=1)) as arena:
            arena.allocate(4096)
            with pytest.raises(MemoryError, match="all 4096 bytes"):
                arena.allocate(1)

    def test_without_any(self) -> None:
        with contextlib.closing(Arena(4096)) as arena:
            assert arena.copy([b"x"]) is None
