"""Who gets in where there is no more room for connections, and how a listener comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.errors import AssociationLost
from gateway.net import newcomers
from gateway.net.buffers import BlockPool
from gateway.net.requestor import Requestor, associate
from gateway.ul.association import Limits
from tests.net.test_exchange import CT, Server
from tests.support.silence import silent

MOST = 10


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with asyncio.timeout(20):
        yield server
        await server.acceptor.stop(0)


@pytest.mark.case("the oldest silent connection goes first, strangers before others")
async def test_silent_connections_make_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "GRACE_S", 0.0)
    async with silent(*server.acceptor.address, MOST) as readers, associate(server.call()) as association:
        await association.store(association.context_for(CT), "1.2", [b"data"])
        assert await readers[0].read() == b""
        assert len(server.acceptor.associations()) == MOST


@pytest.mark.case("the oldest silent connection goes first, strangers before others")
async def test_associations_make_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "GRACE_S", 0.0)
    async with AsyncExitStack() as stack:
        associations: list[Requestor] = [await stack.enter_async_context(associate(server.call())) for _ in range(MOST)]
        async with silent(*server.acceptor.address, 3):
            for association in associations:
                assert (await association.store(association.context_for(CT), "1.2", [b"data"])).status == 0


async def test_who_has_only_just_come_is_not_silent(server: Server) -> None:
    """Then one that waits for room gets in as soon as somebody goes."""
    async with silent(*server.acceptor.address, MOST):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), associate(server.call()):
                pass
    async with associate(server.call()) as association:
        assert association.established


class TestStop:
    async def test_waits_for_those_that_work_and_no_longer(self, server: Server) -> None:
        async with associate(server.call()) as association:
            stopping = asyncio.ensure_future(server.acceptor.stop(15))
            assert (await association.store(association.context_for(CT), "1.2", [b"data"])).status == 0
            assert not stopping.done()
        await stopping
        assert server.acceptor.associations() == []

    async def test_meanwhile_others_are_still_answered(self, server: Server) -> None:
        async with associate(server.call()):
            stopping = asyncio.ensure_future(server.acceptor.stop(15))
            async with associate(server.call()) as late:
                assert late.established
        await stopping
        with pytest.raises(OSError):
            await Requestor.open(server.call(), BlockPool(1))

    async def test_aborts_what_is_open_after_its_grace(self, server: Server) -> None:
        server.take = lambda message: None
        association = await Requestor.open(server.call(), BlockPool(8))
        asked = asyncio.ensure_future(association.store(association.context_for(CT), "1.2", [b"data"]))
        await server.acceptor.stop(0.05)
        with pytest.raises(AssociationLost):
            await asked
        await association.abort()
        assert server.acceptor.established() == {}


async def test_new_limits_are_for_those_that_wait_too(server: Server) -> None:
    server.acceptor.use(Limits(), 1, 1)
    async with associate(server.call()) as first:
        waiting = asyncio.ensure_future(Requestor.open(server.call(), BlockPool(8)))
        assert (await first.store(first.context_for(CT), "1.2", [b"data"])).status == 0
        assert not waiting.done()
        server.acceptor.use(Limits(), 2, 1)
        second = await waiting
        assert [each.number for each in server.acceptor.associations()] == [1, 2]
        assert server.acceptor.established() == {"CALLING": 2}
        await second.release()
