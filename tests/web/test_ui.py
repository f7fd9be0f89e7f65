"""gateway/web/ui: the page as the server renders it, and its events. What a browser makes of it: tests/interop."""

from __future__ import annotations

import asyncio
import datetime
import html
import itertools
import re
from typing import Any

import msgspec
import pytest

from gateway.config import Dicom
from gateway.net.session import AssociationStatus
from gateway.telemetry import INTAKE_BYTES
from gateway.web.pages import live, study_query, totals
from gateway.web.pages import page as page_module
from gateway.web.pages.filters import clock, date, other_forms, person
from gateway.web.pages.totals import RecentTotals, read_totals
from tests.support.index import data_set
from tests.support.web import House

NAMES = r'<a class="name" href="[^"]*">([^<]*)<'


def heads(text: str) -> list[str]:
    """The columns of the list."""
    return re.findall(r'<th scope="col" class="of-(\w+)"', text)


def link_of(text: str, relation: str) -> str:
    """The address of a link with a relation; empty if there is none."""
    found = re.search(rf'<a href="([^"]*)" rel="{relation}"', text)
    return html.unescape(found[1]) if found else ""


async def page(gateway: House, path: str = "/ui/") -> str:
    answer = await gateway.get(path)
    assert answer.status == 200
    return await answer.text()


