"""gateway/web/pages/errors.py: refused and missing pages, as a person in front of a browser gets them."""

from __future__ import annotations

import re

import pytest

from gateway.config import Http
from tests.support.web import House
from tests.web.test_middlewares import ANNA, basic

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CASE = pytest.mark.case("what is refused or missing is a page for a browser, and JSON for a program")


@CASE
@pytest.mark.parametrize("path", ["/nope", "/ohif/", "/dicom-web/studies/1.2.3", "/jobs/7"])
async def test_missing(gateway: House, path: str):
    answer = await gateway.get(path, accept=BROWSER)
    assert (answer.status, answer.content_type) == (404, "text/html")
    text = await answer.text()
    assert "There is nothing here" in text
    assert '<a href="/ui/">' in text
    details = (await (await gateway.get(path)).json()).get("Details", "")
    assert details in text.replace("&#39;", "'").replace("&#34;", '"')


@CASE
async def test_refused(gateway: House):
    gateway.http = Http(users=(ANNA,))
    for path in ("/ui/", "/system", "/nope"):
        answer = await gateway.get(path, accept=BROWSER)
        assert (answer.status, answer.content_type) == (401, "text/html")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), "with Basic the browser has a dialog of its own"
        text = await answer.text()
        assert "Please sign in" in text
        assert "GATEWAY" not in text, "a stranger learns nothing of us"
        assert not re.findall(r"(?:src|href)=\"(?!/ui/(?:\"|sign-in))", text), "nothing it would need a password for"
    assert (await gateway.get("/ui/", accept=BROWSER, authorization=basic("geheim"))).status == 200


@CASE
async def test_another_name(gateway: House):
    answer = await gateway.get("/ui/", accept=BROWSER, host="evil.example")
    assert (answer.status, answer.content_type) == (421, "text/html")


async def test_programs_get_json(gateway: House):
    for accept in ("*/*", "text/html", "application/json", "application/dicom+json, text/html;q=0.1"):
        assert (await gateway.get("/nope", accept=accept)).content_type == "application/json"


async def test_its_style_is_in_it_and_nothing_runs(gateway: House):
    answer = await gateway.get("/nope", accept=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    assert "style-src 'sha256-" in policy
    assert "script-src" not in policy
    assert "<script" not in await answer.text()


async def test_what_a_client_wrote_is_text(gateway: House):
    answer = await gateway.get("/jobs/%3Cscript%3Ealert(1)%3C%2Fscript%3E", accept=BROWSER)
    text = await answer.text()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
