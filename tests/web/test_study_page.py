"""gateway/web/pages/study: what the page of a study shows, to whom, and the links that it makes."""

from __future__ import annotations

import html
import re

import pytest

from gateway.config import Dicomweb, Http
from gateway.config.viewers import ExternalViewer
from gateway.web.pages import study
from tests.support.index import data_set
from tests.support.sign_in import ADMIN, READER, origin, signed_in
from tests.support.web import House


async def page(gateway: House, number: int = 0, query: str = "") -> str:
    public_id = (await gateway.json("/studies"))[number]
    answer = await gateway.get(f"/ui/studies/{public_id}{query}")
    assert answer.status == 200
    return await answer.text()


class TestPage:
    async def test_nothing_from_an_image_is_markup(self, gateway: House):
        bad = '<script>alert("1")</script>'
        about = {"AccessionNumber": "<b>&", "StudyDescription": bad, "SeriesDescription": bad}
        await gateway.add(data_set("1.1", PatientName=f"{bad}^'x'", PatientID=bad, **about))
        text = await page(gateway)
        assert "<script>alert" not in text
        assert text.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") > 3
        assert re.findall(r"<script(?! type=\"application/json\")(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", text) == []

    async def test_everything_it_links_to_is_there(self, gateway: House):
        await gateway.add(data_set("1.1"))
        await gateway.add(data_set("1.2"))
        text = await page(gateway)
        for link in set(re.findall(r'(?:src|href)="(/[^"]*)"', text)):
            if "/series/" not in link:  # A house has no pixels to render.
                assert (await gateway.get(html.unescape(link))).status == 200, link

    async def test_series_in_pages(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(study, "_MAX_SERIES", 2)
        for number in range(5):
            await gateway.add(data_set("1.1", f"1.1.{number}", f"1.1.{number}.1", SeriesNumber=9 - number))
        seen, query = [], ""
        while True:
            text = await page(gateway, query=query)
            seen += re.findall(r'<span class="title">(\d) ', text)
            following = re.search(r'<p class="more"><a href="[^"?]*(\?[^"]*)"', text)
            if following is None:
                break
            query = html.unescape(following[1])
        assert seen == ["5", "6", "7", "8", "9"]
        assert seen[:2] == re.findall(r'<span class="title">(\d) ', await page(gateway, query="?after=nonsense"))

    async def test_there_is_none(self, gateway: House):
        assert (await gateway.get("/ui/studies/nonsense")).status == 404

    async def test_other_viewers(self, gateway: House):
        viewer = ExternalViewer(name="There", url="weasis://?{study_uid}&id={patient_id}&from={dicomweb}")
        gateway.http = Http(viewers=(viewer,))
        await gateway.add(data_set("1.1", PatientID="a/b c"))
        (link,) = re.findall(r'href="(weasis://[^"]*)"', await page(gateway))
        assert html.unescape(link).startswith("weasis://?1.1&id=a%2Fb%20c&from=http%3A%2F%2F127.0.0.1")
        assert html.unescape(link).endswith("%2Fdicom-web")

    async def test_viewers_of_series(self, gateway: House):
        """They stand beside the series alone, the others beside the study alone."""
        there, whole = "https://a/?s={study_uid}&e={series_uid}&p={patient_id}", "https://b/?s={study_uid}"
        viewers = (ExternalViewer(name="One", url=there), ExternalViewer(name="All", url=whole))
        gateway.http = Http(viewers=viewers)
        for series in ("1", "2"):
            await gateway.add(data_set("1.1", f"1.1.{series}", PatientID="a&b"))
        text = await page(gateway)
        links = [html.unescape(each) for each in re.findall(r'href="(https://[^"]*)"', text)]
        assert links == ["https://b/?s=1.1", *[f"https://a/?s=1.1&e=1.1.{n}&p=a%26b" for n in (1, 2)]]
        (series_page, *_) = re.findall(r'href="(/ui/series/[^"]*)"', text)
        text = await (await gateway.get(series_page)).text()
        (link,) = re.findall(r'href="(https://[^"]*)"', text)
        assert html.unescape(link) == "https://a/?s=1.1&e=1.1.1&p=a%26b"

    async def test_notes_labels_and_attachments(self, gateway: House):
        await gateway.add(data_set("1.1"))
        (public_id,) = await gateway.json("/studies")
        for path, body in (("metadata/Notes", b"<i>left"), ("labels/urgent", b"")):
            assert (await gateway.client.put(f"/studies/{public_id}/{path}", data=body)).status == 200
        text = await page(gateway)
        assert "&lt;i&gt;left" in text
        assert "urgent<form" in text


class TestPermissions:
    FORMS = ('id="notes"', 'id="modify-form"', 'id="anonymize-form"', 'id="attach-document"', 'name="add"')

    async def test_who_may_everything(self, gateway: House):
        await gateway.add(data_set("1.1"))
        text = await page(gateway)
        assert [form for form in self.FORMS if form not in text] == []
        assert '/delete"' not in text, "deleting is not switched on"
        gateway.dicomweb = Dicomweb(delete=True)
        assert '/delete"' in await page(gateway)

    async def test_who_may_look_alone(self, gateway: House):
        gateway.dicomweb = Dicomweb(delete=True)
        await gateway.add(data_set("1.1"))
        (public_id,) = await gateway.json("/studies")
        gateway.http = Http(users=(ADMIN, READER))
        await signed_in(gateway, "rob")
        answer = await gateway.get(f"/ui/studies/{public_id}")
        text = await answer.text()
        assert "Doe, Jane" in text
        assert [form for form in (*self.FORMS, '/delete"', "/share") if form in text] == []


class TestShare:
    async def share(self, gateway: House, **fields: str) -> tuple[int, str]:
        """The status and the text of the answer to the form."""
        public_id = (await gateway.json("/studies"))[0]
        text = await page(gateway)
        (token,) = set(re.findall(r'name="csrf" value="([^"]*)"', text))
        form = {"csrf": token, "days": "7", **fields}
        answer = await gateway.client.post(f"/ui/studies/{public_id}/share", data=form, headers=origin(gateway))
        return answer.status, await answer.text()

    @pytest.fixture(autouse=True)
    async def somebody(self, gateway: House):
        await gateway.add(data_set("1.1"))
        await gateway.add(data_set("1.2", PatientID="P2"))
        gateway.http = Http(users=(ADMIN,))
        await signed_in(gateway)

    async def test_a_link_with_a_code_opens_this_study_alone(self, gateway: House):
        status, text = await self.share(gateway, name="Dr. Roe", uses="3")
        assert status == 200
        assert "<svg viewBox" in text
        url = html.unescape(re.findall(r'<code id="shared-url">([^<]*)</code>', text)[0])
        (link,) = await gateway.json("/auth/shares")
        assert (link["Name"], link["Count"]) == ("Dr. Roe", 3)
        gateway.client.session.cookie_jar.clear()
        answer = await gateway.client.get(url[url.index("/ui/") :])
        assert answer.status == 200
        assert len(await gateway.json("/studies")) == 1

    @pytest.mark.parametrize("fields", [{"days": "0"}, {"days": "x"}, {"uses": "x"}, {"uses": "0"}])
    async def test_what_makes_no_sense(self, gateway: House, fields: dict[str, str]):
        status, _ = await self.share(gateway, **fields)
        assert status == 400
        assert await gateway.json("/auth/shares") == []

    async def test_a_form_of_somebody_else(self, gateway: House):
        status, _ = await self.share(gateway, csrf="nonsense")
        assert status == 403
