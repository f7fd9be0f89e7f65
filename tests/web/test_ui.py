"""gateway/web/ui: the page as the server renders it, and its events. What a browser makes of it: tests/interop."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest

from gateway.net.session import AssociationStatus
from gateway.telemetry import INTAKE_BYTES
from gateway.web.pages import live, recent
from gateway.web.pages.filters import clock, date, person, size
from tests.support.index import data_set
from tests.support.web import House


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
            ("patient=%25", set()),
            ("", {"Doe, Jane", "Roe, Max"}),
            ("before=nonsense", {"Doe, Jane", "Roe, Max"}),
        ],
    )
    async def test_search(self, gateway: House, query: str, found: set[str]):
        await gateway.add(data_set("1.1"))
        await gateway.add(data_set("1.2", PatientName="Roe^Max", PatientID="P2", AccessionNumber="A77", Modality="MR"))
        for path in ("/ui/", "/ui/rows"):
            text = await page(gateway, f"{path}?{query}")
            assert set(re.findall(r'class="name">([^<]*)<', text)) == found
        assert ("No study matches" in text) is not found

    async def test_older_pages(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(recent, "PAGE", 2)
        for number in range(5):
            await gateway.add(data_set(f"1.{number}", PatientName=f"N{number}"))
        seen, path = [], "/ui/?patient=n"
        while path:
            text = await page(gateway, path)
            seen += re.findall(r'class="name">([^<]*)<', text)
            older = re.search(r'<p class="more"><a href="([^"]*)"', text)
            path = older[1].replace("&amp;", "&") if older else ""
        assert sorted(seen) == ["N0", "N1", "N2", "N3", "N4"]


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
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎)"),
        ("=山田^太郎", "山田, 太郎"),
        ("^Jane", "Jane"),
        ("Doe^^^^^^^^", "Doe"),
        ("", ""),
        ("^^^", ""),
    ],
)
def test_person(name: str, shown: str):
    assert person(name) == shown


def test_dates_and_sizes():
    assert (date("20261122"), date("2026"), clock("141503.5"), clock("9")) == ("2026-11-22", "2026", "14:15", "9")
    assert [size(n) for n in (0, 999, 1000, 99_600, 1_500_000, 10**15)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "100 KB",
        "1.5 MB",
        "1.0 PB",
    ]


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
