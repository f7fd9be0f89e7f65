"""POST /instances, held against what Orthanc 1.10.1 answers (tests/interop/test_orthanc_web.py asks it)."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import FormData

from gateway.config import Dicomweb, Storage
from gateway.index.identity import public_id
from gateway.ingest import zip_members
from tests.support.datasets import EXPLICIT, IMPLICIT, encode, instance, sample
from tests.support.web import House, archive, parts
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


@pytest.mark.case("files without preamble or group 0002 are taken where they can be read")
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
async def test_a_bare_data_set(gateway: House, syntax: str):
    one = instance()
    for content in (encode(one, syntax), part10(one)[132:]):
        answer = await gateway.client.post("/instances", data=content)
        assert answer.status == 200
        assert (await answer.json())["ParentPatient"] == public_id("P1")


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
        *(public_id("P1", each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID) for each in (one, two)),
        *[""] * 4,
    ]
    assert [(each["File"], each["Status"]) for each in found] == [
        ("a/b/one", "Success"),
        ("two.dcm", "Success"),
        ("broken.dcm", "Failure"),
        ("DICOMDIR", "NotDicom"),
        ("notes.txt", "NotDicom"),
        ("empty", "NotDicom"),
    ]
    assert all(set(each) >= {"ParentPatient", "ParentStudy", "ParentSeries", "Path"} for each in found)
    assert all(each["Reason"] for each in found[2:])
    assert await (await gateway.client.post("/instances", data=zipped({}))).json() == []


@pytest.mark.case("a zip in which every file is refused is an error that says what became of each")
async def test_a_zip_of_nothing_that_is_taken(gateway: House):
    members = {"notes.txt": b"hello", "a/broken.dcm": part10(instance())[:700]}
    answer = await gateway.client.post("/instances", data=zipped(members))
    assert answer.status == 400
    found = await answer.json()
    assert "none of the 2 files" in found["Details"]
    assert [(each["File"], each["Status"], bool(each["Reason"])) for each in found["Files"]] == [
        ("a/broken.dcm", "Failure", True),
        ("notes.txt", "NotDicom", True),
    ]


class TestForms:
    """As `curl -F` and browsers send them."""

    async def test_one_file(self, gateway: House) -> None:
        one = instance()
        answer = await gateway.client.post("/instances", data={"file": io.BytesIO(part10(one))})
        (found,) = await answer.json()
        assert (answer.status, found["Status"]) == (200, "Success")
        assert found["ID"] == public_id("P1", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)

    async def test_files_of_every_kind(self, gateway: House) -> None:
        form = FormData()
        files = {
            "one.dcm": part10(instance()),
            "some.zip": zipped({"in/zip": part10(instance()), "x.txt": b"text"}),
            "cut.dcm": part10(instance())[:700],
            "note.txt": b"text",
            "empty": b"",
            "last.dcm": part10(instance()),
        }
        for name, content in files.items():
            form.add_field("file", content, filename=name)
        form.add_field("comment", "a field without a file")
        answer = await gateway.client.post("/instances", data=form)
        assert answer.status == 200
        assert [(each["File"], each["Status"]) for each in await answer.json()] == [
            *((name, "Success") for name in ("one.dcm", "in/zip", "last.dcm")),
            ("cut.dcm", "Failure"),
            *((name, "NotDicom") for name in ("x.txt", "note.txt", "comment")),
        ]
        assert len(await gateway.json("/instances")) == 3

    @pytest.mark.parametrize("content", [b"nothing", b"", part10(instance())[:700]])
    async def test_nothing_that_is_taken(self, gateway: House, content: bytes) -> None:
        form = FormData()
        form.add_field("file", content, filename="x")
        answer = await gateway.client.post("/instances", data=form)
        assert (answer.status, (await answer.json())["OrthancStatus"]) == (400, 15)

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=other"])
    async def test_no_form_at_all(self, gateway: House, kind: str) -> None:
        answer = await gateway.client.post("/instances", data=part10(instance()), headers={"Content-Type": kind})
        assert answer.status == 400
        assert await gateway.json("/instances") == []

    async def test_what_came_before_a_sender_goes_stays(self, gateway: House) -> None:
        head = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        body = head + part10(instance()) + b"\r\n" + head + part10(instance())[:-10]
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await gateway.client.post("/instances", data=body, headers=kind)).status == 400
        assert len(await gateway.json("/instances")) == 1

    async def test_more_than_is_taken(self, gateway: House) -> None:
        gateway.dicomweb = Dicomweb(max_upload=1000)
        answer = await gateway.client.post("/instances", data={"file": io.BytesIO(part10(instance()))})
        assert answer.status == 413


async def test_the_same_again_where_files_are_overwritten(gateway: House) -> None:
    """Orthanc says Success then, as it does of every file that is there now as it was sent."""
    gateway.storage = Storage(duplicates="overwrite")
    content = part10(instance())
    for _ in range(2):
        assert (await (await gateway.client.post("/instances", data=content)).json())["Status"] == "Success"


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
        assert {each["Status"] for each in (await answer.json())["Files"]} == {"NotDicom"}

    @pytest.mark.case("a member of a zip that is neither stored nor deflated is not unpacked")
    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    async def test_methods_that_unpack_without_a_limit(self, gateway: House, method: int):
        content = zipped({"a.dcm": part10(instance())}, method)
        await self.refused(gateway, content, "only stored and deflated members")

    async def test_a_directory_that_fills_memory(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(zip_members, "MAX_DIRECTORY_BYTES", 1000)
        await self.refused(gateway, zipped({f"{number}": b"" for number in range(50)}), "directory")

    async def test_a_directory_that_lies_in_zip64(self, gateway: House):
        content = zipped({"a": b"b"})
        end = content[content.rfind(b"PK\5\6") :]
        start = len(content) - len(end)
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, start, 1)
        await self.refused(gateway, content[:start] + record + locator + end, "directory")

    @pytest.mark.parametrize(
        "content",
        [b"PK\3\4", b"PK\3\4" + bytes(1000), zipped({"a": b"b"})[:-10]],
        ids=["its first bytes", "then zeros", "cut short"],
    )
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


@pytest.mark.case("an upload that is cut short is 400, one that lacks pixel data says so")
async def test_what_is_cut_short_and_what_lacks_pixel_data(gateway: House):
    answer = await gateway.client.post("/instances", data=part10(instance())[:-100])
    assert answer.status == 400
    assert "cut short in (7FE0,0010)" in (await answer.json())["Details"]
    answer = await gateway.client.post("/instances", data=part10(instance(PixelData=bytes(400))))
    assert answer.status == 200
    found = await answer.json()
    assert (found["Status"], found["Incomplete"]) == ("Success", "400 of 512 bytes of pixel data")
    page = await (await gateway.client.get("/ui/")).text()
    assert ">1 incomplete</span>" in page
    metrics = await (await gateway.client.get("/metrics")).text()
    assert 'gateway_intake_incomplete_total{seen="intake"}' in metrics
    trace = await (await gateway.client.get(f"/trace?name={found['ID']}")).json()
    assert trace["Instances"][0]["Incomplete"] == "400 of 512 bytes of pixel data"
    gateway.dicomweb = Dicomweb(delete=True)
    assert (await gateway.client.delete(f"/instances/{found['ID']}")).status == 200
    assert "incomplete</span>" not in await (await gateway.client.get("/ui/")).text()


@pytest.mark.parametrize("beginning", [b"MZ", b"\x7fELF", b"#!/bin/sh\n", b"II*\0", b"<script>"])
async def test_nothing_of_a_preamble_is_kept(gateway: House, beginning: bytes):
    """What may make another kind of file of it (PS3.10 §7.5) is not stored, nor handed out."""
    one = instance()
    content = beginning.ljust(128, b"X") + part10(one)[128:]
    assert (await gateway.client.post("/instances", data=content)).status == 200
    url = f"/dicom-web/studies/{one.StudyInstanceUID}"
    kind = "multipart/related; type=application/dicom; transfer-syntax=*"
    answer = await gateway.get(url, accept=kind)
    ((_, file),) = parts(answer, await answer.read())
    assert file[:132] == bytes(128) + b"DICM"
