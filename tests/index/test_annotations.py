"""What people add to resources: that it outlives what it has to, and where it is looked for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.index import annotations, rebuild
from gateway.index.locate import Identity, identified
from gateway.index.precondition import ANYTHING
from gateway.index.resources import resource
from tests.support.index import data_set, migrate_again, origin, placement, record, store

SERIES = Query("series", "SELECT uid, last_received FROM series ORDER BY uid")


async def test_it_outlives_a_rebuild(database: SQLite) -> None:
    entry, where = record(data_set()), placement()
    await store(database, entry, where)
    study, patient = entry.parents.study_public_id, entry.parents.patient_public_id
    await database.write(partial(annotations.set_metadata, "study", study, "note", "x", ANYTHING, 1000.0))
    await database.write(partial(annotations.add_label, "study", study, "urgent"))
    await database.write(partial(annotations.protect, patient, True))
    await database.write(rebuild.begin)
    await database.write(partial(rebuild.store_again, entry, where, origin()))
    await database.write(rebuild.finish)
    found = await resource(database, "study", study)
    assert found is not None
    assert found.labels == ["urgent"]
    (metadata,) = await annotations.metadata_of(database, [found])
    assert metadata["note"] == annotations.Metadata("x", 0)
    assert await annotations.is_protected(database, patient)


async def test_levels_are_told_apart(database: SQLite) -> None:
    """A Patient ID may be such that the patient's public id is that of a study: they are different resources."""
    await store(database, data_set("1.2", PatientID="P|1.2"))
    await store(database, data_set("1.2", PatientID="P"))
    clashing = record(data_set("1.2", PatientID="P")).parents.study_public_id
    assert record(data_set("9", PatientID="P|1.2")).parents.patient_public_id == clashing
    await database.write(partial(annotations.add_label, "study", clashing, "urgent"))
    assert await annotations.labels(database, "study", clashing) == ["urgent"]
    assert await annotations.labels(database, "patient", clashing) == []


async def test_what_was_made_of_what(database: SQLite) -> None:
    first, second = record(data_set("1.1")), record(data_set("1.2"))
    for entry in (first, second):
        await store(database, entry)
    identities = [
        identity
        for entry in (first, second)
        async for page in identified(database, "instance", entry.public_id)
        for identity, _located in page
    ]
    original, made = identities
    gone = Identity(made.patient, "0-0", "0-0", "0-0")
    pairs = [(made, original), (gone, original)]
    await database.write(partial(annotations.note_origins, "ModifiedFrom", pairs))
    study = await resource(database, "study", made.study)
    patient = await resource(database, "patient", made.patient)
    assert study is not None
    assert patient is not None
    assert study.made_from == {"ModifiedFrom": original.study}
    assert patient.made_from == {}  # it is the same


async def test_when_series_received_something_before_there_was_a_column_for_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    database = await SQLite.open(path)
    for series, at in (("1.1", 10.0), ("1.1", 30.0), ("1.2", 20.0)):
        await store(database, data_set("1", series), came=origin(at))
    wanted = await database.fetch(SERIES)
    assert wanted == [("1.1", 30.0), ("1.2", 20.0)]
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("resource_metadata", "resource_labels", "protected_patients"):
            connection.execute(f"DROP TABLE {table}")
        indexes = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'studies_%_any_case'").fetchall()
        for (name,) in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("ALTER TABLE series DROP COLUMN last_received")
        migrate_again(connection, "resources")
    database = await SQLite.open(path)
    assert await database.fetch(SERIES) == wanted
    await database.close()
