"""An Orthanc made by hand, with what later versions have, brought into a data folder: all of it, once, and proved."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.config import Storage
from gateway.errors import ConfigurationError, SourceError
from gateway.index import annotations
from gateway.ingest.data_folder import open_folder
from gateway.ingest.file_import import import_paths
from gateway.migration.ledger import MigrationLedger
from gateway.migration.orthanc_index import OrthancIndex, SourceAttachment
from gateway.migration.orthanc_migration import MigrationReport, OrthancSource, migrate_orthanc
from gateway.migration.storage_area import AttachmentReader, StorageArea
from tests.support.datasets import instance
from tests.support.orthanc_folder import OrthancFolder, file_of

NAMES = {1024: "triage", 1025: "no name"}


def ct(number: int, **values: object) -> Dataset:
    """One of four instances of a series, two series of a study, two studies of a patient."""
    uids = {
        "PatientID": f"P{number // 16}",
        "StudyInstanceUID": f"1.2.{number // 8}",
        "SeriesInstanceUID": f"1.2.{number // 8}.{number // 4}",
        "SOPInstanceUID": f"1.2.{number // 8}.{number // 4}.{number}",
    }
    return instance(**{**uids, "InstanceNumber": number, **values})


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancFolder]:
    folder = OrthancFolder(tmp_path / "orthanc")
    yield folder
    folder.close()


@pytest.fixture
def settings(tmp_path: Path) -> Storage:
    return Storage(path=str(tmp_path / "data"), min_free=0)


def source_of(orthanc: OrthancFolder) -> OrthancSource:
    return OrthancSource(StorageArea(orthanc.folder), orthanc.folder / "index", None, NAMES, {1030: "report"})


async def migrate(settings: Storage, orthanc: OrthancFolder) -> MigrationReport:
    async with asyncio.timeout(40):
        return await migrate_orthanc(settings, source_of(orthanc))


def clean(report: MigrationReport) -> bool:
    assert report.proof is not None
    return report.proof.is_clean and report.failed == 0


def problems(report: MigrationReport) -> list[str]:
    assert report.proof is not None
    return report.proof.problems


@pytest.mark.parametrize("newer", [True, False])
async def test_everything_comes(tmp_path: Path, settings: Storage, newer: bool) -> None:
    orthanc = OrthancFolder(tmp_path / "one", newer=newer)
    rows = [orthanc.add(ct(number), compressed=number % 2 == 0, md5=number % 3 > 0) for number in range(20)]
    orthanc.metadata(rows[0].study, 1024, "urgent", 7)
    orthanc.metadata(rows[0].series, 1025, "by its number")
    orthanc.metadata(rows[5].study, 5, "what it was made of")
    orthanc.protect(rows[0].patient)
    if newer:
        orthanc.label(rows[0].study, "seen")
        orthanc.label(rows[19].instance, "teaching")
    report = await migrate(settings, orthanc)
    assert clean(report), problems(report)
    assert report.proof is not None
    assert report.proof.here == {"patient": 2, "study": 3, "series": 5, "instance": 20}
    assert (report.outcomes, report.proof.proved) == ({"stored": 20}, 20)
    async with open_folder(settings) as folder:
        database, study = folder.database, public_id_of(orthanc, rows[0].study)
        added = await annotations.added_metadata(database, "study", study)
        revision = 7 if newer else 0
        assert added["triage"] == annotations.Metadata("urgent", revision)
        assert added["ModifiedFrom"].value == "what it was made of"  # The fifth is of the same study.
        series = await annotations.added_metadata(database, "series", public_id_of(orthanc, rows[0].series))
        assert series == {"1025": annotations.Metadata("by its number", 0)}
        assert await annotations.labels(database, "study", study) == (["seen"] if newer else [])
        assert await annotations.is_protected(database, public_id_of(orthanc, rows[0].patient))
        assert not await annotations.is_protected(database, public_id_of(orthanc, rows[19].patient))
    sql = "SELECT peer, calling_aet, called_aet, via, received_at FROM instances WHERE public_id = ?"
    assert rows_of(settings, sql, rows[3].public_id) == [("10.0.0.9", "CT1", "OLD", "dimse", 1577934245.0)]
    orthanc.close()


def rows_of(settings: Storage, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(Path(settings.path) / "database.sqlite")) as connection:
        return connection.execute(sql, parameters).fetchall()


def public_id_of(orthanc: OrthancFolder, row: int) -> str:
    return str(orthanc.database.execute("SELECT publicId FROM Resources WHERE internalId = ?", (row,)).fetchone()[0])


async def test_again_brings_nothing_and_proves_all(settings: Storage, orthanc: OrthancFolder) -> None:
    for number in range(6):
        orthanc.add(ct(number))
    assert clean(await migrate(settings, orthanc))
    changes = rows_of(settings, "SELECT COUNT(*) FROM changes")
    again = await migrate(settings, orthanc)
    assert clean(again)
    assert again.outcomes.total() == 0
    assert again.proof is not None
    assert again.proof.proved == 6
    assert rows_of(settings, "SELECT COUNT(*) FROM changes") == changes


async def test_what_has_changed_since(settings: Storage, orthanc: OrthancFolder) -> None:
    rows = [orthanc.add(ct(number)) for number in range(6)]
    orthanc.metadata(rows[0].study, 1024, "a")
    assert clean(await migrate(settings, orthanc))
    orthanc.add(ct(6))
    orthanc.attach(rows[1].instance, file_of(ct(1, PatientName="Changed^Name")))
    orthanc.remove(rows[2])
    orthanc.metadata(rows[0].study, 1024, "b", 1)
    orthanc.label(rows[0].study, "new")
    report = await migrate(settings, orthanc)
    assert clean(report), problems(report)
    assert report.outcomes == {"stored": 1, "replaced": 1}
    assert report.proof is not None
    assert report.proof.here["instance"] == 6
    assert rows_of(settings, "SELECT COUNT(*) FROM instances") == [(7,)]  # What Orthanc has deleted stays here.
    assert rows_of(settings, "SELECT value, revision FROM resource_metadata") == [("b", 1)]


async def test_what_came_here_otherwise_is_not_brought_twice(
    tmp_path: Path, settings: Storage, orthanc: OrthancFolder
) -> None:
    rows = [orthanc.add(ct(number)) for number in range(3)]
    (tmp_path / "same.dcm").write_bytes(file_of(ct(0)))
    (tmp_path / "other.dcm").write_bytes(file_of(ct(1, PatientName="Other^Name")))
    async with asyncio.timeout(20):
        await import_paths(settings, [tmp_path / "same.dcm", tmp_path / "other.dcm"])
    report = await migrate(settings, orthanc)
    assert report.outcomes == {"same": 1, "kept": 1, "stored": 1}
    assert not clean(report)
    (problem,) = problems(report)
    assert "it is here with other bytes: SOP Instance UID 1.2.0.0.1" in problem
    assert f"here /instances/{rows[1].public_id}; to have Orthanc's, send it" in problem


async def test_a_new_index_overwrites_nothing(tmp_path: Path, settings: Storage, orthanc: OrthancFolder) -> None:
    """Its rows are counted from 1 again: those of the ledger name other instances, or the same with other bytes."""
    for number in range(3):
        orthanc.add(ct(number))
    assert clean(await migrate(settings, orthanc))
    (tmp_path / "here.dcm").write_bytes(file_of(ct(5, PatientName="Here^Name")))
    async with asyncio.timeout(20):
        await import_paths(settings, [tmp_path / "here.dcm"])
    for table in ("Resources", "Metadata", "AttachedFiles", "PatientRecyclingOrder", "sqlite_sequence"):
        orthanc.database.execute(f"DELETE FROM {table}")
    for number in (5, 6, 7):
        orthanc.add(ct(number))
    report = await migrate(settings, orthanc)
    assert report.outcomes == {"kept": 1, "stored": 2}
    (problem,) = problems(report)
    assert "it is here with other bytes" in problem


async def test_what_has_changed_here_is_not_overwritten(
    tmp_path: Path, settings: Storage, orthanc: OrthancFolder
) -> None:
    rows = [orthanc.add(ct(number)) for number in range(2)]
    assert clean(await migrate(settings, orthanc))
    (tmp_path / "here.dcm").write_bytes(file_of(ct(0, PatientName="Here^Name")))
    async with asyncio.timeout(20):
        await import_paths(msgspec.structs.replace(settings, duplicates="overwrite"), [tmp_path / "here.dcm"])
    for number, row in enumerate(rows):
        orthanc.attach(row.instance, file_of(ct(number, PatientName="There^Name")))
    for outcomes in ({"kept": 1, "replaced": 1}, {}):
        report = await migrate(settings, orthanc)
        assert report.outcomes == outcomes
        (problem,) = problems(report)
        assert problem.startswith(f"instance {rows[0].public_id}: it is here with other bytes: ")


async def test_what_cannot_be_brought_is_listed(settings: Storage, orthanc: OrthancFolder) -> None:
    rows = [orthanc.add(ct(number), compressed=True) for number in range(7)]
    rows[0].path.unlink()
    rows[1].path.write_bytes(rows[1].path.read_bytes()[:-7])
    orthanc.attach(rows[2].instance, b"no DICOM at all")
    orthanc.database.execute("DELETE FROM AttachedFiles WHERE id = ?", (rows[3].instance,))
    orthanc.attach(rows[4].instance, file_of(ct(4)), custom=b"/somewhere/else")
    orthanc.database.execute("UPDATE AttachedFiles SET uuid = '../../secret' WHERE id = ?", (rows[5].instance,))
    report = await migrate(settings, orthanc)
    assert not clean(report)
    assert report.failed == 6
    assert report.proof is not None
    assert (report.proof.here["instance"], report.proof.proved) == (1, 1)
    said = {each.split(": ", 2)[0].split()[1]: each for each in problems(report)}
    for row, words in (
        (0, "cannot be opened"),
        (1, "is damaged"),
        (2, "not a DICOM file"),
        (3, "has no file of it"),
        (4, "where a plugin has put it"),
        (5, "in no known way"),
    ):
        assert words in said[rows[row].public_id]
    orthanc.attach(rows[0].instance, file_of(ct(0)))  # Somebody has repaired it.
    assert (await migrate(settings, orthanc)).outcomes == {"stored": 1}


async def test_what_is_damaged_here_is_seen(settings: Storage, orthanc: OrthancFolder) -> None:
    """The proof reads the bytes that are here, and does not believe what is noted of them."""
    settings = msgspec.structs.replace(settings, pack_below=0)
    rows = [orthanc.add(ct(number), md5=number > 0) for number in range(3)]
    orthanc.metadata(rows[2].study, 1024, "a")
    assert clean(await migrate(settings, orthanc))
    for path in (Path(settings.path) / "store").rglob("*"):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.chmod(0o600)
            path.write_bytes(data)
    with closing(sqlite3.connect(Path(settings.path) / "database.sqlite")) as connection, connection:
        connection.execute("DELETE FROM resource_metadata")
    report = await migrate(settings, orthanc)
    assert report.proof is not None
    assert report.proof.proved == 0
    *bytes_of, metadata = problems(report)
    assert ["it is here with other bytes" in each for each in bytes_of] == [True] * 3
    assert metadata.endswith(": metadata triage")


async def test_what_a_resource_has_no_room_for(settings: Storage, orthanc: OrthancFolder) -> None:
    row = orthanc.add(ct(0))
    orthanc.metadata(row.study, 1024, "x" * (annotations.MAX_METADATA_BYTES + 1))
    for number in range(annotations.MAX_LABELS + 1):
        orthanc.label(row.study, f"label-{number:03}")
    report = await migrate(settings, orthanc)
    study = public_id_of(orthanc, row.study)
    assert report.refused_metadata == [f"study {study}: triage", f"study {study}: label-256"]
    assert problems(report) == [f"study {study}: it lacks, or has otherwise: metadata triage, label label-256"]


async def test_attachments(settings: Storage, orthanc: OrthancFolder) -> None:
    rows = [orthanc.add(ct(number)) for number in range(3)]
    big = random.Random(1).randbytes(3_000_000)
    orthanc.attach(rows[0].study, b"a report", number=1030)
    orthanc.attach(rows[0].instance, big, compressed=True, number=1031)
    orthanc.attach(rows[1].instance, b"", md5=False, number=1031)
    orthanc.attach(rows[1].instance, b"derived", number=3)
    report = await migrate(settings, orthanc)
    assert clean(report), problems(report)
    assert report.proof is not None
    assert (report.attached, report.proof.attached) == (3, 3)
    sql = "SELECT level, name, size, md5 FROM attachments ORDER BY size"
    assert [row[:3] for row in rows_of(settings, sql)] == [
        ("instance", "1031", 0),
        ("study", "report", 8),
        ("instance", "1031", len(big)),
    ]
    assert rows_of(settings, sql)[2][3] == hashlib.md5(big).hexdigest()
    again = await migrate(settings, orthanc)
    assert clean(again)
    assert again.attached == 0
    orthanc.attach(rows[0].study, b"another report", number=1030)
    damaged = orthanc.attach(rows[2].instance, b"damaged", number=1031)
    damaged.write_bytes(b"DAMAGED")
    report = await migrate(settings, orthanc)
    assert (report.attached, report.failed) == (1, 1)
    (problem,) = problems(report)
    assert problem.startswith(f"instance {rows[2].public_id}: attachment 1031: it is not here: its file")
    assert ("study", "report", 14) in [row[:3] for row in rows_of(settings, sql)]
    ((key,),) = rows_of(settings, "SELECT key FROM attachments WHERE level = 'study'")
    (path,) = (Path(settings.path) / "store").rglob(str(key))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    first, _second = problems(await migrate(settings, orthanc))
    assert first.endswith("attachment report: it is here with other bytes")


async def test_it_receives_meanwhile(settings: Storage, orthanc: OrthancFolder) -> None:
    """What comes while files are brought is found by the next copy of the index."""
    for number in range(4):
        orthanc.add(ct(number))
    more = iter(range(4, 8))

    def show(what: str, done: int, total: int) -> None:
        if what == "bringing metadata" and (number := next(more, None)) is not None:
            orthanc.add(ct(number))

    async with asyncio.timeout(40):
        report = await migrate_orthanc(settings, source_of(orthanc), show=show)
    assert report.proof is not None
    assert report.proof.is_clean


async def test_it_deletes_while_it_is_proved(settings: Storage, orthanc: OrthancFolder) -> None:
    """A file that has gone since the index was copied is looked up in another copy, and what was proved stays so."""
    rows = [orthanc.add(ct(number)) for number in range(4)]
    orthanc.metadata(rows[0].study, 1024, "a")
    opened: list[str] = []

    class Deleting(StorageArea):
        proving = False

        def open(self, attachment: SourceAttachment) -> AttachmentReader:
            opened.append(attachment.uuid)
            if self.proving and attachment.uuid == rows[3].path.name:
                rows[3].path.unlink()
                with closing(sqlite3.connect(orthanc.folder / "index")) as other, other:
                    other.execute("DELETE FROM Resources WHERE internalId = ?", (rows[3].instance,))
            return super().open(attachment)

    storage = Deleting(orthanc.folder)

    def show(what: str, done: int, total: int) -> None:
        storage.proving |= what == "bringing metadata"

    async with asyncio.timeout(40):
        report = await migrate_orthanc(
            settings, OrthancSource(storage, orthanc.folder / "index", None, {1024: "triage"}), show=show
        )
    assert report.proof is not None
    assert report.proof.is_clean, problems(report)
    assert (report.proof.proved, report.passes) == (3, 2)
    assert len(opened) == 4 + 4


async def test_a_proof_that_was_broken_off_goes_on(tmp_path: Path, settings: Storage, orthanc: OrthancFolder) -> None:
    for number in range(6):
        orthanc.add(ct(number))
    assert clean(await migrate(settings, orthanc))
    opened: list[str] = []

    class Counting(StorageArea):
        def open(self, attachment: SourceAttachment) -> AttachmentReader:
            opened.append(attachment.uuid)
            return super().open(attachment)

    source = OrthancSource(Counting(orthanc.folder), orthanc.folder / "index")
    stop = RuntimeError("killed")

    def show(what: str, done: int, total: int) -> None:
        if what == "proving":
            raise stop

    with pytest.raises(RuntimeError, match="killed"):
        await migrate_orthanc(settings, source, show=show)
    assert len(opened) == 6
    # Somebody replaces one of them here in between.
    (tmp_path / "other.dcm").write_bytes(file_of(ct(0, PatientName="Other^Name")))
    await import_paths(msgspec.structs.replace(settings, duplicates="overwrite"), [tmp_path / "other.dcm"])
    report = await migrate_orthanc(settings, source)
    assert len(opened) == 7
    assert report.proof is not None
    assert report.proof.proved == 5
    assert "it is here with other bytes" in problems(report)[0]


async def test_patients_that_are_one_here(settings: Storage, orthanc: OrthancFolder) -> None:
    """Orthanc tells identifiers apart that differ by spaces, which mean nothing (PS3.5 Table 6.2-1)."""
    orthanc.add(ct(0))
    one, two = ct(1), ct(2)
    one.PatientID, two.PatientID = f"{one.PatientID} ", f"{two.PatientID}  "
    orthanc.add(one)
    orthanc.add(two)
    report = await migrate(settings, orthanc)
    assert clean(report)
    assert report.proof is not None
    assert report.proof.there["patient"] == 3
    assert report.proof.merged["patient"] == 2
    assert report.proof.renamed == 2


async def test_another_version_of_the_database(tmp_path: Path, settings: Storage) -> None:
    orthanc = OrthancFolder(tmp_path / "old", version="5")
    with pytest.raises(SourceError, match="database version 5; 6 can be read"):
        await migrate(settings, orthanc)
    orthanc.close()


async def test_one_at_a_time(settings: Storage, orthanc: OrthancFolder) -> None:
    orthanc.add(ct(0))
    assert clean(await migrate(settings, orthanc))
    (path,) = (Path(settings.path) / "migrations").glob("*.ledger")
    with MigrationLedger(path), pytest.raises(ConfigurationError, match="runs already"):
        await migrate(settings, orthanc)


async def test_systems_of_the_index(tmp_path: Path, orthanc: OrthancFolder) -> None:
    orthanc.database.execute(
        """INSERT INTO GlobalProperties VALUES (20, '{"ct": ["CT1", "10.0.0.1", 104]}'), (21, '{')"""
    )
    index = OrthancIndex(orthanc.folder / "index")
    assert index.systems() == {"DicomModalities": {"ct": ["CT1", "10.0.0.1", 104]}}
    index.close()


VALUES = st.none() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | st.binary(max_size=8) | st.floats()
COLUMNS = {
    "Resources": ("resourceType", "publicId", "parentId"),
    "AttachedFiles": ("fileType", "uuid", "compressedSize", "uncompressedSize", "compressionType", "uncompressedMD5"),
    "Metadata": ("type", "value", "revision"),
    "Labels": ("label",),
    "PatientRecyclingOrder": ("patientId",),
    "GlobalProperties": ("value",),
}


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(
    st.lists(
        st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns]).flatmap(
            lambda place: st.tuples(st.just(place), VALUES)
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_values_in_an_index(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str, str], object]]
) -> None:
    """Whatever is in the columns of an index, the result is a report or one error of the source."""
    base = tmp_path_factory.mktemp("values")
    orthanc = OrthancFolder(base / "orthanc")
    row = orthanc.add(ct(0))
    orthanc.metadata(row.study, 1024, "a")
    orthanc.label(row.study, "b")
    orthanc.add(ct(1), compressed=True)
    for (table, column), value in changes:
        with contextlib.suppress(sqlite3.IntegrityError):
            orthanc.database.execute(f"UPDATE {table} SET {column} = ?", (value,))
    settings = Storage(path=str(base / "data"), min_free=0)
    try:
        report = asyncio.run(migrate(settings, orthanc))
    except SourceError:
        pass
    else:
        assert report.proof is not None
        assert report.proof.proved <= 2
    finally:
        orthanc.close()
        shutil.rmtree(base)
