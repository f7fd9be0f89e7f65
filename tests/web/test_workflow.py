"""/worklists, /mpps and /jobs: what people and scripts do with the work of a department."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.config import Settings
from gateway.dicom.decode import decode_data_set
from gateway.jobs import table
from gateway.workflow.performed_steps import PerformedSteps
from tests.scp.test_mpps import begun
from tests.scp.test_worklist import item
from tests.support.datasets import EXPLICIT, encode
from tests.support.web import House

TAGS = {
    "PatientName": "Müller^Jürgen",
    "PatientID": "P1",
    "0008,0050": "A1",
    "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledStationAETitle": "CT1"}],
}


async def send(gateway: House, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = await gateway.client.request(method, path, json=body)
    return answer.status, await answer.json(content_type=None)


class TestWorklists:
    async def test_create_show_change_remove(self, gateway: House):
        status, made = await send(gateway, "POST", "/worklists/create", {"Tags": TAGS})
        assert status == 200
        assert made["Path"] == f"/worklists/{made['ID']}"
        assert await gateway.json("/worklists") == await gateway.json("/worklists/") == [made["ID"]]
        shown = await gateway.json(made["Path"])
        assert shown["Tags"]["PatientName"] == "Müller^Jürgen"
        assert shown["Tags"]["AccessionNumber"] == "A1"
        (step,) = shown["Tags"]["ScheduledProcedureStepSequence"]
        assert step["ScheduledProcedureStepStatus"] == "SCHEDULED"
        assert shown["Tags"]["StudyInstanceUID"].startswith("2.25.")
        assert await gateway.json("/worklists?expand") == [shown]
        assert await send(gateway, "PUT", made["Path"], {"Tags": {**TAGS, "PatientID": "P2"}}) == (200, {})
        assert (await gateway.json(made["Path"]))["Tags"]["PatientID"] == "P2"
        assert await send(gateway, "DELETE", made["Path"]) == (200, {})
        for method in ("GET", "DELETE"):
            status, answer = await send(gateway, method, made["Path"])
            assert (status, answer["HttpStatus"]) == (404, 404)

    async def test_the_dicom_json_model(self, gateway: House):
        for body in (item().to_json_dict(), [item().to_json_dict()], {"Tags": item().to_json_dict()}):
            status, made = await send(gateway, "POST", "/worklists/create", body)
            assert status == 200
            assert (await gateway.json(made["Path"]))["Tags"]["PatientName"] == "Doe^Jane"

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ([], "object"),
            ({"Tags": 3}, "object"),
            ({"Tags": {"PatientNmae": "x"}}, "PatientNmae"),
            ({"Tags": {"PatientName": "x"}}, "ScheduledProcedureStepSequence"),
            ({"Tags": {"ScheduledProcedureStepSequence": "x"}}, "sequence"),
            ({"Tags": {**TAGS, "PixelData": "x"}}, "binary"),
            ({"Tags": {**TAGS, "PatientName": {"x": 1}}}, "PatientName"),
            ({"Tags": {**TAGS, "Rows": "many"}}, "Rows"),
            ({"00100010": {"vr": "PN", "Value": 3}}, "00100010"),
        ],
    )
    async def test_nonsense(self, gateway: House, body: Any, word: str):
        status, answer = await send(gateway, "POST", "/worklists/create", body)
        assert status == 400
        assert word in answer["Details"]

    async def test_a_body_that_is_no_json(self, gateway: House):
        answer = await gateway.client.post("/worklists/create", data=b"\xff{")
        assert answer.status == 400


class TestMpps:
    async def test_listed_shown_removed(self, gateway: House):
        steps = PerformedSteps(gateway.database, Settings)
        for uid in ("1.2.1", "1.2.2", "1.2.3"):
            await steps.create(uid, decode_data_set(encode(begun()), EXPLICIT), "CT1", "GATEWAY")
        assert await gateway.json("/mpps") == ["1.2.3", "1.2.2", "1.2.1"]
        assert await gateway.json("/mpps?limit=1&before=3") == ["1.2.2"]
        shown = await gateway.json("/mpps/1.2.1")
        assert (shown["Status"], shown["CallingAet"], shown["Forwards"]) == ("IN PROGRESS", "CT1", {})
        assert shown["Tags"]["ScheduledStepAttributesSequence"][0]["StudyInstanceUID"] == "1.2.3"
        assert [each["ID"] for each in await gateway.json("/mpps?expand")] == ["1.2.3", "1.2.2", "1.2.1"]
        assert (await send(gateway, "DELETE", "/mpps/1.2.1"))[0] == 200
        assert (await send(gateway, "GET", "/mpps/1.2.1"))[0] == 404


class TestJobs:
    async def add(self, gateway: House, payload: dict[str, Any] | None = None) -> str:
        now = time.time()
        return str(await gateway.database.write(lambda: table.add_job("work", payload or {}, now)))

    async def test_listed_and_shown(self, gateway: House):
        numbers = [await self.add(gateway, {"to": "pacs", "data": "x" * 1000}) for _ in range(3)]
        assert await gateway.json("/jobs") == numbers[::-1]
        assert await gateway.json(f"/jobs?limit=1&before={numbers[1]}") == numbers[:1]
        shown = await gateway.json(f"/jobs/{numbers[0]}")
        assert (shown["State"], shown["Type"], shown["Content"]) == ("Pending", "work", {"to": "pacs"})
        assert (await gateway.json("/jobs?expand"))[2] == shown

    async def test_what_a_person_may_do(self, gateway: House):
        path = f"/jobs/{await self.add(gateway)}"
        for action, state in (
            ("pause", "Paused"),
            ("resume", "Pending"),
            ("cancel", "Failure"),
            ("resubmit", "Pending"),
            ("cancel", "Failure"),
        ):
            assert (await send(gateway, "POST", f"{path}/{action}"))[0] == 200
            assert (await gateway.json(path))["State"] == state
        shown = await gateway.json(path)
        assert (shown["ErrorCode"], shown["ErrorDescription"]) == (0, "cancelled")
        assert (await gateway.client.delete(path)).status == 200
        assert (await gateway.get(path)).status == 404

    async def test_what_they_may_not(self, gateway: House):
        number = int(await self.add(gateway))
        (job,) = await gateway.database.write(lambda: table.claim_jobs("me", time.time(), 60.0, 1, lambda queue: 1))
        await gateway.database.write(lambda: table.finish_job(job, "done", time.time()))
        for action in ("pause", "resume", "cancel", "resubmit"):
            status, answer = await send(gateway, "POST", f"/jobs/{number}/{action}")
            assert status == 400
            assert "done" in answer["Details"]
        for path in ("/jobs/77", "/jobs/x", "/jobs/99999999999999999999"):
            assert (await send(gateway, "GET", path))[0] == 404
