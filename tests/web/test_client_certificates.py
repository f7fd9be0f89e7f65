"""Client certificates over HTTPS: whose name stands in `http.users` is that user, without a password."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.config import Http, User
from gateway.web.app import create_app
from gateway.web.listener import Listener
from tests.support.certificates import Authority, Issued
from tests.support.web import House

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program"),
    pytest.mark.case("a client certificate proves a user over HTTPS"),
]


class Secure:
    def __init__(self, url: str, authority: Authority) -> None:
        self.url, self.authority = url, authority

    async def profile(self, shown: Issued | None = None) -> tuple[int, str]:
        """Status, and name of the user, of a request with a certificate or none."""
        context = self.authority.client_context()
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        async with aiohttp.ClientSession() as session:
            answer = await session.get(self.url + "/auth/user/profile", ssl=context)
            return answer.status, (await answer.json()).get("name", "")


@pytest.fixture
async def secure(gateway: House, tmp_path: Path) -> AsyncIterator[Secure]:
    authority = Authority(tmp_path)
    ours = authority.issue("localhost", "DNS:localhost", file="ours")
    gateway.http = Http(
        port=0,
        certificate=ours.certificate,
        key=ours.key,
        client_ca=authority.certificate,
        users=(User(name="robot", certificate="ROBOT.hospital.example", roles=("view",)),),
    )
    listener = Listener(create_app(gateway.context()))
    await listener.start(gateway.http)
    try:
        yield Secure(f"https://localhost:{listener.port}", authority)
    finally:
        await listener.stop()


async def test_of_a_user(secure: Secure) -> None:
    assert await secure.profile(secure.authority.issue("x", "DNS:robot.hospital.example")) == (200, "robot")


async def test_of_nobody_and_none_at_all(secure: Secure) -> None:
    assert (await secure.profile(secure.authority.issue("other", "DNS:other.hospital.example")))[0] == 401
    assert (await secure.profile())[0] == 401


async def test_of_a_stranger(secure: Secure, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    shown = Authority(strange, "strange").issue("x", "DNS:robot.hospital.example")
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        await secure.profile(shown)
