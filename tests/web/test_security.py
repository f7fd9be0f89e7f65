"""gateway/web/security.py: what leaves as which type, and that whatever an object brings is inert."""

from __future__ import annotations

import pytest
from aiohttp import ClientResponse
from pydicom.dataset import Dataset

from gateway.web.security import INERT, document_type
from tests.support.index import data_set
from tests.support.web import House, parts

PDF = "1.2.840.10008.5.1.4.1.1.104.1"
CDA = "1.2.840.10008.5.1.4.1.1.104.2"
ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
ACTIVE = ("text/html", "text/javascript", "image/svg+xml", "application/xhtml+xml", "text/css", "application/json")


def document(media_type: str, content: bytes, sop_class: str = PDF) -> Dataset:
    return data_set(
        *("1.1", "1.1.1", "1.1.1.1"),
        SOPClassUID=sop_class,
        Modality="DOC",
        MIMETypeOfEncapsulatedDocument=media_type,
        EncapsulatedDocument=content + b" " * (len(content) % 2),
        EncapsulatedDocumentLength=len(content),
    )


async def kinds(answer: ClientResponse) -> list[str]:
    """The media types that an answer holds, in parts or alone."""
    if answer.content_type != "multipart/related":
        return [answer.content_type]
    return [kind.partition(";")[0] for kind, _ in parts(answer, await answer.read())]


@pytest.mark.parametrize("named", [*ACTIVE, "TEXT/HTML", "text/html;charset=utf-8", "", "a/b/c", "text/pdf"])
def test_types_that_do_not_leave(named: str):
    assert document_type(named) is None


@pytest.mark.parametrize("named", ["application/pdf", "Text/XML", "model/stl", "text/plain; charset=utf-8"])
def test_types_that_do(named: str):
    assert document_type(named) == named.partition(";")[0].lower()


@pytest.mark.case("broken 27 a document that calls itself a page or a script leaves as octets, to be saved")
@pytest.mark.parametrize("named", ACTIVE)
@pytest.mark.parametrize("accept", [BROWSER, "*/*", "{named}"])
async def test_bulk_data(gateway: House, named: str, accept: str):
    await gateway.add(document(named, b"<p>marker</p>"))
    for path in (f"{ONE}/bulkdata/00420011", f"{ONE}/bulkdata/00420011?accept={named.replace('+', '%2B')}"):
        answer = await gateway.get(path, accept=accept.format(named=named))
        assert answer.status in (200, 406)
        if answer.status == 200:
            assert await kinds(answer) == ["application/octet-stream"]
            assert answer.headers["Content-Disposition"] == "attachment"
            assert answer.headers["Content-Security-Policy"] == INERT
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "script-src" not in answer.headers["Content-Security-Policy"]


@pytest.mark.case("broken 27 a document that calls itself a page or a script leaves as octets, to be saved")
@pytest.mark.parametrize("wanted", ["*/*", "text/html", "text/*"])
async def test_bulk_data_in_parts(gateway: House, wanted: str):
    await gateway.add(document("text/html", b"<p>marker</p>" + bytes(100_000)))
    answer = await gateway.get(f"{ONE}/bulkdata", accept=f'multipart/related; type="{wanted}"')
    assert answer.status in (200, 404, 406), "what cannot be had as wanted is left out of many"
    if answer.status == 200:
        assert await kinds(answer) == ["application/octet-stream"]


async def test_a_pdf_is_still_one(gateway: House):
    await gateway.add(document("application/pdf", b"%PDF-1.4 marker"))
    bulk = await gateway.get(f"{ONE}/bulkdata/00420011", accept="application/pdf")
    assert (bulk.content_type, bulk.headers["Content-Disposition"]) == ("application/pdf", "attachment")
    shown = await gateway.get(f"{ONE}/rendered", accept="application/pdf")
    assert shown.content_type == "application/pdf"
    assert "Content-Disposition" not in shown.headers
    policy = shown.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


async def test_other_documents_are_saved(gateway: House):
    await gateway.add(document("text/xml", b"<html xmlns='http://www.w3.org/1999/xhtml'/>", CDA))
    shown = await gateway.get(f"{ONE}/rendered", accept="text/xml")
    assert (shown.status, shown.content_type) == (200, "text/xml")
    assert shown.headers["Content-Disposition"] == "attachment"
    assert shown.headers["Content-Security-Policy"] == INERT


@pytest.mark.parametrize(
    "path", ["", "/metadata", "/bulkdata/00100010", "/bulkdata/7FE00010", "/frames/1", "/rendered"]
)
async def test_every_route_of_an_object(gateway: House, path: str):
    await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
    for accept in (BROWSER, "*/*"):
        answer = await gateway.get(f"{ONE}{path}", accept=accept)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
