"""Patients, studies, series and instances over REST, in the shapes that Orthanc's clients read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.index import resources
from tests.support.index import data_set
from tests.support.web import House

COLLECTIONS = ("patients", "studies", "series", "instances")


async def three(gateway: House) -> list[str]:
    """Three instances in two series of a study; their public ids in the order in which they came."""
    for series, sop, number in (("1.2.3.1", "1.1", 1), ("1.2.3.2", "1.2", 1), ("1.2.3.1", "1.3", 2)):
        await gateway.add(data_set("1.2.3", series, sop, InstanceNumber=number, StudyDescription="Thorax"))
    found: list[str] = await gateway.json("/instances")
    return found


class TestLists:
    async def test_identifiers_or_all_of_each(self, gateway: House) -> None:
        await three(gateway)
        for kind, count in zip(COLLECTIONS, (1, 1, 2, 3), strict=True):
            identifiers = await gateway.json(f"/{kind}")
            assert len(identifiers) == count
            assert [each["ID"] for each in await gateway.json(f"/{kind}?expand")] == identifiers
            assert await gateway.json(f"/{kind}?expand=false") == identifiers
            one = await gateway.json(f"/{kind}/{identifiers[0]}")
            assert one == (await gateway.json(f"/{kind}?expand=true"))[0]

    async def test_a_part(self, gateway: House) -> None:
        everything = await three(gateway)
        assert await gateway.json("/instances?since=1&limit=1") == everything[1:2]
        assert await gateway.json("/instances?since=0&limit=0") == []
        assert await gateway.json("/instances?since=9&limit=1") == []
        assert [each["ID"] for each in await gateway.json("/instances?expand&since=1&limit=2")] == everything[1:]

    @pytest.mark.parametrize(
        ("query", "text"),
        [("since=1", "limit"), ("limit=1", "since"), ("since=x&limit=1", "since"), ("expand=perhaps", "expand")],
    )
    async def test_what_makes_no_sense(self, gateway: House, query: str, text: str) -> None:
        answer = await gateway.get(f"/studies?{query}")
        assert answer.status == 400
        assert text in (await answer.json())["Details"]

    async def test_pages_are_sent_as_they_come(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resources, "PAGE", 1)
        monkeypatch.setattr(resources, "MAX_ROWS", 1)
        everything = await three(gateway)
        assert len(everything) == 3
        assert [each["ID"] for each in await gateway.json("/instances?expand")] == everything
        (study,) = await gateway.json("/studies")
        assert len(await gateway.json(f"/studies/{study}/instances")) == 3

    async def test_a_page_takes_as_many_statements_however_long_it_is(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await three(gateway)
        asked = []
        fetch = gateway.database.fetch

        async def counting(query: Any, *parameters: Any) -> Any:
            asked.append(query.name)
            return await fetch(query, *parameters)

        monkeypatch.setattr(gateway.database, "fetch", counting)
        await gateway.json("/instances?expand&since=0&limit=3")
        assert len(asked) == 3, asked


class TestOne:
    async def test_a_patient(self, gateway: House) -> None:
        await three(gateway)
        (patient,), (study,) = await gateway.json("/patients"), await gateway.json("/studies")
        found = await gateway.json(f"/patients/{patient}")
        assert len(found.pop("LastUpdate")) == len("20260102T030405")
        assert found == {
            "ID": patient,
            "IsProtected": False,
            "IsStable": True,
            "Labels": [],
            "MainDicomTags": {"PatientBirthDate": "", "PatientID": "P1", "PatientName": "Doe^Jane", "PatientSex": ""},
            "Studies": [study],
            "Type": "Patient",
        }

    async def test_a_study(self, gateway: House) -> None:
        await three(gateway)
        (study,) = await gateway.json("/studies?expand")
        assert study["ParentPatient"] == (await gateway.json("/patients"))[0]
        assert study["Series"] == await gateway.json("/series")
        assert study["MainDicomTags"]["StudyDescription"] == "Thorax"
        assert study["PatientMainDicomTags"]["PatientName"] == "Doe^Jane"
        assert "PatientName" not in study["MainDicomTags"]

    async def test_an_instance(self, gateway: House) -> None:
        (first, *_) = await three(gateway)
        found = await gateway.json(f"/instances/{first}")
        assert (found["IndexInSeries"], found["Type"]) == (1, "Instance")
        assert found["FileSize"] == int((await gateway.get(f"/instances/{first}/file")).headers["Content-Length"])
        assert found["MainDicomTags"] == {"InstanceNumber": "1", "SOPInstanceUID": "1.1"}
        assert "IsStable" not in found

    @pytest.mark.parametrize(
        ("numbers", "status"),
        [([1, 2], "Complete"), ([1], "Missing"), ([1, 1], "Inconsistent"), ([3], "Inconsistent"), ([None], "Missing")],
    )
    async def test_how_complete_a_series_is(self, gateway: House, numbers: list[int | None], status: str) -> None:
        for number in numbers:
            instance = data_set("1.2.3", "1.2.3.1", ImagesInAcquisition=2, NumberOfTemporalPositions=1)
            if number is not None:
                instance.InstanceNumber = number
            await gateway.add(instance)
        (series,) = await gateway.json("/series?expand")
        assert (series["ExpectedNumberOfInstances"], series["Status"]) == (2, status)

    async def test_nothing_is_expected_unless_it_is_said(self, gateway: House) -> None:
        await gateway.add(data_set())
        (series,) = await gateway.json("/series?expand")
        assert (series["ExpectedNumberOfInstances"], series["Status"]) == (None, "Unknown")

    async def test_when_a_series_last_received_something(self, gateway: House) -> None:
        await three(gateway)
        series = await gateway.json("/series?expand")
        assert {each["LastUpdate"] for each in series} == {"19700101T001640"}  # as `support.index.origin` has it


class TestAroundIt:
    async def test_below_and_above(self, gateway: House) -> None:
        instances = await three(gateway)
        (patient,), (study,) = await gateway.json("/patients"), await gateway.json("/studies")
        series = await gateway.json("/series")
        assert [each["ID"] for each in await gateway.json(f"/patients/{patient}/studies")] == [study]
        assert [each["ID"] for each in await gateway.json(f"/patients/{patient}/instances")] == instances
        assert [each["ID"] for each in await gateway.json(f"/studies/{study}/series")] == series
        assert await gateway.json(f"/series/{series[0]}/instances?expand=false") == [instances[0], instances[2]]
        for above, identifier in (("patient", patient), ("study", study), ("series", series[1])):
            assert (await gateway.json(f"/instances/{instances[1]}/{above}"))["ID"] == identifier

    async def test_how_much_it_is(self, gateway: House) -> None:
        sizes = [len((await gateway.add(data_set("1.2.3", series)))[1]) for series in ("1.1", "1.2", "1.2")]
        (study,) = await gateway.json("/studies")
        found = await gateway.json(f"/studies/{study}/statistics")
        assert (found["CountSeries"], found["CountInstances"]) == (2, 3)
        assert "CountStudies" not in found
        assert found["DicomDiskSize"] == found["UncompressedSize"] == str(sum(sizes))
        assert found["DiskSizeMB"] == 0
        (patient,) = await gateway.json("/patients")
        assert (await gateway.json(f"/patients/{patient}/statistics"))["CountStudies"] == 1

    @pytest.mark.parametrize("kind", COLLECTIONS)
    @pytest.mark.parametrize("below", ["", "/statistics", "/metadata", "/labels", "/attachments", "/module"])
    async def test_what_is_not_there(self, gateway: House, kind: str, below: str) -> None:
        answer = await gateway.get(f"/{kind}/0-0{below}")
        assert answer.status == 404
        assert (await answer.json())["HttpStatus"] == 404


class TestRequestedTags:
    async def test_from_the_index_and_from_files(self, gateway: House) -> None:
        request = Dataset()
        request.RequestedProcedureID = "R1"
        await gateway.add(data_set(Rows=512, KVP="120", RequestAttributesSequence=[request]))
        tags = "ModalitiesInStudy;PatientName,NumberOfStudyRelatedInstances;KVP;0040-0275;ProtocolName"
        (study,) = await gateway.json(f"/studies?expand&requested-tags={tags}")
        assert study["RequestedTags"] == {
            "KVP": "120",
            "ModalitiesInStudy": "CT",
            "NumberOfStudyRelatedInstances": "1",
            "PatientName": "Doe^Jane",
            "ProtocolName": "",
            "RequestAttributesSequence": [{"RequestedProcedureID": "R1"}],
        }
        (instance,) = await gateway.json("/instances?expand&requestedTags=Rows")
        assert instance["RequestedTags"] == {"Rows": "512"}

    async def test_names_that_are_none(self, gateway: House) -> None:
        assert (await gateway.get("/studies?requested-tags=Nonsense&expand")).status == 400


async def test_a_list_while_instances_come_and_go(gateway: House) -> None:
    """Each page is a statement of its own: nothing is held up, and nothing fails."""
    await three(gateway)
    answers = await asyncio.gather(
        *[gateway.json("/instances?expand") for _ in range(4)], *[gateway.add(data_set("1.2.4")) for _ in range(4)]
    )
    assert all(len(each) >= 3 for each in answers[:4])
