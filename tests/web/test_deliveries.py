"""/destinations, /deliveries and /trace over deliveries that rules have begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.config import Settings
from gateway.events.feed import Feed
from gateway.forwarding.control import Selection
from gateway.forwarding.table import Delivery
from gateway.use_cases import open_use_cases
from gateway.web.app import create_app
from gateway.web.context import Context
from tests.forwarding.conftest import Archive
from tests.forwarding.conftest import archive as archive  # the fixture


class Desk:
    def __init__(self, archive: Archive, client: Any) -> None:
        self.archive, self.client = archive, client

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def states(self) -> list[str]:
        return [each["State"] for each in (await self.get("/deliveries"))["Deliveries"]]


@pytest.fixture
async def desk(archive: Archive) -> AsyncIterator[Desk]:
    archive.configure(all={"destinations": ["pacs"]})
    for number in range(3):
        await archive.store(f"7.{number}", AccessionNumber="A7")
    feed = Feed(archive.database)

    def settings() -> Settings:
        return archive.settings

    async with open_use_cases(settings, archive.database, archive.folder.store, archive.ingest) as use_cases:
        context = Context(use_cases, feed, associations=list, readiness=lambda: (True, []), ports=(4242, 8042))
        async with TestClient(TestServer(create_app(context))) as client:
            yield Desk(archive, client)
    await feed.close()


@pytest.mark.case("/metrics says how destinations stand and what is held")
async def test_measures(desk: Desk) -> None:
    async def measured() -> dict[str, float]:
        answer = await desk.client.get("/metrics")
        assert answer.status == 200
        lines = [line for line in (await answer.text()).splitlines() if line.startswith("gateway_")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    found = await measured()
    assert found['gateway_destination_deliveries{destination="pacs",state="waiting"}'] == 3
    assert found['gateway_destination_deliveries{destination="other",state="dead"}'] == 0
    assert found['gateway_destination_oldest_seconds{destination="pacs"}'] > 0
    assert found['gateway_destination_oldest_seconds{destination="other"}'] == 0
    assert found['gateway_destination_held{destination="pacs"}'] == 0
    assert found['gateway_jobs{state="waiting"}'] == 3
    assert (found["gateway_stored_instances"], found["gateway_stored_studies"]) == (3, 1)
    assert found["gateway_ready"] == 1
    assert found["gateway_disk_free_bytes"] > 0
    await desk.post("/destinations/pacs/hold")
    assert (await measured())['gateway_destination_held{destination="pacs"}'] == 1


async def test_destinations(desk: Desk) -> None:
    assert await desk.get("/destinations") == ["pacs", "other"]
    assert [each["Waiting"] for each in await desk.get("/destinations?expand")] == [3, 0]
    await desk.post("/destinations/pacs/hold")
    assert (await desk.get("/destinations/pacs"))["State"] == "Held"
    await desk.post("/destinations/pacs/release")
    assert (await desk.get("/destinations/pacs"))["State"] == "Active"
    assert (await desk.client.get("/destinations/nowhere")).status == 404
    assert (await desk.client.post("/destinations/nowhere/hold")).status == 404


async def test_the_queue_in_its_order(desk: Desk) -> None:
    queue = await desk.get("/destinations/pacs/queue")
    assert [each["SOPInstanceUID"] for each in queue] == ["7.0", "7.1", "7.2"]
    assert await desk.get("/destinations/pacs/queue?state=held") == []
    assert (await desk.client.get("/destinations/pacs/queue?state=dead")).status == 400


async def test_pages_and_one(desk: Desk) -> None:
    page = await desk.get("/deliveries?destination=pacs&limit=2")
    assert [each["SOPInstanceUID"] for each in page["Deliveries"]] == ["7.2", "7.1"]
    rest = await desk.get(f"/deliveries?destination=pacs&limit=2&before={page['Before']}")
    assert [each["SOPInstanceUID"] for each in rest["Deliveries"]] == ["7.0"]
    one = rest["Deliveries"][0]
    assert await desk.get(f"/deliveries/{one['ID']}") == one
    assert (one["Rule"], one["State"], one["Status"], one["CompletionTime"]) == ("all", "Waiting", None, "")
    for path in ("/deliveries/99", "/deliveries/x", "/deliveries?state=lost"):
        assert (await desk.client.get(path)).status in (400, 404)


async def test_one_is_held_released_and_cancelled(desk: Desk) -> None:
    one = (await desk.get("/deliveries"))["Deliveries"][0]["ID"]
    for action, state in (("hold", "Held"), ("release", "Waiting"), ("cancel", "Cancelled"), ("resend", "Waiting")):
        await desk.post(f"/deliveries/{one}/{action}")
        assert (await desk.get(f"/deliveries/{one}"))["State"] == state
    answer = await desk.client.post(f"/deliveries/{one}/release")
    assert answer.status == 400
    assert "is waiting" in (await answer.json())["Details"]


async def test_all_of_a_study(desk: Desk) -> None:
    study = (await desk.archive.all())[0].study
    assert await desk.post("/deliveries/cancel", {"Study": study}) == {"Count": 3}
    assert await desk.states() == ["Cancelled"] * 3
    for body in ({}, {"Studie": "x"}, {"Destination": "pacs", "State": "lost"}):
        assert (await desk.client.post("/deliveries/resend", json=body)).status == 400


async def test_the_story_of_a_study_and_of_an_instance(desk: Desk) -> None:
    first: Delivery = (await desk.archive.all())[0]
    for name in ("A7", "1.2", first.study, first.series, first.series_uid):
        (study,) = (await desk.get(f"/trace?name={name}"))["Studies"]
        assert (study["ID"], study["Instances"]) == (first.study, 3)
        assert [(each["Destination"], each["State"], each["Count"]) for each in study["Deliveries"]] == [
            ("pacs", "Waiting", 3)
        ]
        assert study["Origins"] == [
            {"CalledAet": "GATEWAY", "CallingAet": "CT1", "Count": 3, "Peer": "10.0.0.7", "Via": "dimse"}
        ]
    for name in ("7.0", first.instance):
        (instance,) = (await desk.get(f"/trace?name={name}"))["Instances"]
        assert (instance["SOPInstanceUID"], instance["CallingAet"]) == ("7.0", "CT1")
        assert [each["ID"] for each in instance["Deliveries"]] == [str(first.id)]
    assert (await desk.client.get("/trace?name=none")).status == 404
    assert (await desk.client.get("/trace")).status == 400


class TestPage:
    async def test_destinations_queue_and_story(self, desk: Desk) -> None:
        await desk.archive.deliveries.hold_destination("other")
        answer = await desk.client.get("/ui/routing?destination=pacs&state=waiting&name=A7")
        text = await answer.text()
        assert answer.status == 200
        assert "state-held" in text
        assert text.count('name="what" value="cancel"') == 3
        assert "3 to <b>pacs</b> by rule all" in text
        assert "3 from <b>CT1</b> at 10.0.0.7, by dimse" in text
        assert "Nothing here has this UID" in await (await desk.client.get("/ui/routing?name=none")).text()

    async def test_nothing_is_configured(self, desk: Desk) -> None:
        desk.archive.settings = msgspec.structs.replace(desk.archive.settings, destinations={}, rules={})
        await desk.archive.deliveries.act("cancel", Selection(destination="pacs"))
        assert "Nothing is sent on yet" in await (await desk.client.get("/ui/routing")).text()

    async def test_buttons(self, desk: Desk) -> None:
        one = (await desk.archive.all())[0].id

        async def press(what: str, **fields: object) -> int:
            form = {"what": what, **{name: str(value) for name, value in fields.items()}}
            return (await desk.client.post("/ui/routing", data=form, allow_redirects=False)).status

        assert await press("cancel", id=one, destination="pacs", state="waiting") == 303
        assert (await desk.archive.all())[0].state == "cancelled"
        assert await press("hold-destination", destination="pacs") == 303
        assert (await desk.archive.deliveries.destinations())[0].held
        assert await press("release-destination", destination="pacs") == 303
        assert await press("resend-lost", destination="pacs") == 303
        assert await press("launch") == 400
        assert await press("hold-destination", destination="nowhere") == 404

    async def test_buttons_of_other_pages_are_not_taken(self, desk: Desk) -> None:
        answer = await desk.client.post(
            "/ui/routing", data={"what": "hold-destination", "destination": "pacs"}, headers={"Origin": "http://evil"}
        )
        assert answer.status == 403
