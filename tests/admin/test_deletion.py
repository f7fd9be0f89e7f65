"""Deleting: rows, counts, the change log, files; what was promised stays; a crash in between leaves nothing wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import gateway.ingest.data_folder
from gateway.admin.deletion import Removal
from gateway.admin.reindex import reindex
from gateway.config import Settings, Storage
from gateway.database.database import Query
from gateway.dicom.part10 import file_header
from gateway.dimse.commitment import Reference
from gateway.errors import NotFound, RetainedByCommitment
from gateway.events.changes import read_changes
from gateway.index.summary import statistics
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.file_import import import_paths
from gateway.retrieve import retrieval
from gateway.workflow.commitment import Commitments
from tests.support.datasets import CT, ct_header, encode

# patient, study, series, instance
TREE = [
    ("A", "1.1", "1.1.1", "1.1.1.1"),
    ("A", "1.1", "1.1.1", "1.1.1.2"),
    ("A", "1.1", "1.1.2", "1.1.2.1"),
    ("A", "1.2", "1.2.1", "1.2.1.1"),
    ("B", "1.3", "1.3.1", "1.3.1.1"),
]


class House:
    def __init__(self, folder: Any, ingest: Any) -> None:
        self.folder, self.ingest, self.database = folder, ingest, folder.database
        self.removal = Removal(ingest)

    async def rows(self, sql: str) -> list[Any]:
        return list(await self.database.fetch(Query("test", sql)))

    async def check(self) -> Counter[str]:
        """Counts are what there is; how much there is of each level, files included."""
        for row in await self.rows(
            "SELECT s.instance_count, s.size, COUNT(i.id), SUM(i.size) FROM series s "
            "LEFT JOIN instances i ON i.series = s.id GROUP BY s.id"
        ):
            assert row[:2] == row[2:]
        for row in await self.rows(
            "SELECT t.series_count, t.instance_count, t.size, COUNT(s.id), SUM(s.instance_count), SUM(s.size) "
            "FROM studies t LEFT JOIN series s ON s.study = t.id GROUP BY t.id"
        ):
            assert row[:3] == row[3:]
        found = await statistics(self.database)
        assert not await self.rows("SELECT 1 FROM person_names WHERE study NOT IN (SELECT id FROM studies)")
        return Counter(patients=found.patients, studies=found.studies, series=found.series, instances=found.instances)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings = await filled(tmp_path)
    async with asyncio.timeout(30), open_folder(settings) as folder, open_ingest(folder) as ingest:
        yield House(folder, ingest)


async def filled(path: Path) -> Storage:
    settings = Storage(path=str(path / "data"), min_free=0)
    for patient, study, series, instance in TREE:
        data_set = ct_header(
            PatientID=patient,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=instance,
            Modality="MR" if series == "1.1.2" else "CT",
        )
        head = file_header(sop_class_uid=CT, sop_instance_uid=instance, transfer_syntax_uid="1.2.840.10008.1.2.1")
        (path / f"{instance}.dcm").write_bytes(head + encode(data_set))
    await import_paths(settings, sorted(path.glob("*.dcm")))
    return settings


def there_are(patients: int, studies: int, series: int, instances: int) -> Counter[str]:
    return Counter(patients=patients, studies=studies, series=series, instances=instances)


class TestCounts:
    @pytest.mark.parametrize(
        ("uids", "left", "ancestor"),
        [
            (["1.1", "1.1.1", "1.1.1.1"], (2, 3, 4, 4), "series"),
            (["1.1", "1.1.2", "1.1.2.1"], (2, 3, 3, 4), "study"),
            (["1.1", "1.1.1"], (2, 3, 3, 3), "study"),
            (["1.1"], (2, 2, 2, 2), "patient"),
            (["1.2", "1.2.1", "1.2.1.1"], (2, 2, 3, 4), "patient"),
            (["1.3", "1.3.1"], (1, 2, 3, 4), None),
        ],
    )
    async def test_what_becomes_empty_goes_too(
        self, house: House, uids: list[str], left: tuple[int, int, int, int], ancestor: str | None
    ):
        assert await house.check() == there_are(2, 3, 4, 5)
        removed = await house.removal.by_uid(uids)
        assert await house.check() == there_are(*left)
        assert (removed.ancestor and removed.ancestor[0]) == ancestor
        assert removed.instances == 5 - left[3]
        with pytest.raises(NotFound):
            await house.removal.by_uid(uids)

    async def test_modalities_of_what_is_left(self, house: House):
        await house.removal.by_uid(["1.1", "1.1.2"])
        assert await house.rows("SELECT modalities FROM studies WHERE uid = '1.1'") == [("\\CT\\",)]

    async def test_a_patient(self, house: House):
        ((public_id,),) = await house.rows("SELECT public_id FROM patients WHERE patient_id = 'A'")
        removed = await house.removal.by_public_id("patient", public_id)
        assert removed.ancestor is None
        assert await house.check() == there_are(1, 1, 1, 1)

    async def test_only_under_the_parents_that_are_named(self, house: House):
        with pytest.raises(NotFound):
            await house.removal.by_uid(["1.1", "1.2.1"])
        assert await house.check() == there_are(2, 3, 4, 5)


async def test_the_change_log_tells(house: House):
    before = (await read_changes(house.database)).changes[-1].seq
    heard: list[int] = []
    house.ingest.committed = heard.append
    removed = await house.removal.by_uid(["1.3"])
    entries = (await read_changes(house.database, since=before)).changes
    assert [(entry.kind, entry.level) for entry in entries] == [
        ("Deleted", level) for level in ("Instance", "Series", "Study", "Patient")
    ]
    assert {entry.study_uid for entry in entries} == {"1.3"}
    assert heard == [removed.change] == [entries[-1].seq]


async def test_made_metadata_go_too(house: House):
    def script() -> Any:
        sql = "INSERT INTO metadata (tag, study_uid, at, length, checksum, size, body) VALUES ($1, $1, 0, 0, 0, 0, '')"
        for uid in ("1.2", "1.3"):
            yield Query("test", sql), (uid,)

    await house.database.write(script)
    await house.removal.by_uid(["1.3"])
    assert await house.rows("SELECT study_uid FROM metadata") == [("1.2",)]


class TestPromises:
    async def test_what_was_committed_is_kept(self, house: House):
        commitments = Commitments(house.database, house.folder.store, Settings)
        number = await commitments.open("1.9", [Reference(CT, "1.1.1.2")], "PEER", "GATEWAY")
        outcome = await commitments.outcome(number)
        assert outcome is not None
        assert outcome.committed
        for uids in (["1.1"], ["1.1", "1.1.1"], ["1.1", "1.1.1", "1.1.1.2"]):
            with pytest.raises(RetainedByCommitment, match=r"1\.1\.1\.2 must be kept until 20"):
                await house.removal.by_uid(uids)
        ((public_id,),) = await house.rows("SELECT public_id FROM patients WHERE patient_id = 'A'")
        with pytest.raises(RetainedByCommitment):
            await house.removal.by_public_id("patient", public_id)
        assert await house.check() == there_are(2, 3, 4, 5)
        await house.removal.by_uid(["1.1", "1.1.1", "1.1.1.1"])
        later = Removal(house.ingest, clock=lambda: 1e11)
        await later.by_uid(["1.1"])
        assert await house.check() == there_are(2, 2, 2, 2)

    async def test_deleted_between_look_and_promise(self, house: House, monkeypatch: pytest.MonkeyPatch):
        commitments = Commitments(house.database, house.folder.store, Settings)
        check = commitments.check

        async def looked(references: Any, tenant: str) -> Any:
            found = await check(references, tenant)
            await house.removal.by_uid(["1.3"])
            return found

        monkeypatch.setattr(commitments, "check", looked)
        number = await commitments.open("1.9", [Reference(CT, "1.3.1.1")], "PEER", "GATEWAY")
        outcome = await commitments.outcome(number)
        assert outcome is not None
        assert not outcome.committed
        assert not (await commitments.outcome(number)).committed  # type: ignore[union-attr]


class TestFiles:
    async def test_they_stay_for_those_who_read(self, house: House):
        located = await retrieval.located_page(house.database, "1.3")
        await house.removal.by_uid(["1.3"])
        house.folder.store.open(located[0].key).close()

    async def test_then_they_go(self, house: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(gateway.ingest.garbage, "GRACE_S", 0.05)
        for uids in (["1.1", "1.1.1"], ["1.1"], ["1.2"]):
            await house.removal.by_uid(uids)
        assert house.ingest.garbage._collector is not None
        await house.ingest.garbage._collector
        assert len(list(house.folder.store.keys())) == 1
        assert not await house.rows("SELECT key FROM garbage")

    @pytest.mark.case("broken 06 files of deleted instances go after a restart within the minute of grace")
    async def test_a_restart_goes_on_with_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(gateway.ingest.garbage, "GRACE_S", 0.3)
        settings = await filled(tmp_path)
        async with asyncio.timeout(30):
            async with open_folder(settings) as folder, open_ingest(folder) as ingest:
                await Removal(ingest).by_uid(["1.1"])
            async with open_folder(settings) as folder, open_ingest(folder) as ingest:
                assert ingest.garbage._collector is not None
                await ingest.garbage._collector
                assert len(list(folder.store.keys())) == 2

    async def test_a_crash_in_between_and_a_reindex_bring_nothing_back(self, tmp_path: Path):
        settings = await filled(tmp_path)
        async with asyncio.timeout(30):
            async with open_folder(settings) as folder, open_ingest(folder) as ingest:
                await Removal(ingest).by_uid(["1.1"])
            async with open_folder(settings) as folder, open_ingest(folder):
                assert len(list(folder.store.keys())) == 5  # still for those who read
            await reindex(settings)
            async with open_folder(settings) as folder:
                assert (await statistics(folder.database)).instances == 2

    async def test_the_same_may_come_again(self, house: House, tmp_path: Path):
        await house.removal.by_uid(["1.3"])
        report = await import_paths(house.folder.settings, [tmp_path / "1.3.1.1.dcm"])
        assert report.outcomes == {"stored": 1}
        assert await house.check() == there_are(2, 3, 4, 5)
