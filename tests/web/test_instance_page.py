"""gateway/web/pages/{instance,tag_rows,instance_pictures,documents}.py: an instance as it is shown; its attributes."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from gateway.config import Dicomweb, Http
from gateway.config.roles import Role
from gateway.index.identity import public_id
from gateway.web.pages import tag_rows
from tests.render.test_frame_view import FrameView
from tests.render.test_pdf import pdf
from tests.support.datasets import encode, read_sample, sample
from tests.support.web import House, archive
from tests.web.test_middlewares import ANNA, basic
from tests.web.test_rendered import image


async def added(gateway: House, made: Dataset) -> str:
    """The path of an instance's page."""
    syntax = made.file_meta.TransferSyntaxUID if hasattr(made, "file_meta") else None
    await (gateway.add(made, str(syntax)) if syntax else gateway.add(made))
    return path_of(made)


def pdf_instance(content: bytes) -> Dataset:
    """An instance with a document that says to be a PDF."""
    made = image("1.1", PatientID="P1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    made.EncapsulatedDocument, made.EncapsulatedDocumentLength = content + bytes(len(content) % 2), len(content)
    return made


def path_of(made: Dataset) -> str:
    uids = (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
    return f"/ui/instances/{public_id(str(made.get('PatientID', '')), *uids)}"


async def text_of(gateway: House, path: str, status: int = 200, **headers: str) -> str:
    answer = await gateway.get(path, **headers)
    assert answer.status == status, await answer.text()
    return await answer.text()


def rows(text: str) -> list[tuple[str, str, str, str]]:
    """Tag, keyword, VR and value of each row."""
    found = []
    for row in re.findall(r"<tr class=\"depth.*?</tr>", text, re.DOTALL):
        cells = [
            unescape(re.sub(r"<button.*?</button>|<[^>]*>", "", cell))
            for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)
        ]
        found.append((cells[0], cells[1], cells[2], cells[3]))
    return found


class TestAttributes:
    async def test_each_with_keyword_vr_and_value(self, gateway: House):
        text = await text_of(gateway, await added(gateway, read_sample(sample("CT_small.dcm"))))
        found = rows(text)
        assert ("0010,0010", "PatientName", "PN", "CompressedSamples^CT1") in found
        assert ("0002,0010", "TransferSyntaxUID", "UI", "1.2.840.10008.1.2.1") in found
        assert ("7FE0,0010", "PixelData", "OW", "binary, 32.8\N{NO-BREAK SPACE}KB") in found
        assert ("0010,1002", "OtherPatientIDsSequence", "SQ", "2 items") in found
        assert [row for row in found if row[3] == "ABCD1234"] == [("0010,0020", "PatientID", "LO", "ABCD1234")]

    async def test_private_ones_have_their_creator_and_the_name_it_gave(self, gateway: House):
        text = await text_of(
            gateway, f"{await added(gateway, read_sample(sample('CT_small.dcm')))}?search=GEMS_PATI_01"
        )
        assert ("0011,0010", "PrivateCreator", "LO", "GEMS_PATI_01") in rows(text)
        assert ("0011,1010", "PatientStatusprivate, of GEMS_PATI_01", "SS", "0") in rows(text)

    @pytest.mark.parametrize(
        ("search", "tags"),
        [
            ("patientna", ["0010,0010"]),
            ("compressedsamples", ["0010,0010"]),
            ("0010,0010", ["0010,0010"]),
            ("(0010,0010)", ["0010,0010"]),
            ("00100010", ["0010,0010"]),
            ("abcd1234", ["0010,1002", "0010,0020"]),
            ("otherpatientids", ["0010,1002", "0010,0020", "0010,0022", "0010,0020", "0010,0022"]),
            ("nothing like it", []),
        ],
    )
    async def test_searched(self, gateway: House, search: str, tags: list[str]):
        path = await added(gateway, read_sample(sample("CT_small.dcm")))
        for each in (path, f"{path}/tags"):
            assert [row[0] for row in rows(await text_of(gateway, f"{each}?search={search}"))] == tags

    async def test_by_vr(self, gateway: House):
        path = await added(gateway, read_sample(sample("CT_small.dcm")))
        found = rows(await text_of(gateway, f"{path}/tags?search=pn"))
        assert {row[2] for row in found if "PN" in row[2]} == {"PN"}

    async def test_a_page_at_a_time(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(tag_rows, "PAGE_ROWS", 10)
        path = await added(gateway, read_sample(sample("CT_small.dcm")))
        first, second = [await text_of(gateway, f"{path}/tags?from={at}") for at in (0, 10)]
        assert len(rows(first)) == 10
        assert rows(first)[-1] != rows(second)[0]
        assert "from=10#tag-search" in first
        assert "more rows" in first
        assert rows(await text_of(gateway, f"{path}/tags?from=100000")) == []

    async def test_text_of_an_object_is_no_markup(self, gateway: House):
        made = image("1.1", PatientID="P1", PatientName="<script>alert(1)</script>", SeriesDescription="<b>&amp;")
        text = await text_of(gateway, await added(gateway, made))
        assert "<script>alert" not in text
        assert "<b>&amp;" not in text.replace("<b>&amp;amp;", "")

    async def test_what_is_cut_short_is_shown_as_far_as_it_goes(self, gateway: House):
        made = image("1.1", PatientID="P1")
        await gateway.add(made, data=encode(made)[:-170])
        text = await text_of(gateway, path_of(made))
        assert rows(text)


class TestForms:
    async def test_an_image(self, gateway: House):
        text = await text_of(gateway, await added(gateway, image("1.1", PatientID="P1", frames=2)))
        assert 'id="view"' in text
        assert '"frames": 2' in text
        assert "2 frames" in text

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("test-SR.dcm", "The whole report on a page of its own"),
            ("waveform_ecg.dcm", "/waveform"),
            ("rtplan.dcm", "There is no picture of this"),
        ],
    )
    async def test_what_is_no_image(self, gateway: House, name: str, shown: str):
        text = await text_of(gateway, await added(gateway, read_sample(sample(name))))
        assert shown in text
        assert 'id="view"' not in text

    async def test_a_report_in_place(self, gateway: House):
        text = await text_of(gateway, await added(gateway, read_sample(sample("reportsi.dcm"))))
        assert "<b>Observation Context Mode</b>" in text

    async def test_a_document_is_a_link(self, gateway: House):
        made = image("1.1", PatientID="P1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF")
        text = await text_of(gateway, await added(gateway, made))
        assert "/rendered?accept=application/pdf" in text

    async def test_the_pages_of_a_pdf(self, gateway: House):
        path = await added(gateway, pdf_instance(pdf("0 0 72 144", pages=2)))
        text = await text_of(gateway, path)
        assert "It has 2 pages." in text
        assert f'<img src="{path}/pages/2" width="150" height="300" alt="Page 2 of 2" loading="lazy">' in text
        answer = await gateway.get(f"{path}/pages/2")
        picture = Image.open(io.BytesIO(await answer.read()))
        assert (picture.format, picture.size, picture.getpixel((30, 270))) == ("PNG", (150, 300), (0, 0, 255))
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert (await gateway.get(f"{path}/pages/2", If_None_Match=answer.headers["ETag"])).status == 304
        for page in ("0", "3", "x"):
            assert (await gateway.get(f"{path}/pages/{page}")).status == 404

    @pytest.mark.parametrize("content", [b"%PDF", b"no such thing!"])
    async def test_a_pdf_that_cannot_be_read_is_a_link(self, gateway: House, content: bytes):
        path = await added(gateway, pdf_instance(content))
        text = await text_of(gateway, path)
        assert "It cannot be shown here: it is no PDF that can be read" in text
        assert "/rendered?accept=application/pdf" in text
        assert (await gateway.get(f"{path}/pages/1")).status == 415

    @pytest.mark.parametrize(("sop_class", "name"), [("3", "stl"), ("4", "obj"), ("5", "mtl")])
    async def test_a_model_is_to_be_saved(self, gateway: House, sop_class: str, name: str):
        made = image("1.1", PatientID="P1", SOPClassUID=f"1.2.840.10008.5.1.4.1.1.104.{sop_class}")
        made.EncapsulatedDocument = b"solid cube\nendsolid "
        text = await text_of(gateway, await added(gateway, made))
        assert f"(model/{name}, 20\N{NO-BREAK SPACE}B)" in text
        assert f'download="{made.SOPInstanceUID}.{name}"' in text

    async def test_a_clinical_document_in_place(self, gateway: House):
        section = b"<section><title>&lt;b&gt;</title><text>seen</text></section>"
        document = b"<ClinicalDocument><component>" + section + b"</component></ClinicalDocument>"
        document += b" " * (len(document) % 2)
        made = image("1.1", PatientID="P1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.2", EncapsulatedDocument=document)
        text = await text_of(gateway, await added(gateway, made))
        assert "<h3>&lt;b&gt;</h3>" in text
        assert "<p>seen</p>" in text
        made.SOPInstanceUID, made.EncapsulatedDocument = "1.1.1.9", b"<broken>"
        assert "This is a document (text/xml)." in await text_of(gateway, await added(gateway, made))

    async def test_a_video(self, gateway: House):
        made = image("1.1", PatientID="P1", PixelData=encapsulate([b"stream"]))
        await gateway.add(made, "1.2.840.10008.1.2.4.102")
        text = await text_of(gateway, path_of(made))
        assert "<video" in text

    async def test_unknown(self, gateway: House):
        for path in ("", "/tags", "/thumbnail", "/waveform", "/frames/0/pixels", "/pages/1"):
            assert (await gateway.get(f"/ui/instances/1-2{path}")).status == 404


