"""Objects that bring script, in Chromium: no route that answers bytes lets it run in our origin.

What they bring is harmless: it asks for /marker, which is watched for, and changes the title.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support import pictures
from tests.support.datasets import instance
from tests.support.processes import Gateway

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.slow]

SCRIPT = "fetch('/marker');document.title='MARKER';new Image().src='/marker'"
HTML = f'<!doctype html><title>report</title><p>report</p><script>{SCRIPT}</script><img src=x onerror="{SCRIPT}">'
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"><script>{SCRIPT}</script></svg>'
XHTML = f'<html xmlns="http://www.w3.org/1999/xhtml"><head><script>{SCRIPT}</script></head><body/></html>'
PDF, CDA = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"
TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

DOCUMENTS = [
    (PDF, "text/html", HTML),
    (PDF, "text/javascript", SCRIPT),
    (PDF, "image/svg+xml", SVG),
    (PDF, "application/xhtml+xml", XHTML),
    (PDF, "application/pdf", HTML),
    (PDF, "text/plain", HTML),
    (CDA, "text/xml", XHTML),
    (PDF, 'text/html"; x="', HTML),
]
ACCEPTED = (
    *("", "*/*", "text/html", "text/javascript", "text/xml", "text/plain", "image/svg+xml", "application/xhtml+xml"),
)


def document(sop_class: str, media_type: str, content: str) -> Dataset:
    data = content.encode()
    made = instance(SOPClassUID=sop_class, Modality="DOC", PatientName=HTML[:60], StudyDescription=HTML[:60])
    del made.PixelData
    made.MIMETypeOfEncapsulatedDocument = media_type
    made.EncapsulatedDocument = data + b" " * (len(data) % 2)
    made.EncapsulatedDocumentLength = len(data)
    return made


def report() -> Dataset:
    """A report whose every word is markup."""
    made = instance(SOPClassUID=TEXT_SR, Modality="SR", PatientName=HTML[:60])
    del made.PixelData
    name, item = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "1", "99X", f"</h1><script>{SCRIPT}"[:64]
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", Sequence([name])
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", HTML
    item.ConceptNameCodeSequence = Sequence([name])
    made.ContentSequence = Sequence([item])
    return made


def picture() -> Dataset:
    """An image whose pixels are a page, byte for byte."""
    data = HTML.encode().ljust(16 * 32, b" ")
    return instance(rows=16, columns=16, PixelData=data)


@pytest.fixture(scope="module")
def objects() -> list[Dataset]:
    return [*(document(*each) for each in DOCUMENTS), report(), picture()]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, objects: list[Dataset]) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    pictures.imported(folder / "data", [pictures.saved(each, folder) for each in objects])
    with Gateway(folder / "data") as started:
        yield started


class Tab:
    """A tab that keeps what was asked for the marker, and its title after each page."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.context = browser.new_context(accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.ran: list[str] = []
        self.context.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if request.url.endswith("/marker"):
            self.ran.append(request.frame.url)

    def open(self, url: str) -> None:
        """Go there as somebody who follows a link; what is saved instead of shown runs nothing."""
        from playwright.sync_api import Error

        try:
            self.page.goto(url)
        except Error as error:
            if "Download is starting" in error.message or "ERR_ABORTED" in error.message:
                return
            raise
        if self.page.title() == "MARKER":  # by then, what its scripts have asked for is known too
            self.ran.append(url)


@pytest.fixture
def tab(browser: Any, tmp_path: Path) -> Iterator[Tab]:
    made = Tab(browser, tmp_path)
    yield made
    made.context.close()


def addresses(gateway: Gateway, one: Dataset) -> Iterator[str]:
    """Every route that answers bytes of an object, as a link may name it."""
    study = f"{gateway.url}/dicom-web/studies/{one.StudyInstanceUID}"
    path = f"{study}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    for accept in ("", "text/html", str(one.get("MIMETypeOfEncapsulatedDocument", "*/*"))):
        query = f"?accept={accept.replace('+', '%2B')}" if accept else ""
        element = "7FE00010" if "PixelData" in one else "00420011" if "EncapsulatedDocument" in one else "00100010"
        for more in (f"/bulkdata/{element}", "/bulkdata", "/pixeldata", "/frames/1", "/rendered", "/metadata", ""):
            yield f"{path}{more}{query}"
        yield f"{path}/bulkdata/00100010{query}"
        uri = f"studyUID={one.StudyInstanceUID}&seriesUID={one.SeriesInstanceUID}&objectUID={one.SOPInstanceUID}"
        kind = f"&contentType={accept.replace('+', '%2B')}" if accept else ""
        yield f"{gateway.url}/wado?requestType=WADO&{uri}{kind}"
    yield f"{path}/thumbnail"
    yield f"{study}/rendered"
    yield f"{gateway.url}/dicom-web/studies?StudyInstanceUID={one.StudyInstanceUID}"
    yield f"{gateway.url}/changes"
    yield f"{gateway.url}/ui/"
    yield f"{gateway.url}/ui/rows"
    yield f"{gateway.url}/ui/routing?name={one.StudyInstanceUID}"


def test_the_watch_sees_a_script_that_runs(tab: Tab, gateway: Gateway) -> None:
    tab.context.route("**/control", lambda route: route.fulfill(body=HTML, content_type="text/html"))
    tab.open(f"{gateway.url}/control")
    assert len(tab.ran) > 1


@pytest.mark.case("broken 27 nothing that an object brings runs in our origin, on any route")
@pytest.mark.parametrize("number", range(len(DOCUMENTS) + 2))
@pytest.mark.timeout(180)
def test_no_route_runs_it(tab: Tab, gateway: Gateway, objects: list[Dataset], number: int) -> None:
    for address in addresses(gateway, objects[number]):
        tab.open(address)
        assert tab.ran == [], address


@pytest.mark.case("broken 27 no page of ours can be made to load an object as its script")
def test_it_is_no_script_or_style_of_a_page(tab: Tab, gateway: Gateway, objects: list[Dataset]) -> None:
    load = """(url) => new Promise((done) => {
        const script = document.createElement('script');
        script.src = url; script.onload = () => done('ran'); script.onerror = () => done('refused');
        document.head.append(script);
    })"""
    tab.page.goto(f"{gateway.url}/ui/")
    for one in objects[: len(DOCUMENTS)]:
        path = f"{gateway.url}/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        url = f"{path}/instances/{one.SOPInstanceUID}/bulkdata/00420011?accept="
        for accept in ACCEPTED:
            assert tab.page.evaluate(load, url + accept.replace("+", "%2B")) == "refused", accept
    assert tab.ran == []
