"""/studies/{id}/split and /studies/{id}/merge: what becomes of the instances, of references, and of the sources."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.admin.anonymization import Anonymizing
from gateway.admin.deletion import Removal
from gateway.config import Dicomweb, Settings, Storage
from gateway.dimse.commitment import Reference
from gateway.errors import EditError
from gateway.index.identity import public_id
from gateway.index.locate import Located
from gateway.jobs.runner import Runner
from gateway.jobs.table import ended_job
from gateway.systems.job_desk import Reporter
from gateway.workflow.commitment import Commitments
from tests.support.datasets import instance
from tests.support.removal import stop_deleting
from tests.support.web import House, archive
from tests.web.test_stow import files, multipart, post


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(50), archive(tmp_path / "data") as made, running(made):
        made.dicomweb = Dicomweb(delete=True)
        yield made


class running:
    """A runner of jobs."""

    def __init__(self, gateway: House) -> None:
        self._runner = Runner(gateway.database, gateway.use_cases.kinds, poll=0.02, lease=1.0)

    async def __aenter__(self) -> None:
        self._runner.start()

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.close()


def one(study: str, series: int, number: int, *, patient: str = "P1", **values: Any) -> Dataset:
    made = instance(**values)
    made.PatientID, made.PatientName = patient, f"Name^{patient}"
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.{series}"
    made.SOPInstanceUID, made.InstanceNumber = f"{study}.{series}.{number}", str(number)
    return made


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, Sequence(value) if isinstance(value, list) else value)
    return made


def image(uid: str) -> Dataset:
    return item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)


async def store(gateway: House, *made: Dataset) -> None:
    assert (await post(gateway, multipart(files(*made)))).status == 200


def study(made: Dataset) -> str:
    return public_id(made.PatientID, made.StudyInstanceUID)


def series(made: Dataset) -> str:
    return public_id(made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID)


def identifier(made: Dataset) -> str:
    return public_id(made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)


async def ask(gateway: House, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    answer = await gateway.client.post(path, json=body)
    return answer.status, await answer.json()


async def done(gateway: House, path: str, **body: Any) -> dict[str, Any]:
    status, answer = await ask(gateway, path, body)
    assert status == 200, answer
    return answer


async def stored(gateway: House, path: str) -> dict[tuple[str, int], Dataset]:
    """What is below a resource, by series number and instance number."""
    found = {}
    for each in await gateway.json(f"{path}/instances"):
        file = await (await gateway.get(f"/instances/{each['ID']}/file")).read()
        made = pydicom.dcmread(io.BytesIO(file))
        found[str(made.get("SeriesDescription", "")), int(made.InstanceNumber)] = made
    return found


async def test_a_series_becomes_a_study(gateway: House) -> None:
    first = one("1.2.3", 1, 1, SeriesDescription="a", StudyDescription="old", PatientComments="c")
    more = [one("1.2.3", 1, 2, SeriesDescription="a"), one("1.2.3", 2, 1, SeriesDescription="b")]
    await store(gateway, first, *more)
    answer = await done(
        gateway,
        f"/studies/{study(first)}/split",
        Series=[series(first)],
        Replace={"StudyDescription": "neu é", "PatientID": "P2"},
        Remove=["PatientComments"],
    )
    assert (answer["InstancesCount"], answer["FailedInstancesCount"], answer["Description"]) == (2, 0, "REST API")
    assert answer["TargetStudy"] == public_id("P2", answer["TargetStudyUID"])
    made = await stored(gateway, f"/studies/{answer['TargetStudy']}")
    assert set(made) == {("a", 1), ("a", 2)}
    new = made["a", 1]
    assert (new.StudyInstanceUID, new.StudyDescription) == (answer["TargetStudyUID"], "neu é")
    assert (new.PatientID, new.PatientName) == ("P2", "Name^P1")
    assert "PatientComments" not in new
    assert len({each.SeriesInstanceUID for each in made.values()} - {"1.2.3.1"}) == 1
    assert {each.SOPInstanceUID for each in made.values()}.isdisjoint({"1.2.3.1.1", "1.2.3.1.2"})
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
    assert new.PixelData == first.PixelData
    assert set(await stored(gateway, f"/studies/{study(first)}")) == {("b", 1)}
    metadata = await gateway.json(f"/studies/{answer['TargetStudy']}/metadata?expand")
    assert metadata["ModifiedFrom"] == study(first)


async def test_single_instances_and_sources_that_stay(gateway: House) -> None:
    made = [one("1.2.3", 1, number) for number in (1, 2, 3)]
    await store(gateway, *made)
    body = {"Instances": [identifier(made[0]), identifier(made[2])], "KeepSource": True}
    answer = await done(gateway, f"/studies/{study(made[0])}/split", **body)
    assert answer["InstancesCount"] == 2
    assert {number for _, number in await stored(gateway, f"/studies/{answer['TargetStudy']}")} == {1, 3}
    assert {number for _, number in await stored(gateway, f"/studies/{study(made[0])}")} == {1, 2, 3}
    answer = await done(gateway, f"/studies/{study(made[0])}/split", **body | {"KeepSource": False})
    assert {number for _, number in await stored(gateway, f"/studies/{study(made[0])}")} == {2}


async def test_references_follow_what_moves(gateway: House) -> None:
    moved, stays = one("1.2.3", 1, 1, SeriesDescription="a"), one("1.2.3", 2, 1, SeriesDescription="b")
    report = one("1.2.3", 3, 1, SeriesDescription="c")
    report.ReferencedImageSequence = [image(each.SOPInstanceUID) for each in (moved, stays)] + [image("9.9")]
    report.CurrentRequestedProcedureEvidenceSequence = [
        item(
            StudyInstanceUID="1.2.3",
            ReferencedSeriesSequence=[item(SeriesInstanceUID="1.2.3.1", ReferencedSOPSequence=[image("1.2.3.1.1")])],
        ),
        item(
            StudyInstanceUID="1.2.3",
            ReferencedSeriesSequence=[item(SeriesInstanceUID="1.2.3.2", ReferencedSOPSequence=[image("1.2.3.2.1")])],
        ),
    ]
    report.ReferencedFrameOfReferenceSequence = [
        item(
            FrameOfReferenceUID="1.2.3.99",
            RTReferencedStudySequence=[
                item(
                    ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                    ReferencedSOPInstanceUID="1.2.3",
                    RTReferencedSeriesSequence=[
                        item(SeriesInstanceUID="1.2.3.1", ContourImageSequence=[image("1.2.3.1.1")])
                    ],
                )
            ],
        )
    ]
    report.ReferencedStudySequence = [image("1.2.3")]
    await store(gateway, moved, stays, report)
    body = {"Series": [series(moved), series(report)], "KeepSource": True}
    answer = await done(gateway, f"/studies/{study(moved)}/split", **body)
    made = await stored(gateway, f"/studies/{answer['TargetStudy']}")
    new, image_of = made["c", 1], made["a", 1]
    assert [each.ReferencedSOPInstanceUID for each in new.ReferencedImageSequence] == [
        *(image_of.SOPInstanceUID, "1.2.3.2.1", "9.9")
    ]
    evidence = new.CurrentRequestedProcedureEvidenceSequence
    assert [each.StudyInstanceUID for each in evidence] == [answer["TargetStudyUID"], "1.2.3"]
    listed = [each.ReferencedSeriesSequence[0] for each in evidence]
    assert [each.SeriesInstanceUID for each in listed] == [image_of.SeriesInstanceUID, "1.2.3.2"]
    assert listed[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image_of.SOPInstanceUID
    frame = new.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == "1.2.3.99"
    assert frame.RTReferencedStudySequence[0].ReferencedSOPInstanceUID == answer["TargetStudyUID"]
    contour = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert contour.SeriesInstanceUID == image_of.SeriesInstanceUID
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == image_of.SOPInstanceUID
    assert new.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.3"


async def test_a_study_goes_into_another(gateway: House) -> None:
    target = one("1.2.4", 1, 1, patient="Größe", SeriesDescription="t", StudyDescription="target", PatientSex="F")
    target.OtherPatientIDsSequence = [item(PatientID="other é", TypeOfPatientID="TEXT")]
    target.SpecificCharacterSet = "ISO_IR 192"
    source = one("1.2.3", 1, 1, SeriesDescription="a", StudyDescription="old", PatientComments="c", StationName="ä")
    source.SpecificCharacterSet = "ISO_IR 100"
    source.OtherPatientIDsSequence = [item(PatientID="mine")]
    second = one("1.2.5", 1, 1, patient="P3", SeriesDescription="b")
    second.ReferencedImageSequence = [image("1.2.3.1.1"), image("1.2.4.1.1")]
    await store(gateway, target, source, second)
    body = {"Resources": [study(source), series(second)]}
    answer = await done(gateway, f"/studies/{study(target)}/merge", **body)
    assert (answer["TargetStudy"], answer["InstancesCount"]) == (study(target), 2)
    assert [each["ID"] for each in await gateway.json("/studies?expand")] == [study(target)]
    made = await stored(gateway, f"/studies/{study(target)}")
    new = made["a", 1]
    assert (new.PatientID, new.PatientName, new.PatientSex) == ("Größe", "Name^Größe", "F")
    assert (new.StudyInstanceUID, new.StudyDescription, new.StationName) == ("1.2.4", "target", "ä")
    assert "PatientComments" not in new
    (other,) = new.OtherPatientIDsSequence
    assert (other.PatientID, other.TypeOfPatientID) == ("other é", "TEXT")
    assert new.SOPInstanceUID != source.SOPInstanceUID
    assert made["t", 1].SOPInstanceUID == target.SOPInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in made["b", 1].ReferencedImageSequence] == [
        *(new.SOPInstanceUID, "1.2.4.1.1")
    ]
    assert "ModifiedFrom" not in await gateway.json(f"/studies/{study(target)}/metadata?expand")
    metadata = await gateway.json(f"/instances/{identifier(new)}/metadata?expand")
    assert metadata["ModifiedFrom"] == identifier(source)


async def test_studies_with_the_same_uids_do_not_become_one_series(gateway: House) -> None:
    first, second = one("1.2.3", 1, 1, SeriesDescription="a"), one("1.2.3", 1, 1, patient="P2", SeriesDescription="b")
    second.ReferencedImageSequence = [image("1.2.3.1.1")]
    target = one("1.2.4", 1, 1, SeriesDescription="t")
    await store(gateway, first, target)
    await store(gateway, second)
    await done(gateway, f"/studies/{study(target)}/merge", Resources=[study(first), study(second)])
    made = await stored(gateway, f"/studies/{study(target)}")
    assert made["a", 1].SeriesInstanceUID != made["b", 1].SeriesInstanceUID
    (reference,) = made["b", 1].ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == made["b", 1].SOPInstanceUID


async def test_labels_go_along_where_asked(gateway: House) -> None:
    first, target = one("1.2.3", 1, 1), one("1.2.4", 1, 1)
    await store(gateway, first, target)
    for path in (f"/studies/{study(first)}", f"/series/{series(first)}"):
        assert (await gateway.client.put(f"{path}/labels/seen")).status == 200
    body = {"Series": [series(first)], "KeepSource": True}
    for keeps, labels in ((False, []), (True, ["seen"])):
        answer = await done(gateway, f"/studies/{study(first)}/split", **body, KeepLabels=keeps)
        path = f"/studies/{answer['TargetStudy']}"
        assert await gateway.json(f"{path}/labels") == labels
        (below,) = (await gateway.json(path))["Series"]
        assert await gateway.json(f"/series/{below}/labels") == labels


async def test_what_users_have_added_stays_with_the_source(gateway: House) -> None:
    """As with a live Orthanc 1.10.1; what keeps its identifier keeps what was added to it."""
    first, target = one("1.2.3", 1, 1), one("1.2.4", 1, 1)
    await store(gateway, first, target)
    for path in (f"/studies/{study(first)}", f"/series/{series(first)}", f"/instances/{identifier(first)}"):
        assert (await gateway.client.put(f"{path}/metadata/1024", data=b"mine")).status == 200
        assert (await gateway.client.put(f"{path}/attachments/1024", data=b"mine")).status == 200
    path = f"/studies/{study(first)}"
    made = [(await done(gateway, f"{path}/split", Series=[series(first)], KeepSource=True))["TargetStudy"]]
    made += [(await done(gateway, f"{path}/modify", Replace={"StudyDescription": "x"}))["ID"]]
    made += [(await done(gateway, f"{path}/anonymize"))["ID"]]
    await done(gateway, f"/studies/{study(target)}/merge", Resources=[series(first)], KeepSource=True)
    for each in (*made, study(target)):
        below = [f"/{kind}/{found}" for kind in ("series", "instances") for found in await added(gateway, each, kind)]
        for resource in (f"/studies/{each}", *below):
            assert "1024" not in await gateway.json(f"{resource}/metadata"), resource
            assert "1024" not in await gateway.json(f"{resource}/attachments"), resource
    assert "1024" in await gateway.json(f"{path}/metadata")
    assert "1024" in await gateway.json(f"{path}/attachments")


async def added(gateway: House, study: str, kind: str) -> list[str]:
    """The identifiers of what is in a study."""
    return [each["ID"] for each in await gateway.json(f"/studies/{study}/{kind}")]


async def test_a_job_says_what_it_does(gateway: House) -> None:
    first = one("1.2.3", 1, 1)
    await store(gateway, first)
    body = {"Series": [series(first)], "Asynchronous": True, "Priority": 3, "UserData": {"a": 1}, "KeepSource": True}
    answer = await done(gateway, f"/studies/{study(first)}/split", **body)
    job = await ended(gateway, answer["Path"])
    assert (job["Type"], job["State"], job["Priority"], job["UserData"]) == ("SplitStudy", "Success", 3, {"a": 1})
    assert job["Content"]["TargetStudy"] == public_id("P1", job["Content"]["TargetStudyUID"])
    target = one("1.2.4", 1, 1)
    await store(gateway, target)
    path = f"/studies/{study(target)}/merge"
    answer = await done(gateway, path, Resources=[study(first)], Synchronous=False, KeepSource=True)
    job = await ended(gateway, answer["Path"])
    assert (job["Type"], job["State"], job["Content"]["TargetStudy"]) == ("MergeStudy", "Success", study(target))


async def ended(gateway: House, path: str) -> dict[str, Any]:
    await ended_job(gateway.database, int(path.rpartition("/")[2]))
    return dict(await gateway.json(path))


async def test_what_is_asked_for_twice_is_done_once(gateway: House) -> None:
    made, target = [one("1.2.3", 1, number) for number in range(1, 20)], one("1.2.4", 1, 1)
    await store(gateway, *made, target)
    path, body = f"/studies/{study(target)}/merge", {"Resources": [study(made[0])]}
    answers = await asyncio.gather(*(ask(gateway, path, body) for _ in range(3)))
    assert {status for status, _ in answers} <= {200, 404}
    assert len(await gateway.json(f"/studies/{study(target)}/instances")) == 20


async def test_nothing_is_deleted_where_an_instance_is_not_stored(
    gateway: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [one("1.2.3", 1, number) for number in range(1, 8)]
    await store(gateway, *made)
    original = Anonymizing.store

    async def failing(self: Anonymizing, located: Located, *given: Any, **more: Any) -> Any:
        if located.sop_uid == "1.2.3.1.6":
            raise EditError("it cannot be changed")
        return await original(self, located, *given, **more)

    monkeypatch.setattr(Anonymizing, "store", failing)
    path, body = f"/studies/{study(made[0])}", {"Series": [series(made[0])]}
    status, answer = await ask(gateway, f"{path}/split", body)
    assert (status, answer["Details"]) == (500, "instance 1.2.3.1.6: it cannot be changed")
    assert len(await gateway.json(f"{path}/instances")) == 7
    ((job,),) = [await gateway.json("/jobs")]
    assert (await gateway.json(f"/jobs/{job}"))["Content"]["FailedInstancesCount"] == 1
    monkeypatch.undo()
    assert (await gateway.client.post(f"/jobs/{job}/resubmit")).status == 200
    again = await ended(gateway, f"/jobs/{job}")
    assert (again["State"], again["Content"]["FailedInstancesCount"]) == ("Success", 0)
    assert (await gateway.get(path)).status == 404
    assert len(await gateway.json("/instances")) == 7


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_job_that_is_submitted_again_when_sources_have_gone(
    gateway: House, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """The copies stay as they are: made anew, they would refer to what has gone. What was replaced is made anew."""
    made = [one("1.2.3", 1, number) for number in (1, 2, 3)]
    for each in made:
        each.ReferencedImageSequence = [image(other.SOPInstanceUID) for other in made]
    await store(gateway, *made)
    path = f"/studies/{study(made[0])}"
    stop_deleting(monkeypatch)
    status, answer = await ask(gateway, f"{path}/split", {"Series": [series(made[0])]})
    assert (status, answer["Details"].partition(":")[0]) == (500, "everything is stored, and its source stays")
    left = await stored(gateway, path)
    assert len(left) == 2
    monkeypatch.undo()
    (_, number), last = max(left.items(), key=lambda each: each[0])
    if replaced:
        gateway.ingest.settings = lambda: Storage(duplicates="overwrite")
        last.StationName = "new"
        await store(gateway, last)
    (job,) = await gateway.json("/jobs")
    assert (await gateway.client.post(f"/jobs/{job}/resubmit")).status == 200
    again = await ended(gateway, f"/jobs/{job}")
    assert again["State"] == "Success", again
    assert (await gateway.get(path)).status == 404
    copies = await stored(gateway, f"/studies/{again['Content']['TargetStudy']}")
    uids = {each.SOPInstanceUID for each in copies.values()}
    assert len(uids) == 3
    for (_, each), copy in copies.items():
        assert copy.get("StationName") == ("new" if replaced and each == number else None)
        if not replaced or each != number:
            assert {other.ReferencedSOPInstanceUID for other in copy.ReferencedImageSequence} == uids


async def test_what_comes_meanwhile_stays(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first, late = one("1.2.3", 1, 1), one("1.2.3", 1, 2)
    await store(gateway, first)
    as_copied = Removal.as_copied

    async def slow(self: Removal, *given: Any) -> Any:
        await store(gateway, late)
        return await as_copied(self, *given)

    monkeypatch.setattr(Removal, "as_copied", slow)
    answer = await done(gateway, f"/studies/{study(first)}/split", Series=[series(first)])
    assert {number for _, number in await stored(gateway, f"/studies/{answer['TargetStudy']}")} == {1}
    assert {number for _, number in await stored(gateway, f"/studies/{study(first)}")} == {2}


async def test_what_is_replaced_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        asyncio.timeout(30),
        archive(tmp_path / "data", duplicates="overwrite") as gateway,
        running(gateway),
    ):
        gateway.dicomweb = Dicomweb(delete=True)
        made = [one("1.2.3", 1, number, StationName="old") for number in (1, 2, 3)]
        await store(gateway, *made)
        note = Reporter.note

        async def late(self: Reporter, percent: float, position: int, *, at_once: bool = False) -> None:
            if at_once:  # Everything is stored.
                await store(gateway, one("1.2.3", 1, 2, StationName="new"))
            await note(self, percent, position, at_once=at_once)

        monkeypatch.setattr(Reporter, "note", late)
        path, body = f"/studies/{study(made[0])}", {"Series": [series(made[0])]}
        status, answer = await ask(gateway, f"{path}/split", body)
        assert (status, answer["Details"].partition(";")[0]) == (
            *(500, "everything is stored, but 1 instances have been replaced meanwhile, and stay"),
        )
        ((_, number),) = left = await stored(gateway, path)
        assert (number, left["", 2].StationName) == (2, "new")
        monkeypatch.undo()
        (job,) = await gateway.json("/jobs")
        assert (await gateway.client.post(f"/jobs/{job}/resubmit")).status == 200
        target = (await ended(gateway, f"/jobs/{job}"))["Content"]["TargetStudy"]
        assert (await gateway.get(path)).status == 404
        assert {each.StationName for each in (await stored(gateway, f"/studies/{target}")).values()} == {"old", "new"}


@pytest.mark.parametrize("gone", ["study", "copy"])
@pytest.mark.parametrize("whole", [True, False])
async def test_sources_stay_whose_copies_are_deleted_meanwhile(
    gateway: House, monkeypatch: pytest.MonkeyPatch, gone: str, whole: bool
) -> None:
    """The target is deleted once all is stored, or one of the copies alone; of sources that are a study, or single."""
    made, target = [one("1.2.3", 1, number) for number in (1, 2, 3)], one("1.2.4", 1, 9)
    await store(gateway, *made, target)
    note = Reporter.note

    async def late(self: Reporter, percent: float, position: int, *, at_once: bool = False) -> None:
        await note(self, percent, position, at_once=at_once)
        if at_once:  # Everything is stored.
            below = await gateway.json(f"/studies/{study(target)}/instances")
            (copy,) = [each["ID"] for each in below if each["MainDicomTags"]["InstanceNumber"] == "2"]
            path = f"/studies/{study(target)}" if gone == "study" else f"/instances/{copy}"
            assert (await gateway.client.delete(path)).status == 200

    monkeypatch.setattr(Reporter, "note", late)
    resources = [study(made[0])] if whole else [identifier(each) for each in made]
    status, answer = await ask(gateway, f"/studies/{study(target)}/merge", {"Resources": resources})
    lost = {1, 2, 3} if gone == "study" else {2}
    assert (status, answer["Details"].partition(";")[0]) == (
        *(500, f"the copies of {len(lost)} instances have been deleted meanwhile"),
    )
    assert {number for _, number in await stored(gateway, f"/studies/{study(made[0])}")} == lost
    monkeypatch.undo()
    (job,) = await gateway.json("/jobs")
    assert (await gateway.client.post(f"/jobs/{job}/resubmit")).status == 200
    assert (await ended(gateway, f"/jobs/{job}"))["State"] == "Success"
    found = {number for _, number in await stored(gateway, f"/studies/{study(target)}")}
    assert found - {9} == {1, 2, 3}
    assert (await gateway.get(f"/studies/{study(made[0])}")).status == 404


async def test_a_copy_that_is_deleted_between_two_sources(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first source has gone by then; the second stays."""
    made, target = [one("1.2.3", 1, number) for number in (1, 2)], one("1.2.4", 1, 9)
    await store(gateway, *made, target)
    as_copied, calls = Removal.as_copied, [0]

    async def late(self: Removal, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            assert (await gateway.client.delete(f"/studies/{study(target)}")).status == 200
        return await as_copied(self, *given)

    monkeypatch.setattr(Removal, "as_copied", late)
    body = {"Resources": [identifier(each) for each in made]}
    assert (await ask(gateway, f"/studies/{study(target)}/merge", body))[0] == 500
    assert {number for _, number in await stored(gateway, f"/studies/{study(made[0])}")} == {2}


async def test_what_storage_commitment_retains_is_not_moved(gateway: House) -> None:
    first = one("1.2.3", 1, 1)
    await store(gateway, first)
    commitments = Commitments(gateway.database, gateway.store, Settings)
    number = await commitments.open("1.9", [Reference(first.SOPClassUID, first.SOPInstanceUID)], "PEER", "GATEWAY")
    await commitments.outcome(number)
    status, _ = await ask(gateway, f"/studies/{study(first)}/split", {"Series": [series(first)]})
    assert status == 409
    await done(gateway, f"/studies/{study(first)}/split", Series=[series(first)], KeepSource=True)


async def test_a_job_that_is_cancelled_has_deleted_nothing_and_can_be_submitted_again(
    gateway: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [one("1.2.3", 1, number) for number in range(1, 12)]
    await store(gateway, *made)
    reached, killed = asyncio.Event(), asyncio.Event()
    halt(monkeypatch, "storing", reached, killed)
    path = f"/studies/{study(made[0])}"
    answer = await done(gateway, f"{path}/split", Series=[series(made[0])], Asynchronous=True)
    await reached.wait()
    assert (await gateway.client.post(f"{answer['Path']}/cancel")).status == 200
    assert (await ended(gateway, answer["Path"]))["State"] == "Failure"
    killed.set()
    monkeypatch.undo()
    assert len(await gateway.json(f"{path}/instances")) == 11
    assert (await gateway.client.post(f"{answer['Path']}/resubmit")).status == 200
    job = await ended(gateway, answer["Path"])
    assert job["State"] == "Success", job
    assert (await gateway.get(path)).status == 404
    assert {number for _, number in await stored(gateway, f"/studies/{job['Content']['TargetStudy']}")} == set(
        range(1, 12)
    )
    assert len(await gateway.json("/instances")) == 11


async def test_a_job_that_is_cancelled_once_all_is_stored_deletes_nothing(
    gateway: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = one("1.2.3", 1, 1)
    await store(gateway, made)
    note, over = Reporter.note, asyncio.Event()

    async def cancelling(self: Reporter, percent: float, position: int, *, at_once: bool = False) -> None:
        await note(self, percent, position, at_once=at_once)
        if at_once:
            (job,) = await gateway.json("/jobs")
            assert (await gateway.client.post(f"/jobs/{job}/cancel")).status == 200

    record = Runner._record

    async def recorded(self: Runner, *given: Any) -> None:
        await record(self, *given)
        over.set()

    monkeypatch.setattr(Reporter, "note", cancelling)
    monkeypatch.setattr(Runner, "_record", recorded)
    status, _ = await ask(gateway, f"/studies/{study(made)}/split", {"Series": [series(made)]})
    assert status == 500
    await over.wait()
    assert len(await gateway.json(f"/studies/{study(made)}/instances")) == 1


@pytest.mark.parametrize("interrupted", ["storing", "deleting"])
async def test_after_a_kill_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str) -> None:
    """In the middle of what it does the process ends; the next one does the rest, and nothing twice."""
    made = [one("1.2.3", 1, number) for number in range(1, 12)]
    made[8].ReferencedImageSequence = [image(each.SOPInstanceUID) for each in made]
    reached, killed = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(50):
        async with archive(tmp_path / "data") as gateway:
            gateway.dicomweb = Dicomweb(delete=True)
            await store(gateway, *made)
            halt(monkeypatch, interrupted, reached, killed)
            async with running(gateway):
                resources = [identifier(each) for each in made[:-1]]
                body = {"Instances": resources, "Asynchronous": True}
                answer = await done(gateway, f"/studies/{study(made[0])}/split", **body)
                await reached.wait()
        monkeypatch.undo()
        async with archive(tmp_path / "data") as gateway, running(gateway):
            job = await ended(gateway, answer["Path"])
            assert job["State"] == "Success", job
            found = await stored(gateway, f"/studies/{job['Content']['TargetStudy']}")
            assert {number for _, number in found} == set(range(1, 11))
            assert len(await gateway.json(f"/studies/{job['Content']['TargetStudy']}/instances")) == 10
            assert {number for _, number in await stored(gateway, f"/studies/{study(made[0])}")} == {11}
            references = [each.ReferencedSOPInstanceUID for each in found["", 9].ReferencedImageSequence]
            new = [found["", number].SOPInstanceUID for number in range(1, 11)]
            assert references == [*new, made[-1].SOPInstanceUID]


def halt(monkeypatch: pytest.MonkeyPatch, where: str, reached: asyncio.Event, killed: asyncio.Event) -> None:
    """Stop the job for ever once it has stored, or deleted, a few instances."""
    owner, name = (Anonymizing, "store") if where == "storing" else (Removal, "as_copied")
    original, calls = getattr(owner, name), [0]

    @functools.wraps(original)
    async def halting(self: Any, *given: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] > 5:
            reached.set()
            await killed.wait()
        return await original(self, *given, **more)

    monkeypatch.setattr(owner, name, halting)


async def test_not_to_a_patient_who_is_another_person(gateway: House) -> None:
    first, other = one("1.2.3", 1, 1), one("1.2.4", 1, 1, patient="P2")
    await store(gateway, first, other)
    body: dict[str, Any] = {"Series": [series(first)], "Replace": {"PatientID": "P2"}}
    path = f"/studies/{study(first)}/split"
    status, answer = await ask(gateway, path, body)
    assert (status, "'Name^P2' as PatientName" in answer["Details"]) == (400, True)
    assert (await ask(gateway, path, {**body, "Remove": ["PatientName"]}))[0] == 400
    assert await gateway.json("/jobs") == []
    body["Replace"]["PatientName"] = "Name^P2"
    answer = await done(gateway, path, **body)
    assert answer["TargetStudy"] == public_id("P2", answer["TargetStudyUID"])


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({}, 8),
        ({"Series": []}, 8),
        ({"Series": "x"}, 15),
        ({"Series": [1]}, 15),
        ({"Series": ["x"]}, 17),
        ({"Instances": ["x"]}, 17),
        ({"Series": ["OTHER"]}, 17),
        ({"Instances": ["SERIES"]}, 17),
        ({"Series": ["SERIES"], "Replace": {"SeriesDescription": "x"}}, 3),
        ({"Series": ["SERIES"], "Replace": {"StudyInstanceUID": "1"}}, 3),
        ({"Series": ["SERIES"], "Remove": ["SeriesInstanceUID"]}, 3),
        ({"Series": ["SERIES"], "Replace": {"Nope": "x"}}, 8),
        ({"Series": ["SERIES"], "Replace": {"PatientBirthDate": "x"}}, 8),
        ({"Series": ["SERIES"], "Replace": {"OtherPatientIDsSequence": "x"}}, 8),
        ({"Series": ["SERIES"], "Replace": {"PatientName": 1}}, 15),
        ({"Series": ["SERIES"], "Replace": []}, 15),
        ({"Series": ["SERIES"], "Remove": {}}, 15),
        ({"Series": ["SERIES"], "KeepSource": "x"}, 15),
        ({"Series": ["SERIES"], "Synchronous": "x"}, 15),
        ([], 15),
    ],
)
async def test_what_cannot_be_split(gateway: House, body: Any, number: int) -> None:
    first, other = one("1.2.3", 1, 1), one("1.2.4", 1, 1)
    await store(gateway, first, other)
    answer = (
        await ask(gateway, f"/studies/{study(first)}/split", named(body, SERIES=series(first), OTHER=series(other)))
    )[1]
    assert answer["OrthancStatus"] == number, answer
    assert await gateway.json("/jobs") == []


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({}, 15),
        ({"Resources": "x"}, 15),
        ({"Resources": [1]}, 15),
        ({"Resources": ["x"]}, 17),
        ({"Resources": ["STUDY"]}, 17),
        ({"Resources": ["SERIES"]}, 17),
        ({"Resources": ["PATIENT"]}, 17),
        ([], 15),
    ],
)
async def test_what_cannot_be_merged(gateway: House, body: Any, number: int) -> None:
    first = one("1.2.3", 1, 1)
    await store(gateway, first)
    names = {"STUDY": study(first), "SERIES": series(first), "PATIENT": public_id("P1")}
    answer = (await ask(gateway, f"/studies/{study(first)}/merge", named(body, **names)))[1]
    assert answer["OrthancStatus"] == number, answer
    assert await gateway.json("/jobs") == []


