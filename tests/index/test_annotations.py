"""What people add to resources: that it outlives what it has to, and where it is looked for."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from gateway.database.database import Query
from gateway.database.sqlite import SQLite
from gateway.index import annotations, inbox, rebuild
from gateway.index.locate import Identity, identified
from gateway.index.precondition import ANYTHING
from gateway.index.remove import remove_resource
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


class TestLabelsOfStudies:
    """The row of a study has its labels and those of its patient, whichever way they were given and taken."""

    async def test_each_way(self, database: SQLite) -> None:
        first, second, other = record(data_set("1.1")), record(data_set("1.2")), record(data_set("2", PatientID="Q"))
        studies = [each.parents.study_public_id for each in (first, second, other)]
        patient = first.parents.patient_public_id
        for entry in (first, second):
            await store(database, entry)
        await store(database, other, None, dataclasses.replace(origin(), via="inbox"))
        await database.write(partial(annotations.add_label, "study", studies[0], "a"))
        await database.write(partial(annotations.add_label, "patient", patient, "b"))
        await database.write(partial(annotations.add_label, "instance", first.public_id, "of-the-instance"))
        assert await labels_in_rows(database) == {"1.1": {"a", "b"}, "1.2": {"b"}, "2": set()}
        await database.write(partial(annotations.bring_annotations, "study", studies[1], {}, ["c", "a/d"], 1.0))
        await database.write(partial(inbox.put_in_inbox, studies[2], [other.public_id]))
        assert await labels_in_rows(database) == {"1.1": {"a", "b"}, "1.2": {"b", "c"}, "2": {inbox.INBOX}}
        identities = [
            identity
            for entry in (other, first)
            async for page in identified(database, "instance", entry.public_id)
            for identity, _located in page
        ]
        pair = (identities[0], identities[1])
        await database.write(lambda: annotations.note_origins("ModifiedFrom", [pair], labels=True))
        assert await labels_in_rows(database) == {"1.1": {"a", "b"}, "1.2": {"b", "c"}, "2": {inbox.INBOX, "a", "b"}}
        await database.write(partial(inbox.accept_instance, other.public_id))
        await database.write(partial(inbox.accept_study, studies[2]))
        await database.write(partial(annotations.remove_label, "patient", patient, "b"))
        await database.write(partial(annotations.remove_label, "study", studies[0], "a"))
        assert await labels_in_rows(database) == {"1.1": set(), "1.2": {"c"}, "2": {"a", "b"}}

    async def test_a_study_that_comes_later_has_those_of_its_patient(self, database: SQLite) -> None:
        entry = record(data_set("1.1"))
        await store(database, entry)
        await database.write(partial(annotations.add_label, "patient", entry.parents.patient_public_id, "b"))
        await database.write(partial(annotations.add_label, "study", entry.parents.study_public_id, "a"))
        await store(database, data_set("1.2"))
        assert await labels_in_rows(database) == {"1.1": {"a", "b"}, "1.2": {"b"}}
        ((row,),) = await database.fetch(Query("row", "SELECT id FROM studies WHERE uid = '1.1'"))
        await database.write(partial(remove_resource, "study", row, 1.0, 2.0))
        await store(database, entry)
        assert await labels_in_rows(database) == {"1.1": {"b"}, "1.2": {"b"}}

    async def test_a_rebuild_of_the_index(self, database: SQLite) -> None:
        entry, where = record(data_set("1.1")), placement()
        await store(database, entry, where)
        await database.write(partial(annotations.add_label, "patient", entry.parents.patient_public_id, "b"))
        await database.write(partial(annotations.add_label, "study", entry.parents.study_public_id, "a"))
        await database.write(rebuild.begin)
        await database.write(partial(rebuild.store_again, entry, where, origin()))
        await database.write(rebuild.finish)
        assert await labels_in_rows(database) == {"1.1": {"a", "b"}}

    async def test_of_before_there_was_a_column_for_them(self, tmp_path: Path) -> None:
        database = await SQLite.open(tmp_path / "index.db")
        try:
            for study, patient in (("1.1", "P"), ("1.2", "P"), ("2", "Q"), ("3", "R")):
                await store(database, data_set(study, PatientID=patient))
            for level, entry, label in (
                ("patient", record(data_set("1.1", PatientID="P")).parents.patient_public_id, "b"),
                ("study", record(data_set("1.1", PatientID="P")).parents.study_public_id, "a"),
                ("study", record(data_set("2", PatientID="Q")).parents.study_public_id, "c"),
            ):
                await database.write(partial(annotations.add_label, level, entry, label))  # type: ignore[arg-type]
        finally:
            await database.close()
        with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
            connection.execute("ALTER TABLE studies DROP COLUMN labels")
            migrate_again(connection, "study_labels")
        database = await SQLite.open(tmp_path / "index.db")
        try:
            assert await labels_in_rows(database) == {"1.1": {"a", "b"}, "1.2": {"b"}, "2": {"c"}, "3": set()}
        finally:
            await database.close()

    def test_no_statement_writes_labels_besides(self) -> None:
        """What gives or takes a label without noting it with the study would show it to whom it is hidden."""
        written = re.compile(r"(?:INTO|FROM|UPDATE) (?:resource_labels|\{added\})")
        root = Path(annotations.__file__).parents[1]
        found = [
            f"{path.name}: {line.strip()}"
            for path in root.rglob("*.py")
            for line in path.read_text(encoding="utf-8").splitlines()
            if written.search(line) and ("INSERT" in line or "DELETE" in line or "UPDATE" in line)
        ]
        assert [each.split(":")[0] for each in found] == ["annotations.py"] * 4, found


async def labels_in_rows(database: SQLite) -> dict[str, set[str]]:
    rows = await database.fetch(Query("labels", "SELECT uid, labels FROM studies ORDER BY uid"))
    return {uid: set(filter(None, labels.split("/"))) for uid, labels in rows}
