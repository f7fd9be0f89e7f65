"""Attachments over REST: what users attach at every level, and the file of an instance."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from gateway.config import Dicomweb, Rest
from gateway.errors import OutOfSpace
from gateway.index import attachments as index
from gateway.index.store import garbage
from tests.support.datasets import sample
from tests.support.intake import begun
from tests.support.waiting import until
from tests.support.web import House, archive

LEVELS = ("patients", "studies", "series", "instances")
HTML = b"<script>alert(1)</script>"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with archive(tmp_path) as made:
        made.dicomweb = Dicomweb(delete=True)
        await add(made)
        yield made


@pytest.fixture
async def study(gateway: House) -> str:
    return f"/studies/{(await gateway.json('/studies'))[0]}"


async def add(gateway: House) -> None:
    answer = await gateway.client.post("/instances", data=sample("CT_small.dcm").read_bytes())
    assert answer.status == 200


async def put(gateway: House, path: str, data: Any, **headers: str) -> ClientResponse:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.client.put(path, data=io.BytesIO(data) if isinstance(data, bytes) else data, headers=fields)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def tag(revision: int, data: bytes) -> str:
    return f'"{revision}-{md5(data)}"'


def stored(folder: Path) -> list[Path]:
    """The files of the store that are attachments."""
    files = [path for path in (folder / "store").rglob("*") if path.is_file()]
    return [path for path in files if path.read_bytes().startswith(b"\x89gateway")]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["1024", "65535", "report", "Dept.Note-2_b", "2026-report.pdf"])
async def test_it_is_attached_replaced_and_taken_away(gateway: House, level: str, name: str) -> None:
    resource = f"/{level}/{(await gateway.json(f'/{level}'))[0]}"
    path = f"{resource}/attachments/{name}"
    assert (await gateway.get(path)).status == 404
    answer = await put(gateway, path, b"first")
    assert (answer.status, await answer.json(), answer.headers["ETag"]) == (200, {}, tag(0, b"first"))
    answer = await put(gateway, path, HTML)
    assert answer.headers["ETag"] == tag(1, HTML)
    own = ["dicom"] if level == "instances" else []
    assert await gateway.json(f"{resource}/attachments") == [*own, name]
    number = int(name) if name.isdecimal() else None
    assert await gateway.json(f"{resource}/attachments?full") == {**dict.fromkeys(own, 1), name: number}
    for each, wanted in (
        *(("size", "25"), ("compressed-size", "25"), ("is-compressed", "0")),
        *(("md5", md5(HTML)), ("compressed-md5", md5(HTML))),
    ):
        answer = await gateway.get(f"{path}/{each}")
        assert (await answer.text(), answer.headers["ETag"], answer.content_type) == (
            *(wanted, tag(1, HTML)),
            "text/plain",
        )
    info = await gateway.json(f"{path}/info")
    assert len(info.pop("Uuid")) == 26
    assert info == {
        "CompressedMD5": md5(HTML),
        "CompressedSize": 25,
        "ContentType": number,
        "UncompressedMD5": md5(HTML),
        "UncompressedSize": 25,
    }
    assert "verify-md5" in await gateway.json(path)
    assert await (await gateway.client.post(f"{path}/verify-md5")).json() == {}
    assert (await gateway.client.post(f"{path}/uncompress")).status == 200
    assert (await gateway.client.post(f"{path}/compress")).status == 403
    assert (await gateway.client.delete(path)).status == 200
    assert (await gateway.client.delete(path)).status == 404
    assert (await gateway.get(f"{path}/data")).status == 404
    assert await gateway.json(f"{resource}/attachments") == own


@pytest.mark.parametrize("part", ["data", "compressed-data"])
async def test_nothing_active_comes_out(gateway: House, study: str, part: str) -> None:
    path = f"{study}/attachments/page.html/{part}"
    assert (await put(gateway, f"{study}/attachments/page.html", HTML, Content_Type="text/html")).status == 200
    answer = await gateway.get(path, accept="text/html")
    assert await answer.read() == HTML
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="page.html"'
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer = await gateway.get(f"{path}?filename=../x%22%0d%0aSet-Cookie:y.pdf")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="xSet-Cookiey.pdf"'


async def test_parts_of_it(gateway: House, study: str) -> None:
    data = bytes(range(256)) * 20_000
    path = f"{study}/attachments/1024"
    await put(gateway, path, data)
    answer = await gateway.get(f"{path}/data", range="bytes=1000-2999999")
    assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes 1000-2999999/{len(data)}")
    assert await answer.read() == data[1000:3_000_000]
    assert (await gateway.get(f"{path}/data", range="bytes=9999999-")).status == 416
    assert (await gateway.get(f"{path}/data", if_none_match=tag(0, data))).status == 304
    assert await (await gateway.get(f"{path}/data", if_range=tag(1, b""), range="bytes=0-1")).read() == data
    answer = await gateway.client.head(f"{path}/data")
    assert (answer.headers["Content-Length"], await answer.read()) == (str(len(data)), b"")


async def test_an_empty_one(gateway: House, study: str) -> None:
    path = f"{study}/attachments/empty"
    assert (await put(gateway, path, b"")).headers["ETag"] == tag(0, b"")
    answer = await gateway.get(f"{path}/data")
    assert (answer.status, await answer.read()) == (200, b"")
    assert (await gateway.client.post(f"{path}/verify-md5")).status == 200


async def test_only_what_has_not_been_changed_meanwhile(gateway: House, study: str) -> None:
    path = f"{study}/attachments/note"
    assert (await put(gateway, path, b"a", If_Match=tag(0, b"a"))).status == 404
    await put(gateway, path, b"a")
    assert (await put(gateway, path, b"b", If_Match=tag(0, b"a"))).status == 200
    for method in ("PUT", "DELETE"):
        answer = await gateway.client.request(method, path, data=b"c", headers={"If-Match": tag(0, b"a")})
        assert (answer.status, (await answer.json())["OrthancStatus"]) == (409, 43)
    assert await (await gateway.get(f"{path}/data")).read() == b"b"
    assert (await gateway.client.delete(path, headers={"If-Match": tag(1, b"b")})).status == 200


@pytest.mark.parametrize("kind", ["metadata", "attachments"])
async def test_conditions(gateway: House, study: str, kind: str) -> None:
    """RFC 9110 §13.1.1 and §13.1.2: lists, `*`, weak tags; and a tag without quotes, which Orthanc takes too."""
    path, mine, other = f"{study}/{kind}/note", tag(0, b"a"), tag(7, b"x")

    async def change(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await gateway.client.put(path, data=b"a", headers=named)).status

    assert await change(If_Match="*") == 404
    assert await change(If_None_Match="*") == 200
    assert await change(If_None_Match="*") == 412
    assert await change(If_None_Match=f"{other}, W/{mine}") == 412
    for unmatched in (other, f"W/{mine}", f"{other}, {other}"):
        assert await change(If_Match=unmatched) == 409
    for wrong in ("", ",", " , ", "*, *", '"', f"{mine} {mine}", f"*,{mine}", 'W/"', 'a"b"', "a b"):
        assert await change(If_Match=wrong) == 400, wrong
        assert await change(If_None_Match=wrong) == 400, wrong
    for number, matching in enumerate((f"{other},{mine}", f",{mine} ,\t{other},", "*", mine.strip('"'))):
        matching = matching.replace("0-", f"{number}-")
        assert await change(If_Match=matching, If_None_Match=other) == 200
    answer = await gateway.client.delete(path, headers={"If-None-Match": "*"})
    assert answer.status == 412
    answer = await gateway.client.delete(path, headers={"If-Match": "*"})
    assert answer.status == 200


async def test_of_two_at_once_only_one_changes_it(gateway: House, study: str) -> None:
    """Both may while they begin: the transaction decides."""
    path = f"{study}/attachments/note"
    await put(gateway, path, b"a")
    answers = await asyncio.gather(*(put(gateway, path, bytes([n]) * 50_000, If_Match=tag(0, b"a")) for n in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]


@pytest.mark.parametrize(
    "name", ["dicom", "dicom-as-json", "dicom-until-pixel-data", "1", "1023", "65536", "01024", "9" * 30, "a b", "-x"]
)
async def test_names_that_are_not_the_users(gateway: House, name: str) -> None:
    for level in ("studies", "instances"):
        path = f"/{level}/{(await gateway.json(f'/{level}'))[0]}/attachments/{name}"
        assert (await put(gateway, path, b"x")).status == 403
        assert (await gateway.client.delete(path)).status == 403


class TestLimits:
    @pytest.mark.parametrize("checks", [0, 1, 3])
    async def test_of_the_disk(
        self, gateway: House, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: int
    ) -> None:
        """Full at the beginning, or in the middle of a file: nothing is left."""

        def check() -> None:
            nonlocal checks
            if not checks:
                raise OutOfSpace("0 MiB free")
            checks -= 1

        await until(lambda: not begun(tmp_path))  # the instance has its name in the store alone
        monkeypatch.setattr(gateway.ingest, "check_space", check)
        answer = await put(gateway, f"{study}/attachments/x", bytes(5_000_000))
        assert (answer.status, (await answer.json())["OrthancStatus"]) == (507, 19)
        assert stored(tmp_path) == []
        assert begun(tmp_path) == []
        assert await gateway.json(f"{study}/attachments") == []

    async def test_of_one(self, gateway: House, study: str, tmp_path: Path) -> None:
        gateway.rest = Rest(max_attachment=1000)

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(500)

        assert (await put(gateway, f"{study}/attachments/x", bytes(1000))).status == 200
        assert (await put(gateway, f"{study}/attachments/x", bytes(1001))).status == 413
        answer = await put(gateway, f"{study}/attachments/x", endless())
        assert (answer.status, (await answer.json())["Details"]) == (
            413,
            "more than 1000 bytes are not accepted (rest.max_attachment)",
        )
        assert await (await gateway.get(f"{study}/attachments/x/size")).text() == "1000"
        assert len(stored(tmp_path)) == 1

    async def test_of_their_number(self, gateway: House, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "MAX_ATTACHMENTS", 1)
        assert (await put(gateway, f"{study}/attachments/1024", b"x")).status == 200
        assert (await put(gateway, f"{study}/attachments/1025", b"x")).status == 400
        assert (await put(gateway, f"{study}/attachments/1024", b"y")).status == 200

    @pytest.mark.parametrize("level", LEVELS)
    async def test_of_what_is_not_there(self, gateway: House, level: str, tmp_path: Path) -> None:
        path = f"/{level}/0-0/attachments/1024"
        assert (await put(gateway, path, b"x")).status == 404
        for method in ("GET", "DELETE"):
            assert (await gateway.client.request(method, path)).status == 404
        for each in ("verify-md5", "compress", "uncompress"):
            assert (await gateway.client.post(f"{path}/{each}")).status == 404
        assert stored(tmp_path) == []


class TestTheFileOfAnInstance:
    @pytest.fixture
    async def path(self, gateway: House) -> str:
        return f"/instances/{(await gateway.json('/instances'))[0]}/attachments/dicom"

    async def test_is_one_too(self, gateway: House, path: str) -> None:
        answer = await gateway.get(f"{path}/data")
        data = await answer.read()
        assert answer.content_type == "application/dicom"
        assert await (await gateway.get(f"{path}/md5")).text() == md5(data)
        assert (await gateway.json(f"{path}/info"))["CompressedSize"] == len(data)
        assert await gateway.json(path.replace("dicom", "1")) == await gateway.json(path)

    async def test_it_is_said_that_there_is_nothing_to_verify_it_by(self, gateway: House, path: str) -> None:
        answer = await gateway.client.post(f"{path}/verify-md5")
        assert answer.status == 409
        assert "no MD5 was taken" in (await answer.json())["Details"]


async def test_damage_is_found(gateway: House, study: str, tmp_path: Path) -> None:
    path = f"{study}/attachments/note"
    await put(gateway, path, b"what it was")
    (file,) = stored(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"was", b"is "))
    answer = await gateway.client.post(f"{path}/verify-md5")
    assert answer.status == 500
    assert "damaged" in (await answer.json())["Details"]
    file.write_bytes(data[:-3])
    assert (await gateway.client.post(f"{path}/verify-md5")).status == 500


async def test_changes_say_so(gateway: House, study: str) -> None:
    await put(gateway, f"{study}/attachments/note", b"x")
    await gateway.client.delete(f"{study}/attachments/note")
    changes = (await gateway.json("/changes?type=UpdatedAttachment"))["Changes"]
    assert [each["Path"] for each in changes] == [study, study]


@pytest.mark.parametrize("deleted", LEVELS)
async def test_they_go_with_what_they_belong_to(gateway: House, tmp_path: Path, deleted: str) -> None:
    for level in LEVELS:
        path = f"/{level}/{(await gateway.json(f'/{level}'))[0]}"
        assert (await put(gateway, f"{path}/attachments/note", level.encode())).status == 200
    assert len(stored(tmp_path)) == 4
    (identifier,) = await gateway.json(f"/{deleted}")
    assert (await gateway.client.delete(f"/{deleted}/{identifier}")).status == 200
    gone = await garbage(gateway.database, older_than=time.time() + 1000)
    assert {path.name for path in stored(tmp_path)} <= set(gone)
    await add(gateway)
    for level in LEVELS:
        path = f"/{level}/{(await gateway.json(f'/{level}'))[0]}"
        assert "note" not in await gateway.json(f"{path}/attachments")


async def test_what_is_replaced_is_deleted_later(gateway: House, study: str, tmp_path: Path) -> None:
    for data in (b"a", b"b", b"c"):
        await put(gateway, f"{study}/attachments/note", data)
    assert len(await garbage(gateway.database, older_than=time.time() + 1000)) == 2
    await gateway.client.delete(f"{study}/attachments/note")
    gone = await garbage(gateway.database, older_than=time.time() + 1000)
    assert sorted(gone) == sorted(path.name for path in stored(tmp_path))


async def test_a_sender_that_goes_leaves_nothing(gateway: House, study: str, tmp_path: Path) -> None:
    sent, gone = asyncio.Event(), asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3_000_000)
        sent.set()
        await gone.wait()
        yield b""

    sending = asyncio.create_task(put(gateway, f"{study}/attachments/note", broken()))
    async with asyncio.timeout(20):
        await sent.wait()
        await until(lambda: any(path.stat().st_size > 1_000_000 for path in begun(tmp_path)))
        sending.cancel()
        await asyncio.wait([sending])
        await until(lambda: not begun(tmp_path))
    assert stored(tmp_path) == []
    assert await gateway.json(f"{study}/attachments") == []
