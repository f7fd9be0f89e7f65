"""Main DICOM tags that the settings name: in the index from then on, and once what was there is reconstructed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.config.sections import MainTags, Query
from gateway.index import main_tags
from gateway.jobs.runner import Runner
from gateway.jobs.table import ended_job
from gateway.retrieve import query
from gateway.storage.filesystem import FileStore
from tests.support.datasets import instance
from tests.support.remote import file_of
from tests.support.web import House, archive

CHOICE = MainTags(
    patient=("EthnicGroup",),
    study=("0008,1040", "PatientAge", "ProcedureCodeSequence"),
    series=("PatientPosition", "KVP"),
    instance=("SliceThickness", "Rows", "AcquisitionTime"),
)


@pytest.fixture(autouse=True)
def no_choice() -> Any:
    yield
    main_tags.use(main_tags.NONE)


@asynccontextmanager
async def opened(folder: Path, choice: MainTags | None = None) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(folder, main_tags=choice or MainTags()) as made:
        runner = Runner(made.database, made.use_cases.kinds, poll=0.02)
        runner.start()
        try:
            yield made
        finally:
            await runner.close()


def one(number: int = 1, **values: Any) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C", "99X", "Something"
    named = {
        "PatientID": "P1",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3",
        "InstanceNumber": str(number),
        "SOPInstanceUID": f"1.2.3.{number}",
        "EthnicGroup": "E",
        "InstitutionalDepartmentName": "Radiology",
        "PatientAge": "042Y",
        "PatientPosition": "HFS",
        "KVP": "120",
        "SliceThickness": f"{number}.5",
        "ProcedureCodeSequence": [code],
    }
    return instance(**{**named, **values})


async def store(gateway: House, *data_sets: Dataset) -> dict[str, str]:
    answer: dict[str, str] = {}
    for each in data_sets:
        response = await gateway.client.post("/instances", data=file_of(each))
        assert response.status == 200
        answer = await response.json()
    return answer


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the files that are read for attributes."""
    read: list[str] = []
    really: Callable[..., Any] = query.read_attributes

    def counted(store: FileStore, key: str, *arguments: Any) -> Any:
        read.append(key)
        return really(store, key, *arguments)

    monkeypatch.setattr(query, "read_attributes", counted)
    return read


async def found(gateway: House, level: str, **keys: str) -> list[str]:
    answer = await gateway.client.post("/tools/find", json={"Level": level, "Query": keys})
    assert answer.status == 200, await answer.text()
    return await answer.json()  # type: ignore[no-any-return]


async def test_they_are_shown_and_found_without_reading_files(tmp_path: Path, reads: list[str]) -> None:
    async with opened(tmp_path, CHOICE) as gateway:
        made = await store(gateway, one(1), one(2))
        shown = {
            level: (await gateway.json(f"/{level}/{made[name]}"))
            for level, name in (
                *(("patients", "ParentPatient"), ("studies", "ParentStudy"), ("series", "ParentSeries")),
                ("instances", "ID"),
            )
        }
        assert shown["patients"]["MainDicomTags"]["EthnicGroup"] == "E"
        assert shown["studies"]["PatientMainDicomTags"]["EthnicGroup"] == "E"
        study = shown["studies"]["MainDicomTags"]
        assert (study["InstitutionalDepartmentName"], study["PatientAge"]) == ("Radiology", "042Y")
        assert (shown["series"]["MainDicomTags"]["PatientPosition"], shown["series"]["MainDicomTags"]["KVP"]) == (
            "HFS",
            "120",
        )
        assert shown["instances"]["MainDicomTags"]["SliceThickness"] == "2.5"
        assert "AcquisitionTime" not in shown["instances"]["MainDicomTags"]
        asked = "ProcedureCodeSequence;KVP;SliceThickness;EthnicGroup;AcquisitionTime"
        requested = (await gateway.json(f"/instances/{made['ID']}?requested-tags={asked}"))["RequestedTags"]
        assert requested.pop("ProcedureCodeSequence")[0]["CodeValue"] == "C"
        assert requested == {"KVP": "120", "SliceThickness": "2.5", "EthnicGroup": "E", "AcquisitionTime": ""}
        assert await found(gateway, "Study", InstitutionalDepartmentName="radio*") == [made["ParentStudy"]]
        assert await found(gateway, "Study", InstitutionalDepartmentName="else*") == []
        assert await found(gateway, "Instance", SliceThickness="2.5") == [made["ID"]]
        assert await found(gateway, "Instance", KVP="120", SliceThickness="9") == []
        assert await found(gateway, "Patient", EthnicGroup="E") == [made["ParentPatient"]]
        answer = await gateway.json("/dicom-web/series?KVP=120&includefield=PatientPosition")
        assert [each["00185100"]["Value"] for each in answer] == [["HFS"]]
        assert reads == []
        system = (await gateway.json("/system"))["MainDicomTags"]
        assert "0018,0060" in system["Series"].split(";")
        assert "0010,2160" in system["Patient"].split(";")


