"""The pool of receive blocks: how many there are, who waits, and who comes first."""

from __future__ import annotations

import asyncio

import pytest

from gateway.net.buffers import BLOCK_SIZE, Block, BlockPool


def leased(pool: BlockPool) -> Block:
    block = pool.lease(pool.put_back)
    assert block is not None
    return block


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class TestBlock:
    def test_is_freed_by_its_last_hold_alone(self) -> None:
        freed: list[Block] = []
        block = Block(memoryview(bytearray(4)), freed.append)
        block.retain()
        block.retain()
        block.release()
        assert freed == []
        block.release()
        assert freed == [block]


class TestLease:
    def test_no_more_than_there_may_be(self) -> None:
        pool = BlockPool(2)
        assert pool.available == 2
        first, second = leased(pool), leased(pool)
        assert pool.available == 0
        assert pool.lease(pool.put_back) is None
        assert first is not second
        assert len(first.view) == BLOCK_SIZE

    async def test_memory_is_made_once(self) -> None:
        made: list[int] = []

        def give(size: int) -> memoryview:
            made.append(size)
            return memoryview(bytearray(size))

        pool = BlockPool(3, allocate=give)
        assert made == []
        block = leased(pool)
        block.retain()
        block.release()
        assert pool.available == 3
        assert leased(pool) is block
        assert made == [BLOCK_SIZE]

    async def test_a_block_tells_whoever_has_it_now(self) -> None:
        pool = BlockPool(1)
        block = leased(pool)
        block.retain()
        block.release()
        freed: list[Block] = []
        again = pool.lease(freed.append)
        assert again is block
        again.retain()
        again.release()
        assert freed == [block]
        assert pool.available == 0

    @pytest.mark.parametrize(("count", "reserve"), [(1, 0), (7, 0), (8, 1), (16, 2), (100, 12)])
    def test_an_eighth_is_kept_for_those_that_have_none(self, count: int, reserve: int) -> None:
        assert BlockPool(count).reserve == reserve


class TestWaiting:
    def test_those_who_sit_on_blocks_hear_once_that_some_are_wanted(self) -> None:
        dry: list[int] = []
        pool = BlockPool(1, on_exhausted=lambda: dry.append(1))
        assert not pool.contended
        pool.when_available(lambda: None)
        pool.when_available(lambda: None)
        assert pool.contended
        assert dry == [1]

    async def test_first_come_first_served_as_many_as_there_are_blocks(self) -> None:
        pool = BlockPool(2)
        blocks = [leased(pool), leased(pool)]
        woken: list[str] = []

        def take(name: str) -> None:
            woken.append(name)
            leased(pool)

        for name in "abc":
            pool.when_available(lambda name=name: take(name))  # type: ignore[misc]
        pool.put_back(blocks[0])
        assert woken == []  # Not within the call of the one that gives it back.
        await turns()
        assert woken == ["a"]
        pool.put_back(blocks[1])
        await turns()
        assert woken == ["a", "b"]
        assert pool.contended

    async def test_the_next_is_woken_where_the_first_takes_nothing(self) -> None:
        pool = BlockPool(1)
        block = leased(pool)
        woken: list[str] = []
        for name in "abc":
            pool.when_available(lambda name=name: woken.append(name))  # type: ignore[misc]
        pool.put_back(block)
        await turns(5)
        assert woken == ["a", "b", "c"]
        assert not pool.contended

    async def test_several_blocks_wake_several_in_one_turn(self) -> None:
        pool = BlockPool(2)
        blocks = [leased(pool), leased(pool)]
        woken: list[str] = []
        for name in "abc":
            pool.when_available(lambda name=name: woken.append(name))  # type: ignore[misc]
        for block in blocks:
            pool.put_back(block)
        await turns(1)
        assert woken == ["a", "b"]
        await turns(2)
        assert woken == ["a", "b", "c"]

    async def test_one_that_has_gone_is_not_woken(self) -> None:
        pool = BlockPool(1)
        block = leased(pool)
        woken: list[str] = []

        def gone() -> None:
            woken.append("gone")

        pool.when_available(gone)
        pool.when_available(lambda: woken.append("there"))
        pool.forget(gone)
        pool.forget(gone)
        pool.put_back(block)
        await turns()
        assert woken == ["there"]
