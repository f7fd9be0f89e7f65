"""gateway/web/pages/jobs and send: jobs in words with their buttons, and sending to whatever there is to send to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from gateway.config import Http
from gateway.config.destinations import FolderDestination
from gateway.forwarding.table import KIND as DELIVERY
from gateway.jobs.table import JobProgress, add_job, cancel_job, ended_job, get_job, list_jobs, report_progress
from gateway.web.pages import jobs
from tests.support.remote import Remote, remote
from tests.support.sign_in import ADMIN, READER, by_password, signed_in
from tests.support.web import House


async def text(gateway: House, path: str) -> str:
    answer = await gateway.get(path)
    assert answer.status == 200, await answer.text()
    return await answer.text()


async def add(gateway: House, kind: str = "DicomModalityStore", **content: Any) -> int:
    """A job that nobody works on."""

    def script() -> Any:
        number = yield from add_job(kind, {"user_data": {"Title": "Doe <b>"}}, 1000.0, queue=f"{kind}:pacs")
        yield from report_progress(number, JobProgress(40, 0, content))
        return number

    return int(await gateway.database.write(script))


async def press(gateway: House, what: str, number: int, **fields: str) -> ClientResponse:
    form = {"what": what, "id": str(number), **fields}
    return await gateway.client.post("/ui/jobs", data=form, allow_redirects=False)


async def state(gateway: House, number: int) -> str:
    job = await get_job(gateway.database, number)
    return job.state if job is not None else "gone"


class TestJobs:
    async def test_none(self, gateway: House) -> None:
        assert "No jobs" in await text(gateway, "/ui/jobs")

    async def test_in_words(self, gateway: House) -> None:
        number = await add(gateway, InstancesCount=7)
        await gateway.database.write(lambda: add_job("delivery", {}, 1000.0))
        for path in ("/ui/jobs", "/ui/jobs/rows", f"/ui/jobs?id={number}", "/ui/jobs?state=waiting"):
            page = await text(gateway, path)
            assert page.count("data-job=") == 1, "deliveries have a page of their own"
            assert "Send (C-STORE)" in page
            assert "Doe &lt;b&gt;" in page
            assert "7 instances" in page
            assert "40 %" in page
            assert "1 job is under way" in page
        assert "data-job=" not in await text(gateway, "/ui/jobs?state=failed")
        assert "data-job=" not in await text(gateway, "/ui/jobs?id=99999")

    async def test_pages(self, gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "_SHOWN", 2)
        numbers = [await add(gateway) for _ in range(5)]
        seen, path = [], "/ui/jobs"
        while path:
            page = await text(gateway, path)
            seen += [int(each) for each in re.findall(r'data-job="(\d+)"', page)]
            older = re.search(r'<p class="more"><a href="([^"]*)"', page)
            path = older[1].replace("&amp;", "&") if older else ""
        assert seen == numbers[::-1]

    async def test_every_button(self, gateway: House) -> None:
        number = await add(gateway)
        page = await text(gateway, "/ui/jobs")
        assert set(re.findall(r'name="what" value="(\w+)"', page)) == {"pause", "cancel"}
        for what, after in (("pause", "held"), ("resume", "waiting"), ("cancel", "cancelled"), ("resubmit", "waiting")):
            answer = await press(gateway, what, number, ids=str(number))
            assert (answer.status, answer.headers["Location"]) == (303, f"/ui/jobs?id={number}")
            assert await state(gateway, number) == after
        await press(gateway, "cancel", number)
        assert (await press(gateway, "remove", number, state="cancelled")).headers[
            "Location"
        ] == "/ui/jobs?state=cancelled"
        assert await state(gateway, number) == "gone"

    async def test_too_late(self, gateway: House) -> None:
        number = await add(gateway)
        await gateway.database.write(lambda: cancel_job(number, 1000.0))
        answer = await press(gateway, "pause", number)
        assert "The job has changed meanwhile" in await text(gateway, answer.headers["Location"])
        assert (await press(gateway, "pause", 99999)).status == 404
        assert (await press(gateway, "explode", number)).status == 400

    async def test_what_failed_and_why(self, gateway: House) -> None:
        failures = [{"ID": "a" * 8, "Details": "A700H out of resources", "DimseErrorStatus": 0xA700}]
        number = await add(gateway, InstancesCount=3, FailedInstancesCount=2, FailedInstances=failures)
        await gateway.database.write(lambda: cancel_job(number, 1000.0))
        page = await text(gateway, "/ui/jobs")
        assert "2 instances failed" in page
        assert "its disk may be full" in page
        assert "1 more failed" in page
        assert 'href="/ui/send?to=modality%3Apacs&amp;id=aaaaaaaa"' in page

    async def test_only_ones_own_form(self, gateway: House) -> None:
        gateway.http = Http(users=(ADMIN,))
        await signed_in(gateway)
        number = await add(gateway)
        origin = {"Origin": str(gateway.client.make_url("/")).rstrip("/")}
        answer = await gateway.client.post("/ui/jobs", data={"what": "cancel", "id": str(number)}, headers=origin)
        assert answer.status == 403
        page = await text(gateway, "/ui/jobs")
        token = re.search(r'name="csrf" value="(\w+)"', page)
        assert token is not None
        form = {"what": "cancel", "id": str(number), "csrf": token[1]}
        await gateway.client.post("/ui/jobs", data=form, headers=origin)
        assert await state(gateway, number) == "cancelled"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Remote]:
    async with asyncio.timeout(50), remote(tmp_path) as made:
        yield made


async def sent(pair: Remote, to: str, *ids: str) -> ClientResponse:
    fields = [("to", to), *(("id", each) for each in ids)]
    return await pair.here.client.post("/ui/send", data=fields, allow_redirects=False)


async def ended(pair: Remote, answer: ClientResponse) -> str:
    """The state of the job to which an answer leads."""
    assert answer.status == 303, await answer.text()
    job = await ended_job(pair.here.database, int(answer.headers["Location"].rpartition("=")[2]))
    assert job is not None
    return job.state


class TestSend:
    async def test_what_and_where(self, pair: Remote) -> None:
        instances = await pair.fill(1, 2)
        await pair.here.client.put("/peers/friend", json={"Url": "http://127.0.0.1:1/"})
        await pair.here.client.put("/dicom-web/servers/web", json={"Url": "http://127.0.0.1:1/dicom-web"})
        pair.here.destinations = {"nas": FolderDestination(path="/nowhere")}
        study, instance = instances[0]["ParentStudy"], instances[0]["ID"]
        page = await text(pair.here, f"/ui/send?id={study}&id={instance}&to=peer:friend")
        targets = re.findall(r'name="to" value="([^"]*)"', page)
        assert targets == ["modality:there", "server:web", "peer:friend", "destination:nas"]
        assert 'value="peer:friend" required checked' in page
        assert page.count("Doe, Jane") == 1, "the instance is in the study"
        assert "2 instances" in page
        page = await text(pair.here, f"/ui/send?id={instance}&id={'0' * 8}-00000000-00000000-00000000-00000000")
        assert "1 of them is not there any more" in page
        assert "Nothing to send" in await text(pair.here, "/ui/send")

    @pytest.mark.parametrize("level", ["ParentPatient", "ParentStudy", "ParentSeries", "ID"])
    async def test_to_a_modality(self, pair: Remote, level: str) -> None:
        instances = await pair.fill(1)
        assert await ended(pair, await sent(pair, "modality:there", instances[0][level])) == "done"
        assert "Doe, Jane" in await text(pair.here, "/ui/jobs")

    async def test_failures_are_listed_and_sent_again(self, pair: Remote) -> None:
        (instance,) = await pair.fill(1)
        await pair.here.client.put("/modalities/off", json={"AET": "OFF", "Host": "127.0.0.1", "Port": 1})
        await ended(pair, await sent(pair, "modality:off", instance["ParentStudy"]))
        page = await text(pair.here, "/ui/jobs")
        assert "It cannot be reached." in page
        again = re.search(r'href="(/ui/send\?to=modality%3Aoff&amp;id=[^"]*)"', page)
        assert again is not None
        assert instance["ID"] in again[1]
        page = await text(pair.here, again[1].replace("&amp;", "&"))
        assert 'value="modality:off" required checked' in page

    async def test_to_a_peer_that_is_not_there(self, pair: Remote) -> None:
        (instance,) = await pair.fill(1)
        await pair.here.client.put("/peers/friend", json={"Url": "http://127.0.0.1:1/"})
        await ended(pair, await sent(pair, "peer:friend", instance["ID"]))
        page = await text(pair.here, "/ui/jobs")
        assert "Send to a peer" in page
        assert instance["ID"] in page

    async def test_to_a_destination(self, pair: Remote) -> None:
        await pair.runner.close()  # It knows no deliveries.
        pair.here.destinations = {"nas": FolderDestination(path="/nowhere")}
        instances = await pair.fill(1, 2)
        for _ in range(2):
            answer = await sent(pair, "destination:nas", instances[0]["ParentPatient"])
            assert answer.headers["Location"] == "/ui/routing?destination=nas&state=waiting"
        deliveries = [each for each in await list_jobs(pair.here.database) if each.kind == DELIVERY]
        assert len(deliveries) == 2, "what is on its way is not sent twice"
        await pair.here.client.post("/deliveries/cancel", json={"Destination": "nas"})
        await sent(pair, "destination:nas", instances[0]["ID"])
        open_jobs = [each.state for each in await list_jobs(pair.here.database) if each.kind == DELIVERY]
        assert sorted(open_jobs) == ["cancelled", "cancelled", "waiting"]

    @pytest.mark.parametrize(
        ("to", "chosen", "status"),
        [("", True, 400), ("modality:there", False, 400), ("modality:none", True, 404), ("destination:x", True, 404)],
    )
    async def test_nothing_or_nowhere(self, pair: Remote, to: str, chosen: bool, status: int) -> None:
        (instance,) = await pair.fill(1)
        assert (await sent(pair, to, *([instance["ID"]] if chosen else []))).status == status

    async def test_who_may(self, pair: Remote) -> None:
        pair.here.http = Http(users=(ADMIN, READER))
        for name, status in (("ann", 200), ("rob", 403)):
            assert (await pair.here.client.get("/ui/send", headers=by_password(name))).status == status
