"""gateway/access/users.py: headers read, failures slowed down, the verified remembered."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest

from gateway.access import passwords, users
from gateway.access.users import Authenticator, Credentials, TooManyFailures, check_users, read_basic
from gateway.config import User
from gateway.errors import ConfigurationError

ANNA = User(name="anna", password=passwords.hash_password("geheim"))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class TestHeader:
    def test_name_and_password(self):
        assert read_basic(basic("änna", "a:b")) == Credentials("änna", "a:b")

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer x", "Basic", "Basic !!!", "Basic YQ==", "Basic /////w==", "Basic " + "YTo" * 9999]
    )
    def test_unreadable_is_nobody(self, header: str | None):
        assert read_basic(header) is None


class TestCheck:
    def test_names_the_user_without_the_hash(self):
        with pytest.raises(ConfigurationError, match=r"anna.*hash-password"):
            check_users([User(name="anna", password="geheim")])

    def test_twice_is_refused(self):
        with pytest.raises(ConfigurationError, match="once"):
            check_users([ANNA, ANNA])


class TestAuthenticator:
    @pytest.fixture
    def waits(self) -> list[float]:
        return []

    @pytest.fixture
    def authenticator(self, waits: list[float]) -> Iterator[Authenticator]:
        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        made = Authenticator(sleep)
        yield made
        made.close()

    async def test_right(self, authenticator: Authenticator, waits: list[float]):
        assert await authenticator.authenticate(basic("anna", "geheim"), [ANNA], "10.1.1.1") == "anna"
        assert waits == []

    @pytest.mark.parametrize(("name", "password"), [("anna", "falsch"), ("otto", "geheim"), ("", "")])
    async def test_wrong_is_answered_later_each_time(
        self, authenticator: Authenticator, waits: list[float], name: str, password: str
    ):
        for _ in range(2):
            assert await authenticator.authenticate(basic(name, password), [ANNA], "10.1.1.1") is None
        assert waits == [0.2, 0.4]

    async def test_one_peer_does_not_slow_another(self, authenticator: Authenticator, waits: list[float]):
        await authenticator.authenticate(basic("anna", "x"), [ANNA], "10.1.1.1")
        await authenticator.authenticate(basic("anna", "x"), [ANNA], "10.1.1.2")
        assert waits == [0.2, 0.2]

    async def test_the_verified_are_not_hashed_again(
        self, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
    ):
        await authenticator.authenticate(basic("anna", "geheim"), [ANNA], "")
        monkeypatch.setattr(passwords, "verify", lambda *_: pytest.fail("hashed again"))
        assert await authenticator.authenticate(basic("anna", "geheim"), [ANNA], "") == "anna"

    async def test_a_changed_password_ends_the_old_one(self, authenticator: Authenticator):
        await authenticator.authenticate(basic("anna", "geheim"), [ANNA], "")
        changed = User(name="anna", password=passwords.hash_password("neu"))
        assert await authenticator.authenticate(basic("anna", "geheim"), [changed], "") is None
        assert await authenticator.authenticate(basic("anna", "geheim"), [], "") is None

    async def test_a_broken_hash_lets_nobody_in(self, authenticator: Authenticator, caplog: pytest.LogCaptureFixture):
        broken = User(name="anna", password="geheim")
        assert await authenticator.authenticate(basic("anna", "geheim"), [broken], "") is None
        assert "geheim" not in caplog.text

    async def test_failures_that_wait_are_bounded(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(passwords, "verify", lambda *_: False)
        never = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            await never.wait()

        authenticator = Authenticator(sleep)
        tries = [
            asyncio.create_task(authenticator.authenticate(basic("anna", "x"), [ANNA], str(n)))
            for n in range(users._WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyFailures):
            await authenticator.authenticate(basic("anna", "x"), [ANNA], "")
        never.set()
        assert await asyncio.gather(*tries) == [None] * users._WAITING
        authenticator.close()
