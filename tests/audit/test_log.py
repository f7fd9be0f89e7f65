"""gateway/audit/log.py and table.py: what is in the log when, and what the chain says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import log as module
from gateway.audit.chain import ChainLink
from gateway.audit.entry import AuditEntry, AuditSubject, entry
from gateway.audit.log import AuditLog
from gateway.audit.table import AuditFilter, append, forget, search, verify
from gateway.config import Audit, Settings
from gateway.database.actor import Actor
from gateway.database.companion import COMPANION, Companion
from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.errors import DatabaseError, Overloaded
from tests.support import index
from tests.support.waiting import until

ANN = Actor("ann", "", "10.0.0.1")
ON = Settings(audit=Audit(enabled=True))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    yield opened
    await opened.close()


@pytest.fixture
async def audit(database: SQLite) -> AsyncIterator[AuditLog]:
    made = AuditLog(database, lambda: ON, clock=Clock())
    yield made
    await made.close()


def clock(audit: AuditLog) -> Clock:
    found = audit._clock
    assert isinstance(found, Clock)
    return found


async def all_of(database: SQLite, **wanted: str | float) -> list[AuditEntry]:
    found = await search(database, AuditFilter(**wanted), skip=0, limit=100)  # type: ignore[arg-type]
    return found[::-1]


def of_study(uid: str) -> AuditSubject:
    return AuditSubject("study", "", uid)


class TestCounted:
    async def test_first_at_once_and_then_once_in_half_a_minute(self, audit: AuditLog, database: SQLite) -> None:
        for _ in range(3):
            audit.count("view", ANN, of_study("1.2"))
        await audit.flush()
        clock(audit).now += 5
        for _ in range(500):
            audit.count("view", ANN, of_study("1.2"))
        audit.count("view", ANN, of_study("1.3"))
        await audit.flush()
        assert [(one.study_uid, one.number) for one in await all_of(database)] == [("1.2", 3), ("1.3", 1)]
        clock(audit).now += 26
        await audit.flush()
        last = (await all_of(database, study_uid="1.2"))[-1]
        assert (last.number, last.at, last.user, last.origin) == (500, 1005.0, "ann", "10.0.0.1")

    async def test_instances_are_counted_as_their_study(self, audit: AuditLog, database: SQLite) -> None:
        for _ in range(100):
            await index.store(database, index.record(index.data_set()), index.placement())
        rows = await database.fetch(Query("ids", "SELECT public_id FROM instances"))
        for (public_id,) in rows:
            audit.count("view", ANN, AuditSubject("instance", public_id))
        await audit.flush()
        ((study, uid, patient),) = await database.fetch(
            Query("studies", "SELECT public_id, uid, patient_id FROM studies")
        )
        (one,) = await all_of(database)
        assert one.subject == ("study", study, uid, patient)
        assert one.number == 100

    async def test_what_is_not_stored_keeps_its_name(self, audit: AuditLog, database: SQLite) -> None:
        audit.count("view", ANN, AuditSubject("series", "0123"), "failure")
        await audit.flush()
        (one,) = await all_of(database, public_id="0123")
        assert (one.level, one.study_uid, one.outcome) == ("series", "", "failure")

    async def test_by_itself_within_a_second(
        self, audit: AuditLog, database: SQLite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "FLUSH_S", 0.0)
        audit.count("view", ANN)
        await until(lambda: all_of(database))

    async def test_at_the_end_all_of_it(self, database: SQLite) -> None:
        audit = AuditLog(database, lambda: ON)
        audit.count("view", ANN)
        await audit.flush()
        audit.count("view", ANN)
        await audit.close()
        assert [one.number for one in await all_of(database)] == [1, 1]

    async def test_a_full_log_holds_requests_up(self, audit: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_COUNTED", 2)
        audit.count("view", ANN)
        await audit.room()
        audit.count("search", ANN)
        assert len(audit._counted) == 2
        await audit.room()
        assert not audit._counted

    async def test_what_cannot_be_written_is_tried_again(
        self, audit: AuditLog, database: SQLite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(script: Callable[[], Script[None]]) -> None:
            raise DatabaseError("no space")

        monkeypatch.setattr(module, "MAX_COUNTED", 1)
        with monkeypatch.context() as patched:
            patched.setattr(database, "write", fails)
            audit.count("view", ANN)
            with pytest.raises(Overloaded):
                await audit.room()
        await audit.flush()
        assert [one.action for one in await all_of(database)] == ["view"]

    async def test_off(self, database: SQLite) -> None:
        audit = AuditLog(database, Settings)
        audit.count("view", ANN)
        audit.add(audit.entry("delete", ANN))
        await audit.write(audit.entry("delete", ANN))
        await audit.close()
        assert await all_of(database) == []


class TestCompanions:
    """A change and its entry are one transaction."""

    QUERY = Query("label", "INSERT INTO resource_labels (level, public_id, label) VALUES ('study', 'x', $1)")

    def change(self, label: object) -> Script[None]:
        yield self.QUERY, (label,)

    async def test_both_or_neither(self, audit: AuditLog, database: SQLite) -> None:
        companion = Companion()
        companion.pending.append(lambda: append([audit.entry("edit-labels", ANN)]))
        token = COMPANION.set(companion)
        with pytest.raises(DatabaseError):
            await database.write(lambda: self.change(None))
        assert await all_of(database) == []
        assert len(companion.pending) == 1
        await database.write(lambda: self.change("a"))
        await database.write(lambda: self.change("b"))
        COMPANION.reset(token)
        assert [one.action for one in await all_of(database)] == ["edit-labels"]
        assert companion.pending == []


class TestChain:
    async def fill(self, database: SQLite, count: int = 5) -> None:
        for number in range(count):
            await database.write(lambda: append([entry("view", ANN, at=1000.0 + number)]))  # noqa: B023

    async def test_whole(self, database: SQLite) -> None:
        assert (await verify(database)).last == 0
        await self.fill(database)
        found = await verify(database)
        assert (found.first, found.last, found.problem) == (1, 5, "")

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("DELETE FROM audit_log WHERE seq = 3", "missing"),
            ("DELETE FROM audit_log WHERE seq = 1", "missing"),
            ("DELETE FROM audit_log WHERE seq = 5", "was the last"),
            ("DELETE FROM audit_log", "was the last"),
            ("UPDATE audit_log SET user_name = 'bob' WHERE seq = 2", "entry 2"),
            ("UPDATE audit_log SET at = at + 1 WHERE seq = 5", "entry 5"),
            ("UPDATE audit_log SET seq = seq + 10", "missing"),
        ],
    )
    async def test_what_somebody_does_to_it(self, database: SQLite, statement: str, words: str) -> None:
        await self.fill(database)

        def script() -> Script[None]:
            yield Query("tamper", statement), ()

        await database.write(script)
        assert words in (await verify(database)).problem

    async def test_a_hash_that_was_noted_elsewhere(self, database: SQLite) -> None:
        await self.fill(database)
        noted = await verify(database)
        link = ChainLink(noted.last, bytes.fromhex(noted.hash))
        await self.fill(database)
        assert (await verify(database, [link])).problem == ""

        def anew() -> Script[None]:
            yield Query("clear", "DELETE FROM audit_log"), ()
            yield Query("clear marks", "DELETE FROM audit_marks"), ()
            yield from append([entry("view", ANN, at=float(number)) for number in range(10)])

        await database.write(anew)
        assert (await verify(database)).problem == ""
        assert "another hash" in (await verify(database, [link])).problem
        assert "missing" in (await verify(database, [ChainLink(11, bytes(32))])).problem

    async def test_the_oldest_go(self, database: SQLite) -> None:
        await self.fill(database)
        assert await database.write(lambda: forget(900.0)) == 0
        assert await database.write(lambda: forget(2000.0)) == 5
        await self.fill(database, 2)
        found = await verify(database)
        assert (found.first, found.last, found.problem) == (6, 7, "")

    async def test_several_add_to_one_chain(self, database: SQLite, tmp_path: Path) -> None:
        other = await SQLite.open(tmp_path / "index.db")
        await asyncio.gather(
            *[one.write(lambda: append([entry("view", ANN, at=1.0)])) for one in (database, other) * 50]
        )
        await other.close()
        found = await verify(database)
        assert (found.last, found.problem) == (100, "")


class TestSearch:
    async def test_by_each(self, database: SQLite) -> None:
        entries = [
            entry("view", ANN, AuditSubject("study", "a-1", "1.2", "P1"), at=1.0),
            entry("delete", Actor("bob"), AuditSubject("study", "a-2", "1.3", "P2"), at=2.0),
            entry("view", Actor("bob"), AuditSubject("study", "a-1", "1.2", "P1"), at=3.0),
        ]
        await database.write(lambda: append(entries))
        for wanted, times in (
            ({"user": "bob"}, [2.0, 3.0]),
            ({"action": "view"}, [1.0, 3.0]),
            ({"study_uid": "1.2", "user": "ann"}, [1.0]),
            ({"public_id": "a-2"}, [2.0]),
            ({"since": 2.0}, [2.0, 3.0]),
            ({"since": 0.0, "until": 3.0}, [1.0, 2.0]),
            ({}, [1.0, 2.0, 3.0]),
        ):
            assert [one.at for one in await all_of(database, **wanted)] == times  # type: ignore[arg-type]
        assert [one.at for one in await search(database, AuditFilter(), skip=1, limit=1)] == [2.0]


@given(st.text(), st.dictionaries(st.text(), st.text(max_size=9), max_size=2))
def test_any_text_is_an_entry(text: str, detail: dict[str, str]) -> None:
    made = entry(text, Actor(text, text, text), at=0.0, detail=detail)
    assert made.details == detail
