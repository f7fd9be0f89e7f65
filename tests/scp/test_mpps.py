"""Modality performed procedure steps over a real socket (PS3.4 F.7): states, the worklist, sending on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.dicom.decode import decode_data_set
from gateway.dimse import command as c
from gateway.dimse import status
from gateway.errors import NotFound
from gateway.jobs import table
from gateway.workflow.worklist_items import STEP_STATUS, STEPS
from tests.support.datasets import EXPLICIT, IMPLICIT, encode
from tests.support.intake import Intake, intake
from tests.support.waiting import until
from tests.support.workflow import MPPS, Modality, modality, peer

UID = "1.2.3.4"
A710 = 0xA710


def begun(study: str = "1.2.3", step: str = "SPS1", **values: Any) -> Dataset:
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study
    scheduled.AccessionNumber = "A1"
    scheduled.ScheduledProcedureStepID = step
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientName = "Müller^Jürgen"
    made.PatientID = "P1"
    made.PerformedStationAETitle = "CT1"
    made.PerformedProcedureStepID = "PPS1"
    made.PerformedProcedureStepStartDate = "20261122"
    made.PerformedProcedureStepStartTime = "0930"
    made.PerformedProcedureStepStatus = "IN PROGRESS"
    made.Modality = "CT"
    made.ScheduledStepAttributesSequence = [scheduled]
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def ended(state: str = "COMPLETED", **values: Any) -> Dataset:
    made = Dataset()
    made.PerformedProcedureStepStatus = state
    made.PerformedProcedureStepEndDate = "20261122"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


async def an_item(gateway: Intake, study: str = "1.2.3", *ids: str) -> str:
    made = Dataset()
    made.StudyInstanceUID = study
    steps = []
    for step_id in ids or ("SPS1",):
        step = Dataset()
        step.ScheduledProcedureStepID = step_id
        steps.append(step)
    made.ScheduledProcedureStepSequence = steps
    return await gateway.context.use_cases.worklists.create(decode_data_set(encode(made), EXPLICIT))


async def statuses(gateway: Intake, public_id: str) -> list[str]:
    item = await gateway.context.use_cases.worklists.get(public_id)
    return [step[STEP_STATUS].text for step in item.data_set[STEPS].values]


async def forwards(gateway: Intake, uid: str) -> dict[str, list[table.Job]]:
    steps = gateway.context.use_cases.steps
    return await steps.forwards(await steps.get(uid))


class TestStates:
    """PS3.4 F.7.2: which requests are taken when."""

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    @pytest.mark.parametrize("final", ["COMPLETED", "DISCONTINUED"])
    async def test_from_beginning_to_end(self, tmp_path: Path, syntax: str, final: str) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway, syntax) as at:
            created = await at.create(UID, begun())
            assert (created.status, created.command.affected_sop_instance_uid) == (status.SUCCESS, UID)
            assert (await at.set(UID, ended("IN PROGRESS"))).status == status.SUCCESS
            assert (await at.set(UID, ended(final, PatientName="Changed^Name", StudyID="7"))).status == status.SUCCESS
            step = await gateway.context.use_cases.steps.get(UID)
            assert (step.state, step.calling_aet, step.called_aet) == (final, "TEST", "GATEWAY")
            assert step.data_set[0x00400250].values == ["20261122"]
            assert step.data_set[0x00200010].values == ["7"]
            assert step.data_set[0x00100010].values == ["Müller^Jürgen"]  # not to be changed by N-SET

    @pytest.mark.case("case 15 N-SET of a performed procedure step leaves what it may not change")
    async def test_what_may_not_be_changed(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """ "Not allowed" (Table F.7.2-1). The rest of the N-SET is taken."""
        kept = {
            "PerformedProcedureStepID": "PPS1",
            "PerformedStationAETitle": "CT1",
            "PerformedStationName": "STATION",
            "PerformedLocation": "ROOM 1",
            "PerformedProcedureStepStartDate": "20261122",
            "PerformedProcedureStepStartTime": "0930",
            "Modality": "CT",
            "StudyID": "1",
            "PatientName": "Doe^Jane",
            "PatientID": "P1",
            "IssuerOfPatientID": "HERE",
        }
        others = {**dict.fromkeys(kept, "OTHER"), "PerformedProcedureStepStartDate": "20000101"}
        others["PerformedProcedureStepStartTime"] = "0000"
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            await at.create(UID, begun(**kept))
            assert (await at.set(UID, ended("IN PROGRESS", **kept))).status == status.SUCCESS
            assert "may not change" not in caplog.text
            assert (await at.set(UID, ended(**others))).status == status.SUCCESS
            step = await gateway.context.use_cases.steps.get(UID)
        assert {keyword: step.data_set[tag_for_keyword(keyword)].values for keyword in kept} == {
            keyword: [value] for keyword, value in kept.items()
        }
        assert step.state == "COMPLETED"
        assert "(0040,0253)" in caplog.text
        assert "which N-SET may not change" in caplog.text

    async def test_what_a_modality_leaves_out(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Kept all the same, and said: it could not mend it."""
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            assert (await at.create("1.1", begun())).status == status.SUCCESS
            assert "should have" not in caplog.text
            sloppy = Dataset()
            sloppy.PerformedProcedureStepStatus = "IN PROGRESS"
            sloppy.PerformedProcedureStepID = ""
            assert (await at.create(UID, sloppy)).status == status.SUCCESS
            lacking = "(0040,0270), (0040,0253), (0040,0241), (0040,0244), (0040,0245), (0008,0060)"
            assert f"step {UID} of TEST is stored without {lacking}" in caplog.text
            assert (await at.set(UID, ended())).status == status.SUCCESS
            assert f"step {UID} of TEST is stored without (0040,0251), (0040,0340)" in caplog.text
            assert (await gateway.context.use_cases.steps.get(UID)).state == "COMPLETED"

    @pytest.mark.parametrize("final", ["COMPLETED", "DISCONTINUED"])
    async def test_no_change_after_the_end(self, tmp_path: Path, final: str) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            await at.create(UID, begun())
            await at.set(UID, ended(final))
            before = await gateway.context.use_cases.steps.get(UID)
            answer = await at.set(UID, ended("IN PROGRESS"))
            assert (answer.status, answer.command.error_id) == (status.PROCESSING_FAILURE, A710)
            assert answer.error_comment == "Performed Procedure Step Object may no longer be updated"
            assert await gateway.context.use_cases.steps.get(UID) == before

    async def test_without_a_uid_we_make_one(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            answer = await at.create(None, begun())
            uid = answer.command.affected_sop_instance_uid
            assert uid is not None
            assert (await at.set(uid, ended())).status == status.SUCCESS

    @pytest.mark.parametrize(
        ("uid", "data_set", "code"),
        [
            (UID, begun(PerformedProcedureStepStatus="COMPLETED"), status.INVALID_ATTRIBUTE_VALUE),
            (UID, begun(PerformedProcedureStepStatus=""), status.MISSING_ATTRIBUTE),
            ("../x", begun(), status.INVALID_SOP_INSTANCE),
            ("1" * 65, begun(), status.INVALID_SOP_INSTANCE),
        ],
    )
    async def test_what_cannot_be_created(self, tmp_path: Path, uid: str, data_set: Dataset, code: int) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            assert (await at.create(uid, data_set)).status == code
            with pytest.raises(NotFound):
                await gateway.context.use_cases.steps.get(uid)

    async def test_created_twice(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            await at.create(UID, begun())
            assert (await at.create(UID, begun(PatientID="P2"))).status == status.DUPLICATE_SOP_INSTANCE
            assert (await gateway.context.use_cases.steps.get(UID)).data_set[0x00100020].values == ["P1"]

    async def test_set_without_create(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            assert (await at.set(UID, ended())).status == status.NO_SUCH_SOP_INSTANCE

    async def test_a_state_that_is_none(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            await at.create(UID, begun())
            assert (await at.set(UID, ended("FINISHED"))).status == status.INVALID_ATTRIBUTE_VALUE

    async def test_it_outlives_the_process(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20):
            async with intake(tmp_path) as gateway, modality(gateway) as at:
                await at.create(UID, begun())
            async with intake(tmp_path) as gateway, modality(gateway) as at:
                assert (await at.set(UID, ended())).status == status.SUCCESS


class TestWorklist:
    """The scheduled step has the state of the one that performs it."""

    async def test_it_follows(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            ours, other = await an_item(gateway, "1.2.3", "SPS1", "SPS2"), await an_item(gateway, "1.2.4")
            await at.create(UID, begun())
            assert await statuses(gateway, ours) == ["STARTED", "SCHEDULED"]
            await at.set(UID, ended())
            assert await statuses(gateway, ours) == ["COMPLETED", "SCHEDULED"]
            assert await statuses(gateway, other) == ["SCHEDULED"]

    async def test_unscheduled(self, tmp_path: Path) -> None:
        """Without a scheduled step, no other step of the study is touched."""
        async with asyncio.timeout(20), intake(tmp_path) as gateway, modality(gateway) as at:
            public_id = await an_item(gateway)
            await at.create(UID, begun(step=""))
            assert await statuses(gateway, public_id) == ["SCHEDULED"]


class TestSendingOn:
    async def test_in_order_and_as_it_came(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as ris:
            sections = {"modalities": {"ct": {"aet": "TEST"}, "ris": ris.modality("RIS")}, "mpps": {"forward": ["ris"]}}
            async with intake(tmp_path, **sections) as gateway, modality(gateway) as at:
                await self.through(at)
                created, changed = await ris.messages.get(), await ris.messages.get()
                assert (created.command.command_field, changed.command.command_field) == (c.N_CREATE_RQ, c.N_SET_RQ)
                assert created.command.affected_sop_instance_uid == UID
                assert changed.command.requested_sop_instance_uid == UID
                assert created.context.abstract_syntax == MPPS
                assert created.data_set.PatientName == "Müller^Jürgen"
                assert created.data_set == begun()
                assert changed.data_set == ended()
                jobs = (await forwards(gateway, UID))["ris"]
                assert [job.payload["operation"] for job in jobs] == ["create", "set"]

    async def test_what_fails_holds_up_what_follows_and_nobody_else(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as ris:
            ris.status = status.PROCESSING_FAILURE
            sections = {"modalities": {"ct": {"aet": "TEST"}, "ris": ris.modality("RIS")}, "mpps": {"forward": ["ris"]}}
            async with intake(tmp_path, **sections) as gateway, modality(gateway) as at:
                await self.through(at)
                assert (await ris.messages.get()).command.command_field == c.N_CREATE_RQ
                await at.create("1.2.3.5", begun())
                assert (await ris.messages.get()).command.affected_sop_instance_uid == "1.2.3.5"
                database = gateway.folder.database

                async def first() -> table.Job | None:
                    job = await table.get_job(database, 1)
                    return job if job is not None and "0110H" in job.error else None

                await until(first)
                ris.status = status.DUPLICATE_SOP_INSTANCE  # the first attempt had arrived after all
                await database.write(lambda: table.expedite_jobs(f"mpps-{UID}-ris", 1.0))
                gateway.jobs.notify()
                assert (await ris.messages.get()).command.command_field == c.N_CREATE_RQ
                ris.status = 0
                assert (await ris.messages.get()).command.command_field == c.N_SET_RQ

    async def test_given_up(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), peer() as ris:
            ris.status = status.INVALID_ATTRIBUTE_VALUE
            sections = {"modalities": {"ct": {"aet": "TEST"}, "ris": ris.modality("RIS")}, "mpps": {"forward": ["ris"]}}
            async with intake(tmp_path, **sections) as gateway, modality(gateway) as at:
                await at.create(UID, begun())

                async def failed() -> table.Job | None:
                    job = await table.get_job(gateway.folder.database, 1)
                    return job if job is not None and job.state == "failed" else None

                job = await until(failed)
                assert job is not None
                assert "0106H" in job.error

    async def through(self, at: Modality) -> None:
        assert (await at.create(UID, begun())).status == status.SUCCESS
        assert (await at.set(UID, ended())).status == status.SUCCESS
