"""/tools/bulk-content and /tools/bulk-delete, held against what Orthanc 1.10.1 answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Dicomweb, Settings
from gateway.dimse.commitment import Reference
from gateway.workflow.commitment import Commitments
from tests.support.web import House, archive
from tests.web.test_archives import one, store


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        made.dicomweb = Dicomweb(delete=True)
        yield made


async def content(gateway: House, body: Any) -> list[dict[str, Any]]:
    answer = await gateway.client.post("/tools/bulk-content", json=body)
    assert answer.status == 200
    return list(await answer.json())


async def delete(gateway: House, *resources: Any) -> int:
    return (await gateway.client.post("/tools/bulk-delete", json={"Resources": resources})).status


async def test_content_of_each(gateway: House) -> None:
    (first, second) = await store(gateway, one(1), one(2))
    ids = [second["ID"], first["ParentStudy"], "nope", second["ID"]]
    found = await content(gateway, {"Resources": ids})
    assert [each["ID"] for each in found] == [ids[0], ids[1], ids[3]]
    assert [each["Type"] for each in found] == ["Instance", "Study", "Instance"]
    assert all(each["Metadata"] for each in found)
    assert "Metadata" not in (await content(gateway, {"Resources": ids[:1], "Metadata": False}))[0]
    (short,) = await content(gateway, {"Resources": ids[1:2], "Short": True})
    assert short["MainDicomTags"]["0008,0050"] == "A1"
    (full,) = await content(gateway, {"Resources": ids[1:2], "Full": True})
    assert full["MainDicomTags"]["0008,0050"]["Name"] == "AccessionNumber"


async def test_content_at_a_level(gateway: House) -> None:
    (first, second) = await store(gateway, one(1), one(2))
    ids = [first["ParentPatient"], first["ID"], first["ParentStudy"]]
    for level, expected in (
        ("Instance", {first["ID"], second["ID"]}),
        ("Series", {first["ParentSeries"]}),
        ("Patient", {first["ParentPatient"]}),
    ):
        found = await content(gateway, {"Resources": ids, "Level": level})
        assert sorted(each["ID"] for each in found) == sorted(expected)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 15),
        ({"Resources": "x"}, 15),
        ({"Resources": [1]}, 15),
        ([], 8),
        ({"Resources": [], "Metadata": "x"}, 15),
        ({"Resources": [], "Level": "foo"}, 3),
        ({"Resources": [], "Level": 3}, 3),
    ],
)
async def test_what_makes_no_sense(gateway: House, body: Any, status: int) -> None:
    answer = await gateway.client.post("/tools/bulk-content", json=body)
    assert (answer.status, (await answer.json())["OrthancStatus"]) == (400, status)


async def test_delete(gateway: House) -> None:
    (first, second, third) = await store(gateway, one(1), one(2), one(1, study="2"))
    assert await delete(gateway, first["ID"], "nope") == 200
    assert await gateway.json("/instances") == [second["ID"], third["ID"]]
    named = {"Level": "Study", "ID": second["ParentStudy"]}
    assert await delete(gateway, {**named, "Level": "Series"}) == 200
    assert len(await gateway.json("/instances")) == 2
    assert await delete(gateway, named, second["ID"]) == 200
    assert await gateway.json("/instances") == [third["ID"]]
    for body in (1, {"ID": "x"}, {"ID": "x", "Level": "foo"}):
        assert await delete(gateway, body) == 400
    gateway.dicomweb = Dicomweb()
    assert await delete(gateway, third["ID"]) == 403


async def test_what_is_promised_stays(gateway: House) -> None:
    kept = one(1)
    (first, second) = await store(gateway, kept, one(1, study="2"))
    commitments = Commitments(gateway.database, gateway.store, Settings)
    number = await commitments.open("1.9", [Reference(kept.SOPClassUID, kept.SOPInstanceUID)], "PEER", "GATEWAY")
    await commitments.outcome(number)
    assert await delete(gateway, first["ParentStudy"], second["ParentStudy"]) == 409
    assert await gateway.json("/instances") == [first["ID"]]
