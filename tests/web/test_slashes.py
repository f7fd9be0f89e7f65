"""gateway/web/slashes.py: paths as clients put them together."""

from __future__ import annotations

import pytest
from aiohttp import ClientResponse
from yarl import URL

from gateway.config import Http, User
from tests.support.datasets import instance
from tests.support.web import House, house

ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"


async def add(gateway: House) -> None:
    source = instance()
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    await gateway.add(source)


async def request(gateway: House, method: str, path: str) -> ClientResponse:
    """The path goes out as it is: the client of aiohttp's tests takes one with `//` for a host."""
    url = URL(str(gateway.client.make_url("/")).rstrip("/") + path, encoded=True)
    return await gateway.client.session.request(method, url, allow_redirects=False)


@pytest.mark.case("resources answer with a slash at their end and with two where one is enough")
@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies/",
        "/dicom-web//studies",
        "//dicom-web/studies?limit=1",
        "/dicom-web/studies///?limit=1",
        "/dicom-web/studies/1.1/series/",
        "/dicom-web/studies/1.1/",
        "/dicom-web/studies//1.1//metadata/",
        f"{ONE}/",
        f"{ONE}/metadata/",
        f"{ONE}/frames/1/",
        f"{ONE}/rendered/",
        f"{ONE}/bulkdata/7FE00010/",
        f"{ONE}/bulkdata//7FE00010",
        f"{ONE}/bulkdata/7FE00010/frames/1/",
        "/system/",
        "//system",
        "/ui/routing/",
        "/wado/?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1",
        "/livez/",
    ],
)
async def test_answered(gateway: House, path: str):
    await add(gateway)
    assert (await request(gateway, "GET", path)).status == 200


async def test_as_the_resource_itself(gateway: House):
    await add(gateway)
    found = await gateway.json("/dicom-web/studies")
    assert await gateway.json("/dicom-web//studies/") == found
    assert found[0]["00081190"]["Value"][0].endswith("/dicom-web/studies/1.1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dicom-web/nothing/", 404),
        ("GET", "/", 302),
        ("GET", "//nothing//", 404),
        ("DELETE", "/system/", 405),
        ("DELETE", "/dicom-web/studies/1.1/series//", 405),  # no series is named: not those that there are
        ("POST", "/dicom-web/studies/", 415),
        ("GET", f"{ONE}/bulkdata//", 200),
        ("GET", "/ui/static/../../etc/", 404),
    ],
)
async def test_what_is_not_there_is_still_not_there(gateway: House, method: str, path: str, status: int):
    await add(gateway)
    answer = await request(gateway, method, path)
    assert answer.status == status
    if status == 405:
        assert "GET" in answer.headers["Allow"]


async def test_under_a_prefix(tmp_path):
    async with house(tmp_path, Http(prefix="/pacs")) as gateway:
        assert (await gateway.client.get("/pacs//dicom-web/studies/")).status == 200
        assert (await request(gateway, "GET", "//dicom-web/studies/")).status == 404


async def test_passwords_are_asked_for(tmp_path):
    """What is open to all is so by its own path alone."""
    async with house(tmp_path, Http(users=(User(name="anna", password="x"),))) as gateway:
        assert (await gateway.client.get("/livez")).status == 200
        assert (await request(gateway, "GET", "//dicom-web/studies/")).status == 401
