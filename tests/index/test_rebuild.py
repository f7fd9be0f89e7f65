"""Rebuilding: what is derived comes back as it was, what only the database knew stays."""

from __future__ import annotations

import time

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.events.changes import read_changes
from gateway.index import rebuild
from gateway.index.locate import located_page
from gateway.index.record import InstanceRecord
from gateway.index.store import Duplicate, FileLocation, Origin, garbage
from tests.support.index import data_set, origin, placement, record, store

DERIVED = [
    Query("patients", "SELECT public_id, patient_id, attributes FROM patients ORDER BY public_id"),
    Query(
        "studies",
        "SELECT public_id, uid, patient_id, modalities, series_count, instance_count, size, attributes, extras, "
        "first_received, last_received FROM studies ORDER BY public_id",
    ),
    Query("names", "SELECT tag, name FROM person_names ORDER BY tag, name"),
    Query("series", "SELECT public_id, uid, instance_count, size, attributes, extras FROM series ORDER BY public_id"),
    Query(
        "instances",
        "SELECT public_id, key, version, size, via, peer, calling_aet, received_at, attributes FROM instances "
        "ORDER BY public_id",
    ),
]


async def again(database: SQLite, entry: InstanceRecord, where: FileLocation) -> object:
    known = await rebuild.origin_of(database, where.key)
    came, version = known or (Origin("", "", "", time.time(), "import"), 1)
    return await database.write(lambda: rebuild.store_again(entry, where, came, version))


async def test_the_same_index_comes_back(database: SQLite) -> None:
    files: list[tuple[InstanceRecord, FileLocation]] = []
    for n in range(6):
        entry = record(
            data_set(study=f"1.{n % 2}", sop=f"1.9.{n}", PatientID=f"P{n % 2}", Modality=("CT", "MR")[n % 2])
        )
        files.append((entry, placement(f"KEY{n}", n)))
        await store(database, *files[-1], origin(50.0 + n))
    newer = placement("NEWER", 99)
    await store(database, files[0][0], newer, origin(60.0), replaces="KEY0")
    files[0] = (files[0][0], newer)
    before = [await database.fetch(query) for query in DERIVED]
    changes = (await read_changes(database)).changes

    assert not await rebuild.unfinished(database)
    await database.write(rebuild.begin)
    assert await rebuild.unfinished(database)
    assert await located_page(database, "1.0") == []
    await again(database, *files[3])
    await database.write(rebuild.begin)  # broken off and begun again
    for entry, where in sorted(files, key=lambda file: file[1].key):
        await again(database, entry, where)
    assert isinstance(await again(database, files[0][0], placement("KEY0", 0)), Duplicate)
    await database.write(rebuild.finish)
    assert not await rebuild.unfinished(database)

    after = [await database.fetch(query) for query in DERIVED]
    assert after[0] == before[0]
    assert after[2:] == before[2:]
    assert [row[:9] for row in after[1]] == [row[:9] for row in before[1]]
    assert (await read_changes(database)).changes == changes
    assert await garbage(database, older_than=1e12) == ["KEY0"]


async def test_a_file_that_the_database_never_knew(database: SQLite) -> None:
    await database.write(rebuild.begin)
    assert await rebuild.origin_of(database, "FOUND") is None
    await again(database, record(data_set()), placement("FOUND"))
    assert len(await located_page(database, "1.2.3")) == 1
    assert (await read_changes(database)).changes == []
