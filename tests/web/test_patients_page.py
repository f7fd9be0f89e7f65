"""gateway/web/pages/patients: the list of patients, and the page of one."""

from __future__ import annotations

import html
import re

import pytest

from gateway.config import Dicomweb, Http
from gateway.web.pages import patients
from tests.support.index import data_set
from tests.support.sign_in import ADMIN, READER, signed_in
from tests.support.web import House

NAMES = r'<a class="name" href="([^"]*)">([^<]*)<'


async def page(gateway: House, path: str = "/ui/patients") -> str:
    answer = await gateway.get(path)
    assert answer.status == 200
    return await answer.text()


async def test_from_the_list_to_a_patient_to_a_study(gateway: House):
    await gateway.add(data_set("1.1", PatientName="Doe^Jane"))
    await gateway.add(data_set("1.2", PatientName="Doe^Jane", StudyDescription="Knee"))
    await gateway.add(data_set("1.3", PatientName="Roe^Max", PatientID="P2"))
    found = re.findall(NAMES, await page(gateway))
    assert [name for _, name in found] == ["Roe, Max", "Doe, Jane"]
    text = await page(gateway, found[1][0])
    studies = re.findall(NAMES, text)
    assert len(studies) == 2
    assert "Knee" in text
    (sort,) = re.findall(r'class="of-date"><a href="([^"]*)"', text)
    assert sort.startswith(found[1][0])
    assert len(re.findall(NAMES, await page(gateway, html.unescape(sort)))) == 2
    assert "Doe, Jane" in await page(gateway, studies[0][0])


async def test_pages_and_searches(gateway: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patients, "PAGE", 2)
    for number in range(5):
        await gateway.add(data_set(f"1.{number}", PatientID=f"P{number}", PatientName=f"N{number}"))
    seen, path = [], "/ui/patients?patient=n"
    while path:
        text, here = await page(gateway, path), path
        seen += [name for _, name in re.findall(NAMES, text)]
        following = re.search(r'href="([^"]*)" rel="next"', text)
        path = html.unescape(following[1]) if following else ""
    assert seen == ["N4", "N3", "N2", "N1", "N0"]
    previous = re.search(r'href="([^"]*)" rel="prev"', await page(gateway, here))
    assert previous is not None
    text = await page(gateway, html.unescape(previous[1]))
    assert [name for _, name in re.findall(NAMES, text)] == ["N2", "N1"]
    assert "No patient matches" in await page(gateway, "/ui/patients?patient=zzz")
    assert "No patient matches" in await page(gateway, "/ui/patients?label=zzz")
    assert "N4" in await page(gateway, "/ui/patients?after=nonsense&before=nonsense")


async def test_there_is_none(gateway: House):
    assert (await gateway.get("/ui/patients/nonsense")).status == 404


async def test_nothing_from_an_image_is_markup(gateway: House):
    bad = '<script>alert("1")</script>'
    await gateway.add(data_set("1.1", PatientName=f"{bad}^'x'", PatientID=bad))
    text = await page(gateway)
    assert "<script>alert" not in text
    assert "<script>alert" not in await page(gateway, re.findall(NAMES, text)[0][0])


async def test_who_may_look_alone(gateway: House):
    gateway.dicomweb = Dicomweb(delete=True)
    await gateway.add(data_set("1.1"))
    ((path, _),) = re.findall(NAMES, await page(gateway))
    forms = ('/delete"', 'id="modify-form"', 'name="add"', 'id="selection"')
    text = await page(gateway, path)
    assert [form for form in forms if form not in text] == []
    gateway.http = Http(users=(ADMIN, READER))
    await signed_in(gateway, "rob")
    text = await page(gateway, path)
    assert [form for form in (*forms[:3], 'data-delete="') if form in text] == []
