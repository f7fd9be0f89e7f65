"""Reindex: what the files say is in the index again, and what only the database knew is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import sqlite3
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate

from gateway import config
from gateway.admin.reindex import reindex
from gateway.dicom.part10 import file_header
from gateway.errors import ConfigurationError
from gateway.forwarding.control import hold_incomplete
from gateway.index import rebuild
from gateway.index.attachments import attachments_of
from gateway.index.identity import owned, public_id
from gateway.ingest.attaching import Attaching
from gateway.ingest.data_folder import open_folder
from gateway.ingest.file_import import import_paths
from gateway.ingest.pixel_examination import Examination
from gateway.net.requestor import associate
from gateway.storage.layout import Layout
from tests.scp.test_retrieve import store
from tests.support.attached import attach, read
from tests.support.datasets import JPEG_BASELINE, encode, instance, sample
from tests.support.intake import CT
from tests.support.intake import file_intake as intake
from tests.support.traffic import Item, Traffic

DERIVED = {
    "patients": "public_id, patient_id, attributes",
    "studies": "public_id, uid, flags, patient_id, date, series_count, instance_count, size, attributes, extras",
    "series": "public_id, uid, flags, modality, number, instance_count, size, attributes, extras",
    "instances": "public_id, uid, number, key, flags, transfer_syntax_uid, size, data_set_offset, attributes, extras",
}
ORIGINS = "public_id, version, received_at, via, calling_aet, called_aet, peer"


def storage(path: Path) -> config.Storage:
    return config.Storage(path=str(path), min_free=0, pack_below=0)


def rows(data: Path, table: str, columns: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(data / "database.sqlite")) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def derived(data: Path) -> dict[str, list[tuple[object, ...]]]:
    return {table: rows(data, table, columns) for table, columns in DERIVED.items()}


def lose_database(data: Path) -> None:
    for path in data.glob("database.sqlite*"):
        path.unlink()


def patient(data: Path) -> str:
    return str(rows(data, "patients", "public_id")[0][0])


async def fill(data: Path, count: int = 30) -> Traffic:
    traffic = Traffic(random.Random(count), sizes=(500, 100_000))
    async with intake(data) as running:
        await traffic.send(*running.acceptor.address, count)
    assert len(traffic.acknowledged) == count
    return traffic


async def test_same_as_before(tmp_path: Path):
    await fill(tmp_path / "data")
    before, origins = derived(tmp_path / "data"), rows(tmp_path / "data", "instances", ORIGINS)
    changes = rows(tmp_path / "data", "changes", "*")
    seen: list[tuple[int, int | None]] = []
    report = await reindex(storage(tmp_path / "data"), progress=lambda done, total: seen.append((done, total)))
    assert (report.instances, report.superseded, report.unreadable) == (30, 0, [])
    assert seen[-1] == (30, 30)
    assert derived(tmp_path / "data") == before
    assert rows(tmp_path / "data", "instances", ORIGINS) == origins
    assert rows(tmp_path / "data", "changes", "*") == changes


async def test_without_the_database(tmp_path: Path):
    """The files alone say what there is, and who sent it."""
    await fill(tmp_path / "data")
    before, origins = derived(tmp_path / "data"), rows(tmp_path / "data", "instances", ORIGINS)
    lose_database(tmp_path / "data")
    report = await reindex(storage(tmp_path / "data"))
    assert report.instances == 30
    assert derived(tmp_path / "data") == before
    for old, new in zip(origins, rows(tmp_path / "data", "instances", ORIGINS), strict=True):
        assert (old[0], old[1], old[3], old[4], old[5]) == (new[0], new[1], new[3], new[4], new[5])
        assert old[2] == pytest.approx(new[2], abs=2)


@pytest.mark.parametrize("lost", [False, True])
async def test_whom_it_belongs_to(tmp_path: Path, lost: bool) -> None:
    """The files name the tenant, and public ids are made of it."""
    roles, tenants = {"a": {"permissions": ["upload"], "tenant": "a"}}, {"a": {}}
    modalities = {"ct": {"aet": "TEST", "roles": ["a"]}}
    data = tmp_path / "data"
    async with intake(data, roles=roles, tenants=tenants, modalities=modalities) as running:
        await store(running, [instance(PatientID="P1")])
    before, owners = derived(data), rows(data, "studies", "public_id, tenant")
    assert [tenant for _public_id, tenant in owners] == ["a"]
    assert patient(data) == public_id(owned("P1", "a"))
    if lost:
        lose_database(data)
    assert (await reindex(storage(data))).instances == 1
    assert derived(data) == before
    assert rows(data, "studies", "public_id, tenant") == owners


async def test_without_the_database_after_a_crash(tmp_path: Path):
    """What was acknowledged a moment before still has its incoming name; recovery must not take it for a remainder."""
    await fill(tmp_path / "data", 3)
    worker = tmp_path / "data" / "incoming" / "1-dead"
    worker.mkdir()
    (worker / "lock").touch()
    stored = next(path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    (worker / stored.name).hardlink_to(stored)
    lose_database(tmp_path / "data")
    assert (await reindex(storage(tmp_path / "data"))).instances == 3
    assert stored.exists()


@pytest.mark.parametrize("lost", [False, True], ids=["with its database", "without"])
async def test_an_old_version_that_is_still_there(tmp_path: Path, lost: bool):
    traffic = Traffic(random.Random(6), sizes=(500,))
    item = next(traffic.items())
    newer = Item(item.study, item.series, item.uid, item.data[:-4] + b"last")
    policy = {"duplicates": "overwrite"}
    async with intake(tmp_path / "data", storage=policy) as running, associate(running.call()) as association:
        await traffic.send_item(association, item)
        (first,) = (path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
        kept = first.read_bytes()
        await traffic.send_item(association, newer)
    # As if the gateway had been killed before it deleted the file.
    first.write_bytes(kept)
    os.utime(first, (1, 1))
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "database.sqlite")) as connection:
        connection.execute("INSERT INTO garbage VALUES (?, 0) ON CONFLICT DO NOTHING", (first.name,))
        connection.commit()
    if lost:
        lose_database(tmp_path / "data")
    report = await reindex(storage(tmp_path / "data"))
    assert (report.instances, report.superseded) == (1, 1)
    ((key, version),) = rows(tmp_path / "data", "instances", "key, version")
    assert key != first.name
    assert lost or version == 2  # No file tells how many came before it.
    assert rows(tmp_path / "data", "garbage", "key") == [(first.name,)]


@pytest.mark.parametrize("lost", [False, True], ids=["with its database", "without"])
async def test_attachments(tmp_path: Path, lost: bool) -> None:
    """They are no instances, and are found again by what their files say, even one that has the form of an instance."""
    await fill(tmp_path / "data", 3)
    study = str(rows(tmp_path / "data", "studies", "public_id")[0][0])
    part10 = sample("CT_small.dcm").read_bytes()
    async with intake(tmp_path / "data") as running:
        old = await attach(running.ingest, "study", study, "file", b"old")
        file = await attach(running.ingest, "study", study, "file", part10)
        gone = await attach(running.ingest, "patient", patient(tmp_path / "data"), "note", b"gone")
        await Attaching(running.ingest).detach("patient", patient(tmp_path / "data"), "note")
    for key, at in ((old.key, 1), (gone.key, 2)):
        os.utime(Layout(tmp_path / "data").stored(key), (at, at))
    if lost:
        lose_database(tmp_path / "data")
    report = await reindex(storage(tmp_path / "data"))
    assert (report.instances, report.attachments, report.unreadable, report.strays) == (3, 2 if lost else 1, [], [])
    assert report.superseded == (1 if lost else 2)
    async with intake(tmp_path / "data") as running:
        (found,) = await attachments_of(running.folder.database, "study", study)
        assert found == dataclasses.replace(file, revision=0 if lost else 1)
        assert read(running.folder.store, found) == part10
        await running.ingest.garbage.collect()  # A start does that beside what it serves.
        assert Path(running.folder.layout.stored(old.key)).exists() is not lost


async def test_an_attachment_of_what_is_not_there_any_more(tmp_path: Path) -> None:
    await fill(tmp_path / "data", 1)
    (instance_file,) = (path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    async with intake(tmp_path / "data") as running:
        note = await attach(running.ingest, "patient", patient(tmp_path / "data"), "note", b"x")
    lose_database(tmp_path / "data")
    instance_file.unlink()
    report = await reindex(storage(tmp_path / "data"))
    ((path, reason),) = report.unreadable
    assert path.endswith(note.key)
    assert "there is no patient" in reason
    assert Path(path).exists()


@pytest.mark.parametrize("lost", [False, True], ids=["with its database", "without"])
async def test_what_pixel_data_lack_is_known_again(tmp_path: Path, lost: bool) -> None:
    """That a file is read no further than its header says nothing of its pixel data."""
    short = instance(PixelData=bytes(400), SOPInstanceUID="1.2.1")
    whole = instance(SOPInstanceUID="1.2.2")
    gone = instance(PixelData=bytes(300), SOPInstanceUID="1.2.3")
    large = instance(rows=600, columns=1000, PixelData=bytes(1_000_000), SOPInstanceUID="1.2.4")
    async with intake(tmp_path / "data") as running, associate(running.call()) as association:
        context = association.context_for(CT)
        for data_set in (short, whole, gone, large):
            data = encode(data_set, context.transfer_syntax)
            await association.store(context, data_set.SOPInstanceUID, [data])
    ((key,),) = (row[:1] for row in rows(tmp_path / "data", "incomplete", "key, lacking") if row[1][:3] == "300")
    next((tmp_path / "data" / "store").rglob(str(key))).unlink()
    if lost:
        lose_database(tmp_path / "data")
    assert (await reindex(storage(tmp_path / "data"))).instances == 3
    assert rows(tmp_path / "data", "incomplete", "lacking") == [
        ("1000000 of 1200000 bytes of pixel data",),
        ("400 of 512 bytes of pixel data",),
    ]


@pytest.mark.case("item 4 a cut code stream is found again where the database was lost")
async def test_code_streams_are_looked_into_again_without_the_database(tmp_path: Path) -> None:
    data, frames = storage(tmp_path / "data"), [b"no end", b"whole\xff\xd9"]
    cut = instance(SOPInstanceUID="1.2.1", NumberOfFrames=2, PixelData=encapsulate(frames))
    header = file_header(sop_class_uid=CT, sop_instance_uid="1.2.1", transfer_syntax_uid=JPEG_BASELINE)
    (tmp_path / "cut.dcm").write_bytes(header + encode(cut, JPEG_BASELINE))
    await import_paths(data, [tmp_path / "cut.dcm"])
    lose_database(tmp_path / "data")
    assert (await reindex(data)).instances == 1
    async with open_folder(data) as folder:
        examination = Examination(
            folder.database, folder.store, lambda one, lacking: hold_incomplete(one, lacking, config.Settings())
        )
        await examination.step()
        await examination.close()
    assert rows(tmp_path / "data", "incomplete", "lacking") == [("frame 1 is cut short: it has no end marker",)]


async def test_unreadable_files_are_named(tmp_path: Path):
    await fill(tmp_path / "data", 4)
    empty, torn, *_ = sorted(path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    empty.write_bytes(b"")
    torn.write_bytes(torn.read_bytes()[:400])
    report = await reindex(storage(tmp_path / "data"))
    assert report.instances == 2
    assert sorted(path for path, _ in report.unreadable) == [str(empty), str(torn)]
    assert empty.exists()


async def test_not_while_a_gateway_runs(tmp_path: Path):
    async with intake(tmp_path / "data"):
        with pytest.raises(ConfigurationError, match="stop it first"):
            await reindex(storage(tmp_path / "data"))


async def test_no_data_folder(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no data folder"):
        await reindex(storage(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.case("broken 38 a stray file in the store is passed over by reindex, and named")
async def test_strays_are_named(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    stray = tmp_path / "store" / ".DS_Store"
    stray.touch()
    report = await reindex(storage(tmp_path))
    assert (report.instances, report.strays) == (3, [str(stray)])


async def test_broken_off_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old index serves on; the next reindex begins anew, whatever the broken one has left."""
    await fill(tmp_path, 3)
    before = derived(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(rebuild, "finish", broken_off)
        with pytest.raises(OSError, match="broken off"):
            await reindex(storage(tmp_path))
    assert (tmp_path / "database.sqlite.rebuilding").exists()
    assert derived(tmp_path) == before
    async with intake(tmp_path):
        pass
    assert (await reindex(storage(tmp_path))).instances == 3
    assert derived(tmp_path) == before
    assert sorted(path.name for path in tmp_path.glob("database*")) == ["database.sqlite"]


def broken_off() -> None:
    raise OSError("broken off")


async def test_not_while_another_process_has_the_database_open(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    with contextlib.closing(sqlite3.connect(tmp_path / "database.sqlite", isolation_level=None)) as other:
        other.execute("INSERT INTO garbage VALUES ('x', 1)")
        with pytest.raises(ConfigurationError, match="another process has it open"):
            await reindex(storage(tmp_path))
    assert len(rows(tmp_path, "instances", "key")) == 3
