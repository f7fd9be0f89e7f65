"""gateway/web/dicomweb/rendered.py: PS3.18 §10.4.1.1.3 and §10.4.1.1.4."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.support.datasets import EXPLICIT, encode, read_sample, sample
from tests.support.index import data_set
from tests.support.web import House, parts

ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"
RENDERED = f"{ONE}/rendered"
MPEG4 = "1.2.840.10008.1.2.4.102"


def image(*where: str, frames: int = 1, **values: Any) -> Dataset:
    """16 by 8 pixels of 0, 10, 20 … in the rows; frame n has n more."""
    pixels = np.arange(8, dtype="u1")[np.newaxis, :, np.newaxis] * 10 + np.arange(frames, dtype="u1")[:, None, None]
    settings = {
        "Rows": 8,
        "Columns": 16,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "NumberOfFrames": frames,
        "PixelData": np.broadcast_to(pixels, (frames, 8, 16)).tobytes(),
    }
    made = data_set(*where, **{**settings, **values})
    if "PixelData" in made:
        made["PixelData"].VR = "OB"
    return made


def picture(body: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(body)))


async def details(gateway: House, path: str, status: int, **headers: str) -> str:
    answer = await gateway.get(path, **headers)
    assert answer.status == status, await answer.text()
    return str((await answer.json())["Details"])


class TestPictures:
    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("*/*", "JPEG"),
            ("image/*", "JPEG"),
            ("image/png", "PNG"),
            ("image/gif", "GIF"),
            ("image/jp2, image/png;q=0.5", "PNG"),
            ("image/jpeg;q=0.5, image/png", "PNG"),
        ],
    )
    async def test_media_types(self, gateway: House, accept: str, kind: str):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.get(RENDERED, accept=accept)
        assert answer.content_type == f"image/{kind.lower()}"
        found = Image.open(io.BytesIO(await answer.read()))
        assert (found.format, found.size) == (kind, (16, 8))
        assert np.abs(np.asarray(found.convert("L"))[:, 0].astype(int) - np.arange(8) * 10).max() <= 2

    async def test_the_query_parameter_for_what_a_page_cannot_say(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        assert (await gateway.get(f"{RENDERED}?accept=image/png", accept="image/gif")).content_type == "image/png"

    async def test_what_cannot_be_accepted(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        text = await details(gateway, RENDERED, 406, accept="image/jp2")
        assert "image/jpeg, image/png, image/gif" in text

    async def test_multipart(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3))
        answer = await gateway.get(RENDERED, accept='multipart/related; type="image/png"')
        found = parts(answer, await answer.read())
        assert [kind for kind, _ in found] == ["image/png"] * 3
        assert [int(picture(body)[0, 0]) for _, body in found] == [0, 1, 2]

    async def test_of_several_frames_one_stands_for_them(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3, RepresentativeFrameNumber=2))
        answer = await gateway.get(RENDERED, accept="image/png")
        assert picture(await answer.read())[0, 0] == 1

    async def test_cine(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3, FrameTime=50))
        answer = await gateway.get(RENDERED, accept="image/gif")
        found = Image.open(io.BytesIO(await answer.read()))
        assert (found.n_frames, found.info["duration"], found.info["loop"]) == (3, 50, 0)

    async def test_a_cine_that_is_too_long(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=700))
        assert "700 frames" in await details(gateway, RENDERED, 406, accept="image/gif")

    async def test_an_entity_tag(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.get(RENDERED)
        assert answer.headers["Cache-Control"].startswith("private")
        again = await gateway.get(RENDERED, if_none_match=answer.headers["ETag"])
        assert again.status == 304
        other = await gateway.get(f"{RENDERED}?quality=10", if_none_match=answer.headers["ETag"])
        assert other.status == 200


class TestFrames:
    async def test_one_and_several(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3))
        answer = await gateway.get(f"{ONE}/frames/3/rendered", accept="image/png")
        assert picture(await answer.read())[0, 0] == 2
        answer = await gateway.get(f"{ONE}/frames/3,1/rendered", accept="image/png")
        assert [int(picture(body)[0, 0]) for _, body in parts(answer, await answer.read())] == [2, 0]

    @pytest.mark.parametrize(
        ("frames", "status"),
        [
            ("0", 400),
            ("a", 400),
            ("1,,2", 400),
            ("-1", 400),
            ("4", 404),
            ("1,4", 404),
            ("9" * 30, 400),
            ("1," * 1001, 400),
        ],
    )
    async def test_what_is_not_there(self, gateway: House, frames: str, status: int):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3))
        assert await details(gateway, f"{ONE}/frames/{frames}/rendered", status)
        assert (await gateway.get(f"{ONE}/frames/{frames}/thumbnail")).status in (400, 404)


class TestParameters:
    """§8.3.5."""

    async def test_window(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        for query, expected in (
            ("window=35,1", [0] * 4 + [255] * 4),
            ("window=35,70,linear-exact", [0, 36, 73, 109, 146, 182, 219, 255]),
            ("window=35,1,sigmoid", [0] * 4 + [255] * 4),
        ):
            answer = await gateway.get(f"{RENDERED}?{query}", accept="image/png")
            assert picture(await answer.read())[:, 0].tolist() == expected

    async def test_viewport(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.get(f"{RENDERED}?viewport=2,2,0,6,2,-2", accept="image/png")
        assert picture(await answer.read()).tolist() == [[70, 70], [60, 60]]
        answer = await gateway.get(f"{RENDERED}?viewport=100,8,,4,16,4", accept="image/png")
        assert picture(await answer.read()).shape == (8, 32)

    async def test_quality(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        sizes = [len(await (await gateway.get(f"{RENDERED}?quality={quality}")).read()) for quality in (1, 100)]
        assert sizes[0] < sizes[1]

    async def test_annotation(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", Rows=64, Columns=64, PixelData=bytes(4096)))
        plain, *drawn = [
            picture(await (await gateway.get(f"{RENDERED}?{query}", accept="image/png")).read())
            for query in ("", "annotation=patient", "annotation=technique", "annotation=patient,technique")
        ]
        assert plain.max() == 0
        assert [each.max() > 200 for each in drawn] == [True] * 3
        assert drawn[0][:20].max() > 200
        assert drawn[1][-20:].max() > 200

    async def test_profile(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        for query, present in (
            ("", False),
            ("iccprofile=no", False),
            ("iccprofile=yes", True),
            ("iccprofile=srgb", True),
        ):
            body = await (await gateway.get(f"{RENDERED}?{query}")).read()
            assert ("icc_profile" in Image.open(io.BytesIO(body)).info) == present

    @pytest.mark.parametrize(
        "query",
        [
            "window=a,b,linear",
            "window=1",
            "window=1,2,cubic",
            "window=1,2,linear,3",
            "window=1,0,linear",
            "window=nan,1,linear",
            "window=1,inf,linear",
            "window=1e300,1,linear",
            "viewport=10",
            "viewport=0,10",
            "viewport=1e9,1e9",
            "viewport=1000000000,1000000000",
            "viewport=1,1,-1,0",
            "viewport=1,1,0,0,0,0",
            "viewport=1,1,99,0",
            "viewport=1,1,0,0,17,8",
            "viewport=1,1,0,0,1e11,1",
            "viewport=1,1,1,1,1,1,1",
            "quality=0",
            "quality=101",
            "quality=1e9",
            "quality=best",
            "annotation=everything",
            "iccprofile=cmyk",
        ],
    )
    async def test_nonsense(self, gateway: House, query: str):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        text = await details(gateway, f"{RENDERED}?{query}", 400)
        assert query.partition("=")[0] in text


class TestSeveralInstances:
    async def test_a_part_for_each_that_has_pictures(self, gateway: House):
        for number in range(3):
            await gateway.add(image("1.1", "1.1.1", InstanceNumber=number + 1))
        await gateway.add(data_set("1.1", "1.1.2"))
        for path, count in (("1.1", 3), ("1.1/series/1.1.1", 3)):
            answer = await gateway.get(f"/dicom-web/studies/{path}/rendered", accept="image/png")
            assert len(parts(answer, await answer.read())) == count
        assert "no pixel data" in await details(gateway, "/dicom-web/studies/1.1/series/1.1.2/rendered", 406)

    async def test_one_alone(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"))
        assert (await gateway.get("/dicom-web/studies/1.1/rendered")).content_type == "image/jpeg"
        answer = await gateway.get("/dicom-web/studies/1.1/rendered", accept='multipart/related; type="image/jpeg"')
        assert len(parts(answer, await answer.read())) == 1

    async def test_what_is_not_there(self, gateway: House):
        for path in ("1.9/rendered", "1.9/thumbnail", "1.9/series/1/thumbnail"):
            assert (await gateway.get(f"/dicom-web/studies/{path}")).status == 404


class TestThumbnails:
    async def test_every_level(self, gateway: House):
        for number in range(3):
            pixels = bytes([number * 100]) * 512 * 512
            uid = f"1.1.1.{number + 1}"
            await gateway.add(
                image("1.1", "1.1.1", uid, InstanceNumber=number + 1, Rows=512, Columns=512, PixelData=pixels)
            )
        await gateway.add(data_set("1.1", "1.1.0", SeriesNumber=0, Modality="SR"))
        for path, value in (("", 100), ("/series/1.1.1", 100), ("/series/1.1.1/instances/1.1.1.3", 200)):
            answer = await gateway.get(f"/dicom-web/studies/1.1{path}/thumbnail")
            assert answer.headers["Cache-Control"].startswith("private")
            found = picture(await answer.read())
            assert found.shape == (256, 256)
            assert abs(int(found.mean()) - value) <= 2

    async def test_size_and_frame(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", frames=3))
        answer = await gateway.get(f"{ONE}/frames/3/thumbnail?viewport=8,8", accept="image/png")
        assert picture(await answer.read()).shape == (4, 8)
        answer = await gateway.get(f"{ONE}/thumbnail", accept="image/png")
        assert picture(await answer.read()).shape == (8, 16)
        assert await details(gateway, f"{ONE}/thumbnail?viewport=8,8,0,0,1,1", 400)
        again = await gateway.get(f"{ONE}/thumbnail", if_none_match=answer.headers["ETag"], accept="image/png")
        assert again.status == 304

    async def test_of_what_cannot_be_shown(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", PixelData=None))
        await gateway.add(image("1.1", "1.1.1", "1.1.1.2", BitsStored=99))
        for name in ("1.1.1.1", "1.1.1.2"):
            path = f"/dicom-web/studies/1.1/series/1.1.1/instances/{name}"
            answer = await gateway.get(f"{path}/thumbnail")
            assert picture(await answer.read()).shape == (256, 256)
            text = await details(gateway, f"{path}/rendered", 406)
            assert "application/dicom" in text


class TestVideo:
    stream = bytes(range(256)) * 20

    async def test_the_stream_itself(self, gateway: House):
        video = image("1.1", "1.1.1", "1.1.1.1", frames=50, PixelData=encapsulate([self.stream], fragments_per_frame=3))
        await gateway.add(video, MPEG4)
        answer = await gateway.get(RENDERED)
        assert answer.content_type == "video/mp4"
        assert await answer.read() == self.stream
        part = await gateway.get(RENDERED, range="bytes=1700-3500")
        assert part.status == 206
        assert await part.read() == self.stream[1700:3501]
        assert part.headers["Content-Range"] == f"bytes 1700-3500/{len(self.stream)}"
        assert "video/mp4" in await details(gateway, RENDERED, 406, accept="image/jpeg")
        assert (await gateway.get(f"{ONE}/thumbnail")).content_type == "image/jpeg"


class TestDocuments:
    @pytest.mark.parametrize(
        ("sop_class", "kind"), [("104.1", "application/pdf"), ("104.2", "text/xml"), ("104.3", "model/stl")]
    )
    async def test_encapsulated(self, gateway: House, sop_class: str, kind: str):
        content = b"%PDF-1.4 or so\n"
        document = data_set(
            *("1.1", "1.1.1", "1.1.1.1"),
            SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{sop_class}",
            EncapsulatedDocument=content + b"\0",
            EncapsulatedDocumentLength=len(content),
        )
        document["EncapsulatedDocument"].VR = "OB"
        await gateway.add(document)
        answer = await gateway.get(RENDERED)
        assert (answer.status, answer.content_type) == (200, kind)
        assert await answer.read() == content
        assert kind in await details(gateway, RENDERED, 406, accept="image/png")
        assert (await gateway.get(f"{ONE}/thumbnail")).content_type == "image/jpeg"

    async def test_a_liar(self, gateway: House):
        document = data_set("1.1", "1.1.1", "1.1.1.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
        await gateway.add(document)
        assert "no document" in await details(gateway, RENDERED, 406)


class TestReports:
    async def add(self, gateway: House, **values: Any) -> None:
        report = read_sample(sample("test-SR.dcm"))
        report.StudyInstanceUID, report.SeriesInstanceUID, report.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
        for keyword, value in values.items():
            setattr(report, keyword, value)
        await gateway.add(report)

    async def test_as_page_and_text(self, gateway: House):
        await self.add(gateway)
        page = await gateway.get(RENDERED)
        assert page.content_type == "text/html"
        assert "sandbox" in page.headers["Content-Security-Policy"]
        text = await gateway.get(RENDERED, accept="text/plain")
        assert text.content_type == "text/plain"
        words = " ".join((await text.text()).split())
        for each in _words(read_sample(sample("test-SR.dcm"))):
            assert " ".join(each.split()) in words
        assert "text/html, text/plain" in await details(gateway, RENDERED, 406, accept="image/png")
        alone = await gateway.get("/dicom-web/studies/1.1/rendered", accept="text/html")
        assert await alone.read() == await page.read()

    async def test_nothing_in_it_is_markup(self, gateway: House):
        evil = "<script>alert(1)</script>\"'&"
        item = Dataset()
        item.ValueType, item.TextValue, item.RelationshipType = "TEXT", evil, "CONTAINS"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "<b>", "<i>", evil
        item.ConceptNameCodeSequence = [code]
        await self.add(gateway, PatientName=evil, ContentSequence=[item], ConceptNameCodeSequence=[code])
        page = await (await gateway.get(RENDERED)).text()
        assert page.count("&lt;script&gt;") >= 3
        assert "<script" not in page
        assert "<b>&lt;" in page

    async def test_one_that_is_too_long(self, gateway: House):
        item = Dataset()
        item.ValueType = "TEXT"
        report = data_set("1.1", "1.1.1", "1.1.1.1", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
        value = encode(item)
        items = (b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value) * 1_000_000
        data = encode(report) + b"\x40\x00\x30\xa7SQ\0\0" + len(items).to_bytes(4, "little") + items
        await gateway.add(report, data=data)
        assert "more than" in await details(gateway, RENDERED, 406)


def _words(data_set: Dataset) -> set[str]:
    """Every text and number of a report's content."""
    return {
        str(element.value).strip()
        for item in data_set.ContentSequence
        for element in item.iterall()
        if element.keyword in ("TextValue", "NumericValue", "CodeMeaning", "CodeValue") and str(element.value)
    }