class TestPage:
    @pytest.mark.parametrize("path", ["/", "/ui"])
    async def test_the_way_in(self, gateway: House, path: str):
        answer = await gateway.client.get(path, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/ui/")

    async def test_empty_tells_what_to_type(self, gateway: House):
        assert "storescu -v -aec GATEWAY 127.0.0.1 4242 image.dcm" in await page(gateway)

    async def test_nothing_from_an_image_is_markup(self, gateway: House):
        bad = '<script>alert("1")</script>'
        await gateway.add(
            data_set("1.1", PatientName=f"{bad}^'x'", PatientID=bad, AccessionNumber="<b>&", StudyDescription=bad)
        )
        text = await page(gateway)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;" in text
        assert "&lt;b&gt;&amp;" in text
        text = await page(gateway, "/ui/?patient=%22%3E%3Cscript%3E")
        assert '"><script>' not in text

    async def test_no_inline_script_or_style(self, gateway: House):
        await gateway.add(data_set("1.1"))
        text = await page(gateway)
        assert re.findall(r"<script(?! type=\"application/json\")(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", text) == []
        assert re.findall(r'(?:src|href|action)="(?!/|#)', text) == []

    async def test_everything_it_links_to_is_there(self, gateway: House):
        await gateway.add(data_set("1.1"))
        for link in set(re.findall(r'(?:src|href|data-rows|method="get" action)="(/[^"]*)"', await page(gateway))):
            assert (await gateway.get(link)).status == 200, link

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("patient=doe", {"Doe, Jane"}),
            ("patient=jane%20doe", {"Doe, Jane"}),
            ("patient=P2", {"Roe, Max"}),
            ("accession=A7", {"Roe, Max"}),
            ("modality=ct", {"Doe, Jane"}),
            ("modality=CT&patient=roe", set()),
            ("modality=CT&modality=MR", {"Doe, Jane", "Roe, Max"}),
            ("description=KNEE", {"Roe, Max"}),
            ("date=today", {"Roe, Max"}),
            ("date=yesterday", set()),
            ("from=2026-01-01&to=2026-01-31", {"Doe, Jane"}),
            ("from=nonsense", {"Doe, Jane", "Roe, Max"}),
            ("label=urgent", set()),
            ("source=NOBODY", set()),
            ("sort=nonsense", {"Doe, Jane", "Roe, Max"}),
            ("patient=%25", set()),
            ("", {"Doe, Jane", "Roe, Max"}),
            ("before=nonsense", {"Doe, Jane", "Roe, Max"}),
            ('after=["20260101",1]', {"Doe, Jane", "Roe, Max"}),
        ],
    )
    async def test_search(self, gateway: House, query: str, found: set[str]):
        await gateway.add(data_set("1.1"))
        today = datetime.date.today().strftime("%Y%m%d")
        other = {"StudyDescription": "Knee left", "StudyDate": today, "AccessionNumber": "A77", "Modality": "MR"}
        await gateway.add(data_set("1.2", PatientName="Roe^Max", PatientID="P2", **other))
        for path in ("/ui/", "/ui/rows"):
            text = await page(gateway, f"{path}?{query}")
            assert set(re.findall(NAMES, text)) == found
        assert ("No study matches" in text) is not found

    async def test_pages_in_both_directions(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(study_query, "PAGE", 2)
        for number in range(5):
            await gateway.add(data_set(f"1.{number}", PatientName=f"N{number}"))
        for sort in ("", "&sort=name", "&sort=-date"):
            forth, path = [], f"/ui/?patient=n{sort}"
            while path:
                text, here = await page(gateway, path), path
                forth.append(re.findall(NAMES, text))
                path = link_of(text, "next")
            assert [len(names) for names in forth] == [2, 2, 1]
            assert sorted(itertools.chain(*forth)) == ["N0", "N1", "N2", "N3", "N4"]
            back, path = [], link_of(await page(gateway, here), "prev")
            while path:
                text = await page(gateway, path)
                back.append(re.findall(NAMES, text))
                path = link_of(text, "prev")
            # Behind the first page nothing stands before: less than a page before it is the first page again.
            assert back[:2] == forth[1::-1]

    async def test_matches_are_counted(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(study_query, "PAGE", 2)
        for number in range(4):
            await gateway.add(data_set(f"1.{number}", PatientName=f"N{number}", Modality=("CT", "MR")[number // 3]))
        for query, shown in (("", "4 studies"), ("?modality=CT", "3 studies"), ("?modality=MR", "1 study")):
            assert f">{shown}</p>" in await page(gateway, f"/ui/{query}")
        following = link_of(await page(gateway), "next")
        assert ">4 studies</p>" in await page(gateway, following)
        for module in (study_query, page_module):
            monkeypatch.setattr(module, "MAX_COUNTED", 3)
        gateway.dicom = Dicom(aet="OTHER")  # Not a page that is cached.
        assert ">more than 3 studies</p>" in await page(gateway)
        assert ">3 studies</p>" in await page(gateway, "/ui/?modality=CT")

    async def test_columns_are_chosen(self, gateway: House):
        await gateway.add(data_set("1.1", InstitutionName="X"))
        assert heads(await page(gateway))[:3] == ["patient", "description", "date"]
        ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
        form = {"next": "/ui/?patient=doe", "order": "patient.size.modality.source", "size": "on", "modality": "on"}
        answer = await gateway.client.post("/ui/columns", data=form, headers=ours, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/?patient=doe")
        assert heads(await page(gateway)) == ["patient", "size", "modality"]
        await gateway.client.post("/ui/columns", data={**form, "move": "back.size"}, headers=ours)
        assert heads(await page(gateway)) == ["patient", "modality", "size"]
        await gateway.client.post("/ui/columns", data={**form, "move": "back.nonsense", "reset": "1"}, headers=ours)
        assert heads(await page(gateway))[:3] == ["patient", "description", "date"]
        answer = await gateway.client.post("/ui/columns", data=form, headers={"Origin": "http://evil.example"})
        assert answer.status == 403

    async def test_sources_and_labels_can_be_chosen(self, gateway: House):
        await gateway.add(data_set("1.1"))
        (public_id,) = await gateway.json("/studies")
        assert (await gateway.client.put(f"/studies/{public_id}/labels/urgent")).status == 200
        text = await page(gateway)
        assert '<span class="tag label">urgent</span>' in text
        (source,) = re.findall(r'href="/ui/(\?source=[^"]*)"', text)
        assert len(re.findall(NAMES, await page(gateway, f"/ui/{source}"))) == 1
        assert len(re.findall(NAMES, await page(gateway, "/ui/?label=urgent"))) == 1

    async def test_each_reader_has_rows_in_the_own_language_and_columns(self, gateway: House):
        await gateway.add(data_set("1.1"))
        for language, words in (("en", "No description"), ("de", "Keine Beschreibung"), ("en", "No description")):
            answer = await gateway.get("/ui/", accept_language=language)
            assert words in await answer.text()

    async def test_a_row_changes_with_its_study(self, gateway: House):
        await gateway.add(data_set("1.1"))
        (public_id,) = await gateway.json("/studies")
        await page(gateway)
        await gateway.client.put(f"/studies/{public_id}/labels/urgent")
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.2"))
        text = await page(gateway)
        assert '<span class="tag label">urgent</span>' in text
        assert 'data-count="2"' in text

    async def test_the_head_of_a_column_sorts(self, gateway: House):
        for number, name in enumerate("BAC"):
            await gateway.add(data_set(f"1.{number}", PatientName=name))
        text = await page(gateway)
        assert 'of-received" aria-sort="descending"' in text
        (path,) = re.findall(r'class="of-patient"><a href="([^"]*)"', text)
        text = await page(gateway, path)
        assert re.findall(NAMES, text) == ["A", "B", "C"]
        (path,) = re.findall(r'class="of-patient" aria-sort="ascending"><a href="([^"]*)"', text)
        assert re.findall(NAMES, await page(gateway, path)) == ["C", "B", "A"]


class TestTotals:
    async def test_they_are_added_up_when_something_has_changed(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        recent, counted = RecentTotals(gateway.database), []

        async def count(database: Any) -> dict[str, int]:
            counted.append(await read_totals(database))
            return counted[-1]

        monkeypatch.setattr(totals, "read_totals", count)
        monkeypatch.setattr(totals, "_SHARE", 1e9)
        assert (await recent.read())["instances"] == 0
        await recent.read()
        assert len(counted) == 1
        await gateway.add(data_set("1.1"))
        assert (await recent.read())["instances"] == 1
        monkeypatch.setattr(totals, "_SHARE", 1e-9)
        await gateway.add(data_set("1.2"))
        await recent.read()
        await gateway.add(data_set("1.3"))
        assert (await recent.read())["instances"] == 2, "it was added up a moment ago, and may not again so soon"


class TestEvents:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "_TICK", 0.02)

    async def test_a_new_study_and_who_sends(self, gateway: House):
        async with asyncio.timeout(10):
            answer = await gateway.get("/ui/events")
            assert answer.content_type == "text/event-stream"
            first = await message(answer.content)
            gateway.associations = [AssociationStatus(7, "CT1", "GATEWAY", "10.1.2.3", 1000.0, "Sta6", 3, 99)]
            INTAKE_BYTES.inc(5000)
            await gateway.add(data_set("1.1", PatientName="Secret"))
            rates = []
            while True:
                state = await message(answer.content)
                rates += state["rates"]
                if state["seq"] > first["seq"] and state["totals"].get("instances") == 1 and state["associations"]:
                    break
            assert state["associations"][0]["calling"] == "CT1"
            assert any(rate > 0 for rate, _ in rates)
            assert "Secret" not in str(state)
            answer.close()

    async def test_pages_are_bounded_and_counted_down(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(live, "MAX_PAGES", 1)
        async with asyncio.timeout(10):
            first = await gateway.get("/ui/events")
            await message(first.content)
            assert (await gateway.get("/ui/events")).status == 503
            first.close()
            while True:
                again = await gateway.get("/ui/events")
                if again.status == 200:
                    break
            again.close()

    async def test_an_open_page_does_not_hold_up_the_end(self, gateway: House):
        async with asyncio.timeout(5):
            answer = await gateway.get("/ui/events")
            await message(answer.content)
            await gateway.client.server.close()


async def message(content: asyncio.StreamReader) -> dict[str, object]:
    line = await content.readline()
    assert await content.readline() == b"\n"
    return msgspec.json.decode(line.removeprefix(b"data: "), type=dict)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^M^Dr.^MD", "Doe, Dr. Jane M, MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^Jane", "Jane"),
        ("Doe^^^^^^^^", "Doe"),
        ("", ""),
        ("^^^", ""),
    ],
)
def test_person(name: str, shown: str):
    assert person(name) == shown


def test_other_forms_of_a_name():
    assert other_forms("Yamada^Tarou=山田^太郎=やまだ^たろう") == ["山田, 太郎", "やまだ, たろう"]
    assert other_forms("=山田^太郎") == []
    assert other_forms("Doe^Jane") == []


def test_dates():
    assert (date("20261122"), date("2026"), clock("141503.5"), clock("9")) == ("2026-11-22", "2026", "14:15", "9")


class TestReports:
    SR = "1.2.840.10008.5.1.4.1.1.88.11"

    @pytest.mark.case("a study of reports alone opens in our own report page")
    async def test_one_is_shown_at_once(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1", Modality="SR", SOPClassUID=self.SR))
        await gateway.add(data_set("1.2"))
        text = await page(gateway)
        (link,) = re.findall(r'href="([^"]*)">Open report', text)
        answer = await gateway.client.get(link, allow_redirects=False)
        assert answer.status == 302
        shown = await gateway.get(answer.headers["Location"])
        assert (shown.status, shown.content_type) == (200, "text/html")
        assert "sandbox" in shown.headers["Content-Security-Policy"]

    async def test_several_are_listed(self, gateway: House):
        for number in (1, 2):
            await gateway.add(data_set("1.1", "1.1.1", f"1.1.1.{number}", Modality="SR", SOPClassUID=self.SR))
        (link,) = re.findall(r'href="([^"]*)">Open report', await page(gateway))
        text = await page(gateway, link)
        links = re.findall(r'<a href="(/dicom-web/[^"]*/rendered[^"]*)"', text)
        assert len(links) == 2
        for link in links:
            answer = await gateway.get(link)
            assert answer.content_type == "text/html", await answer.text()

    async def test_none(self, gateway: House):
        await gateway.add(data_set("1.1"))
        assert "Open report" not in await page(gateway)
        for study in ("1.1", "9.9"):
            assert (await gateway.get(f"/ui/reports/{study}")).status == 404

    async def test_of_the_patient_whose_study_it_is(self, gateway: House):
        for patient in ("P1", "P2"):
            await gateway.add(
                data_set("1.1", "1.1.1", "1.1.1.1", Modality="SR", SOPClassUID=self.SR, PatientID=patient)
            )
        links = re.findall(r'href="([^"]*)">Open report', await page(gateway))
        assert len(set(links)) == 2
        for link in links:
            answer = await gateway.get(link)
            assert answer.content_type == "text/html", await answer.text()
