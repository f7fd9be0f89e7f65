"""The stream of live figures ends with the rights of whoever reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from gateway.access.issued_tokens import Allowance, password_mark
from gateway.config import Http, User
from gateway.web.pages import live
from gateway.web.sessions import SESSION
from tests.support.sign_in import ADMIN, READER, by_password
from tests.support.web import House


@pytest.fixture
def house(gateway: House) -> House:
    gateway.http = Http(users=(ADMIN, READER))
    return gateway


async def stream(house: House, headers: dict[str, str]) -> ClientResponse:
    """The stream, of which the first figures have come."""
    answer = await house.client.get("/ui/events", headers=headers)
    assert answer.status == 200
    assert (await answer.content.readline()).startswith(b"data: ")
    return answer


async def ended(answer: ClientResponse) -> None:
    async with asyncio.timeout(10):
        await answer.content.read()


async def session(house: House, seconds: float = 600) -> tuple[str, dict[str, str]]:
    allows = Allowance(password=password_mark(READER.password))
    session_id, secret = await house.use_cases.issued_tokens.issue("session", "", "rob", allows, seconds=seconds)
    return session_id, {"Cookie": f"{SESSION}={secret}"}


async def test_with_the_session(house: House) -> None:
    session_id, cookie = await session(house)
    answer = await stream(house, cookie)
    await house.use_cases.issued_tokens.revoke("session", session_id)
    await ended(answer)
    assert (await house.client.get("/ui/events", headers=cookie)).status == 401


async def test_with_the_time_of_the_session(house: House) -> None:
    _, cookie = await session(house, 1.2)
    before = time.monotonic()
    await ended(await stream(house, cookie))
    assert time.monotonic() - before < 8


async def test_with_idleness_of_which_it_is_no_use(house: House) -> None:
    house.http = Http(users=(ADMIN, READER), session_idle_minutes=1.2 / 60)
    _, cookie = await session(house)
    await ended(await stream(house, cookie))
    assert (await house.client.get("/ui/events", headers=cookie)).status == 401


async def test_with_the_role(house: House) -> None:
    answer = await stream(house, by_password("rob"))
    house.http = Http(users=(ADMIN, User("rob", READER.password, ("store",))))
    await ended(answer)
    assert (await house.client.get("/ui/events", headers=by_password("rob"))).status == 403


async def test_without_a_session_after_a_while(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_TRUSTED_S", 0.5)
    await ended(await stream(house, by_password("rob")))


async def test_goes_on_otherwise(gateway: House) -> None:
    answer = await stream(gateway, {})
    figures = [line async for line in _first(answer, 3)]
    assert all(line.startswith(b"data: ") for line in figures)
    answer.close()


async def _first(answer: ClientResponse, count: int) -> AsyncIterator[bytes]:
    """So many further figures, which come once a second."""
    while count:
        line = await answer.content.readline()
        if line.strip():
            count -= 1
            yield line
