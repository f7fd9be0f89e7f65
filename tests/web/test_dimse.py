"""/modalities/{name}/echo, store, move and get over a second gateway: answers and jobs as scripts for Orthanc read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Dicomweb
from gateway.database.database import Query
from gateway.events import exports
from gateway.jobs.table import ended_job
from tests.support.destination import Message
from tests.support.remote import Remote, file_of, numbered, remote


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Remote]:
    async with asyncio.timeout(50), remote(tmp_path) as made:
        yield made


ALL_UIDS = Query("all_uids", "SELECT uid FROM instances")
CLOSED = {"AET": "CLOSED", "Host": "127.0.0.1", "Port": 1}
STUDY = {"StudyInstanceUID": "1.2.3"}
LEVELS = ("Patient", "Study", "Series", "Instance")
PLURALS = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}


async def stored_there(pair: Remote) -> list[str]:
    rows = await pair.there.folder.database.fetch(ALL_UIDS)
    return sorted(row[0] for row in rows)


async def job_of(pair: Remote, number: str, state: str) -> dict[str, Any]:
    """The job once it is over, as it should be."""
    await ended_job(pair.here.database, int(number))
    job = await pair.here.json(f"/jobs/{number}")
    assert job["State"] == state
    return job


def silent(pair: Remote) -> asyncio.Event:
    """The target answers nothing any more; set once something has come."""
    came = asyncio.Event()
    pair.target.answer = lambda message: came.set()
    return came


class TestEcho:
    @pytest.mark.parametrize("body", [None, {}, [], {"Timeout": 3, "CheckFind": True}])
    async def test_success_is_an_empty_object(self, pair: Remote, body: Any) -> None:
        assert await pair.post("/modalities/there/echo", body) == (200, {})

    async def test_any_system(self, pair: Remote) -> None:
        host, port = pair.there.acceptor.address
        assert await pair.post("/tools/dicom-echo", {"AET": "GATEWAY", "Host": host, "Port": port}) == (200, {})
        assert await pair.post("/tools/dicom-echo", ["GATEWAY", host, port]) == (200, {})
        status, answer = await pair.post("/tools/dicom-echo", {"AET": "GATEWAY"})
        assert (status, answer["OrthancStatus"]) == (400, 15)

    async def test_nobody_there(self, pair: Remote) -> None:
        await pair.here.client.put("/modalities/closed", json=CLOSED)
        status, answer = await pair.post("/modalities/closed/echo")
        assert (status, answer["OrthancStatus"]) == (500, 9)
        assert answer["Message"] == "Error in the network protocol"
        assert "CLOSED@127.0.0.1:1" in answer["Details"]

    async def test_unknown(self, pair: Remote) -> None:
        status, answer = await pair.post("/modalities/nope/echo")
        assert (status, answer["Details"]) == (404, "No modality with symbolic name: nope")


class TestExports:
    async def test_what_was_sent_and_nothing_else(self, pair: Remote) -> None:
        made = await pair.fill(1, 2)
        first = made[0]
        await pair.here.client.put("/modalities/closed", json=CLOSED)
        for more in ({}, {"Permissive": True}):
            await pair.post("/modalities/closed/store", {"Resources": [first["ID"]], **more})
        assert await pair.here.json("/exports") == {"Done": True, "Exports": [], "Last": 0}
        for level in ("ParentPatient", "ParentStudy", "ParentSeries", "ID"):
            assert (await pair.post("/modalities/there/store", [first[level]]))[0] == 200
        found = await pair.here.json("/exports?limit=3")
        assert (found["Done"], found["Last"], len(found["Exports"])) == (False, 3, 3)
        everything = found["Exports"] + (await pair.here.json("/exports?since=3"))["Exports"]
        uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "SOPInstanceUID": "1.2.3.1.1"}
        for number, (level, each) in enumerate(zip(LEVELS, everything, strict=True), 1):
            assert each.pop("Date").startswith("20")
            parent = f"Parent{level}" if level != "Instance" else "ID"
            assert each == {
                "ID": first[parent],
                "Path": f"/{PLURALS[level]}/{first[parent]}",
                "PatientID": "P1",
                "RemoteModality": "there",
                "ResourceType": level,
                "Seq": number,
                **dict(list(uids.items())[: number - 1]),
            }
        assert (await pair.here.json("/exports?last"))["Exports"][0]["Seq"] == 4
        assert (await pair.here.client.delete("/exports")).status == 200
        assert await pair.here.json("/exports?last") == {"Done": True, "Exports": [], "Last": 0}
        await pair.post("/modalities/there/store", [first["ID"]])
        assert (await pair.here.json("/exports?since=x"))["Last"] == 5

    async def test_they_are_bounded(self, pair: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exports, "MAX_EXPORTS", 2)
        (only,) = await pair.fill(1)
        for _ in range(4):
            await pair.post("/modalities/there/store", [only["ID"]])
        assert [each["Seq"] for each in (await pair.here.json("/exports"))["Exports"]] == [3, 4]


class TestStore:
    async def test_an_identifier_alone(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        status, answer = await pair.post("/modalities/there/store", data=only["ID"].encode())
        assert status == 200
        assert answer == {
            "Description": "REST API",
            "FailedInstancesCount": 0,
            "InstancesCount": 1,
            "LocalAet": "GATEWAY",
            "ParentResources": [only["ID"]],
            "RemoteAet": "GATEWAY",
            "Resources": [{"ID": only["ID"], "Type": "Instance"}],
        }
        assert await stored_there(pair) == ["1.2.3.1.1"]

    async def test_many_levels_in_one_list(self, pair: Remote) -> None:
        made = await pair.fill(1, 2)
        body = [made[0]["ParentStudy"], made[0]["ID"]]
        status, answer = await pair.post("/modalities/there/store", body)
        assert (status, answer["InstancesCount"], answer["ParentResources"]) == (200, 3, sorted(body))
        assert await stored_there(pair) == ["1.2.3.1.1", "1.2.3.1.2"]

    async def test_asynchronous(self, pair: Remote) -> None:
        made = await pair.fill(1)
        body = {"Resources": [made[0]["ParentPatient"]], "Synchronous": False, "Priority": 5, "UserData": {"a": 1}}
        status, answer = await pair.post("/modalities/there/store", body)
        assert (status, answer["Path"]) == (200, f"/jobs/{answer['ID']}")
        job = await job_of(pair, answer["ID"], "Success")
        assert (job["Type"], job["Priority"], job["Progress"]) == ("DicomModalityStore", 5, 100)
        assert (job["ErrorCode"], job["ErrorDescription"], job["UserData"]) == (0, "Success", {"a": 1})
        assert job["Content"]["InstancesCount"] == 1

    async def test_nothing_to_send(self, pair: Remote) -> None:
        status, answer = await pair.post("/modalities/there/store", [])
        assert (status, answer["InstancesCount"]) == (200, 0)
        assert "ParentResources" not in answer

    async def test_nobody_there(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        await pair.here.client.put("/modalities/closed", json=CLOSED)
        status, answer = await pair.post("/modalities/closed/store", {"Resources": [only["ID"]]})
        assert (status, answer["OrthancStatus"]) == (500, 9)
        assert "no connection" in answer["Details"]
        status, answer = await pair.post("/modalities/closed/store", {"Resources": [only["ID"]], "Permissive": True})
        assert (status, answer["FailedInstancesCount"]) == (200, 1)

    async def test_a_refusal_names_its_status(self, pair: Remote) -> None:
        made = await pair.fill(1, 2, 3)
        pair.target.answer = refusing("1.2.3.1.1")
        await pair.here.client.put("/modalities/target", json={**CLOSED, "Port": pair.target.port})
        body = {"Resources": [made[0]["ParentStudy"]], "Asynchronous": True}
        _, answer = await pair.post("/modalities/target/store", body)
        job = await job_of(pair, answer["ID"], "Failure")
        assert (job["ErrorCode"], job["ErrorDescription"]) == (9, "Error in the network protocol")
        assert job["ErrorPayload"] == {"Content": {"DimseErrorStatus": 0xA700}, "Type": "Dimse"}
        assert "A700H" in job["ErrorDetails"]
        assert job["Content"]["FailedInstancesCount"] == 1

    async def test_permissive_goes_on(self, pair: Remote) -> None:
        made = await pair.fill(1, 2, 3)
        pair.target.answer = refusing("1.2.3.1.1")
        await pair.here.client.put("/modalities/target", json={**CLOSED, "Port": pair.target.port})
        body = {"Resources": [made[0]["ParentStudy"]], "Permissive": True}
        status, answer = await pair.post("/modalities/target/store", body)
        assert (status, answer["FailedInstancesCount"]) == (200, 1)
        assert len(pair.target.messages) == 3

    async def test_how_it_is_called(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        more = {"CalledAet": "OTHER", "Host": "127.0.0.1", "Port": pair.target.port, "LocalAet": "ME"}
        moved = {"MoveOriginatorAet": "ORIGIN", "MoveOriginatorID": 77}
        status, answer = await pair.post("/modalities/there/store", {"Resources": [only["ID"]], **more, **moved})
        assert (status, answer["LocalAet"], answer["RemoteAet"]) == (200, "ME", "OTHER")
        request, message = pair.target.requests[0], pair.target.messages[0].command
        assert (request.called_aet, request.calling_aet) == ("OTHER", "ME")
        assert (message.move_originator_aet, message.move_originator_message_id) == ("ORIGIN", 77)

    @pytest.mark.parametrize(
        ("body", "status", "said"),
        [
            ({}, 400, 'Missing field in JSON: "Resources"'),
            ({"Resources": ["nope"]}, 400, "not a valid Orthanc identifier: nope"),
            ("nope", 400, "not a valid Orthanc identifier: nope"),
            ({"Resources": [1]}, 400, "a list of Orthanc identifiers"),
            ({"Resources": [], "Timeout": -1}, 400, "Timeout"),
            ({"Resources": [], "LocalAet": "x" * 17}, 400, "LocalAet"),
            ({"Resources": ["-".join(["01234567"] * 5)]}, 404, "there is no resource"),
        ],
    )
    async def test_what_makes_no_sense(self, pair: Remote, body: Any, status: int, said: str) -> None:
        code, answer = await pair.post("/modalities/there/store", body)
        assert code == status
        assert said in answer["Details"]
        assert await pair.here.json("/jobs") == []

    async def test_paused_and_resumed_it_is_still_one_job(self, pair: Remote) -> None:
        made = await pair.fill(1, 2)
        came = silent(pair)
        await pair.here.client.put("/modalities/target", json={**CLOSED, "Port": pair.target.port})
        asked = asyncio.create_task(pair.post("/modalities/target/store", {"Resources": [made[0]["ParentStudy"]]}))
        await came.wait()
        (number,) = await pair.here.json("/jobs")
        assert (await pair.post(f"/jobs/{number}/pause"))[0] == 200
        assert (await pair.here.json(f"/jobs/{number}"))["State"] == "Paused"
        pair.target.answer = Message.respond
        assert (await pair.post(f"/jobs/{number}/resume"))[0] == 200
        status, answer = await asked
        assert (status, answer["FailedInstancesCount"]) == (200, 0)
        assert set(pair.target.received) == {"1.2.3.1.1", "1.2.3.1.2"}
        assert (await pair.here.client.delete(f"/jobs/{number}")).status == 200
        assert await pair.here.json("/jobs") == []

    async def test_cancelled_it_says_so_and_can_be_submitted_again(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        came = silent(pair)
        await pair.here.client.put("/modalities/target", json={**CLOSED, "Port": pair.target.port})
        asked = asyncio.create_task(pair.post("/modalities/target/store", [only["ID"]]))
        await came.wait()
        numbers = await pair.here.json("/jobs")
        assert (await pair.here.client.delete(f"/jobs/{numbers[0]}")).status == 400
        await pair.post(f"/jobs/{numbers[0]}/cancel")
        status, answer = await asked
        assert (status, answer["OrthancStatus"], answer["Message"]) == (500, 37, "This job was canceled")
        pair.target.answer = Message.respond
        assert (await pair.post(f"/jobs/{numbers[0]}/resubmit"))[0] == 200
        job = await job_of(pair, numbers[0], "Success")
        assert pair.target.begun == 2
        assert job["Content"]["InstancesCount"] == 1

    async def test_a_restart_goes_on_with_it(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        await pair.runner.close()
        _, answer = await pair.post("/modalities/there/store", {"Resources": [only["ID"]], "Synchronous": False})
        assert (await pair.here.json(f"/jobs/{answer['ID']}"))["State"] == "Pending"
        pair.runner = type(pair.runner)(pair.here.database, pair.here.use_cases.kinds, poll=0.02)
        pair.runner.start()
        await job_of(pair, answer["ID"], "Success")
        await pair.runner.close()
        assert await stored_there(pair) == ["1.2.3.1.1"]


class TestStoreStraight:
    async def test_it_goes_there_and_nowhere_else(self, pair: Remote) -> None:
        status, answer = await pair.post("/modalities/there/store-straight", data=file_of(numbered(9)))
        assert (status, answer["SOPInstanceUID"]) == (200, "1.2.3.1.9")
        assert await stored_there(pair) == ["1.2.3.1.9"]
        assert (await pair.here.json("/statistics"))["CountInstances"] == 0

    async def test_what_is_no_file_is_said(self, pair: Remote) -> None:
        status, answer = await pair.post("/modalities/there/store-straight", data=b"nothing")
        assert (status, answer["OrthancStatus"]) == (400, 15)

    async def test_a_refusal_names_its_status(self, pair: Remote) -> None:
        pair.target.answer = refusing("1.2.3.1.9")
        await pair.here.client.put("/modalities/target", json={**CLOSED, "Port": pair.target.port})
        status, answer = await pair.post("/modalities/target/store-straight", data=file_of(numbered(9)))
        assert (status, answer["ErrorPayload"]["Content"]) == (500, {"DimseErrorStatus": 0xA700})


class TestStorageCommitment:
    async def test_what_is_there_is_committed_and_can_be_removed_here(self, pair: Remote) -> None:
        made = await pair.fill(1, 2)
        await pair.post("/modalities/there/store", [made[0]["ParentStudy"]])
        status, answer = await pair.post(
            "/modalities/there/storage-commitment", {"Resources": [made[0]["ParentStudy"]]}
        )
        assert status == 200, answer
        path = f"/storage-commitment/{answer['ID']}"
        assert answer["Path"] == path
        report = await pair.here.json(path)
        assert (report["RemoteAET"], report["Status"], report["Failures"]) == ("GATEWAY", "Success", [])
        assert [each["SOPInstanceUID"] for each in report["Success"]] == ["1.2.3.1.1", "1.2.3.1.2"]
        assert (await pair.post(f"{path}/remove"))[0] == 403
        pair.here.dicomweb = Dicomweb(delete=True)
        assert await pair.post(f"{path}/remove") == (200, {})
        assert (await pair.here.json("/statistics"))["CountInstances"] == 0

    async def test_what_is_not_there_is_not(self, pair: Remote) -> None:
        pair.here.dicomweb = Dicomweb(delete=True)
        body = {"DicomInstances": [["1.2.840.10008.5.1.4.1.1.2", "4.5"]]}
        _, answer = await pair.post("/modalities/there/storage-commitment", body)
        report = await pair.here.json(f"/storage-commitment/{answer['ID']}")
        assert (report["Status"], report["Success"]) == ("Failure", [])
        assert [(each["SOPInstanceUID"], each["FailureReason"]) for each in report["Failures"]] == [("4.5", 0x112)]
        status, answer = await pair.post(f"/storage-commitment/{answer['ID']}/remove")
        assert (status, answer["OrthancStatus"]) == (409, 6)

    async def test_with_a_store(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        body = {"Resources": [only["ID"]], "StorageCommitment": True}
        status, answer = await pair.post("/modalities/there/store", body)
        assert status == 200, answer
        uid = answer["StorageCommitmentTransactionUID"]
        assert (await pair.here.json(f"/storage-commitment/{uid}"))["Status"] == "Success"

    @pytest.mark.parametrize("body", [{}, {"Resources": ["x"]}, {"DicomInstances": [1]}, {"DicomInstances": [{}]}])
    async def test_what_makes_no_sense(self, pair: Remote, body: Any) -> None:
        status, answer = await pair.post("/modalities/there/storage-commitment", body)
        assert (status, answer["OrthancStatus"]) == (400, 15)
        assert (await pair.here.get("/storage-commitment/1.2")).status == 404


class TestMove:
    async def test_to_a_third_system(self, pair: Remote) -> None:
        made = await pair.fill(1, 2)
        await pair.post("/modalities/there/store", [made[0]["ParentStudy"]])
        body = {"Level": "Study", "Resources": [STUDY], "TargetAet": "TARGET"}
        status, answer = await pair.post("/modalities/there/move", body)
        assert status == 200, answer
        assert answer == {
            "Description": "REST API",
            "Details": [{"DimseErrorStatus": 0, "Query": answer["Query"][0], "ReceivedInstancesIds": []}],
            "LocalAet": "GATEWAY",
            "Query": [{"0008,0052": "STUDY", "0020,000d": "1.2.3"}],
            "RemoteAet": "GATEWAY",
            "TargetAet": "TARGET",
        }
        assert set(pair.target.received) == {"1.2.3.1.1", "1.2.3.1.2"}

    async def test_a_failure_is_told_with_its_details(self, pair: Remote) -> None:
        body = {"Level": "Study", "Resources": [STUDY, {"StudyInstanceUID": "9.9"}], "TargetAet": "NOPE"}
        status, answer = await pair.post("/modalities/there/move", body)
        assert (status, answer["OrthancStatus"]) == (500, 9)
        assert "C-MOVE SCU to AET 'GATEWAY' has failed with DIMSE status A801H" in answer["Details"]
        assert answer["ErrorPayload"]["Type"] == "RetrieveJob"
        assert [each["DimseErrorStatus"] for each in answer["ErrorPayload"]["Content"]] == [0xA801, 0]
        status, answer = await pair.post("/modalities/there/move", {**body, "Permissive": True})
        assert status == 200
        assert [each["DimseErrorStatus"] for each in answer["Details"]] == [0xA801, 0xA801]

    @pytest.mark.parametrize(
        "body",
        [
            None,
            {"Level": "Study"},
            {"Resources": []},
            {"Level": "Nope", "Resources": []},
            {"Level": "Study", "Resources": [{"PatientID": "1"}]},
            {"Level": "Study", "Resources": [1]},
            {"Level": "Study", "Resources": [{"Nope": "1"}]},
        ],
    )
    async def test_what_makes_no_sense(self, pair: Remote, body: Any) -> None:
        status, answer = await pair.post("/modalities/there/move", body)
        assert (status, answer["OrthancStatus"]) == (400, 15)


class TestGet:
    async def test_what_comes_is_stored_and_named(self, pair: Remote) -> None:
        (only,) = await pair.fill(1)
        await pair.post("/modalities/there/store", [only["ID"]])
        pair.here.dicomweb = Dicomweb(delete=True)
        await pair.here.client.delete(f"/patients/{only['ParentPatient']}")
        status, answer = await pair.post("/modalities/there/get", {"Level": "Study", "Resources": [STUDY]})
        assert status == 200, answer
        assert answer["Details"][0]["ReceivedInstancesIds"] == [only["ID"]]
        assert "TargetAet" not in answer
        assert (await pair.here.json("/statistics"))["CountInstances"] == 1
        (job,) = (job for job in await pair.here.json("/jobs?expand") if job["Type"] == "DicomGetScu")
        assert job["Content"] == answer


def refusing(uid: str) -> Any:
    return lambda message: message.respond(0xA700 if message.uid == uid else 0)
