"""The order of writing: a message to its end before the next, short ones in between kept back, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.dimse import messages
from gateway.errors import AssociationLost
from gateway.net import message_writer
from gateway.net.buffers import BlockPool
from gateway.net.link import Link
from gateway.net.message_writer import MessageWriter, NothingTaken
from gateway.ul.association import Association, Limits
from gateway.ul.events import AssociateRequested, DataFragment, Event
from tests.support.links import a_request, an_accept
from tests.support.wires import Wire

COMMAND = messages.c_echo_request(1).encode()


class Half:
    """A writer on an association that has been accepted, and what the other side has received of it."""

    def __init__(self) -> None:
        self.peer = Association.requestor()
        self.peer.request(a_request(), 0.0)
        self.peer.connected(0.0)
        association = Association.acceptor(Limits())
        self.wire = Wire()
        self.link = Link(association, BlockPool(2), self._take)
        self.writer = MessageWriter(association, self.link)
        self.wire.connect(self.link)

    def associate(self) -> Half:
        self.wire.feed(b"".join(self.peer.data_to_send()))
        self.received()
        return self

    def _take(self, event: Event) -> None:
        if isinstance(event, AssociateRequested):
            self.link.association.accept(an_accept(event.pdu), self.link.now)

    def received(self) -> list[tuple[bool, bytes, bool]]:
        """Fragments since the last look: whether of a command, its bytes, whether it is the last."""
        data = b"".join(self.wire.written)
        self.wire.written.clear()
        self.wire._tell()
        events = self.peer.receive(data, 0.0)
        return [(e.is_command, bytes(e.data), e.is_last) for e in events if isinstance(e, DataFragment)]


@pytest.fixture
async def half() -> AsyncIterator[Half]:
    half = Half().associate()
    async with asyncio.timeout(10):
        yield half
    half.wire.lose()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def write(half: Half, data_set: message_writer.Chunks | None, timeout: float = 0) -> None:
    async with half.writer.turn:
        await half.writer.write(1, COMMAND, data_set, timeout)


class Gate:
    """Chunks of a data set that come when they are let through."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.open = asyncio.Semaphore(0)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await self.open.acquire()
            yield chunk


class TestSend:
    async def test_a_command_alone(self, half: Half) -> None:
        half.writer.send(1, COMMAND)
        assert half.received() == [(True, COMMAND, True)]

    async def test_with_a_data_set_of_even_length(self, half: Half) -> None:
        """PS3.8 Annex E.1, PS3.5 §7.1: fragments and data sets have an even number of bytes."""
        half.writer.send(1, COMMAND, [b"abc", b"", b"de"])
        (command, *rest) = half.received()
        assert command == (True, COMMAND, True)
        assert b"".join(data for _, data, _ in rest) == b"abcde\0"
        assert [last for _, _, last in rest] == [False] * (len(rest) - 1) + [True]
        assert all(len(data) % 2 == 0 for _, data, _ in rest)

    async def test_goes_nowhere_before_there_is_an_association(self) -> None:
        half = Half()
        half.writer.send(1, COMMAND)
        assert not half.writer.established
        assert not half.wire.written
        half.wire.lose()

    async def test_goes_nowhere_after_its_end(self, half: Half) -> None:
        half.writer.end(AssociationLost("gone"))
        half.writer.send(1, COMMAND)
        assert half.received() == []

    async def test_goes_nowhere_once_we_have_released(self, half: Half) -> None:
        half.link.association.release(half.link.now)
        half.link.flush()
        half.writer.send(1, COMMAND)
        assert not half.writer.established
        assert half.received() == []


