"""gateway/web/pages/series.py: the filmstrip in the order of slices, the view's description, labels, deletion."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import Dicomweb, Http
from gateway.config.roles import Role
from gateway.index.identity import public_id
from gateway.web.pages import series, views
from tests.support.web import House
from tests.web.test_middlewares import ANNA, basic
from tests.web.test_rendered import image

SERIES = public_id("P1", "1.1", "1.1.1")


async def stored(gateway: House, number: int = 3, **values: Any) -> list[str]:
    """Instances that came in another order than that of their slices; their public ids in that of the slices."""
    made = []
    for at in reversed(range(number)):
        where = {"ImagePositionPatient": [0, 0, 5 * at], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        one = image(
            "1.1", "1.1.1", f"1.1.1.{at + 1}", **{"PatientID": "P1", "InstanceNumber": 100 - at, **where, **values}
        )
        await gateway.add(one)
        made.append(public_id("P1", "1.1", "1.1.1", f"1.1.1.{at + 1}"))
    return made[::-1]


async def page(gateway: House, query: str = "", status: int = 200, **headers: str) -> str:
    answer = await gateway.get(f"/ui/series/{SERIES}{query}", **headers)
    assert answer.status == status, await answer.text()
    return await answer.text()


def film(text: str) -> list[str]:
    return re.findall(r'<a href="/ui/instances/([0-9a-f-]+)" data-id', text)


def about(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="view-about">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


class TestFilm:
    async def test_in_the_order_of_slices(self, gateway: House):
        expected = await stored(gateway)
        text = await page(gateway)
        assert film(text) == expected
        shown = about(text)
        assert [(each["id"], each["number"]) for each in shown["slices"]] == list(
            zip(expected, (100, 99, 98), strict=True)
        )
        assert "parallel slices" in text

    async def test_without_places_by_number_and_what_has_none_last(self, gateway: House):
        for name, number in (("1", None), ("2", 7), ("3", 3)):
            values = {} if number is None else {"InstanceNumber": number}
            one = image("1.1", "1.1.1", f"1.1.1.{name}", PatientID="P1", **values)
            if number is None and "InstanceNumber" in one:
                del one.InstanceNumber
            await gateway.add(one)
        text = await page(gateway)
        assert film(text) == [public_id("P1", "1.1", "1.1.1", f"1.1.1.{name}") for name in "321"]
        assert "parallel slices" not in text

    async def test_a_long_one_in_parts(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(series, "FILM", 2)
        expected = await stored(gateway, 5)
        assert film(await page(gateway)) == expected[:2]
        second = await page(gateway, "?from=2")
        assert film(second) == expected[2:4]
        assert "3\N{EN DASH}4 of 5" in second
        assert film(await page(gateway, f"?instance={expected[4]}")) == expected[4:]
        assert film(await page(gateway, "?from=999999")) == expected[4:]
        assert film(await page(gateway, "?from=nonsense")) == expected[:2]

    async def test_frames_and_corners(self, gateway: House):
        await stored(gateway, 1, frames=3, PatientName="Berg^Anna", SeriesDescription="<venous>")
        text = await page(gateway)
        shown = about(text)
        assert shown["slices"][0]["frames"] == 3
        assert shown["corners"]["patient"][0] == "Berg, Anna"
        assert shown["corners"]["series"][0] == "<venous>"
        assert "<venous>" not in text.replace("\\u003cvenous\\u003e", "")
        assert "3 frames" in text

    async def test_a_billion_frames_that_are_not_there(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(views, "MAX_PLACES", 10)
        await stored(gateway, 3, NumberOfFrames="999999999")
        assert [each["frames"] for each in about(await page(gateway))["slices"]] == [8, 1, 1]

    async def test_in_the_language_of_the_reader(self, gateway: House):
        await stored(gateway)
        assert "3 Instanzen" in await page(gateway, accept_language="de")
        assert "3 インスタンス" in await page(gateway, accept_language="ja")

    async def test_behind_the_prefix_of_a_proxy(self, gateway: House):
        gateway.http = Http(trusted_proxies=("127.0.0.1/32", "::1/128"))
        await stored(gateway)
        text = await page(gateway, x_forwarded_prefix="/pacs")
        assert '<a href="/pacs/ui/instances/' in text
        assert about(text)["pixels"] == "/pacs/ui/instances/{id}/frames/{frame}/pixels"

    async def test_unknown(self, gateway: House):
        await page(gateway, status=404)


class TestForms:
    @pytest.fixture(autouse=True)
    async def instances(self, gateway: House) -> list[str]:
        return await stored(gateway)

    async def post(self, gateway: House, what: str, **fields: str) -> tuple[int, str]:
        ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
        path = f"/ui/series/{SERIES}/{what}"
        answer = await gateway.client.post(path, data=fields, headers=ours, allow_redirects=False)
        return answer.status, answer.headers.get("Location", "")

    async def test_labels(self, gateway: House):
        assert await self.post(gateway, "labels", add="check-me") == (303, f"/ui/series/{SERIES}")
        assert "check-me" in await page(gateway)
        assert await gateway.json(f"/series/{SERIES}/labels") == ["check-me"]
        assert (await self.post(gateway, "labels", remove="check-me"))[0] == 303
        assert await gateway.json(f"/series/{SERIES}/labels") == []

    @pytest.mark.parametrize("fields", [{}, {"add": "<b>"}, {"add": "x" * 65}])
    async def test_no_label(self, gateway: House, fields: dict[str, str]):
        assert (await self.post(gateway, "labels", **fields))[0] == 400

    async def test_deletion_is_off(self, gateway: House):
        assert "Delete" not in await page(gateway)
        assert (await self.post(gateway, "delete"))[0] == 403
        assert len(film(await page(gateway))) == 3

    async def test_what_one_may_not_do_is_not_shown(self, gateway: House):
        gateway.dicomweb = Dicomweb(delete=True)
        everything = await page(gateway)
        assert "Delete the series" in everything
        assert f"/ui/send?id={SERIES}" in everything
        assert f"/series/{SERIES}/archive" in everything
        assert 'name="add"' in everything

    async def test_a_reader_who_may_only_look(self, gateway: House):
        gateway.dicomweb, gateway.roles = Dicomweb(delete=True), {"reader": Role(permissions=("view",))}
        gateway.http = Http(users=(replace(ANNA, roles=("reader",)),))
        text = await page(gateway, authorization=basic("geheim"))
        assert len(film(text)) == 3
        assert all(word not in text for word in ("Delete", 'name="add"', "/archive", "/ui/send?id="))