def named(body: Any, **names: str) -> Any:
    """A body with identifiers in the place of their names."""
    if isinstance(body, Mapping):
        return {name: named(value, **names) for name, value in body.items()}
    if isinstance(body, list):
        return [named(each, **names) for each in body]
    return names.get(body, body)


async def test_unknown_studies(gateway: House) -> None:
    first = one("1.2.3", 1, 1)
    await store(gateway, first)
    for unknown in ("nope", series(first)):
        assert (await ask(gateway, f"/studies/{unknown}/split", {"Series": [series(first)]}))[0] == 404
        assert (await ask(gateway, f"/studies/{unknown}/merge", {"Resources": [study(first)]}))[0] == 404


async def test_nothing_to_merge(gateway: House) -> None:
    first = one("1.2.3", 1, 1)
    await store(gateway, first)
    answer = await done(gateway, f"/studies/{study(first)}/merge", Resources=[])
    assert (answer["InstancesCount"], answer["TargetStudy"]) == (0, study(first))


async def test_sources_are_deleted_only_where_that_is_allowed(gateway: House) -> None:
    first, target = one("1.2.3", 1, 1), one("1.2.4", 1, 1)
    await store(gateway, first, target)
    gateway.dicomweb = Dicomweb(delete=False)
    for path, body in (
        (f"/studies/{study(first)}/split", {"Series": [series(first)]}),
        (f"/studies/{study(target)}/merge", {"Resources": [study(first)]}),
    ):
        assert (await ask(gateway, path, body))[0] == 403
        assert (await ask(gateway, path, {**body, "KeepSource": True}))[0] == 200
    assert await gateway.json(f"/studies/{study(first)}/instances")
