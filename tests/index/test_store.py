"""Entering instances: parents, counts, duplicates, versions, flags, changes; several processes at once."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.database.database import Query, Script
from gateway.database.sqlite import SQLite
from gateway.errors import DatabaseError
from gateway.events.changes import read_changes
from gateway.index import store as module
from gateway.index.identity import public_id
from gateway.index.remove import remove_resource
from gateway.index.store import (
    READERS_S,
    Duplicate,
    Stored,
    forget_garbage,
    garbage,
    keys_present,
    store_instance,
    tombstone_if_uncommitted,
)
from tests.support.index import data_set, migrate_again, origin, placement, record, store

ROOT = Path(__file__).parents[2]
STUDIES = Query(
    "studies",
    "SELECT uid, series_count, instance_count, size, modalities, flags, last_received FROM studies ORDER BY id",
)
SHARED = Query("shared", "SELECT uid, patient_id, shared FROM studies ORDER BY uid, patient_id")
SERIES = Query("series", "SELECT uid, instance_count, size, flags FROM series ORDER BY uid, id")
COUNTS = Query(
    "counts",
    "SELECT (SELECT COUNT(*) FROM patients), (SELECT COUNT(*) FROM studies), (SELECT COUNT(*) FROM series), "
    "(SELECT COUNT(*) FROM instances), (SELECT COUNT(*) FROM person_names WHERE tag > 0)",
)


async def test_the_first_instance_and_the_next(database: SQLite) -> None:
    first = await store(database, data_set(), placement(size=10), origin(5.0))
    assert isinstance(first, Stored)
    assert (first.version, first.new_study, first.flags) == (1, True, 0)
    second = await store(database, data_set(), placement(size=20), origin(6.0))
    assert isinstance(second, Stored)
    assert (second.version, second.new_study, second.flags) == (1, False, 0)
    assert second.change > first.change
    third = await store(database, data_set(series="1.2.3.2", Modality="MR"), placement(size=30), origin(7.0))
    assert isinstance(third, Stored)
    assert await database.fetch(STUDIES) == [("1.2.3", 2, 3, 60, "\\CT\\MR\\", 0, 7.0)]
    assert await database.fetch(SERIES) == [("1.2.3.1", 2, 30, 0), ("1.2.3.2", 1, 30, 0)]
    assert await database.fetch(COUNTS) == [(1, 1, 2, 3, 1)]


async def test_the_common_case_takes_at_most_five_statements(database: SQLite) -> None:
    await store(database, data_set())
    count = 0

    def counted() -> Script[Stored | Duplicate]:
        nonlocal count
        script = store_instance(record(data_set()), placement(), origin())
        try:
            request = next(script)
            while True:
                count += 1
                request = script.send((yield request))
        except StopIteration as end:
            return end.value

    await database.write(counted)
    assert count <= 5


async def test_changes_in_orthancs_words(database: SQLite) -> None:
    stored = await store(database, data_set(sop="1.2.3.1.1"), None, origin(9.5))
    changes = (await read_changes(database)).changes
    assert [(change.kind, change.level) for change in changes] == [
        ("NewPatient", "Patient"),
        ("NewStudy", "Study"),
        ("NewSeries", "Series"),
        ("NewInstance", "Instance"),
    ]
    assert changes[-1].public_id == public_id("P1", "1.2.3", "1.2.3.1", "1.2.3.1.1")
    assert {(change.study_uid, change.at) for change in changes} == {("1.2.3", 9.5)}
    assert isinstance(stored, Stored)
    assert stored.change == changes[-1].seq


class TestDuplicates:
    async def test_again_changes_nothing(self, database: SQLite) -> None:
        source = data_set(sop="1.9")
        await store(database, source, placement("OLD", 7))
        before = [await database.fetch(STUDIES), await database.fetch(SERIES), (await read_changes(database)).changes]
        again = await store(database, source, placement("NEW", 8))
        assert again == Duplicate("OLD", 1, "1.2.840.10008.1.2.1", 7, 340, "")
        assert await store(database, source, placement("NEW"), replaces="OTHER") == again
        assert [
            await database.fetch(STUDIES),
            await database.fetch(SERIES),
            (await read_changes(database)).changes,
        ] == before

    async def test_a_new_version(self, database: SQLite) -> None:
        await store(database, data_set(sop="1.9", PatientName="Wrong"), placement("OLD", 7), origin(10.0))
        await store(database, data_set(sop="1.8"), placement("ELSE", 5), origin(11.0))
        corrected = data_set(sop="1.9", PatientName="Right^Now", Modality="MR", InstanceNumber=4)
        stored = await store(database, corrected, placement("NEW", 9), origin(12.0), replaces="OLD")
        assert isinstance(stored, Stored)
        assert (stored.version, stored.new_study) == (2, False)
        assert await database.fetch(STUDIES) == [("1.2.3", 1, 2, 14, "\\MR\\", 0, 12.0)]
        assert await database.fetch(Query("names", "SELECT name FROM person_names WHERE tag > 0")) == [("right^now",)]
        assert await garbage(database, older_than=12.0 + READERS_S) == ["OLD"]
        assert await keys_present(database, ["OLD", "NEW", "ELSE", "NEVER"]) == {"NEW", "ELSE"}
        (last,) = (await read_changes(database, since=stored.change - 1)).changes
        assert (last.kind, last.level) == ("UpdatedAttachment", "Instance")
        third = await store(database, corrected, placement("THIRD", 9), origin(13.0), replaces="NEW")
        assert isinstance(third, Stored)
        assert third.version == 3

    async def test_of_two_replacements_one_wins(self, database: SQLite) -> None:
        source = data_set(sop="1.9")
        await store(database, source, placement("OLD"))
        results = await asyncio.gather(
            *[store(database, source, placement(f"NEW{n}"), replaces="OLD") for n in range(5)]
        )
        assert sum(isinstance(result, Stored) for result in results) == 1
        assert await garbage(database, older_than=1e12) == ["OLD"]


async def test_a_key_is_never_used_twice(database: SQLite) -> None:
    await store(database, data_set(), placement("SAME"))
    with pytest.raises(DatabaseError):
        await store(database, data_set(), placement("SAME"))
    assert await database.fetch(STUDIES) == [("1.2.3", 1, 1, 1000, "\\CT\\", 0, 1000.0)]


async def test_garbage_is_listed_in_time_and_forgotten(database: SQLite) -> None:
    for n in range(3):
        source = data_set(sop=f"1.9.{n}")
        await store(database, source, placement(f"A{n}"))
        await store(database, source, placement(f"B{n}"), origin(float(n)), replaces=f"A{n}")
    assert await garbage(database, older_than=READERS_S + 1.0) == ["A0", "A1"]
    assert await garbage(database, older_than=READERS_S + 9.0, limit=1) == ["A0"]
    await database.write(lambda: forget_garbage(["A0", "A2"]))
    assert await garbage(database, older_than=READERS_S + 9.0) == ["A1"]
    assert await keys_present(database, []) == set()


async def test_a_key_that_no_row_names_is_disowned(database: SQLite) -> None:
    await store(database, data_set(), placement("KEPT"))
    assert await database.write(lambda: tombstone_if_uncommitted("KEPT", 1.0)) is False
    assert await database.write(lambda: tombstone_if_uncommitted("LOST", 1.0)) is True
    assert await database.write(lambda: tombstone_if_uncommitted("LOST", 2.0)) is True
    assert await garbage(database, older_than=READERS_S + 9.0) == ["LOST"]


class TestFlags:
    async def test_the_same_uid_under_other_parents_is_stored_and_flagged(self, database: SQLite) -> None:
        async def flags(**values: str) -> int:
            stored = await store(database, data_set(**values))
            assert isinstance(stored, Stored)
            return stored.flags

        sop, series, study = module.SOP_ELSEWHERE, module.SERIES_ELSEWHERE, module.STUDY_ELSEWHERE
        assert await flags(study="1", series="1.1", sop="1.1.1") == 0
        assert await flags(study="1", series="1.2", sop="1.1.1") == sop
        assert await flags(study="2", series="1.1", sop="2.1.1") == series
        assert await flags(study="1", series="1.1", sop="1.1.1", PatientID="P2") == sop | series | study
        assert await flags(study="1", series="1.1", sop="1.1.2", PatientID="P2") == series | study
        assert await flags(study="1", series="1.1", sop="1.1.3") == 0
        assert await database.fetch(COUNTS) == [(2, 3, 4, 6, 3)]

    async def test_studies_of_one_uid_are_shared_as_long_as_there_are_two(self, database: SQLite) -> None:
        async def shared() -> list[tuple[str, str, int]]:
            return [tuple(row) for row in await database.fetch(SHARED)]

        await store(database, data_set("1"))
        await store(database, data_set("2", PatientID="P2"))
        assert await shared() == [("1", "P1", 0), ("2", "P2", 0)]
        came = await store(database, data_set("1", PatientID="P2"))
        assert isinstance(came, Stored)
        assert came.shared
        assert await shared() == [("1", "P1", 1), ("1", "P2", 1), ("2", "P2", 0)]
        await store(database, data_set("1", PatientID="P3"))
        for patient, left in (("P2", [("1", "P1", 1), ("1", "P3", 1)]), ("P1", [("1", "P3", 0)])):
            (row,) = await database.fetch(Query("patient", "SELECT id FROM patients WHERE patient_id = $1"), patient)
            await database.write(lambda row=row: remove_resource("patient", row[0], 1.0, 2.0))
            assert await shared() == left
        came = await store(database, data_set("1", PatientID="P3"))
        assert isinstance(came, Stored)
        assert not came.shared

    async def test_shared_before_there_was_a_column_for_it(self, tmp_path: Path) -> None:
        database = await SQLite.open(tmp_path / "old.sqlite")
        for study, patient in (("1", "P1"), ("1", "P2"), ("2", "P1")):
            await store(database, data_set(study, PatientID=patient))
        await database.close()
        with closing(sqlite3.connect(tmp_path / "old.sqlite")) as connection:
            connection.execute("ALTER TABLE studies DROP COLUMN shared")
            migrate_again(connection, "shared")
        database = await SQLite.open(tmp_path / "old.sqlite")
        try:
            assert await database.fetch(SHARED) == [("1", "P1", 1), ("1", "P2", 1), ("2", "P1", 0)]
        finally:
            await database.close()


WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.database.sqlite import SQLite
from tests.support.index import data_set, placement, store

async def main():
    database = await SQLite.open(Path(sys.argv[1]))
    name = sys.argv[2]
    try:
        await asyncio.gather(*[
            store(database, data_set("1.5", f"1.5.{n % 4}", f"1.5.{n % 4}.{name}.{n}", Modality=("CT", "MR")[n % 2]),
                  placement(f"{name}-{n}", 10))
            for n in range(40)
        ])
    finally:
        await database.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_concurrent_first_instances_in_several_processes(database: SQLite) -> None:
    workers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(database.path), str(n), cwd=ROOT)
        for n in range(1, 4)
    ]
    async with asyncio.timeout(40):
        assert [await worker.wait() for worker in workers] == [0, 0, 0]
    ((uid, series, instances, size, modalities, flags, _),) = await database.fetch(STUDIES)
    assert (uid, series, instances, size, flags) == ("1.5", 4, 120, 1200, 0)
    assert sorted(modalities.strip("\\").split("\\")) == ["CT", "MR"]
    assert await database.fetch(SERIES) == [(f"1.5.{n}", 30, 300, 0) for n in range(4)]
    assert await database.fetch(COUNTS) == [(1, 1, 4, 120, 1)]


async def test_concurrent_first_instances_in_one(database: SQLite) -> None:
    results = await asyncio.gather(*[store(database, data_set(series=f"1.2.3.{n % 5}")) for n in range(100)])
    assert sum(isinstance(result, Stored) and result.new_study for result in results) == 1
    assert (await database.fetch(STUDIES))[0][1:3] == (5, 100)