async def test_of_what_was_there_before(tmp_path: Path, reads: list[str]) -> None:
    """Files are read as before, until they are reconstructed."""
    async with opened(tmp_path) as gateway:
        made = await store(gateway, one(1), one(2))
    async with opened(tmp_path, CHOICE) as gateway:
        path = f"/studies/{made['ParentStudy']}"
        assert "InstitutionalDepartmentName" not in (await gateway.json(path))["MainDicomTags"]
        asked = f"{path}?requested-tags=InstitutionalDepartmentName"
        assert (await gateway.json(asked))["RequestedTags"] == {"InstitutionalDepartmentName": "Radiology"}
        assert await found(gateway, "Instance", SliceThickness="2.5") == [made["ID"]]
        assert len(reads) == 3
        gateway.query = Query(max_instances_read=1)
        answer = await gateway.client.post(
            "/tools/find", json={"Level": "Instance", "Query": {"SliceThickness": "2.5"}}
        )
        assert answer.status == 413
        assert "reconstruct" in (await answer.json())["Details"]
        answer = await gateway.client.post("/tools/reconstruct", json={"Synchronous": False})
        number = (await answer.json())["ID"]
        assert (await ended_job(gateway.database, int(number))).state == "done"  # type: ignore[union-attr]
        reads.clear()
        assert (await gateway.json(path))["MainDicomTags"]["InstitutionalDepartmentName"] == "Radiology"
        assert (await gateway.json(asked))["RequestedTags"] == {"InstitutionalDepartmentName": "Radiology"}
        assert await found(gateway, "Instance", SliceThickness="2.5") == [made["ID"]]
        assert reads == []
    async with opened(tmp_path) as gateway:  # what is no main tag any more is not shown as one
        assert "InstitutionalDepartmentName" not in (await gateway.json(path))["MainDicomTags"]
        assert (await gateway.json(asked))["RequestedTags"] == {"InstitutionalDepartmentName": "Radiology"}


async def test_what_the_index_has_anyway(tmp_path: Path, reads: list[str]) -> None:
    async with opened(tmp_path, MainTags(study=("PatientAge",), instance=("Rows",))) as gateway:
        made = await store(gateway, one(1))
        assert (await gateway.json(f"/studies/{made['ParentStudy']}"))["MainDicomTags"]["PatientAge"] == "042Y"
        assert "Rows" in (await gateway.json(f"/instances/{made['ID']}"))["MainDicomTags"]
        assert reads == []


async def test_a_header_that_ends_too_late_for_them(tmp_path: Path, reads: list[str]) -> None:
    """An instance is not refused for the sake of them: they are read from its file."""
    choice = MainTags(instance=("StorageMediaFileSetID", "SliceThickness"))
    async with asyncio.timeout(50), archive(tmp_path, main_tags=choice, max_header=20_000) as gateway:
        big = one(1)
        big.add_new(0x00810010, "LO", "ACME")
        big.add_new(0x00811001, "OB", bytes(900_000))
        big.StorageMediaFileSetID = "DISC 1"
        path = f"/instances/{(await store(gateway, big))['ID']}"
        assert "SliceThickness" not in (await gateway.json(path))["MainDicomTags"]
        asked = await gateway.json(f"{path}?requested-tags=StorageMediaFileSetID;SliceThickness")
        assert asked["RequestedTags"] == {"SliceThickness": "1.5", "StorageMediaFileSetID": "DISC 1"}
        assert len(reads) == 1
