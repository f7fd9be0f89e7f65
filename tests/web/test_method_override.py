"""Requests that name another method than their own: taken, and checked as that method is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Dicomweb, Http
from tests.support.datasets import sample
from tests.support.web import House, archive
from tests.web.test_middlewares import ANNA

FOREIGN = "http://evil.example"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[House]:
    async with archive(tmp_path) as made:
        made.dicomweb = Dicomweb(delete=True)
        assert (await made.client.post("/instances", data=sample("CT_small.dcm").read_bytes())).status == 200
        yield made


@pytest.fixture
async def study(gateway: House) -> str:
    return f"/studies/{(await gateway.json('/studies'))[0]}"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", ["DELETE", "delete"])
async def test_by_header(gateway: House, study: str, method: str, name: str) -> None:
    answer = await gateway.client.request(method, study, headers={"X-HTTP-Method-Override": name})
    assert answer.status == 200
    assert await gateway.json("/studies") == []


async def test_by_parameter(gateway: House, study: str) -> None:
    path = f"{study}/metadata/note"
    assert (await gateway.client.post(f"{path}?_method=PUT", data=b"x")).status == 200
    assert await (await gateway.get(path)).text() == "x"
    assert await (await gateway.client.post(f"{path}?_method=get")).text() == "x"
    assert (await gateway.client.post(f"{path}?_method=DELETE")).status == 200
    assert (await gateway.client.post(path)).status == 405


async def test_the_handler_sees_the_other_method(gateway: House, study: str) -> None:
    answer = await gateway.client.post("/studies/0-0?_method=DELETE")
    assert (answer.status, (await answer.json())["Method"]) == (404, "DELETE")
    answer = await gateway.client.post("/system", headers={"X-HTTP-Method-Override": "PUT"})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


class TestGuards:
    async def test_a_picture_on_a_page_deletes_nothing(self, gateway: House, study: str) -> None:
        """A GET of another page, which browsers send without saying of which."""
        empty = {"X-HTTP-Method-Override": ""}
        for headers in (
            {},
            empty,
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Referer": FOREIGN},
        ):
            answer = await gateway.client.get(f"{study}?_method=DELETE", headers=headers)
            assert answer.status == 403
            assert "_method counts with POST" in (await answer.json())["Details"]
        assert await gateway.json("/studies") == [study.rpartition("/")[2]]

    async def test_a_page_of_ours_may(self, gateway: House, study: str) -> None:
        answer = await gateway.client.get(f"{study}?_method=DELETE", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status == 200

    @pytest.mark.parametrize("origin", [FOREIGN, "null"])
    async def test_the_form_of_another_page(self, gateway: House, study: str, origin: str) -> None:
        for path, more in ((f"{study}?_method=DELETE", {}), (study, {"X-HTTP-Method-Override": "DELETE"})):
            answer = await gateway.client.post(path, headers={"Origin": origin, **more})
            assert answer.status == 403
        assert len(await gateway.json("/studies")) == 1

    async def test_the_setting_of_the_other_method_counts(self, gateway: House, study: str) -> None:
        gateway.dicomweb = Dicomweb()
        assert (await gateway.client.delete(study)).status == 403
        assert (await gateway.client.post(f"{study}?_method=DELETE")).status == 403
        assert len(await gateway.json("/studies")) == 1

    async def test_so_do_users(self, gateway: House, study: str) -> None:
        gateway.http = Http(users=(ANNA,))
        for path, headers in ((f"{study}?_method=DELETE", {}), (study, {"X-HTTP-Method-Override": "DELETE"})):
            assert (await gateway.client.post(path, headers=headers)).status == 401

    @pytest.mark.parametrize("name", ["OPTIONS", "HEAD", "PATCH", "x" * 500, "DELETE "])
    async def test_no_such_method(self, gateway: House, study: str, name: str) -> None:
        answer = await gateway.client.post(study, params={"_method": name})
        assert answer.status == 400
        assert len(await gateway.json("/studies")) == 1

    async def test_other_methods_stay_what_they_are(self, gateway: House, study: str) -> None:
        gateway.dicomweb = Dicomweb(delete=True)
        answer = await gateway.client.head(study, headers={"X-HTTP-Method-Override": "DELETE"})
        assert answer.status == 200
        assert len(await gateway.json("/studies")) == 1
