"""gateway/web/dicomweb/uri.py: WADO-URI, PS3.18 §9."""

from __future__ import annotations

import io

import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.support.datasets import EXPLICIT, IMPLICIT, instance
from tests.support.index import data_set
from tests.support.web import House

MPEG2 = "1.2.840.10008.1.2.4.100"
ONE = "/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1"


def image(frames: int = 1) -> Dataset:
    source = instance(frames=frames, rows=40, columns=60)
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    return source


class TestParameters:
    async def test_a_content_type_that_does_not_parse_is_passed_over(self, gateway: House):
        await gateway.add(image())
        answer = await gateway.get(f"{ONE}&contentType=;")
        assert (answer.status, answer.content_type) == (200, "image/jpeg")

    @pytest.mark.parametrize(
        ("url", "status"),
        [
            ("/wado", 400),
            ("/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1", 400),
            (ONE.replace("WADO&", "MADO&"), 400),
            (ONE.replace("1.1.1.1", "1.9"), 404),
            (f"{ONE}&anonymize=yes", 400),
            (f"{ONE}&presentationUID=1.2", 400),
            (f"{ONE}&charset=iso-8859-1", 406),
            (f"{ONE}&contentType=image/bmp", 406),
            (f"{ONE}&windowCenter=1", 400),
            (f"{ONE}&frameNumber=0", 400),
            (f"{ONE}&frameNumber=2", 404),
            (f"{ONE}&region=0,0,2,1", 400),
            (f"{ONE}&region=a", 400),
            (f"{ONE}&rows=0", 400),
            (f"{ONE}&contentType=application/dicom&transferSyntax=1.2.3", 406),
        ],
    )
    async def test_what_is_wrong(self, gateway: House, url: str, status: int):
        await gateway.add(image())
        answer = await gateway.get(url)
        assert answer.status == status
        assert (await answer.json())["Details"]


class TestDicom:
    async def test_default_transfer_syntax(self, gateway: House):
        await gateway.add(image(), IMPLICIT)
        answer = await gateway.get(f"{ONE}&contentType=application/dicom&charset=UTF-8")
        assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
        assert pydicom.dcmread(io.BytesIO(await answer.read())).file_meta.TransferSyntaxUID == EXPLICIT

    async def test_as_asked_for(self, gateway: House):
        _, file = await gateway.add(image(), IMPLICIT)
        answer = await gateway.get(f"{ONE}&contentType=application%2Fdicom&transferSyntax={IMPLICIT}")
        assert await answer.read() == file
        head = await gateway.client.head(f"{ONE}&contentType=application/dicom&transferSyntax={IMPLICIT}")
        assert (head.status, head.content_length) == (200, len(file))

    async def test_what_cannot_be_decoded_comes_as_it_is(self, gateway: House):
        _, file = await gateway.add(image(), MPEG2, data=b"")
        answer = await gateway.get(f"{ONE}&contentType=application/dicom")
        assert await answer.read() == file


class TestRendered:
    async def picture(self, gateway: House, query: str, **headers: str) -> Image.Image:
        answer = await gateway.get(ONE + query, **headers)
        assert answer.status == 200, await answer.text()
        return Image.open(io.BytesIO(await answer.read()))

    async def test_jpeg_unless_something_else_is_asked_for(self, gateway: House):
        await gateway.add(image(3))
        assert (await self.picture(gateway, "")).format == "JPEG"
        assert (await self.picture(gateway, "&contentType=image/png")).format == "PNG"
        assert (await self.picture(gateway, "&contentType=image/bmp,image/png;q=0.5")).format == "PNG"
        assert (await self.picture(gateway, "", accept="image/avif,image/png")).format == "PNG"
        second, third = [await self.picture(gateway, f"&contentType=image/png&frameNumber={n}") for n in (2, 3)]
        assert second.size == third.size == (60, 40)

    async def test_size_and_region(self, gateway: House):
        await gateway.add(image())
        assert (await self.picture(gateway, "&rows=20&columns=30")).size == (30, 20)
        assert (await self.picture(gateway, "&columns=30")).size == (30, 20)
        assert (await self.picture(gateway, "&rows=20")).size == (30, 20)
        assert (await self.picture(gateway, "&region=0.5,0,1,0.5&rows=10&columns=100")).size == (15, 10)
        assert (await self.picture(gateway, "&region=0.5,0,1,0.5")).size == (30, 20)

    async def test_window(self, gateway: House):
        await gateway.add(image())
        dark = await self.picture(gateway, "&contentType=image/png&windowCenter=100000&windowWidth=10")
        assert max(dark.convert("L").tobytes()) == 0

    async def test_what_has_no_picture_is_a_file(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.get(ONE)
        assert answer.content_type == "application/dicom"
        assert (await gateway.get(f"{ONE}&contentType=image/jpeg")).status == 406