class TestPictures:
    async def test_pixels_of_a_frame(self, gateway: House):
        path = await added(gateway, image("1.1", PatientID="P1", frames=2))
        answer = await gateway.get(f"{path}/frames/1/pixels")
        shown = FrameView(await answer.read())
        assert shown.samples[:, 0].tolist() == [1, 11, 21, 31, 41, 51, 61, 71]
        assert answer.headers["Content-Disposition"] == "attachment"
        again = await gateway.get(f"{path}/frames/1/pixels", If_None_Match=answer.headers["ETag"])
        assert again.status == 304
        assert (await gateway.get(f"{path}/frames/2/pixels")).status == 404
        assert (await gateway.get(f"{path}/frames/x/pixels")).status == 404

    async def test_no_pixels(self, gateway: House):
        path = await added(gateway, read_sample(sample("rtplan.dcm")))
        assert (await gateway.get(f"{path}/frames/0/pixels")).status == 415

    @pytest.mark.parametrize("name", ["CT_small.dcm", "rtplan.dcm"])
    async def test_thumbnail(self, gateway: House, name: str):
        path = await added(gateway, read_sample(sample(name)))
        answer = await gateway.get(f"{path}/thumbnail?size=64")
        assert Image.open(io.BytesIO(await answer.read())).size == (64, 64)
        assert (await gateway.get(f"{path}/thumbnail", If_None_Match="*")).status == 304
        for size in ("15", "513", "x"):
            assert (await gateway.get(f"{path}/thumbnail?size={size}")).status == 400

    async def test_ecg(self, gateway: House):
        path = await added(gateway, read_sample(sample("waveform_ecg.dcm")))
        answer = await gateway.get(f"{path}/waveform")
        assert answer.content_type == "image/svg+xml"
        assert "25 mm/s, 10 mm/mV" in await answer.text()
        other = await added(gateway, read_sample(sample("rtplan.dcm")))
        assert (await gateway.get(f"{other}/waveform")).status == 415


