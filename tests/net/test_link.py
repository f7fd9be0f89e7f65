"""The shell of an association: leased blocks, when it reads and when it does not, its one timer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.net import link as module
from gateway.net.buffers import BLOCK_SIZE, Block, BlockPool
from gateway.net.link import Link
from gateway.ul.association import Association, Limits
from gateway.ul.events import AssociateRequested, Closed, DataFragment, Event
from tests.support.links import a_request, an_accept
from tests.support.wires import Wire

LEAST = 16 * 1024
"""Room in a block below which it is not offered again."""


class Peer:
    """A link whose events are kept; it accepts the association that it is asked for."""

    def __init__(self, pool: BlockPool, on_starved: Callable[[Peer], None] = lambda peer: None) -> None:
        self.events: list[Event] = []
        self.held: list[Block] = []
        self.keeps = False
        """Blocks with data are held, as a receiver does until they are written."""
        self.starved = 0
        self.wire = Wire()
        self.link = Link(Association.acceptor(Limits()), pool, self._take, self._on_starved)
        self._hear = on_starved
        self.wire.connect(self.link)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, AssociateRequested):
            self.link.association.accept(an_accept(event.pdu), self.link.now)
        elif isinstance(event, DataFragment) and self.keeps:
            block = self.link.block
            assert block is not None
            block.retain()
            self.held.append(block)

    def _on_starved(self) -> None:
        self.starved += 1
        self._hear(self)

    def associate(self) -> Peer:
        self.wire.feed(a_request().encode())
        self.events.clear()
        return self

    def fill_block(self) -> None:
        """Data until a block is full: the next read needs another one."""
        taken = 0
        while taken < BLOCK_SIZE - LEAST:
            self.wire.feed(data(8192))
            taken += 8192 + 12

    def let_go(self) -> None:
        held, self.held = self.held, []
        for block in held:
            block.release()


def data(size: int) -> bytes:
    """A P-DATA-TF with one fragment of a command that does not end."""
    pdv = (size + 2).to_bytes(4, "big") + b"\x03\x01" + bytes(size)
    return b"\x04\0" + len(pdv).to_bytes(4, "big") + pdv


def leased(pool: BlockPool, count: int) -> list[Block]:
    """Blocks that others hold."""
    blocks = [block for _ in range(count) if (block := pool.lease(pool.put_back)) is not None]
    for block in blocks:
        block.retain()
    return blocks


@pytest.fixture
async def peers() -> AsyncIterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(pool: BlockPool, **options: object) -> Peer:
        made.append(Peer(pool, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for peer in made:
        peer.let_go()
        peer.wire.lose()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class TestBlocks:
    async def test_none_while_nothing_comes(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(4)
        peer = peers(pool)
        assert pool.available == 4
        assert peer.link.block is None

    async def test_asking_again_for_a_buffer_changes_nothing(self, peers: Callable[..., Peer]) -> None:
        """Over TLS the loop asks without telling afterwards that anything came."""
        pool = BlockPool(4)
        peer = peers(pool)
        first, second = peer.link.get_buffer(-1), peer.link.get_buffer(-1)
        assert len(first) == len(second) == BLOCK_SIZE
        assert pool.available == 3
        block = peer.link.block
        assert block is not None
        assert block.holds == 1

    async def test_is_given_back_when_the_connection_goes_between_the_two(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(4)
        peer = peers(pool)
        peer.link.get_buffer(-1)
        peer.wire.lose()
        assert pool.available == 4

    async def test_what_comes_next_follows_in_the_same_block_while_it_is_held(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(4)
        peer = peers(pool).associate()
        peer.keeps = True
        peer.wire.feed(data(100))
        peer.wire.feed(data(50))
        assert pool.available == 3
        fragments = [bytes(event.data) for event in peer.events if isinstance(event, DataFragment)]
        assert [len(fragment) for fragment in fragments] == [100, 50]
        assert peer.held[0] is peer.held[1]

    async def test_with_little_room_left_is_offered_no_more(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(16)
        peer = peers(pool).associate()
        peer.keeps = True
        peer.fill_block()
        assert peer.link.block is None
        peer.wire.feed(data(10))
        assert pool.available == 14

    async def test_without_holds_goes_back_at_once(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(4)
        peer = peers(pool).associate()
        peer.wire.feed(data(100))
        assert pool.available == 4
        assert peer.link.block is None


class TestBackpressure:
    async def test_no_more_blocks_than_one_association_may_have(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(100)
        peer = peers(pool).associate()
        peer.keeps = True
        for _ in range(module._MAX_BLOCKS):
            assert peer.wire.reading
            peer.fill_block()
        assert not peer.wire.reading
        assert pool.available == 100 - module._MAX_BLOCKS
        assert peer.starved == 1
        assert not pool.contended  # There are blocks; it waits for its own.
        peer.let_go()
        assert peer.wire.reading

    @pytest.mark.case("item 9 the last receive blocks are for associations that have none")
    async def test_the_reserve_is_for_those_that_have_no_block(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(16)
        assert pool.reserve == 2
        others = leased(pool, 13)
        peer = peers(pool).associate()
        peer.keeps = True
        peer.fill_block()
        assert pool.available == 2
        assert not peer.wire.reading
        assert pool.contended
        newcomer = peers(pool).associate()
        newcomer.keeps = True
        newcomer.wire.feed(data(100))
        assert newcomer.wire.reading
        assert pool.available == 1
        newcomer.fill_block()
        assert not newcomer.wire.reading
        assert pool.available == 1
        others.pop().release()
        await turns()
        assert peer.wire.reading

    async def test_one_block_more_than_the_reserve_is_for_everybody(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(16)
        others = leased(pool, 12)
        peer = peers(pool).associate()
        peer.keeps = True
        peer.fill_block()
        assert pool.available == 3
        assert peer.wire.reading
        assert not pool.contended
        assert len(others) == 12

    async def test_a_new_association_reads_even_where_no_block_is_left(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(1)
        first = peers(pool).associate()
        first.keeps = True
        first.wire.feed(data(10))
        assert pool.available == 0
        second = peers(pool)
        buffer = second.link.get_buffer(-1)
        assert len(buffer) == LEAST
        second.wire.feed(a_request().encode())
        assert len(second.events) == 1
        assert not second.wire.reading  # Until there is a block for it.
        assert second.starved == 1
        first.let_go()
        await turns()
        assert second.wire.reading
        second.wire.feed(data(10))
        assert len(second.events) == 2

    async def test_half_filled_blocks_are_written_out_while_somebody_waits(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(1)
        first = peers(pool, on_starved=Peer.let_go).associate()
        first.keeps = True
        first.wire.feed(data(10))
        assert first.starved == 0
        second = peers(pool)
        second.wire.feed(a_request().encode())
        assert pool.contended
        first.wire.feed(data(10))
        assert first.starved == 1
        assert pool.available == 1
        await turns()
        assert second.wire.reading

    async def test_pausing_for_two_reasons_ends_with_the_last(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(100)
        peer = peers(pool).associate()
        peer.keeps = True
        for _ in range(module._MAX_BLOCKS):
            peer.fill_block()
        peer.link.pause_reading(True)
        peer.let_go()
        assert not peer.wire.reading
        peer.link.pause_reading(False)
        assert peer.wire.reading

    async def test_one_that_waited_and_has_gone_takes_no_turn(self, peers: Callable[..., Peer]) -> None:
        pool = BlockPool(1)
        first = peers(pool).associate()
        first.keeps = True
        first.wire.feed(data(10))
        second = peers(pool)
        second.wire.feed(a_request().encode())
        second.wire.lose()
        assert not pool.contended


class TestWriting:
    async def test_drain_waits_for_the_low_water_mark(self, peers: Callable[..., Peer]) -> None:
        peer = peers(BlockPool(2)).associate()
        assert peer.link.writable
        await peer.link.drain()
        peer.link.pause_writing()
        assert not peer.link.writable
        draining = asyncio.ensure_future(peer.link.drain())
        await turns()
        assert not draining.done()
        peer.link.resume_writing()
        await draining

    @pytest.mark.parametrize("end", [Link.wake, lambda link: link.connection_lost(None)])
    async def test_nobody_waits_for_a_connection_that_has_ended(
        self, peers: Callable[..., Peer], end: Callable[[Link], None]
    ) -> None:
        peer = peers(BlockPool(2)).associate()
        peer.link.pause_writing()
        draining = asyncio.ensure_future(peer.link.drain())
        await turns()
        end(peer.link)
        await draining

    async def test_the_end_is_reported_once(self, peers: Callable[..., Peer]) -> None:
        peer = peers(BlockPool(2)).associate()
        peer.wire.lose()
        assert [type(event) for event in peer.events] == [Closed]
        assert peer.link.closed.done()
        peer.link.disconnect()
        peer.link.flush()
        peer.link.pause_reading(True)


class TestTimer:
    async def test_is_armed_once_and_looks_again_where_the_deadline_has_moved(
        self, peers: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        armed: list[float] = []

        class Later:
            def __init__(self, when: float) -> None:
                self._when = when

            def when(self) -> float:
                return self._when

            def cancel(self) -> None:
                pass

        def call_at(when: float, callback: Callable[[], None]) -> Later:
            armed.append(when)
            return Later(when)

        now = [1000.0]
        peer = peers(BlockPool(2))
        monkeypatch.setattr(loop, "call_at", call_at)
        monkeypatch.setattr(loop, "time", lambda: now[0])
        peer.link._timer = None
        peer.associate()
        first = armed[-1]
        now[0] += 1
        before = len(armed)
        peer.wire.feed(data(10))
        assert len(armed) == before  # Later is soon enough: it will look again.
        now[0] = first
        peer.link._on_timer()
        assert armed[-1] == first + 1
        assert peer.link.association.state.name == "Sta6"
        now[0] = armed[-1]
        peer.link._on_timer()
        assert peer.wire.closing or peer.link.association.state.name == "Sta13"