class TestWrite:
    @pytest.mark.parametrize("chunks", [[], [b""], [b"ab"], [b"a", b"bc", b"d"], [bytes(300_001), b"x"]])
    async def test_a_data_set_ends_with_a_last_fragment(self, half: Half, chunks: list[bytes]) -> None:
        await write(half, chunks)
        (command, *rest) = half.received()
        assert command == (True, COMMAND, True)
        data = b"".join(chunks)
        assert b"".join(part for _, part, _ in rest) == data + bytes(len(data) % 2)
        assert [last for _, _, last in rest] == [False] * (len(rest) - 1) + [True]

    async def test_without_a_data_set(self, half: Half) -> None:
        await write(half, None)
        assert half.received() == [(True, COMMAND, True)]

    async def test_what_is_sent_meanwhile_follows_in_its_order(self, half: Half) -> None:
        gate = Gate(b"ab", b"cd")
        writing = asyncio.ensure_future(write(half, gate))
        gate.open.release()
        await turns()
        other = messages.c_echo_request(2).encode()
        half.writer.send(1, other, (chunk for chunk in (b"12", b"34")))
        half.writer.send(1, COMMAND)
        gate.open.release()
        await writing
        kinds = [(is_command, data) for is_command, data, _ in half.received() if data]
        assert [data for is_command, data in kinds if is_command] == [COMMAND, other, COMMAND]
        assert b"".join(data for is_command, data in kinds if not is_command) == b"abcd1234"
        assert kinds.index((True, other)) > kinds.index((False, b"cd"))
        half.writer.send(1, COMMAND)
        assert half.received() == [(True, COMMAND, True)]

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_a_long_one_waits_for_the_peer(
        self, half: Half, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
    ) -> None:
        monkeypatch.setattr(message_writer, "_WRITE_CHUNK_BYTES", 1000)
        half.wire.high = 1000
        made = 0

        def chunks() -> Iterator[bytes]:
            nonlocal made
            for _ in range(10):
                made += 1
                yield bytes(1000)

        async def as_they_come() -> AsyncIterator[bytes]:
            for chunk in chunks():
                yield chunk

        writing = asyncio.ensure_future(write(half, as_they_come() if asynchronous else chunks()))
        await turns()
        assert made < 4
        assert half.writer.is_stalled
        total = 0
        while not writing.done():
            total += sum(len(data) for is_command, data, _ in half.received() if not is_command)
            await turns()
        total += sum(len(data) for is_command, data, _ in half.received() if not is_command)
        await writing
        assert (made, total) == (10, 10_000)
        assert not half.writer.is_stalled

    async def test_is_queued_in_parts_of_some_size_before_it_waits(
        self, half: Half, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(message_writer, "_WRITE_CHUNK_BYTES", 3000)
        half.wire.high = 0
        made = 0

        def chunks() -> Iterator[bytes]:
            nonlocal made
            for _ in range(10):
                made += 1
                yield bytes(1000)

        writing = asyncio.ensure_future(write(half, chunks()))
        counts = []
        while not writing.done():
            await turns()
            counts.append(made)
            half.received()
        await writing
        assert counts[:3] == [4, 7, 10]  # One chunk is held back: it may be the last.

    async def test_a_peer_that_takes_nothing(self, half: Half) -> None:
        half.wire.high = 0
        with pytest.raises(NothingTaken):
            await write(half, [b"ab"], timeout=0.01)
        assert half.writer.is_stalled

    async def test_a_timeout_of_whoever_makes_the_data_set_is_not_the_peers(self, half: Half) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"ab"
            raise TimeoutError("the disk")

        with pytest.raises(TimeoutError, match="the disk"):
            await write(half, chunks(), timeout=5)

    async def test_stops_in_the_middle_when_the_association_ends(self, half: Half) -> None:
        gate = Gate(b"ab", b"cd")
        writing = asyncio.ensure_future(write(half, gate))
        gate.open.release()
        await turns()
        half.writer.send(1, COMMAND)
        half.writer.end(AssociationLost("gone"))
        gate.open.release()
        with pytest.raises(AssociationLost, match="gone"):
            await writing
        assert half.writer._deferred == []


class TestDrain:
    async def waits(self, half: Half, then: Callable[[], None]) -> None:
        draining = asyncio.ensure_future(half.writer.drain())
        await turns()
        assert not draining.done()
        then()
        await draining

    async def test_at_once_where_all_is_taken(self, half: Half) -> None:
        await half.writer.drain()

    async def test_for_what_has_been_written(self, half: Half) -> None:
        half.wire.high = 0
        half.writer.send(1, COMMAND)
        await self.waits(half, half.received)

    async def test_for_the_message_that_is_being_written(self, half: Half) -> None:
        gate = Gate(b"ab")
        writing = asyncio.ensure_future(write(half, gate))
        await turns()
        await self.waits(half, gate.open.release)
        await writing

    async def test_not_for_an_association_that_has_ended(self, half: Half) -> None:
        half.wire.high = 0
        half.writer.send(1, COMMAND)
        await self.waits(half, lambda: half.writer.end(AssociationLost("gone")))
        await half.writer.drain()
