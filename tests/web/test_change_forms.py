"""gateway/web/pages/change_forms: forms that make other studies, as a browser without scripts sends them."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from gateway.audit.table import AuditFilter, search
from gateway.config import Dicomweb, Http, User
from gateway.config.roles import Role
from gateway.index.identity import public_id
from gateway.jobs.table import Job
from tests.support.forms import Forms
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, by_password
from tests.support.web import House, archive, working

PATIENT, STUDY, OTHER = public_id("P1"), public_id("P1", "1.2.3"), public_id("P1", "1.2.4")
STUDY_PAGE, PATIENT_PAGE = f"/ui/studies/{STUDY}", f"/ui/patients/{PATIENT}"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    """A patient with a study of two series and another study."""
    async with asyncio.timeout(50), archive(tmp_path) as made, working(made):
        for number, uids in enumerate((("1.2.3", "1.2.3.1"), ("1.2.3", "1.2.3.2"), ("1.2.4", "1.2.4.1")), 1):
            data_set = numbered(number, StudyDescription="Knee of Jane", PatientSex="F", SeriesNumber=str(number))
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = uids
            await made.client.post("/instances", data=file_of(data_set))
        yield made


async def page(gateway: House, path: str) -> str:
    answer = await gateway.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.text()


async def send(gateway: House, path: str, fields: dict[str, str], **headers: str) -> ClientResponse:
    return await gateway.client.post(path, data=fields, headers=headers, allow_redirects=False)


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Value before and value after by path."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td></tr>', text)
    return {path: (html.unescape(before), html.unescape(after)) for path, before, after in found}


async def previewed(gateway: House, path: str, what: str, **fields: str) -> tuple[dict[str, tuple[str, str]], str]:
    """What the question to a form shows, and the question."""
    form = Forms(await page(gateway, path)).found[f"{path}/{what}/preview"]
    answer = await send(gateway, f"{path}/{what}/preview", {**form, **fields})
    text = await answer.text()
    assert answer.status == 200, text
    return rows(text), text


async def done(gateway: House, path: str, what: str, question: str) -> Job:
    """Press the button of a question, and wait for the job to which it leads."""
    answer = await send(gateway, f"{path}/{what}", Forms(question).found[f"{path}/{what}"])
    assert answer.status == 303
    (number,) = re.findall(r"/ui/jobs\?id=(\d+)$", answer.headers["Location"])
    await page(gateway, answer.headers["Location"])
    job = await gateway.use_cases.job_desk.ended(int(number))
    assert job.state == "done", job.error
    return job


async def studies(gateway: House) -> dict[str, dict[str, str]]:
    """Attributes of patient and study by public id."""
    found = await gateway.json("/studies?expand")
    return {each["ID"]: {**each["PatientMainDicomTags"], **each["MainDicomTags"]} for each in found}


class TestStudy:
    async def test_modified(self, gateway: House) -> None:
        changes, question = await previewed(gateway, STUDY_PAGE, "modify", StudyDescription="Hip")
        assert changes["StudyDescription"] == ("Knee of Jane", "Hip")
        assert "PatientName" not in changes
        assert len(await studies(gateway)) == 2, "nothing is made before the button is pressed"
        await done(gateway, STUDY_PAGE, "modify", question)
        made = await studies(gateway)
        assert sorted(each["StudyDescription"] for each in made.values()) == ["Hip", "Knee of Jane", "Knee of Jane"]

    async def test_another_patient_with_all_that_is_said_of_one(self, gateway: House) -> None:
        changes, _ = await previewed(gateway, STUDY_PAGE, "modify", PatientID="P9", PatientSex="")
        assert changes["PatientID"] == ("P1", "P9")
        assert changes["PatientSex"] == ("F", "(nothing)")

    async def test_anonymized(self, gateway: House) -> None:
        changes, question = await previewed(gateway, STUDY_PAGE, "anonymize", PatientName="Nobody")
        assert changes["PatientName"] == ("Doe^Jane", "Nobody")
        assert "StudyDescription" in changes
        kept, _ = await previewed(gateway, STUDY_PAGE, "anonymize", descriptions="1")
        assert "StudyDescription" not in kept
        await done(gateway, STUDY_PAGE, "anonymize", question)
        assert [each["PatientName"] for each in (await studies(gateway)).values()].count("Nobody") == 1

    async def test_merged(self, gateway: House) -> None:
        gateway.dicomweb = Dicomweb(delete=True)
        fields = {"other": OTHER, "remove-source": "1"}
        changes, question = await previewed(gateway, STUDY_PAGE, "merge", **fields)
        assert changes["StudyInstanceUID"] == ("1.2.4", "1.2.3")
        assert {"SeriesInstanceUID", "SOPInstanceUID"} <= changes.keys()
        assert "is deleted once everything is stored" in question
        await done(gateway, STUDY_PAGE, "merge", question)
        assert list(await studies(gateway)) == [STUDY]
        assert len(await gateway.json(f"/studies/{STUDY}/instances")) == 3

    async def test_split(self, gateway: House) -> None:
        series = public_id("P1", "1.2.3", "1.2.3.2")
        changes, question = await previewed(gateway, STUDY_PAGE, "split", series=series, StudyDescription="Hip")
        assert changes["StudyDescription"] == ("Knee of Jane", "Hip")
        assert changes["SeriesInstanceUID"][0] == "1.2.3.2"
        assert "is deleted once" not in question
        job = await done(gateway, STUDY_PAGE, "split", question)
        assert job.progress is not None
        target = job.progress.content["TargetStudy"]
        assert (await studies(gateway))[target]["StudyDescription"] == "Hip"
        assert len(await gateway.json(f"/studies/{STUDY}/instances")) == 2


class TestPatient:
    async def test_anonymized(self, gateway: House) -> None:
        changes, question = await previewed(gateway, PATIENT_PAGE, "anonymize", PatientID="A1")
        assert changes["PatientID"] == ("P1", "A1")
        await done(gateway, PATIENT_PAGE, "anonymize", question)
        assert sorted(each["PatientID"] for each in (await studies(gateway)).values()) == ["A1", "A1", "P1", "P1"]

    async def test_modified_and_replaced(self, gateway: House) -> None:
        gateway.dicomweb = Dicomweb(delete=True)
        fields = {"PatientID": "P7", "remove-source": "1"}
        changes, question = await previewed(gateway, PATIENT_PAGE, "modify", **fields)
        assert changes["PatientID"] == ("P1", "P7")
        await done(gateway, PATIENT_PAGE, "modify", question)
        assert [each["PatientID"] for each in (await studies(gateway)).values()] == ["P7", "P7"]


class TestScript:
    async def test_has_both_answers_as_json(self, gateway: House) -> None:
        fields = {"PatientName": "Nobody"}
        answer = await send(gateway, f"{STUDY_PAGE}/anonymize/preview", fields, Accept="application/json")
        by_path = {each["Path"]: each for each in await answer.json()}
        assert (by_path["PatientName"]["Before"], by_path["PatientName"]["After"]) == ("Doe^Jane", "Nobody")
        answer = await send(gateway, f"{STUDY_PAGE}/anonymize", fields, Accept="application/json")
        assert (await answer.json())["Path"].startswith("/jobs/")


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "fields", "status"),
        [
            (f"{STUDY_PAGE}/modify", {"StudyDescription": "x", "was.StudyDescription": "x"}, 400),
            (f"{STUDY_PAGE}/modify", {"StudyDate": "x", "was.StudyDate": ""}, 400),
            (f"{STUDY_PAGE}/modify", {"Nonsense": "x", "was.Nonsense": ""}, 400),
            (f"{STUDY_PAGE}/split", {}, 400),
            (f"{STUDY_PAGE}/split", {"series": "nonsense"}, 404),
            (f"{STUDY_PAGE}/merge", {"other": "nonsense"}, 404),
            (f"{STUDY_PAGE}/merge", {"other": STUDY}, 404),
            (f"{STUDY_PAGE}/merge", {"other": OTHER, "remove-source": "1"}, 403),
            ("/ui/studies/nonsense/anonymize", {}, 404),
            ("/ui/patients/nonsense/anonymize", {}, 404),
        ],
    )
    async def test_both_times(self, gateway: House, path: str, fields: dict[str, str], status: int) -> None:
        for each in (f"{path}/preview", path):
            answer = await send(gateway, each, fields, Accept="text/html")
            assert answer.status == status, await answer.text()
        assert len(await gateway.json("/studies")) == 2

    async def test_who_may_change_and_not_delete(self, gateway: House) -> None:
        gateway.dicomweb, gateway.roles = Dicomweb(delete=True), {"editor": Role(permissions=("view", "modify"))}
        gateway.http = Http(users=(ADMIN, User(name="eve", password=ADMIN.password, roles=("editor",))))
        fields = {"other": OTHER, "remove-source": "1"}
        for each in ("/merge/preview", "/merge"):
            answer = await send(gateway, f"{STUDY_PAGE}{each}", fields, **by_password("eve"))
            assert answer.status == 403
        assert (await send(gateway, f"{STUDY_PAGE}/anonymize", {}, **by_password("eve"))).status == 403
        fields.pop("remove-source")
        assert (await send(gateway, f"{STUDY_PAGE}/merge/preview", fields, **by_password("eve"))).status == 200

    async def test_a_preview_is_no_change_in_the_audit_log(self, gateway: House) -> None:
        gateway.http = Http(users=(ADMIN,))
        await send(gateway, f"{STUDY_PAGE}/anonymize/preview", {}, **by_password("ann"))
        await gateway.use_cases.audit.flush()
        found = await search(gateway.database, AuditFilter(), skip=0, limit=100)
        assert "anonymize" not in {each.action for each in found}
