"""DELETE over DICOMweb and as Orthanc has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Dicomweb, Settings
from gateway.dimse.commitment import Reference
from gateway.index.identity import public_id
from gateway.workflow.commitment import Commitments
from tests.support.datasets import CT, instance
from tests.support.web import House, archive
from tests.web.test_stow import files, multipart, post


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        made.dicomweb = Dicomweb(delete=True)
        yield made


async def test_off_unless_configured(gateway: House):
    gateway.dicomweb = Dicomweb()
    for path in ("/dicom-web/studies/1.2", "/studies/1", "/patients/1", "/instances/1", "/series/1"):
        answer = await gateway.client.delete(path)
        assert answer.status == 403
        assert "dicomweb.delete" in await answer.text()


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("levels", [1, 2, 3])
async def test_over_dicomweb(gateway: House, status: int, levels: int):
    gateway.dicomweb = Dicomweb(delete=True, delete_status=status)
    one = instance()
    await post(gateway, multipart(files(one)))
    steps = [("studies", one.StudyInstanceUID), ("series", one.SeriesInstanceUID), ("instances", one.SOPInstanceUID)]
    path = "/dicom-web" + "".join(f"/{name}/{uid}" for name, uid in steps[:levels])
    assert (await gateway.client.delete(path)).status == status
    assert (await gateway.client.delete(path)).status == 404
    assert await gateway.json("/dicom-web/studies") == []


async def test_as_orthanc(gateway: House):
    one, two = instance(), instance()
    two.StudyInstanceUID, two.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
    await post(gateway, multipart(files(one, two)))
    names = ["P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID]
    answer = await gateway.client.delete(f"/instances/{public_id(*names)}")
    series = public_id(*names[:3])
    assert await answer.json() == {"RemainingAncestor": {"ID": series, "Path": f"/series/{series}", "Type": "Series"}}
    answer = await gateway.client.delete(f"/studies/{public_id(*names[:2])}")
    assert answer.status == 200
    assert await answer.json() == {"RemainingAncestor": None}
    assert (await gateway.client.delete(f"/patients/{public_id('P1')}")).status == 404
    changes = (await gateway.json("/changes"))["Changes"]
    assert [(each["ChangeType"], each["ResourceType"]) for each in changes[-4:]] == [
        ("Deleted", level) for level in ("Instance", "Series", "Study", "Patient")
    ]


async def test_what_was_promised(gateway: House):
    one = instance()
    await post(gateway, multipart(files(one)))
    commitments = Commitments(gateway.database, gateway.store, Settings)
    number = await commitments.open("1.9", [Reference(CT, one.SOPInstanceUID)], "PEER", "GATEWAY")
    await commitments.outcome(number)
    answer = await gateway.client.delete(f"/dicom-web/studies/{one.StudyInstanceUID}")
    assert answer.status == 409
    assert "must be kept until" in (await answer.json())["Details"]
