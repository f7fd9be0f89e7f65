"""Records of associations outlast a restart: bounded, written behind, and under numbers that are never used twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.database.sqlite import SQLite
from gateway.net import record_log
from gateway.net.associations import MAX_UNWRITTEN, EndedRecord, OpenAssociations, encoded
from gateway.net.record_log import RecordLog, stored_record
from tests.web.test_modalities_page import record

NOW = 1_800_000_000.0


class Ended:
    """Associations that have ended, as far as a log asks for them."""

    def __init__(self, *records: Any) -> None:
        self.records = [EndedRecord(each.number, each.ended_at, each.is_trouble, encoded(each)) for each in records]

    def take_ended(self) -> list[EndedRecord]:
        found, self.records = self.records, []
        return found


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    opened = await SQLite.open(tmp_path / "index.db")
    yield opened
    await opened.close()


async def write(database: SQLite, *records: Any) -> None:
    log = await RecordLog.open(database)
    await log.flush(cast(OpenAssociations, Ended(*records)))


async def test_what_was_written_is_read_by_the_next_run(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_log.time, "time", lambda: NOW)
    assert (await RecordLog.open(database)).last_number == 0
    await write(database, record(7, ended_at=NOW), record(3, ended_at=NOW - 9), record(5, ended_at=0.0))
    log = await RecordLog.open(database)
    assert log.last_number == 7
    assert [each.number for each in log.extended([record(8, ended_at=NOW + 1), record(7, ended_at=NOW)])] == [8, 7, 3]
    assert await stored_record(database, 3) == record(3, ended_at=NOW - 9)
    assert await stored_record(database, 4) is None


async def test_the_last_of_each_kind_stay(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_log.time, "time", lambda: NOW)
    monkeypatch.setattr(record_log, "MAX_STORED", 3)
    await write(
        database, record(1, ended_at=NOW, outcome="aborted"), record(2, ended_at=NOW - record_log.MAX_AGE_S - 1)
    )
    await write(database, *(record(number, ended_at=NOW) for number in range(3, 9)))
    there = [number for number in range(1, 9) if await stored_record(database, number)]
    assert there == [1, 6, 7, 8], "one of trouble, the last three of the good, none that is too old"


async def test_a_record_of_another_release_is_passed_over(database: SQLite) -> None:
    ended = Ended()
    ended.records = [EndedRecord(4, 9e9, False, b'{"Number": "four"}')]
    await (await RecordLog.open(database)).flush(cast(OpenAssociations, ended))
    assert (await RecordLog.open(database)).extended([]) == []
    assert (await RecordLog.open(database)).last_number == 4


async def test_what_the_database_does_not_take_is_lost_and_logged(
    database: SQLite, caplog: pytest.LogCaptureFixture
) -> None:
    log = await RecordLog.open(database)
    await database.close()
    await log.flush(cast(OpenAssociations, Ended(record(1))))
    assert "the records of 1 associations are not written" in caplog.text


def test_a_flood_is_bounded() -> None:
    ended = OpenAssociations()
    for number in range(MAX_UNWRITTEN + 5):
        ended._unwritten.append(EndedRecord(number, 0.0, True, b""))
    assert [each.number for each in ended.take_ended()] == list(range(5, MAX_UNWRITTEN + 5))
    assert ended.take_ended() == []