class TestExtremes:
    async def test_a_picture_that_no_format_takes(self, gateway: House):
        values = {"Rows": 1, "Columns": 60000, "PixelData": bytes(60000), "PixelAspectRatio": [1, 8]}
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", **values))
        assert "viewport" in await details(gateway, RENDERED, 400)
        assert picture(await (await gateway.get(f"{RENDERED}?viewport=100,100")).read()).shape == (1, 100)

    async def test_cards_of_any_size(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        for size in (1, 10, 2000):
            answer = await gateway.get(f"{ONE}/thumbnail?viewport={size},{size}")
            assert picture(await answer.read()).shape == (size, size)


class TestLiars:
    @pytest.mark.parametrize(
        "values",
        [
            {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1},
            {"Rows": 0},
            {"BitsStored": 12},
            {"BitsAllocated": 24},
            {"SamplesPerPixel": 200},
            {"PhotometricInterpretation": "PALETTE COLOR"},
            {"PhotometricInterpretation": "HSV"},
            {"PixelData": b""},
            {"PixelData": b"\0\0"},
        ],
    )
    async def test_a_clear_answer(self, gateway: House, values: dict[str, Any]):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1", **values))
        assert await details(gateway, RENDERED, 406)
        assert (await gateway.get(f"{ONE}/thumbnail")).status == 200

    async def test_cut_short(self, gateway: House):
        await gateway.add(image("1.1", "1.1.1", "1.1.1.1"), EXPLICIT, data=b"\x08\x00\x18\x00UI\xff\x00")
        assert await details(gateway, RENDERED, 406)
        assert (await gateway.get(f"{ONE}/thumbnail")).status == 200
