"""gateway/access/: issued_tokens.py, bearer.py, changes.py, emergencies.py: secrets, their ends, what is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.access import issued_tokens
from gateway.access.bearer import BearerAuthenticator
from gateway.access.changes import AccessChanges
from gateway.access.emergencies import Emergencies
from gateway.access.issued_tokens import MARK, Allowance, IssuedTokens, password_mark
from gateway.access.principals import Principal, covers
from gateway.access.tokens import TokenRefused, TokenVerifier
from gateway.config import BreakGlass, Http, Settings, User
from gateway.config.roles import BUILT_IN, Role
from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.errors import BadRequest, NotFound
from gateway.jobs.queries import GET
from gateway.processes import board
from gateway.processes.shared_counter import SharedCounter
from tests.support.sign_in import ADMIN, READER, issuer_tokens, web_token

SETTINGS = Settings(http=Http(users=(ADMIN, READER)))


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    yield opened
    await opened.close()


@pytest.fixture
def issued(database: SQLite, clock: Clock) -> IssuedTokens:
    return IssuedTokens(database, clock=clock)


def bearer(issued: IssuedTokens, clock: Clock) -> BearerAuthenticator:
    return BearerAuthenticator(TokenVerifier(), issued, clock)


VIEW = Allowance(roles=("view",))


class TestIssued:
    async def test_ends(self, issued: IssuedTokens, clock: Clock) -> None:
        _, secret = await issued.issue("api", "n", "ann", VIEW, seconds=10)
        door = bearer(issued, clock)
        assert secret.startswith(MARK)
        assert (await door.authenticate(secret, SETTINGS)).roles == (BUILT_IN["view"],)
        clock.now += 10
        with pytest.raises(TokenRefused, match="has ended") as caught:
            await door.authenticate(secret, SETTINGS)
        assert caught.value.expired

    async def test_revoked_in_another_process_counts_at_once(
        self, issued: IssuedTokens, database: SQLite, clock: Clock
    ) -> None:
        other = IssuedTokens(database, issued.revocations, clock)
        token_id, secret = await issued.issue("api", "n", "ann", VIEW, seconds=1000)
        door = bearer(issued, clock)
        await door.authenticate(secret, SETTINGS)
        with pytest.raises(NotFound):
            await other.revoke("api", token_id, "rob")
        await other.revoke("api", token_id, "ann")
        with pytest.raises(TokenRefused, match="revoked"):
            await door.authenticate(secret, SETTINGS)

    async def test_read_again_after_a_while(self, issued: IssuedTokens, database: SQLite, clock: Clock) -> None:
        """A command has no part in the memory of the workers."""
        token_id, secret = await issued.issue("api", "n", "ann", VIEW, seconds=1000)
        door = bearer(issued, clock)
        await door.authenticate(secret, SETTINGS)
        await IssuedTokens(database, clock=clock).revoke("api", token_id)
        await door.authenticate(secret, SETTINGS)
        clock.now += 6
        with pytest.raises(TokenRefused, match="revoked"):
            await door.authenticate(secret, SETTINGS)

    async def test_cached(self, issued: IssuedTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        _, secret = await issued.issue("api", "n", "ann", VIEW, seconds=1000)
        door = bearer(issued, clock)
        first = await door.authenticate(secret, SETTINGS)
        monkeypatch.setattr(issued, "find", None)
        assert await door.authenticate(secret, SETTINGS) is first
        with pytest.raises(TypeError):
            await door.authenticate(secret, msgspec.structs.replace(SETTINGS))

    async def test_the_cache_is_bounded(
        self, issued: IssuedTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.access.bearer.MAX_CACHED", 3)
        door = bearer(issued, clock)
        for number in range(5):
            _, secret = await issued.issue("api", str(number), "ann", VIEW, seconds=1000)
            await door.authenticate(secret, SETTINGS)
        assert len(door._decided) == 3

    async def test_uses(self, issued: IssuedTokens, clock: Clock) -> None:
        share = Allowance(permissions=("view",), studies=("1.2",))
        _, secret = await issued.issue("share", "", "ann", share, seconds=1000, uses=2)
        door = bearer(issued, clock)
        for _ in range(2):
            who = await door.authenticate(secret, SETTINGS)
            assert (who.roles, who.is_person) == ((Role(permissions=("view",), studies=("1.2",)),), False)
        with pytest.raises(TokenRefused, match="used up"):
            await door.authenticate(secret, SETTINGS)

    async def test_a_session_without_requests(self, issued: IssuedTokens, clock: Clock) -> None:
        mark = password_mark(ADMIN.password)
        _, secret = await issued.issue("session", "", "ann", Allowance(password=mark), seconds=1e6)
        door = bearer(issued, clock)
        for _ in range(3):
            clock.now += 3000
            assert (await door.authenticate(secret, SETTINGS)).token == "session"
        clock.now += 3601
        with pytest.raises(TokenRefused, match="has ended"):
            await door.authenticate(secret, SETTINGS)

    async def test_a_session_ends_with_the_password(self, issued: IssuedTokens, clock: Clock) -> None:
        mark = password_mark(ADMIN.password)
        _, secret = await issued.issue("session", "", "ann", Allowance(password=mark), seconds=1e6)
        changed = msgspec.structs.replace(ADMIN, password=f"{ADMIN.password}x")
        with pytest.raises(TokenRefused, match="password was changed"):
            await bearer(issued, clock).authenticate(secret, Settings(http=Http(users=(changed,))))

    async def test_how_many(self, issued: IssuedTokens, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(issued_tokens, "MAX_TOKENS_EACH", 2)
        monkeypatch.setattr(issued_tokens, "MAX_SESSIONS_EACH", 2)
        for _ in range(2):
            await issued.issue("api", "n", "ann", VIEW, seconds=9)
        with pytest.raises(BadRequest, match="revoke some"):
            await issued.issue("api", "n", "ann", VIEW, seconds=9)
        await issued.issue("api", "n", "rob", VIEW, seconds=9)
        secrets = [(await issued.issue("session", "", "ann", VIEW, seconds=9))[1] for _ in range(3)]
        assert [await issued.find(each) is not None for each in secrets].count(True) == 2

    async def test_a_token_of_the_issuer_is_verified_once(
        self, issued: IssuedTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings(tokens=issuer_tokens(tmp_path, roles=("view",)))
        door = BearerAuthenticator(TokenVerifier(), issued)
        token = web_token()
        first = await door.authenticate(token, settings)
        monkeypatch.setattr(TokenVerifier, "verify", None)
        assert await door.authenticate(token, settings) is first


class TestCovers:
    @pytest.mark.parametrize(
        ("held", "wanted", "does"),
        [
            (BUILT_IN["admin"], BUILT_IN["manage"], True),
            (BUILT_IN["manage"], BUILT_IN["admin"], False),
            (BUILT_IN["manage"], BUILT_IN["view"], True),
            (BUILT_IN["view"], BUILT_IN["manage"], False),
            (Role(permissions=("delete",)), Role(permissions=("delete:series",)), True),
            (Role(permissions=("delete:series",)), Role(permissions=("delete",)), False),
            (Role(permissions=("view",), labels=("a",)), Role(permissions=("view",)), False),
            (Role(permissions=("view",), labels=("a",)), Role(permissions=("view",), labels=("a",)), True),
            (Role(permissions=("view",)), Role(permissions=("view",), labels=("a",)), True),
            (Role(permissions=("view",), labels=("a",)), Role(permissions=("view",), labels=("b",)), False),
        ],
    )
    def test_one(self, held: Role, wanted: Role, does: bool) -> None:
        assert covers((held,), wanted) is does

    def test_several(self) -> None:
        assert covers((Role(permissions=("view",)), Role(permissions=("send",))), Role(permissions=("view", "send")))


class TestChanges:
    async def test_a_password_until_the_configuration_changes(self, database: SQLite) -> None:
        told: list[int] = []
        changes = AccessChanges(database, changed=lambda: told.append(1))
        assert changes.extend(SETTINGS) is SETTINGS
        await changes.change_password(ADMIN, ADMIN, "scrypt$new")
        assert told == [1]
        extended = changes.extend(SETTINGS)
        assert extended is changes.extend(SETTINGS)
        assert [user.password for user in extended.http.users] == ["scrypt$new", READER.password]
        other = AccessChanges(database)
        await other.refresh()
        assert other.extend(SETTINGS) == extended
        reset = Settings(http=Http(users=(User(name="ann", password="scrypt$reset"),)))
        assert other.extend(reset).http.users[0].password == "scrypt$reset"


class TestEmergencies:
    async def test_other_processes_see_it(self, database: SQLite, clock: Clock) -> None:
        counter, who = SharedCounter(), Principal("doc", ())
        one, other = Emergencies(database, counter, clock), Emergencies(database, counter, clock)
        assert await other.of(who) is None
        await one.begin(who, "why", Settings(break_glass=BreakGlass(minutes=1)))
        assert await other.of(who) is not None
        assert await other.of(Principal("rob", ())) is None
        assert await other.of(Principal("doc", (), is_person=False)) is None, "not by a token of the user"
        clock.now += 60
        assert await other.of(who) is None

    async def test_without_its_alarm_there_is_none(self, database: SQLite) -> None:
        def alarm(number: int) -> Script[None]:
            yield GET, (number,)
            raise BadRequest("no alarm")

        emergencies, who = Emergencies(database, alarm=alarm), Principal("doc", ())
        with pytest.raises(BadRequest, match="no alarm"):
            await emergencies.begin(who, "why", Settings())
        assert await emergencies.of(who) is None


def test_the_count_is_shared() -> None:
    descriptor = board.make(1)
    worker = board.Scoreboard(descriptor, 0)
    try:
        before = worker.revocations.value
        worker.revocations.add()
        assert worker.revocations.value == before + 1
        assert worker.failures.add("10.0.0.1") == 1
        assert worker.revocations.value == before + 1
    finally:
        worker.close()
