"""gateway/access/users.py: headers read, failures slowed down, the verified remembered."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator

import pytest
from prometheus_client import REGISTRY

from gateway.access import passwords, users
from gateway.access.users import Authenticator, BasicCredentials, TooManyFailures, check_users, read_basic
from gateway.config import User
from gateway.errors import ConfigurationError
from tests.support.waiting import until

ANNA = User(name="anna", password=passwords.hash_password("geheim"))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class TestHeader:
    def test_name_and_password(self):
        assert read_basic(basic("änna", "a:b")) == BasicCredentials("änna", "a:b")

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
        before = REGISTRY.get_sample_value("gateway_sign_in_failures_total") or 0
        for _ in range(2):
            assert await authenticator.authenticate(basic(name, password), [ANNA], "10.1.1.1") is None
        assert waits == [0.2, 0.4]
        assert REGISTRY.get_sample_value("gateway_sign_in_failures_total") == before + 2

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

    @pytest.fixture
    async def stuck(self) -> AsyncIterator[Authenticator]:
        """One whose failures are never answered by themselves."""
        never = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            await never.wait()

        made = Authenticator(sleep)
        yield made
        made.close()

    @pytest.mark.case("broken 11 passwords tried from many addresses keep nobody else out, in bounded memory")
    async def test_failures_that_wait_are_bounded(self, stuck: Authenticator, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(users, "MAX_TRIES", 8)
        tries = [
            asyncio.create_task(stuck.authenticate(basic("anna", "x"), [ANNA], f"10.1.1.{n}"))
            for n in (1, 1, 1, *range(2, 7))
        ]
        await until(lambda: stuck._tries.total() == sum(map(len, stuck._slowed.values())) == 8)  # threads hash
        assert await stuck.authenticate(basic("anna", "geheim"), [ANNA], "10.2.2.2") == "anna"
        await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        # Threads hash, and in any order: which of the three has failed first is not said.
        assert [each.done() for each in tries[:3]].count(True) == 1, "the oldest of who has the most"
        assert not any(each.done() for each in tries[3:])
        for each in tries:
            each.cancel()
        await asyncio.wait(tries)
        assert (stuck._tries.total(), stuck._slowed) == (0, {})

    @pytest.mark.case("broken 11 one who tries passwords keeps nobody else out, nor anybody of the same name elsewhere")
    async def test_failures_of_one_client_keep_nobody_else_out(self, stuck: Authenticator):
        addresses = [f"2001:db8::{n:x}" for n in range(2 * users.MAX_TRIES_EACH)]
        tries = [asyncio.create_task(stuck.authenticate(basic("anna", "x"), [ANNA], address)) for address in addresses]
        await asyncio.sleep(0)
        with pytest.raises(TooManyFailures):
            await stuck.authenticate(basic("anna", "x"), [ANNA], "2001:db8::ffff")
        assert await stuck.authenticate(basic("anna", "geheim"), [ANNA], "2001:db8:0:1::1") == "anna"
        refused = [each for each in tries if each.done()]
        assert len(refused) == users.MAX_TRIES_EACH
        assert all(isinstance(each.exception(), TooManyFailures) for each in refused)
        for each in tries:
            each.cancel()
        await asyncio.wait(tries)

    async def test_clients_take_turns_at_hashing(self, stuck: Authenticator, monkeypatch: pytest.MonkeyPatch):
        """Whoever comes behind a queue of one client waits for a hash or two, not for all."""
        order: list[str] = []
        monkeypatch.setattr(passwords, "verify", lambda password, _stored: bool(order.append(password)))
        tries = [
            asyncio.create_task(stuck.authenticate(basic("anna", "flood"), [ANNA], "10.1.1.1"))
            for _ in range(users.MAX_TRIES_EACH)
        ]
        await asyncio.sleep(0)
        tries.append(asyncio.create_task(stuck.authenticate(basic("anna", "late"), [ANNA], "10.1.1.2")))
        await until(lambda: len(order) == len(tries))  # threads hash
        assert order.index("late") <= 3
        for each in tries:
            each.cancel()
        await asyncio.wait(tries)
