"""Jobs that modify and anonymize: what they say of themselves, what is left of the source, and how they go on."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.admin.deletion import Removal
from gateway.config import Dicomweb, Settings, Storage
from gateway.dimse.commitment import Reference
from gateway.index.identity import public_id
from gateway.ingest.committer import CommitterUnavailable
from gateway.jobs.runner import Runner
from gateway.systems import modification_jobs as module
from gateway.systems.job_desk import Reporter
from gateway.systems.modification_jobs import ModificationJobs
from gateway.workflow.commitment import Commitments
from tests.support.removal import stop_deleting
from tests.support.waiting import until
from tests.support.web import House, archive, working
from tests.web.test_archives import one, store
from tests.web.test_regroup import item

UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
IN_PLACE = {"Keep": UIDS, "Force": True}


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[House]:
    """Nobody does jobs in it."""
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        made.dicomweb = Dicomweb(delete=True)
        yield made


@pytest.fixture
async def gateway(idle: House) -> AsyncIterator[House]:
    async with working(idle):
        yield idle


async def asked(gateway: House, path: str, body: Any) -> tuple[int, Any]:
    answer = await gateway.client.post(path, json=body)
    return answer.status, await answer.json()


async def done(gateway: House, path: str, body: Any) -> dict[str, Any]:
    status, answer = await asked(gateway, path, body)
    assert status == 200, answer
    return dict(answer)


async def ended(gateway: House, job: str, state: str = "Success") -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def over() -> bool:
        found.update(await gateway.json(f"/jobs/{job}"))
        return found["State"] in ("Success", "Failure")

    await until(over)
    assert found["State"] == state, found
    return found


async def read(gateway: House, path: str) -> list[Dataset]:
    files = []
    for each in await gateway.json(f"{path}/instances?expand=false"):
        file = await gateway.get(f"/instances/{each if isinstance(each, str) else each['ID']}/file")
        files.append(pydicom.dcmread(io.BytesIO(await file.read())))
    return files


class TestJobs:
    async def test_the_answer_is_a_job_that_says_what_it_is_about(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        study = stored["ParentStudy"]
        wanted = {"Replace": {"StudyDescription": "new"}, "Asynchronous": True, "UserData": {"a": [1]}, "Priority": 3}
        answer = await done(gateway, f"/studies/{study}/modify", wanted)
        assert answer["Path"] == f"/jobs/{answer['ID']}"
        job = await ended(gateway, answer["ID"])
        assert (job["Type"], job["Progress"], job["Priority"]) == ("ResourceModification", 100, 3)
        assert job["UserData"] == {"a": [1]}
        content = job["Content"]
        assert content == {
            "Description": "REST API",
            "FailedInstancesCount": 0,
            "ID": content["ID"],
            "InstancesCount": 1,
            "IsAnonymization": False,
            "ParentResources": [study],
            "Path": f"/studies/{content['ID']}",
            "PatientID": stored["ParentPatient"],
            "Resources": [{"ID": study, "Type": "Study"}],
            "Type": "Study",
        }
        (after,) = await read(gateway, content["Path"])
        assert after.StudyDescription == "new"

    @pytest.mark.parametrize("body", [{"Synchronous": False}, {"Asynchronous": True}])
    async def test_it_waits_for_whoever_does_jobs(self, idle: House, body: dict[str, Any]) -> None:
        (stored,) = await store(idle, one(1))
        answer = await done(idle, f"/series/{stored['ParentSeries']}/anonymize", body)
        assert (await idle.json(f"/jobs/{answer['ID']}"))["State"] == "Pending"
        assert (await idle.client.post(f"/jobs/{answer['ID']}/cancel")).status == 200
        async with working(idle):
            assert (await idle.json(f"/jobs/{answer['ID']}"))["ErrorDescription"] == "This job was canceled"
            assert (await idle.client.post(f"/jobs/{answer['ID']}/resubmit")).status == 200
            job = await ended(idle, answer["ID"])
        assert job["Content"]["IsAnonymization"] is True

    async def test_one_that_was_interrupted_makes_no_instance_twice(
        self, idle: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store(idle, *(one(number) for number in range(1, 11)))
        (study,) = await idle.json("/studies")
        monkeypatch.setattr(module, "_AT_ONCE", 2)
        reached, original = asyncio.Event(), ModificationJobs.store
        count = 0

        async def store_some(self: ModificationJobs, *arguments: Any, **how: Any) -> Any:
            nonlocal count
            count += 1
            if count == 6:
                reached.set()
                await asyncio.Event().wait()
            return await original(self, *arguments, **how)

        monkeypatch.setattr(ModificationJobs, "store", store_some)
        monkeypatch.setattr("gateway.systems.job_desk._REPORT_EVERY_S", 0.0)
        answer = await done(idle, f"/studies/{study}/modify", {"Asynchronous": True, "KeepSource": False})
        async with asyncio.timeout(30), working(idle):
            await reached.wait()
        assert (await idle.json("/statistics"))["CountInstances"] > 10
        assert (await idle.json(f"/studies/{study}/statistics"))["CountInstances"] == 10
        async with working(idle):
            job = await ended(idle, answer["ID"])
        assert (job["Content"]["InstancesCount"], job["Content"]["FailedInstancesCount"]) == (10, 0)
        assert await idle.json("/studies") == [job["Content"]["ID"]]
        assert len(await read(idle, job["Content"]["Path"])) == 10

    async def test_one_that_goes_on_counts_what_was_done(self, idle: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await store(idle, *(one(number) for number in range(1, 11)))
        (study,) = await idle.json("/studies")
        monkeypatch.setattr(module, "_AT_ONCE", 1)
        monkeypatch.setattr("gateway.systems.job_desk._REPORT_EVERY_S", 0.0)
        seen: list[str] = []
        original = ModificationJobs.store

        async def store_some(self: ModificationJobs, order: Any, located: Any, changes: Any, **how: Any) -> Any:
            seen.append(located.sop_uid)
            if len(seen) == 6:
                await asyncio.Event().wait()
            return await original(self, order, located, changes, **how)

        monkeypatch.setattr(ModificationJobs, "store", store_some)
        answer = await done(idle, f"/studies/{study}/modify", {"Asynchronous": True})
        async with working(idle):
            await until(lambda: len(seen) == 6)
            assert (await idle.json(f"/jobs/{answer['ID']}"))["Progress"] == 50
        async with working(idle):
            job = await ended(idle, answer["ID"])
        assert seen[6:] == seen[5:6] + seen[7:], "it went on where it was"
        assert len(seen) == 11
        assert job["Content"]["InstancesCount"] == 10

    @pytest.mark.parametrize("keep_source", [True, False])
    async def test_one_that_nobody_commits_for_goes_on_soon(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch, keep_source: bool
    ) -> None:
        await store(gateway, *(one(number) for number in range(1, 11)))
        (study,) = await gateway.json("/studies")
        monkeypatch.setattr(module, "_AGAIN_S", 0.01)
        original, failures = ModificationJobs.store, [CommitterUnavailable("the process has died")]

        async def store_some(self: ModificationJobs, order: Any, located: Any, changes: Any, **how: Any) -> Any:
            if failures and located.sop_uid.endswith(".9"):
                raise failures.pop()
            return await original(self, order, located, changes, **how)

        monkeypatch.setattr(ModificationJobs, "store", store_some)
        answer = await done(gateway, f"/studies/{study}/modify", {"KeepSource": keep_source})
        assert (answer["InstancesCount"], answer["FailedInstancesCount"], failures) == (10, 0, [])
        assert len(await read(gateway, answer["Path"])) == 10
        assert (await gateway.get(f"/studies/{study}")).status == (200 if keep_source else 404)


class TestFailures:
    BURNED = {"BurnedInAnnotation": "YES"}

    async def test_the_first_ends_it(self, gateway: House) -> None:
        await store(gateway, one(1), one(2, **self.BURNED), one(3))
        (study,) = await gateway.json("/studies")
        status, answer = await asked(gateway, f"/studies/{study}/anonymize", {"KeepSource": False})
        assert status == 400
        assert "1.2.1.1.2: PixelData: BurnedInAnnotation" in answer["Details"]
        assert (await gateway.json(f"/studies/{study}/statistics"))["CountInstances"] == 3

    async def test_others_pass_where_it_is_permissive(self, gateway: House) -> None:
        await store(gateway, one(1), one(2, **self.BURNED), one(3))
        (study,) = await gateway.json("/studies")
        answer = await done(gateway, f"/studies/{study}/anonymize", {"Permissive": True, "KeepSource": False})
        assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (3, 1)
        assert len(await read(gateway, answer["Path"])) == 2
        assert (await gateway.json(f"/studies/{study}/statistics"))["CountInstances"] == 3, "nothing is deleted"

    async def test_the_job_says_why(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1, **self.BURNED))
        answer = await done(gateway, f"/studies/{stored['ParentStudy']}/anonymize", {"Asynchronous": True})
        job = await ended(gateway, answer["ID"], "Failure")
        assert (job["ErrorCode"], job["ErrorDescription"]) == (15, "Bad file format")
        assert "BurnedInAnnotation" in job["ErrorDetails"]
        assert job["ErrorPayload"] == {"Content": {"FailedInstancesCount": 1}, "Type": "Instance"}

    async def test_a_full_disk(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        gateway.ingest.settings = lambda: Storage(min_free=1 << 60)
        assert (await asked(gateway, f"/studies/{stored['ParentStudy']}/modify", {}))[0] == 507

    async def test_nothing_passes(self, gateway: House) -> None:
        await store(gateway, one(1, **self.BURNED), one(2, **self.BURNED))
        (study,) = await gateway.json("/studies")
        status, answer = await asked(gateway, f"/studies/{study}/anonymize", {"Permissive": True})
        assert (status, answer["Details"][:37]) == (400, "none of the 2 instances may pass: 1.2")

    async def test_a_transfer_syntax_that_is_not_decoded(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1, PixelData=None))
        answer = await done(gateway, f"/studies/{stored['ParentStudy']}/modify", {"Transcode": "1.2.840.10008.1.2.5"})
        assert answer["FailedInstancesCount"] == 0, "what has no pixels needs no other"

    async def test_what_is_promised_may_not_go(self, gateway: House) -> None:
        made = one(1)
        (stored,) = await store(gateway, made)
        commitments = Commitments(gateway.database, gateway.store, Settings)
        number = await commitments.open("1.9", [Reference(made.SOPClassUID, made.SOPInstanceUID)], "PEER", "GATEWAY")
        await commitments.outcome(number)
        for body in ({"KeepSource": False}, {**IN_PLACE, "Replace": {"StudyDescription": "x"}}):
            status, answer = await asked(gateway, f"/studies/{stored['ParentStudy']}/modify", body)
            assert (status, "storage commitment" in answer["Details"]) == (409, True)
        assert len(await gateway.json("/instances")) == 1


class TestSources:
    async def test_in_place(self, gateway: House) -> None:
        (stored, _) = await store(gateway, one(1), one(2))
        path = f"/studies/{stored['ParentStudy']}"
        wanted = {**IN_PLACE, "Replace": {"StudyDescription": "new"}, "KeepSource": False}
        answer = await done(gateway, f"{path}/modify", wanted)
        assert (answer["Path"], answer["InstancesCount"]) == (path, 2)
        files = await read(gateway, path)
        assert [each.StudyDescription for each in files] == ["new", "new"]
        assert (await gateway.json(path))["MainDicomTags"]["StudyDescription"] == "new"
        assert "ModifiedFrom" not in await gateway.json(path)

    async def test_not_in_place_where_nothing_may_be_deleted(self, gateway: House) -> None:
        gateway.dicomweb = Dicomweb()
        (stored,) = await store(gateway, one(1))
        path = f"/studies/{stored['ParentStudy']}"
        status, answer = await asked(gateway, f"{path}/modify", {**IN_PLACE, "Replace": {"StudyDescription": "new"}})
        assert (status, "stored already, with other bytes" in answer["Details"]) == (400, True)
        assert [each.StudyDescription for each in await read(gateway, path)] == ["Head"]

    async def test_a_patient_in_place(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        path = f"/patients/{stored['ParentPatient']}"
        body = {**IN_PLACE, "Replace": {"PatientID": "P1", "PatientName": "Roe"}}
        assert (await done(gateway, f"{path}/modify", body))["Path"] == path
        assert (await gateway.json(path))["MainDicomTags"]["PatientName"] == "Roe"

    async def test_two_that_would_become_one(self, gateway: House) -> None:
        """Each may take its own place, and not that of the other."""
        first, second = one(1), one(1, series="2", SOPInstanceUID="1.2.1.1.1")
        await store(gateway, first, second)
        (study,) = await gateway.json("/studies")
        body = {
            "Replace": {"SeriesInstanceUID": "1.2.77"},
            "Keep": ["SOPInstanceUID"],
            "Force": True,
            "KeepSource": False,
        }
        status, answer = await asked(gateway, f"/studies/{study}/modify", {**body, "Permissive": True})
        assert (status, answer["FailedInstancesCount"]) == (200, 1)
        assert (await gateway.json(f"/studies/{study}/statistics"))["CountInstances"] == 2

    async def test_to_another_patient(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        body = {**IN_PLACE, "Replace": {"PatientID": "P2", "PatientName": "Roe"}, "KeepSource": False}
        answer = await done(gateway, f"/studies/{stored['ParentStudy']}/modify", body)
        assert await gateway.json("/studies") == [answer["ID"]]
        (after,) = await read(gateway, answer["Path"])
        assert (after.PatientID, after.StudyInstanceUID) == ("P2", "1.2.1")

    async def test_not_to_a_patient_who_is_another_person(self, gateway: House) -> None:
        (stored, _) = await store(gateway, one(1), one(1, study="2", patient="P2", PatientName="Roe", PatientSex="F"))
        path = f"/studies/{stored['ParentStudy']}/modify"
        body = {"Keep": UIDS, "Force": True, "Replace": {"PatientID": "P2", "PatientName": "Roe"}}
        status, answer = await asked(gateway, path, body)
        assert (status, "'F' as PatientSex" in answer["Details"]) == (400, True)
        body["Replace"]["PatientSex"] = "F"
        answer = await done(gateway, path, body)
        assert answer["PatientID"] == public_id("P2")
        assert (await gateway.json(f"/patients/{answer['PatientID']}"))["MainDicomTags"]["PatientName"] == "Roe"

    @pytest.mark.parametrize("first", [0, 1])
    @pytest.mark.parametrize("target", ["P1", "P2", "P3"])
    @pytest.mark.parametrize("level", ["Study", "Patient"])
    async def test_not_those_of_two_persons_to_one(self, gateway: House, level: str, target: str, first: int) -> None:
        both = await store(gateway, one(1), one(1, study="2", patient="P2", PatientName="Roe"))
        ids = [each[f"Parent{level}"] for each in both]
        replace = {"PatientID": target}
        body = {"Resources": [ids[first], ids[1 - first]], "Level": level, "Replace": replace, "Force": True}
        body["Keep"] = UIDS if level == "Study" else []
        status, answer = await asked(gateway, "/tools/bulk-modify", body)
        assert (status, "as PatientName" in answer["Details"]) == (400, True), answer
        assert await gateway.json("/jobs") == []
        replace["PatientName"] = "Poe"
        answer = await done(gateway, "/tools/bulk-modify", body)
        assert public_id(target) in [each["ID"] for each in answer["Resources"]]

    async def test_a_patient_not_to_another_person(self, gateway: House) -> None:
        stored, other = await store(gateway, one(1), one(1, study="2", patient="P2", PatientName="Roe"))
        path = f"/patients/{other['ParentPatient']}/modify"
        body = {"Replace": {"PatientID": "P1"}, "Force": True, "Keep": UIDS}
        status, answer = await asked(gateway, path, body)
        assert (status, "'Doe^Jane' as PatientName" in answer["Details"]) == (400, True)
        body["Remove"] = ["PatientName"]
        assert (await asked(gateway, path, body))[0] == 400
        del body["Remove"]
        body["Replace"] = {"PatientID": "P1", "PatientName": "Doe^Jane"}
        assert (await done(gateway, path, body))["ID"] == stored["ParentPatient"]

    async def test_its_own_patient_who_has_no_other_study(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        body = {**IN_PLACE, "Replace": {"PatientID": "P1", "PatientName": "Roe"}}
        await done(gateway, f"/studies/{stored['ParentStudy']}/modify", body)
        patient = await gateway.json(f"/patients/{stored['ParentPatient']}")
        assert patient["MainDicomTags"]["PatientName"] == "Roe"
        await store(gateway, one(1, study="2", PatientName="Roe"))
        body["Replace"]["PatientName"] = "Poe"
        assert (await asked(gateway, f"/studies/{stored['ParentStudy']}/modify", body))[0] == 400

    async def test_copies_beside_their_source_are_no_sources(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a study that keeps its UID the copies come behind the instances that are being copied."""
        monkeypatch.setattr("gateway.index.locate.PAGE", 1)
        monkeypatch.setattr("gateway.index.locate.identified.__defaults__", (1,))
        await store(gateway, one(1), one(2))
        (study,) = await gateway.json("/studies")
        body = {"Keep": ["StudyInstanceUID"], "Force": True, "Replace": {"SeriesDescription": "new"}}
        await done(gateway, f"/studies/{study}/modify", body)
        assert len(await read(gateway, f"/studies/{study}")) == 4
        await done(gateway, f"/studies/{study}/modify", {**body, "KeepSource": False})
        assert [each.SeriesDescription for each in await read(gateway, f"/studies/{study}")] == ["new"] * 4

    async def test_a_study_that_keeps_its_uid_is_changed_itself(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        path = f"/studies/{stored['ParentStudy']}"
        body = {
            "Keep": ["StudyInstanceUID"],
            "Force": True,
            "Replace": {"StudyDescription": "new", "PatientName": "Roe"},
        }
        for sources in ({}, {"KeepSource": False}):
            assert (await done(gateway, f"{path}/modify", {**body, **sources}))["Path"] == path
            assert (await gateway.json(path))["MainDicomTags"]["StudyDescription"] == "new"
            body["Replace"] = {"StudyDescription": "new"}
        (found,) = await gateway.json("/dicom-web/studies?includefield=StudyDescription")
        assert found["00081030"]["Value"] == ["new"]
        patient = await gateway.json(f"/patients/{stored['ParentPatient']}")
        assert patient["MainDicomTags"]["PatientName"] == "Doe^Jane", "which may have other studies"

    async def test_what_comes_meanwhile_stays(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        await store(gateway, one(1))
        (study,) = await gateway.json("/studies")
        original = ModificationJobs.remove_sources

        async def late(self: ModificationJobs, *arguments: Any) -> None:
            await store(gateway, one(2))
            await original(self, *arguments)

        monkeypatch.setattr(ModificationJobs, "remove_sources", late)
        await done(gateway, f"/studies/{study}/modify", {"KeepSource": False})
        assert [each.SOPInstanceUID for each in await read(gateway, f"/studies/{study}")] == ["1.2.1.1.2"]

    async def test_what_is_corrected_meanwhile_stays(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where the job is taken up again: what is stored elsewhere is not the correction."""
        await store(gateway, one(1), one(2))
        (study,) = await gateway.json("/studies")
        (corrected, *_) = await gateway.json("/instances")
        original = ModificationJobs.remove_sources

        async def late(self: ModificationJobs, *arguments: Any) -> None:
            monkeypatch.undo()
            body = {"Replace": {"ImageComments": "RIGHT"}, "Keep": ["SOPInstanceUID"], "Force": True}
            await done(gateway, "/tools/bulk-modify", {**body, "Level": "Instance", "Resources": [corrected]})
            await original(self, *arguments)

        monkeypatch.setattr(ModificationJobs, "remove_sources", late)
        answer = await done(gateway, f"/studies/{study}/modify", {"KeepSource": False, "Asynchronous": True})
        for _ in range(2):
            job = await ended(gateway, answer["ID"], "Failure")
            assert "1 instances have been replaced meanwhile" in job["ErrorDetails"]
            assert [each.get("ImageComments") for each in await read(gateway, f"/studies/{study}")] == ["RIGHT"]
            assert (await gateway.client.post(f"/jobs/{answer['ID']}/resume")).status == 200

    async def test_sources_stay_whose_copies_are_deleted_meanwhile(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store(gateway, one(1), one(2))
        (study,) = await gateway.json("/studies")
        original = ModificationJobs.remove_sources

        async def late(self: ModificationJobs, *arguments: Any) -> None:
            (made,) = set(await gateway.json("/studies")) - {study}
            below = await gateway.json(f"/studies/{made}/instances")
            (copy,) = [each["ID"] for each in below if each["MainDicomTags"]["InstanceNumber"] == "1"]
            assert (await gateway.client.delete(f"/instances/{copy}")).status == 200
            await original(self, *arguments)

        monkeypatch.setattr(ModificationJobs, "remove_sources", late)
        answer = await done(gateway, f"/studies/{study}/modify", {"KeepSource": False, "Asynchronous": True})
        job = await ended(gateway, answer["ID"], "Failure")
        assert "the copies of 1 instances have been deleted meanwhile" in job["ErrorDetails"]
        assert [each.InstanceNumber for each in await read(gateway, f"/studies/{study}")] == [1]
        monkeypatch.undo()
        assert (await gateway.client.post(f"/jobs/{answer['ID']}/resume")).status == 200
        await ended(gateway, answer["ID"])
        assert {each["MainDicomTags"]["InstanceNumber"] for each in await gateway.json("/instances?expand")} == {
            "1",
            "2",
        }
        assert study not in await gateway.json("/studies")

    async def test_two_that_become_one(self, gateway: House) -> None:
        """The second would take the place of the first, and both sources would go."""
        await store(gateway, one(1), one(2))
        (series,) = await gateway.json("/series")
        body = {"Replace": {"SOPInstanceUID": "1.9"}, "Force": True, "KeepSource": False}
        answer = await gateway.client.post(f"/series/{series}/modify", json=body)
        assert answer.status == 400
        assert len(await gateway.json(f"/series/{series}/instances")) == 2

    @pytest.mark.parametrize("several", [False, True])
    @pytest.mark.parametrize("left", [0, 1])
    async def test_an_interruption_while_they_are_deleted(
        self, idle: House, monkeypatch: pytest.MonkeyPatch, several: bool, left: int
    ) -> None:
        """Of a series that is whole, or of which an instance stays: then the others go one by one."""
        await store(idle, one(1), one(2))
        (series,) = await idle.json("/series")
        original, reached = Removal.as_copied, asyncio.Event()

        async def deleted(self: Removal, *arguments: Any) -> None:
            if left:
                await self.by_public_id("instance", (await idle.json("/instances"))[0])
            else:
                await original(self, *arguments)
            reached.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(Removal, "as_copied", deleted)
        body = {
            "KeepSource": False,
            "Asynchronous": True,
            **({"Resources": [series], "Level": "Series"} if several else {}),
        }
        path = "/tools/bulk-modify" if several else f"/series/{series}/modify"
        answer = await done(idle, path, body)
        async with asyncio.timeout(30), working(idle):
            await reached.wait()
        assert len(await idle.json("/instances")) == 2 + left
        monkeypatch.setattr(Removal, "as_copied", original)
        async with working(idle):
            content = (await ended(idle, answer["ID"]))["Content"]
        assert (content["InstancesCount"], content["FailedInstancesCount"]) == (2, 0)
        assert len(content["Resources"]) == (5 if several else 1)
        assert len(await idle.json("/instances")) == 2
        assert series not in await idle.json("/series")

    async def test_one_that_is_submitted_again_when_sources_have_gone(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The copies stay as they are: made anew, they would refer to what has gone."""
        made = [one(number) for number in (1, 2, 3)]
        for each in made:
            each.ReferencedImageSequence = [
                item(ReferencedSOPClassUID=other.SOPClassUID, ReferencedSOPInstanceUID=other.SOPInstanceUID)
                for other in made
            ]
        await store(gateway, *made)
        (study,) = await gateway.json("/studies")
        stop_deleting(monkeypatch)
        answer = await done(gateway, f"/studies/{study}/modify", {"KeepSource": False, "Asynchronous": True})
        job = await ended(gateway, answer["ID"], "Failure")
        assert "everything is stored, and its source stays" in job["ErrorDetails"]
        assert (await gateway.json(f"/studies/{study}/statistics"))["CountInstances"] == 2
        monkeypatch.undo()
        assert (await gateway.client.post(f"/jobs/{answer['ID']}/resubmit")).status == 200
        content = (await ended(gateway, answer["ID"]))["Content"]
        assert content["FailedInstancesCount"] == 0
        assert await gateway.json("/studies") == [content["ID"]]
        copies = await read(gateway, content["Path"])
        uids = {each.SOPInstanceUID for each in copies}
        assert len(uids) == 3
        assert all(
            {other.ReferencedSOPInstanceUID for other in each.ReferencedImageSequence} == uids for each in copies
        )

    async def test_none_goes_for_a_job_that_was_cancelled_meanwhile(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The runner notices seconds later that a job was cancelled; the job looks before it deletes."""
        await store(gateway, one(1))
        (study,) = await gateway.json("/studies")
        note, over, record = Reporter.note, asyncio.Event(), Runner._record

        async def cancelling(self: Reporter, percent: float, position: int, *, at_once: bool = False) -> None:
            await note(self, percent, position, at_once=at_once)
            if at_once:
                (job,) = await gateway.json("/jobs")
                assert (await gateway.client.post(f"/jobs/{job}/cancel")).status == 200

        async def recorded(self: Runner, *given: Any) -> None:
            await record(self, *given)
            over.set()

        monkeypatch.setattr(Reporter, "note", cancelling)
        monkeypatch.setattr(Runner, "_record", recorded)
        assert (await asked(gateway, f"/studies/{study}/modify", {"KeepSource": False}))[0] == 500
        await over.wait()
        assert (await gateway.json(f"/studies/{study}/statistics"))["CountInstances"] == 1

    async def test_labels_go_along_where_asked(self, gateway: House) -> None:
        (stored,) = await store(gateway, one(1))
        path = f"/studies/{stored['ParentStudy']}"
        await gateway.client.put(f"{path}/labels/urgent")
        plain = await done(gateway, f"{path}/modify", {})
        kept = await done(gateway, f"{path}/modify", {"KeepLabels": True})
        assert await gateway.json(f"{plain['Path']}/labels") == []
        assert await gateway.json(f"{kept['Path']}/labels") == ["urgent"]


class TestSeveral:
    async def test_everything_that_was_made_is_listed(self, gateway: House) -> None:
        first, second = await store(gateway, one(1), one(1, series="2"))
        wanted = {"Resources": [first["ParentSeries"], second["ID"]], "Level": "Series", "KeepSource": False}
        answer = await done(gateway, "/tools/bulk-modify", wanted)
        assert answer["ParentResources"] == sorted(wanted["Resources"])
        kinds = [each["Type"] for each in answer["Resources"]]
        assert kinds == ["Instance", "Instance", "Series", "Series", "Study", "Patient"]
        assert sorted(await gateway.json("/series")) == sorted(each["ID"] for each in answer["Resources"][2:4])

    async def test_no_more_than_there_is_room_for(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_LISTED", 1)
        first, _ = await store(gateway, one(1), one(1, series="2"))
        answer = await done(gateway, "/tools/bulk-anonymize", {"Resources": [first["ParentStudy"]]})
        assert [each["Type"] for each in answer["Resources"]] == ["Instance", "Series", "Study", "Patient"]
        assert answer["InstancesCount"] == 2

    async def test_references_between_resources_follow(self, gateway: House) -> None:
        image, other = one(1), one(2, series="2")
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        other.ReferencedImageSequence = [item]
        first, second = await store(gateway, image, other)
        series = [first["ParentSeries"], second["ParentSeries"]]
        answer = await done(
            gateway, "/tools/bulk-modify", {"Resources": series, "Level": "Series", "KeepSource": False}
        )
        files = await read(gateway, f"/studies/{first['ParentStudy']}")
        (reference,) = [each.ReferencedImageSequence[0] for each in files if "ReferencedImageSequence" in each]
        assert reference.ReferencedSOPInstanceUID in {each.SOPInstanceUID for each in files}
        assert answer["InstancesCount"] == 2

    async def test_a_level_that_is_none(self, gateway: House) -> None:
        status, answer = await asked(gateway, "/tools/bulk-modify", {"Resources": [], "Level": 5})
        assert (status, answer["OrthancStatus"]) == (400, 3)


class TestTranscoding:
    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.50"])
    @pytest.mark.parametrize("what", ["modify", "anonymize"])
    async def test_what_is_stored(self, gateway: House, what: str, syntax: str) -> None:
        eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes(range(256))}
        (stored,) = await store(gateway, one(1, **eight))
        answer = await done(gateway, f"/studies/{stored['ParentStudy']}/{what}", {"Transcode": syntax})
        (after,) = await read(gateway, answer["Path"])
        assert after.file_meta.TransferSyntaxUID == syntax
        assert after.get("LossyImageCompression") == ("01" if syntax.endswith("50") else None)

    async def test_references_to_what_has_lost_some_follow(self, gateway: House) -> None:
        eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes(range(256))}
        image, other = one(1, **eight), one(2, PixelData=None)
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        other.ReferencedImageSequence = [item]
        (stored, _) = await store(gateway, image, other)
        body = {"Transcode": "1.2.840.10008.1.2.4.50", "LossyQuality": 50}
        answer = await done(gateway, f"/studies/{stored['ParentStudy']}/modify", body)
        after, reference = sorted(await read(gateway, answer["Path"]), key=lambda each: "PixelData" not in each)
        assert after.LossyImageCompression == "01"
        assert reference.ReferencedImageSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID


class TestMasks:
    MASK = {"MaskType": "Fill", "RegionType": "2D", "Origin": [0, 0], "End": [16, 4], "FillValue": 7}

    @pytest.mark.parametrize("prefix", ["", "/plugins/pixels-masker"])
    @pytest.mark.parametrize("what", ["modify", "anonymize"])
    async def test_of_some_series(self, gateway: House, what: str, prefix: str) -> None:
        first, _ = await store(gateway, one(1), one(2, series="2"))
        region = {**self.MASK, "TargetSeries": [first["ParentSeries"]]}
        body = {"MaskPixelData": {"Regions": [region]}, "Keep": ["SeriesNumber"]}
        answer = await done(gateway, f"{prefix}/studies/{first['ParentStudy']}/{what}", body)
        for file in await read(gateway, answer["Path"]):
            top = np.frombuffer(file.PixelData, "<u2").reshape(16, 16)[:4]
            assert (top == 7).all() == (file.SeriesNumber == 1)

    @pytest.mark.parametrize("what", ["modify", "anonymize"])
    async def test_of_one_instance(self, gateway: House, what: str) -> None:
        (stored,) = await store(gateway, one(1))
        for target, expected in (([stored["ID"]], True), (["another"], False)):
            body = {"MaskPixelData": {"Regions": [{**self.MASK, "TargetInstances": target}]}}
            path = f"/plugins/pixels-masker/instances/{stored['ID']}/{what}"
            answer = await gateway.client.post(path, json=body)
            file = pydicom.dcmread(io.BytesIO(await answer.read()))
            assert (np.frombuffer(file.PixelData, "<u2").reshape(16, 16)[:4] == 7).all() == expected

    async def test_text_that_is_masked_may_pass_and_no_other(self, gateway: House) -> None:
        first, second = await store(gateway, one(1, BurnedInAnnotation="YES"), one(2, BurnedInAnnotation="YES"))
        path = f"/plugins/pixels-masker/studies/{first['ParentStudy']}/anonymize"
        region = {**self.MASK, "TargetInstances": [first["ID"]]}
        body = {"MaskPixelData": {"Regions": [region]}, "Permissive": True}
        assert (await done(gateway, path, body))["FailedInstancesCount"] == 1
        region["TargetInstances"].append(second["ID"])
        assert (await done(gateway, path, body))["FailedInstancesCount"] == 0

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ({"MaskPixelData": 5}, "MaskPixelData"),
            ({"MaskPixelData": {"Regions": [{**MASK, "FillValue": -1}]}}, "FillValue"),
            ({"MaskPixelData": {"Regions": [MASK]}, "Changes": "x"}, "no MaskPixelData"),
            (
                {"MaskPixelData": {"Regions": [{**MASK, "RegionType": "3D", "Origin": [0, 0, 0], "End": [1, 1, 1]}]}},
                "ImagePositionPatient",
            ),
        ],
    )
    async def test_what_is_refused(self, gateway: House, body: Any, why: str) -> None:
        (stored,) = await store(gateway, one(1))
        for path in (f"/studies/{stored['ParentStudy']}", f"/instances/{stored['ID']}"):
            status, answer = await asked(gateway, f"/plugins/pixels-masker{path}/modify", body)
            assert (status, why in answer["Details"]) == (400, True)