class TestMayNot:
    async def test_look_only(self, gateway: House):
        path = await added(gateway, image("1.1", PatientID="P1"))
        gateway.dicomweb, gateway.roles = Dicomweb(delete=True), {"reader": Role(permissions=("view",))}
        assert "DICOM file" in await text_of(gateway, path)
        gateway.http = Http(users=(replace(ANNA, roles=("reader",)),))
        text = await text_of(gateway, path, authorization=basic("geheim"))
        assert "PNG" in text
        assert "DICOM file" not in text
        assert "Delete" not in text


async def test_deleted_behind_a_question(tmp_path: Path):
    async with archive(tmp_path) as gateway:
        data = sample("CT_small.dcm").read_bytes()
        answer = await gateway.client.post("/instances", data=data)
        found = await answer.json()
        page, series = f"/ui/instances/{found['ID']}", f"/ui/series/{found['ParentSeries']}"
        assert "Delete" not in await text_of(gateway, page)
        gateway.dicomweb = Dicomweb(delete=True)
        assert "Delete this instance? It cannot be brought back." in await text_of(gateway, page)
        assert "with its instance?" in await text_of(gateway, series)
        ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
        gone = await gateway.client.post(f"{page}/delete", headers=ours, allow_redirects=False)
        assert (gone.status, gone.headers["Location"]) == (303, "/ui/")
        assert (await gateway.get(page)).status == 404
