"""Connections to the web: how many, and which of them goes where there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.access.passwords import hash_password
from gateway.config import Http, User
from gateway.net import newcomers
from gateway.web.app import create_app
from gateway.web.listener import Listener
from tests.support.silence import silent
from tests.support.web import house

pytestmark = pytest.mark.case("the web listener has a limit of its own, and silent connections make room")
ANN = {"Authorization": aiohttp.encode_basic_auth("ann", "secret")}


@asynccontextmanager
async def listening(path: Path, most: int, http: Http | None = None) -> AsyncIterator[Listener]:
    async with asyncio.timeout(20), house(path) as made:
        made.http = http or Http()
        listener = Listener(create_app(made.context()), grace=0.1)
        await listener.start(Http(port=0, max_connections=most))
        try:
            yield listener
        finally:
            await listener.stop()


async def status(listener: Listener, session: aiohttp.ClientSession, path: str = "/system") -> int:
    async with session.get(f"http://127.0.0.1:{listener.port}{path}") as answer:
        await answer.read()
        return answer.status


async def test_silent_connections_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(newcomers, "GRACE_S", 0.0)
    async with (
        listening(tmp_path, 3) as listener,
        aiohttp.ClientSession() as session,
        silent("127.0.0.1", listener.port, 3) as readers,
    ):
        assert await status(listener, session) == 200
        assert await readers[0].read() == b""


async def test_who_has_been_let_in_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its connection is the oldest, and idle between its requests."""
    monkeypatch.setattr(newcomers, "GRACE_S", 0.0)
    users = (User("ann", hash_password("secret")),)
    async with (
        listening(tmp_path, 3, Http(users=users)) as listener,
        aiohttp.ClientSession(headers=ANN, connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        assert await status(listener, session) == 200
        (ours,) = (each for each in listener._connections._by_handler.values() if each.is_recognized)
        async with silent("127.0.0.1", listener.port, 6) as readers:
            assert [await reader.read() for reader in readers[:4]] == [b""] * 4
            assert ours.is_open
            assert await status(listener, session) == 200


async def test_a_wrong_password_is_no_recognition(tmp_path: Path):
    users = (User("ann", hash_password("secret")),)
    async with listening(tmp_path, 3, Http(users=users)) as listener, aiohttp.ClientSession() as session:
        assert await status(listener, session) == 401
        assert await status(listener, session, "/livez") == 200
        assert not any(each.is_recognized for each in listener._connections._by_handler.values())
