"""Files are read into the index again while the gateway serves, for one resource or for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.database.database import Query, Script
from gateway.events.changes import last_change
from gateway.index.identity import public_id
from gateway.jobs.runner import Runner
from tests.support.datasets import instance
from tests.support.waiting import until
from tests.support.web import House, archive
from tests.web.test_stow import files, multipart, post

ROWS = Query(
    "rows",
    """
    SELECT p.attributes, t.patient_id, t.description, t.modalities, t.attributes, t.extras, s.modality, s.attributes,
        s.extras, i.number, i.attributes, i.extras, i.version, i.received_at
    FROM patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id
    JOIN instances i ON i.series = s.id ORDER BY i.id
    """,
)
NAMES = Query("names", "SELECT tag, name FROM person_names ORDER BY tag, name")
DAMAGE = (
    "UPDATE patients SET attributes = ''",
    "UPDATE studies SET patient_id = '', description = 'wrong', modalities = '\\', attributes = '', extras = ''",
    "UPDATE series SET modality = 'XX', attributes = '', extras = ''",
    "UPDATE instances SET number = 99, attributes = '', extras = ''",
    "DELETE FROM person_names",
)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        runner = Runner(made.database, made.use_cases.kinds, poll=0.02)
        runner.start()
        try:
            yield made
        finally:
            await runner.close()


async def state(gateway: House) -> list[Any]:
    return [await gateway.database.fetch(ROWS), await gateway.database.fetch(NAMES)]


async def damage(gateway: House) -> None:
    def script() -> Script[None]:
        for text in DAMAGE:
            yield Query("damage", text), ()

    await gateway.database.write(script)


async def filled(gateway: House, *, count: int = 3) -> list[str]:
    """The paths of a patient, study, series and instance, of which there are several below the study."""
    made = [instance(StudyDescription="Thorax", InstanceNumber=str(number)) for number in range(count)]
    for one in made[1:]:
        one.StudyInstanceUID = made[0].StudyInstanceUID
    await post(gateway, multipart(files(*made)))
    one = made[0]
    uids = "P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    kinds = ("patients", "studies", "series", "instances")
    return [f"/{kind}/{public_id(*uids[: at + 1])}" for at, kind in enumerate(kinds)]


async def test_a_resource_with_all_below(gateway: House) -> None:
    patient, study, *_ = await filled(gateway)
    before, changes = await state(gateway), await last_change(gateway.database)
    assert (await gateway.client.put(f"{study}/labels/kept")).status == 200
    for path in (study, patient):
        await damage(gateway)
        assert await state(gateway) != before
        answer = await gateway.client.post(f"{path}/reconstruct")
        assert (answer.status, await answer.text()) == (200, "")
        assert await state(gateway) == before
    assert await gateway.json(f"{study}/labels") == ["kept"]
    assert await last_change(gateway.database) == changes


async def test_everything_in_a_job(gateway: House) -> None:
    await filled(gateway, count=60)
    await filled(gateway, count=2)
    before = await state(gateway)
    await damage(gateway)
    job = await (await gateway.client.post("/tools/reconstruct", json={"UserData": "mine"})).json()

    async def done() -> Any:
        found = await gateway.json(job["Path"])
        return found if found["State"] in ("Success", "Failure") else None

    found = await until(done)
    assert (found["State"], found["Type"], found["UserData"]) == ("Success", "Reconstruct", "mine")
    assert (found["Content"]["InstancesCount"], found["Content"]["FailedInstancesCount"]) == (62, 0)
    assert await state(gateway) == before


async def test_an_instance_changes_those_above_only_where_it_is_the_oldest(gateway: House) -> None:
    patient, *_ = await filled(gateway)
    before = await state(gateway)
    oldest, *others = [f"/instances/{each}" for each in await gateway.json(f"{patient}/instances?expand=false")]
    await damage(gateway)
    await gateway.client.post(f"{others[0]}/reconstruct")
    (study,) = await gateway.json("/studies?expand")
    assert "StudyDescription" not in study["MainDicomTags"]
    await gateway.client.post(f"{oldest}/reconstruct")
    (study,) = await gateway.json("/studies?expand")
    assert study["MainDicomTags"]["StudyDescription"] == "Thorax"
    for path in others:
        await gateway.client.post(f"{path}/reconstruct")
    assert await state(gateway) == before


async def test_a_file_that_cannot_be_read_is_counted(gateway: House, monkeypatch: pytest.MonkeyPatch) -> None:
    _patient, study, *_ = await filled(gateway)
    before = await state(gateway)
    (first, *_), opened = await gateway.database.fetch(Query("key", "SELECT key FROM instances")), gateway.store.open
    monkeypatch.setattr(gateway.store, "open", lambda key: opened("0" * len(key) if (key,) == first else key))
    answer = await gateway.client.post(f"{study}/reconstruct")
    assert answer.status == 500
    assert "1 of 3 files cannot be read again" in (await answer.json())["Details"]
    assert await state(gateway) == before


async def test_what_is_not_there(gateway: House) -> None:
    for kind in ("patients", "studies", "series", "instances"):
        assert (await gateway.client.post(f"/{kind}/0-0/reconstruct")).status == 404
    _patient, study, *_ = await filled(gateway)
    assert (await gateway.client.post(f"{study}/reconstruct", data=b"{")).status == 400
    answer = await gateway.client.post(f"{study}/reconstruct", json={"Asynchronous": True, "ReconstructFiles": True})
    assert (await answer.json())["Path"].startswith("/jobs/")
