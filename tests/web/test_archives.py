"""Archives and media: what is in them, under which names, what jobs do with them, and who may have how much."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from gateway.jobs.runner import Runner
from gateway.jobs.table import ended_job
from gateway.retrieve import archive as making
from gateway.web.rest import archives
from tests.support.datasets import instance
from tests.support.remote import file_of
from tests.support.web import House, archive

KINDS = ("patients", "studies", "series")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        runner = Runner(made.database, made.use_cases.kinds, poll=0.02)
        runner.start()
        try:
            yield made
        finally:
            await runner.close()


def one(number: int, series: str = "1", study: str = "1", patient: str = "P1", **values: Any) -> Dataset:
    uid = f"1.2.{study}"
    named = {
        "PatientID": patient,
        "PatientName": "Doe^Jane",
        "StudyInstanceUID": uid,
        "SeriesInstanceUID": f"{uid}.{series}",
        "SOPInstanceUID": f"{uid}.{series}.{number}",
        "SeriesNumber": series,
        "InstanceNumber": str(number),
        "AccessionNumber": "A1",
        "StudyDescription": "Head",
        "Modality": "CT",
        "SeriesDescription": "axial",
    }
    return instance(**{**named, **values})


def eight_bits(data_set: Dataset) -> Dataset:
    """The same with pixels that JPEG takes."""
    data_set.Rows = data_set.Columns = 16
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated = data_set.BitsStored = 8
    data_set.HighBit, data_set.PixelRepresentation = 7, 0
    data_set.PixelData = bytes(range(256))
    return data_set


async def store(gateway: House, *data_sets: Dataset) -> list[dict[str, str]]:
    answers = []
    for each in data_sets:
        answer = await gateway.client.post("/instances", data=file_of(each))
        assert answer.status == 200
        answers.append(await answer.json())
    return answers


async def opened(gateway: House, path: str, body: Any = None, **headers: str) -> zipfile.ZipFile:
    if body is None:
        answer = await gateway.get(path, **headers)
    else:
        answer = await gateway.client.post(path, json=body)
    data = await answer.read()
    assert answer.status == 200, data
    assert answer.headers["Content-Type"] == "application/zip"
    made = zipfile.ZipFile(io.BytesIO(data))
    assert made.testzip() is None
    return made


async def refused(gateway: House, path: str, body: Any = None) -> tuple[int, int]:
    answer = await (gateway.get(path) if body is None else gateway.client.post(path, json=body))
    found = await answer.json()
    assert found["Details"]
    return answer.status, found["OrthancStatus"]


class TestNames:
    async def test_are_those_of_orthanc(self, gateway: House) -> None:
        (first, *_) = await store(gateway, one(2), one(1), one(1, series="2", Modality="M"), one(1, study="2"))
        names = [
            "P1 Doe Jane/A1 Head/CT axial/CT000000.dcm",
            "P1 Doe Jane/A1 Head/CT axial/CT000001.dcm",
            "P1 Doe Jane/A1 Head/M axial/M0000000.dcm",
            "P1 Doe Jane/A1 Head-2/CT axial/CT000000.dcm",
        ]
        made = await opened(gateway, f"/patients/{first['ParentPatient']}/archive")
        assert made.namelist() == names
        assert [dcmread(io.BytesIO(made.read(name))).InstanceNumber for name in names[:2]] == [1, 2]
        made = await opened(gateway, f"/series/{first['ParentSeries']}/archive")
        assert made.namelist() == names[:2]

    async def test_of_nothing_to_be_named_by(self, gateway: House) -> None:
        bare = {"PatientID": "", "PatientName": "..", "AccessionNumber": "", "StudyDescription": "/../é"}
        (first,) = await store(gateway, one(1, **bare, Modality="", SeriesDescription=""))
        made = await opened(gateway, f"/studies/{first['ParentStudy']}/archive")
        assert made.namelist() == ["Unknown Patient/Unknown Study/Unknown Series/00000000.dcm"]

    @pytest.mark.parametrize(("first", "second"), [("Head", "HEAD"), ("a/b", "a^b "), ("x" * 63, "X" * 63)])
    async def test_no_two_folders_have_one(self, gateway: House, first: str, second: str) -> None:
        series = [one(1, series=str(at), SeriesDescription=text) for at, text in enumerate((first, second), 1)]
        (stored, _) = await store(gateway, *series)
        names = (await opened(gateway, f"/studies/{stored['ParentStudy']}/archive")).namelist()
        assert len({name.lower().rpartition("/")[0] for name in names}) == 2

    async def test_no_name_of_a_client_ends_the_header(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        path = f"/studies/{first['ParentStudy']}/archive"
        answer = await gateway.get(path + '?filename=a"b%0d%0aX:%20../y.zip')
        assert answer.headers["Content-Disposition"] == 'attachment; filename="abX ..y.zip"'
        answer = await gateway.get(path + "?filename=..")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{first["ParentStudy"]}.zip"'


class TestContent:
    async def test_is_each_file_once(self, gateway: House) -> None:
        (first, second) = await store(gateway, one(1), one(1, study="2"))
        ids = [first["ID"], second["ParentStudy"], first["ParentPatient"], first["ParentSeries"], first["ID"]]
        for body in (ids, {"Resources": ids}):
            assert len((await opened(gateway, "/tools/create-archive", body)).namelist()) == 2
        assert len((await opened(gateway, f"/tools/create-archive?resources={','.join(ids)}")).namelist()) == 2
        assert len((await opened(gateway, "/tools/create-archive", [first["ID"]])).namelist()) == 1
        assert (await opened(gateway, "/tools/create-archive", [])).namelist() == []

    async def test_is_what_was_stored(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        made = await opened(gateway, f"/studies/{first['ParentStudy']}/archive", {})
        (name,) = made.namelist()
        assert made.read(name) == await (await gateway.get(f"/instances/{first['ID']}/file")).read()

    async def test_is_transcoded_where_that_loses_nothing(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        for uid, expected in (
            ("1.2.840.10008.1.2", "1.2.840.10008.1.2"),
            ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1"),
        ):
            made = await opened(gateway, f"/studies/{first['ParentStudy']}/archive?transcode={uid}")
            (name,) = made.namelist()
            assert dcmread(io.BytesIO(made.read(name))).file_meta.TransferSyntaxUID == expected

    async def test_is_compressed_with_loss_where_that_is_asked_for(self, gateway: House) -> None:
        (first,) = await store(gateway, eight_bits(one(1)))
        path = f"/studies/{first['ParentStudy']}/archive"
        uid = "1.2.840.10008.1.2.4.50"
        for made in (
            await opened(gateway, f"{path}?transcode={uid}&lossy-quality=70"),
            await opened(gateway, path, {"Transcode": uid, "LossyQuality": 70}),
            await opened(gateway, f"/tools/create-archive?resources={first['ID']}&transcode={uid}&lossy-quality=70"),
        ):
            (name,) = made.namelist()
            file = dcmread(io.BytesIO(made.read(name)))
            assert (file.file_meta.TransferSyntaxUID, file.LossyImageCompression) == (uid, "01")
        assert (await gateway.get(f"{path}?transcode={uid}&lossy-quality=0")).status == 400

    async def test_what_cannot_be_compressed_with_loss_is_as_it_is(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        made = await opened(
            gateway, f"/studies/{first['ParentStudy']}/archive?transcode=1.2.840.10008.1.2.4.50&lossy-quality=70"
        )
        (name,) = made.namelist()
        assert made.read(name) == await (await gateway.get(f"/instances/{first['ID']}/file")).read()


class TestMedia:
    async def test_of_what_is_compressed_with_loss(self, gateway: House, tmp_path: Path) -> None:
        (first,) = await store(gateway, eight_bits(one(1)))
        path = f"/studies/{first['ParentStudy']}/media?transcode=1.2.840.10008.1.2.4.50&lossy-quality=70"
        made = await opened(gateway, path)
        file = dcmread(io.BytesIO(made.read("IMAGES/IM0")))
        (record,) = [
            each
            for each in dcmread(io.BytesIO(made.read("DICOMDIR"))).DirectoryRecordSequence
            if each.DirectoryRecordType == "IMAGE"
        ]
        assert record.ReferencedSOPInstanceUIDInFile == file.SOPInstanceUID != "1.2.1.1.1"
        assert record.ReferencedTransferSyntaxUIDInFile == "1.2.840.10008.1.2.4.50"

    @pytest.mark.parametrize("extended", [False, True])
    async def test_are_read_by_pydicom(self, gateway: House, tmp_path: Path, extended: bool) -> None:
        dose = one(1, series="3", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2", DoseSummationType="PLAN")
        await store(gateway, one(1, PatientName="Jérôme"), one(2), one(1, series="2"), dose, one(1, "1", "2", "P2"))
        ids = await gateway.json("/patients")
        path = "/tools/create-media-extended" if extended else "/tools/create-media"
        made = await opened(gateway, path, {"Resources": ids})
        assert made.namelist() == [*(f"IMAGES/IM{at}" for at in range(5)), "DICOMDIR"]
        made.extractall(tmp_path / "medium")
        files = FileSet(tmp_path / "medium" / "DICOMDIR")
        assert len(list(files)) == 5
        for each in files:
            assert each.load().SOPInstanceUID == each.SOPInstanceUID
        files._stage["t"].cleanup()  # pydicom leaves it to the collector, which warns
        records = dcmread(tmp_path / "medium" / "DICOMDIR").DirectoryRecordSequence
        kinds = [each.DirectoryRecordType for each in records]
        assert kinds[:4] == ["PATIENT", "STUDY", "SERIES", "IMAGE"]
        (plan,) = [each for each in records if each.DirectoryRecordType == "RT DOSE"]
        assert plan.DoseSummationType == "PLAN"
        assert records[0].PatientName == "Jérôme"
        assert ("SeriesDescription" in records[2]) is extended

    async def test_of_nothing(self, gateway: House) -> None:
        made = await opened(gateway, "/tools/create-media", [])
        assert made.namelist() == ["DICOMDIR"]
        assert dcmread(io.BytesIO(made.read("DICOMDIR"))).OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity == 0


class TestRefused:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_what_is_not_there(self, gateway: House, kind: str) -> None:
        assert await refused(gateway, f"/{kind}/0-0/archive") == (404, 17)
        assert await refused(gateway, f"/{kind}/0-0/media", {}) == (404, 17)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 15),
            ({"Resources": "x"}, 15),
            ({"Resources": [1]}, 15),
            ({"Resources": [], "Transcode": "x"}, 3),
            ({"Resources": [], "Transcode": 5}, 15),
            ({"Resources": [], "LossyQuality": 101}, 3),
            ({"Resources": [], "Filename": []}, 15),
            ("x", 15),
        ],
    )
    async def test_what_makes_no_sense(self, gateway: House, body: Any, status: int) -> None:
        assert await refused(gateway, "/tools/create-archive", body) == (400, status)

    async def test_too_much(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        (first, _) = await store(gateway, one(1), one(2))
        monkeypatch.setattr("gateway.systems.archive_jobs.MAX_FILES", 1)
        assert (await refused(gateway, f"/studies/{first['ParentStudy']}/archive"))[0] == 400
        monkeypatch.setattr(archives, "MAX_RESOURCES", 1)
        assert (await refused(gateway, "/tools/create-archive", ["x", "y"])) == (400, 15)

    async def test_more_at_once_than_there_is_room_for(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        (first,) = await store(gateway, one(1))
        monkeypatch.setattr(archives, "_PATIENCE_S", 0.01)
        slots = gateway.client.app[archives.ARCHIVE_SLOTS]
        held = [slots.slot("127.0.0.1") for _ in range(archives.MAX_AT_ONCE // 2)]
        for each in held:
            await each.__aenter__()
        assert (await refused(gateway, f"/studies/{first['ParentStudy']}/archive"))[0] == 503
        await held[0].__aexit__(None, None, None)
        await opened(gateway, f"/studies/{first['ParentStudy']}/archive")


class TestJobs:
    async def begun(self, gateway: House, path: str, body: dict[str, Any]) -> str:
        answer = await gateway.client.post(path, json=body)
        found = await answer.json()
        assert found["Path"] == f"/jobs/{found['ID']}"
        job = await ended_job(gateway.database, int(found["ID"]))
        assert job is not None
        return str(found["Path"])

    async def test_make_archives(self, gateway: House) -> None:
        (first, _) = await store(gateway, one(1), one(2))
        body = {"Asynchronous": True, "Priority": 3, "UserData": {"a": 1}, "Filename": "ct.zip"}
        path = await self.begun(gateway, f"/studies/{first['ParentStudy']}/archive", body)
        job = await gateway.json(path)
        assert (job["Type"], job["State"], job["Progress"], job["Priority"]) == ("Archive", "Success", 100, 3)
        assert job["UserData"] == {"a": 1}
        answer = await gateway.get(f"{path}/archive")
        data = await answer.read()
        assert answer.headers["Content-Disposition"] == 'attachment; filename="ct.zip"'
        assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 2
        assert job["Content"]["ArchiveSize"] == str(len(data))
        assert job["Content"]["InstancesCount"] == 2
        part = await gateway.get(f"{path}/archive", range="bytes=2-5")
        assert (part.status, await part.read()) == (206, data[2:6])

    async def test_make_media(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        path = await self.begun(gateway, "/tools/create-media", {"Resources": [first["ID"]], "Synchronous": False})
        assert (await gateway.json(path))["Type"] == "Media"
        assert (await opened(gateway, f"{path}/archive")).namelist() == ["IMAGES/IM0", "DICOMDIR"]

    async def test_what_they_have_made_can_be_deleted(self, gateway: House) -> None:
        (first,) = await store(gateway, one(1))
        body = {"Asynchronous": True}
        path = await self.begun(gateway, f"/studies/{first['ParentStudy']}/archive", body)
        assert (await gateway.client.delete(f"{path}/archive")).status == 200
        assert (await gateway.client.delete(f"{path}/archive")).status == 404
        assert await refused(gateway, f"{path}/archive") == (404, 7)
        assert (await gateway.json(path))["State"] == "Success"

    async def test_goes_with_its_job_or_is_too_old(self, gateway: House, tmp_path: Path) -> None:
        (first,) = await store(gateway, one(1))
        study, jobs = f"/studies/{first['ParentStudy']}/archive", gateway.use_cases.archive_jobs
        gone, old = [await self.begun(gateway, study, {"Asynchronous": True}) for _ in range(2)]
        (folder,) = tmp_path.rglob("outputs")
        assert len(list(folder.iterdir())) == 2
        assert (await gateway.client.delete(gone)).status == 200
        await jobs.expire()
        assert [path.name for path in folder.iterdir()] == [old.rpartition("/")[2]]
        jobs._clock = lambda: 1e11
        assert await refused(gateway, f"{old}/archive") == (404, 7)
        await jobs.expire()
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("path", ["/jobs/x/archive", "/jobs/99/archive", "/jobs/1/nonsense"])
    async def test_of_which_nothing_is_there(self, gateway: House, path: str) -> None:
        assert await refused(gateway, path) == (404, 7)
        assert (await gateway.client.delete(path)).status == 404


async def test_a_reader_that_goes_away_leaves_nothing(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await store(gateway, *(one(number) for number in range(1, 4)))
    done: list[int] = []
    content = making.ArchiveContent(tuple((each, "patient") for each in await gateway.json("/patients")))
    chunks = gateway.use_cases.archives.chunks(content, done.append)
    await anext(chunks)
    await chunks.aclose()
    assert len(done) < 3
