"""What came when and from where, and whose clock runs ahead."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from gateway.database.sqlite import SQLite
from gateway.index import traffic
from gateway.index.clock import ahead_s
from gateway.index.traffic import Traffic, lately_begins, received_by_study, received_lately, studies_begin
from tests.support.index import data_set, origin, placement, store


async def received(database: SQLite, at: float, study: str, sender: str = "CT1", size: int = 10, **fields: str) -> None:
    who = dataclasses.replace(origin(at), calling_aet=sender, via="dimse" if sender else "stow")
    await store(database, data_set(study=study, **fields), placement(size=size), who)


async def test_by_instance(database: SQLite) -> None:
    for at, sender in ((100.0, "CT1"), (119.4, "CT1"), (121.0, ""), (40.0, "OLD")):
        await received(database, at, f"1.{int(at)}", sender)
    found = await received_lately(database, 60.0, 60)
    assert sorted(found, key=lambda each: each.at) == [Traffic(60.0, "CT1", 2, 20), Traffic(120.0, "<stow>", 1, 10)]
    assert await lately_begins(database) == 0.0


async def test_only_the_newest_are_read(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MAX_INSTANCES", 2)
    for at in (10.0, 20.0, 30.0):
        await received(database, at, f"1.{int(at)}")
    assert await received_lately(database, 0.0, 60) == [Traffic(0.0, "CT1", 2, 20)]
    assert await lately_begins(database) == 20.0


async def test_by_study(database: SQLite) -> None:
    await received(database, 100.0, "1.1", "CT1")
    await received(database, 7300.0, "1.1", "OTHER")
    await received(database, 3700.0, "1.2", "MR1")
    await received(database, 1.0, "1.3", "OLD")
    found = await received_by_study(database, 50.0, 3600)
    assert sorted(found, key=lambda each: each.at) == [Traffic(3600.0, "MR1", 1, 10), Traffic(7200.0, "CT1", 2, 20)]


async def test_only_the_newest_studies_are_read(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in (10.0, 20.0, 30.0):
        await received(database, at, f"1.{int(at)}")
    assert await studies_begin(database) == 0.0
    monkeypatch.setattr(traffic, "MAX_STUDIES", 2)
    assert await received_by_study(database, 0.0, 3600) == [Traffic(0.0, "CT1", 2, 20)]
    assert await studies_begin(database) == 10.0


async def test_nothing(database: SQLite) -> None:
    assert await received_lately(database, 0.0, 60) == []
    assert await lately_begins(database) == 0.0
    assert await ahead_s(database, "CT1") == 0.0


async def test_a_clock_that_is_ahead(database: SQLite) -> None:
    at = datetime.datetime(2026, 1, 2, 12, 0).astimezone().timestamp()
    await received(database, at, "1.1", "LATE", StudyDate="20260102", StudyTime="113000")
    await received(database, at, "1.2", "AHEAD", StudyDate="20260102", StudyTime="124500.25")
    await received(database, at, "1.3", "ODD", StudyDate="", StudyTime="")
    assert await ahead_s(database, "AHEAD") == 45 * 60
    assert await ahead_s(database, "LATE") <= 0
    assert await ahead_s(database, "ODD") <= 0
