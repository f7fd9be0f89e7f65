"""POST /instances, held against what Orthanc 1.10.1 answers (tests/interop/test_orthanc_web.py asks it)."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.archive import zips
from gateway.config import Dicomweb
from gateway.index.identity import public_id
from tests.support.datasets import instance, sample
from tests.support.web import House, archive
from tests.web.test_stow import part10


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with asyncio.timeout(30), archive(tmp_path / "data") as made:
        yield made


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return target.getvalue()


async def test_a_file(gateway: House):
    one = instance()
    names = ["P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID]
    for status in ("Success", "AlreadyStored"):
        answer = await gateway.client.post("/instances", data=part10(one))
        assert answer.status == 200
        assert await answer.json() == {
            "ID": public_id(*names),
            "ParentPatient": public_id(*names[:1]),
            "ParentSeries": public_id(*names[:3]),
            "ParentStudy": public_id(*names[:2]),
            "Path": f"/instances/{public_id(*names)}",
            "Status": status,
        }


@pytest.mark.parametrize("content", [b"", b"PK", b"nonsense", part10(instance())[:700]])
async def test_what_is_none(gateway: House, content: bytes):
    answer = await gateway.client.post("/instances", data=content)
    assert answer.status == 400
    found = await answer.json()
    assert (found["OrthancStatus"], found["OrthancError"]) == (15, "Bad file format")


async def test_a_zip(gateway: House):
    one, two = instance(), instance()
    members = {
        "a/b/one": part10(one),
        "DICOMDIR": sample("DICOMDIR").read_bytes(),
        "notes.txt": b"hello",
        "empty": b"",
        "broken.dcm": part10(instance())[:700],
        "two.dcm": part10(two),
    }
    answer = await gateway.client.post("/instances", data=zipped(members))
    assert answer.status == 200
    found = await answer.json()
    assert [each["ID"] for each in found] == [
        public_id("P1", each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID) for each in (one, two)
    ]
    assert {each["Status"] for each in found} == {"Success"}
    assert await (await gateway.client.post("/instances", data=zipped({}))).json() == []


class TestHostileZips:
    async def refused(self, gateway: House, content: bytes, words: str) -> None:
        answer = await gateway.client.post("/instances", data=content)
        assert answer.status == 400
        assert words in (await answer.json())["Details"]

    async def test_a_bomb(self, gateway: House):
        one = instance()
        one.PixelData = bytes(64 << 20)
        gateway.dicomweb = Dicomweb(max_upload=1 << 20)
        content = zipped({"bomb.dcm": part10(one)})
        assert len(content) < 1 << 20
        await self.refused(gateway, content, "unpacks to more")
        while gateway.ingest._tasks:
            await asyncio.wait(gateway.ingest._tasks)
        assert not list(gateway.ingest.store.keys())

    async def test_a_bomb_of_something_else_is_hardly_looked_at(self, gateway: House):
        content = zipped({f"{number}.txt": bytes(64 << 20) for number in range(3)})
        gateway.dicomweb = Dicomweb(max_upload=4 << 20)
        answer = await gateway.client.post("/instances", data=content)
        assert await answer.json() == []

    async def test_a_directory_that_fills_memory(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(zips, "MAX_DIRECTORY", 1000)
        await self.refused(gateway, zipped({f"{number}": b"" for number in range(50)}), "directory")

    async def test_a_directory_that_lies_in_zip64(self, gateway: House):
        content = zipped({"a": b"b"})
        end = content[content.rfind(b"PK\5\6") :]
        start = len(content) - len(end)
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, start, 1)
        await self.refused(gateway, content[:start] + record + locator + end, "directory")

    @pytest.mark.parametrize("content", [b"PK\3\4", b"PK\3\4" + bytes(1000), zipped({"a": b"b"})[:-10]])
    async def test_no_end(self, gateway: House, content: bytes):
        await self.refused(gateway, content, "not a zip")

    async def test_any_byte_of_it_wrong(self, gateway: House):
        content = zipped({"a.dcm": part10(instance())})
        for at in (*range(40), *range(len(content) - 80, len(content))):
            broken = bytearray(content)
            broken[at] ^= 0xFF
            assert (await gateway.client.post("/instances", data=bytes(broken))).status in (200, 400)


async def test_larger_than_is_taken(gateway: House):
    gateway.dicomweb = Dicomweb(max_upload=1000)
    assert (await gateway.client.post("/instances", data=part10(instance()))).status == 413
