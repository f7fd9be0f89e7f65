"""gateway/web/pages/upload: files and zips by a form and one by one, and the studies that have come of them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from gateway.config import Http, User
from gateway.index.identity import public_id
from tests.support.remote import file_of, numbered
from tests.support.sign_in import ADMIN, by_password
from tests.support.web import House, archive

STUDY = public_id("P1", "1.2.3")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with archive(tmp_path) as made:
        yield made


def zipped(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archived:
        for name, data in files.items():
            archived.writestr(name, data)
    return made.getvalue()


def form(*files: tuple[str, bytes]) -> FormData:
    made = FormData()
    for name, data in files:
        made.add_field("file", data, filename=name)
    return made


async def sent(gateway: House, data: bytes, **headers: str) -> list[dict[str, Any]]:
    answer = await gateway.client.post("/ui/upload/file", data=data, headers=headers)
    assert answer.status == 200, await answer.text()
    return list((await answer.json())["Files"])


class TestFile:
    async def test_each_status(self, gateway: House) -> None:
        data = file_of(numbered(1))
        assert await sent(gateway, data) == [{"File": "", "Reason": "", "Status": "stored", "Study": STUDY}]
        assert [each["Status"] for each in await sent(gateway, data)] == ["already"]
        assert [each["Status"] for each in await sent(gateway, b"no DICOM at all")] == ["not_dicom"]
        (refused,) = await sent(gateway, data[:200])
        assert (refused["Status"], bool(refused["Reason"])) == ("refused", True)
        assert await sent(gateway, b"") == []

    async def test_a_zip(self, gateway: House) -> None:
        found = await sent(gateway, zipped(a=file_of(numbered(1)), b=file_of(numbered(2)), c=b"text"))
        assert [(each["File"], each["Status"]) for each in found] == [
            ("a", "stored"),
            ("b", "stored"),
            ("c", "not_dicom"),
        ]

    async def test_a_zip_that_is_none(self, gateway: House) -> None:
        answer = await gateway.client.post("/ui/upload/file", data=b"PK\x03\x04nonsense")
        assert answer.status == 400


class TestForm:
    async def test_all_files(self, gateway: House) -> None:
        first, second = file_of(numbered(1)), file_of(numbered(2))
        files = form(("1.dcm", first), ("2.zip", zipped(a=second, b=b"<b>")), ("<i>.txt", b"text"), ("again", first))
        answer = await gateway.client.post("/ui/upload", data=files)
        page = await answer.text()
        assert answer.status == 200
        assert dict(re.findall(r'data-status="(\w+)">(\d+)<', page)) == {
            "stored": "2",
            "already": "1",
            "refused": "0",
            "not_dicom": "2",
        }
        assert "Doe, Jane" in page
        assert "<i>" not in page
        assert "<b>" not in page.partition('id="refused"')[2]

    async def test_nothing(self, gateway: House) -> None:
        assert (await gateway.client.post("/ui/upload", data=form(("", b"")))).status == 200
        assert (await gateway.client.post("/ui/upload", data={"a": "b"})).status == 400


class TestStudies:
    async def test_shown(self, gateway: House) -> None:
        await sent(gateway, file_of(numbered(1)))
        page = await (await gateway.get(f"/ui/upload/studies?id={STUDY}&id={public_id('P9', '1.9')}")).text()
        assert page.count("Doe, Jane") == 1
        assert (await gateway.get("/ui/upload/studies?id=x")).status == 400

    async def test_not_to_those_who_may_not_view(self, gateway: House) -> None:
        await sent(gateway, file_of(numbered(1)))
        users = [User(name=role, password=ADMIN.password, roles=(role,)) for role in ("store", "view")]
        gateway.http = Http(users=tuple(users))
        answer = await gateway.client.get(f"/ui/upload/studies?id={STUDY}", headers=by_password("store"))
        assert "Doe" not in await answer.text()
        assert (await gateway.client.get("/ui/upload", headers=by_password("store"))).status == 200
        assert (await gateway.client.get("/ui/upload", headers=by_password("view"))).status == 403
        assert [each["Status"] for each in await sent(gateway, file_of(numbered(2)), **by_password("store"))] == [
            "stored"
        ]
