"""gateway/web/dicomweb/bulkdata.py and frames.py: PS3.18 §10.4.1.1.3, §10.4.1.1.5, §10.4.1.1.6."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import math
import struct
from typing import Any

import numpy
import pydicom
import pytest
from aiohttp import ClientResponse
from pydicom.dataset import Dataset
from yarl import URL

from tests.support.datasets import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNCOMPRESSED,
    encode,
    instance,
    read_sample,
    sample,
)
from tests.support.index import data_set
from tests.support.web import House, parts

ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"
OCTETS = 'multipart/related; type="application/octet-stream"'
RLE = "1.2.840.10008.1.2.5"
JPEG_XL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
MPEG2 = "1.2.840.10008.1.2.4.100"


def image(frames: int = 1, **values: Any) -> Dataset:
    source = instance(frames=frames, rows=4, columns=6, **values)
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    return source


async def add_sample(gateway: House, name: str) -> Dataset:
    source = read_sample(sample(name))
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    await gateway.add(source, source.file_meta.TransferSyntaxUID)
    return source


async def located(answer: ClientResponse) -> list[tuple[str, str, bytes]]:
    """Of each part: its type, the path of its location, its bytes."""
    assert answer.status == 200, await answer.text()
    body = await answer.read()
    found = []
    for piece in body.split(("--" + answer.headers["Content-Type"].split("boundary=")[1]).encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + b"\r\n\r\n")
        where = str(fields["Content-Location"]).removeprefix(str(answer.url.origin()))
        found.append((str(fields["Content-Type"]), where, content.removesuffix(b"\r\n")))
    assert [(kind, content) for kind, _, content in found] == parts(answer, body)
    return found


def octets(syntax: str = EXPLICIT) -> str:
    return f"application/octet-stream; transfer-syntax={syntax}"


class TestFrames:
    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    async def test_uncompressed(self, gateway: House, syntax: str):
        source = image(5)
        await gateway.add(source, syntax)
        pixels = source.PixelData
        if syntax == BIG_ENDIAN:  # pydicom writes the bytes of OW as they are
            pixels = struct.pack(f"<{len(pixels) // 2}H", *struct.unpack(f">{len(pixels) // 2}H", pixels))
        found = await located(await gateway.get(f"{ONE}/frames/2,5,1"))
        assert found == [
            (octets(), f"{ONE}/frames/{number}", pixels[48 * (number - 1) : 48 * number]) for number in (2, 5, 1)
        ]

    async def test_compressed_as_stored_and_decoded(self, gateway: House):
        source = await add_sample(gateway, "SC_rgb_rle_2frame.dcm")
        stored = list(pydicom.encaps.generate_frames(source.PixelData, number_of_frames=2))
        found = await located(
            await gateway.get(f"{ONE}/frames/1,2", accept='multipart/related; type="image/dicom-rle"')
        )
        assert found == [
            (f"image/dicom-rle; transfer-syntax={RLE}", f"{ONE}/frames/{number + 1}", stored[number])
            for number in (0, 1)
        ]
        as_stored = await located(await gateway.get(f"{ONE}/frames/1,2", accept=f"{OCTETS}; transfer-syntax=*"))
        assert [(kind, data) for kind, _, data in as_stored] == [(octets(RLE), frame) for frame in stored]
        decoded = await located(await gateway.get(f"{ONE}/frames/1,2"))
        array = read_sample(sample("SC_rgb_rle_2frame.dcm")).pixel_array
        assert [(kind, data) for kind, _, data in decoded] == [(octets(), array[n].tobytes()) for n in (0, 1)]

    async def test_alone(self, gateway: House):
        source = image(3)
        await gateway.add(source)
        answer = await gateway.get(f"{ONE}/frames/2", accept="application/octet-stream")
        assert answer.headers["Content-Type"] == octets()
        assert await answer.read() == source.PixelData[48:96]
        part = await gateway.get(f"{ONE}/frames/2", accept="application/octet-stream", range="bytes=40-")
        assert part.status == 206
        assert part.headers["Content-Range"] == "bytes 40-47/48"
        assert await part.read() == source.PixelData[88:96]
        assert (await gateway.get(f"{ONE}/frames/1,2", accept="application/octet-stream")).status == 406

    @pytest.mark.parametrize(
        ("frames", "status"), [("0", 400), ("a", 400), ("1,", 400), ("1;2", 400), ("-1", 400), ("3", 404), ("1,9", 404)]
    )
    async def test_what_is_not_there(self, gateway: House, frames: str, status: int):
        await gateway.add(image(2))
        answer = await gateway.get(f"{ONE}/frames/{frames}")
        assert answer.status == status
        assert "Details" in await answer.json()

    async def test_without_pixels(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        assert (await gateway.get(f"{ONE}/frames/1")).status == 404
        assert (await gateway.get(f"{ONE}/pixeldata")).status == 404

    async def test_impossible_pixels(self, gateway: House):
        """Rows x Columns x Frames of 2^60 allocate nothing, and others are served."""
        source = image()
        source.Rows = source.Columns = 65535
        source.NumberOfFrames = 2**31 - 1
        source.SamplesPerPixel = 3
        source.PhotometricInterpretation = "RGB"
        source.PlanarConfiguration = 0
        source.BitsAllocated = source.BitsStored = 32
        source.HighBit = 31
        await gateway.add(source)
        answer = await gateway.get(f"{ONE}/frames/1")
        assert answer.status == 406
        assert "longer than" in (await answer.json())["Details"]
        assert (await gateway.get(f"{ONE}/bulkdata/7FE00010")).status == 200
        await gateway.add(data_set("1.2"))
        assert (await gateway.get("/dicom-web/studies/1.2")).status == 200


class TestOneValue:
    async def test_every_uri_of_metadata(self, gateway: House):
        icon = instance(rows=1, columns=1)
        source = image(2, IconImageSequence=[Dataset(), icon])
        source.add_new(0x60003000, "OW", bytes(range(256)) * 8)
        source.add_new(0x00091010, "LO", "MAKER")
        source.add_new(0x00091001, "UN", b"x" * 3000)
        source.RecommendedDisplayFrameRateInFloat = math.nan
        source.TextValue = "text" * 20_000
        for number, syntax in enumerate(UNCOMPRESSED):
            source.SOPInstanceUID = f"1.1.1.{number}"
            await gateway.add(source, syntax)
            (found,) = await gateway.json(f"{ONE[:-1]}{number}/metadata")
            uris = dict(bulk_uris(found))
            assert set(uris) == {
                *("00089459", "00091001", "0040A160", "60003000", "7FE00010", "00880200/1/7FE00010")
            }, syntax
            for path, uri in uris.items():
                answer = await gateway.get(URL(uri).path, accept="application/octet-stream")
                assert answer.status == 200, path
                body = await answer.read()
                assert len(body) == int(answer.headers["Content-Length"])
                if path == "0040A160":
                    assert body == b"text" * 20_000
                if path in ("7FE00010", "60003000") and syntax != BIG_ENDIAN:
                    assert body == source[int(path, 16)].value
                if path == "00089459":
                    assert math.isnan(struct.unpack("<f", body)[0])

    async def test_any_element(self, gateway: House):
        await gateway.add(image(PatientName="Doe^Jane"), IMPLICIT)
        answer = await gateway.get(f"{ONE}/bulkdata/00100010", accept="application/octet-stream")
        assert await answer.read() == b"Doe^Jane"

    @pytest.mark.parametrize(
        "path",
        ["00091001", "7fe00010/x", "PatientName", "00880200/0", "00880200/0/7FE00010", "..%2f..%2fx", "00081140"],
    )
    async def test_what_is_not_there(self, gateway: House, path: str):
        await gateway.add(image())
        assert (await gateway.get(f"{ONE}/bulkdata/{path}")).status == 404

    async def test_ranges(self, gateway: House):
        for number, syntax in enumerate(UNCOMPRESSED):
            source = image(PixelData=bytes(range(256)) * 10_000)
            source.SOPInstanceUID = f"1.1.1.{number}"
            await gateway.add(source, syntax)
            url = f"{ONE[:-1]}{number}/bulkdata/7FE00010"
            whole = await gateway.get(url, accept="application/octet-stream")
            pixels = await whole.read()
            assert whole.headers["Accept-Ranges"] == "bytes"
            tag = whole.headers["ETag"]
            for start, stop in ((0, 1), (1, 1), (1_048_575, 1_048_580), (2_559_999, 2_559_999), (3, 2_000_001)):
                answer = await gateway.get(url, accept="application/octet-stream", range=f"bytes={start}-{stop}")
                assert answer.status == 206
                assert await answer.read() == pixels[start : stop + 1]
            assert (await gateway.get(url, accept="application/octet-stream", range="bytes=2560000-")).status == 416
            changed = await gateway.get(url, accept="application/octet-stream", range="bytes=0-1", if_range='"old"')
            assert changed.status == 200
            assert (await gateway.get(url, accept="application/octet-stream", if_none_match=tag)).status == 304

    async def test_compressed_frame_by_frame(self, gateway: House):
        await add_sample(gateway, "SC_rgb_rle_2frame.dcm")
        url = f"{ONE}/bulkdata/7FE00010"
        found = await located(await gateway.get(url, accept='multipart/related; type="image/dicom-rle"'))
        assert [where for _, where, _ in found] == [f"{url}/frames/1", f"{url}/frames/2"]
        again = await gateway.get(f"{url}/frames/2", accept="image/dicom-rle")
        assert await again.read() == found[1][2]
        array = read_sample(sample("SC_rgb_rle_2frame.dcm")).pixel_array.tobytes()
        answer = await gateway.get(url, accept="application/octet-stream")
        assert await answer.read() == array
        part = await gateway.get(url, accept="application/octet-stream", range="bytes=29990-30009")
        assert await part.read() == array[29990:30010]
        assert (await gateway.get(url, accept="image/dicom-rle")).status == 406
        assert [kind for kind, _, _ in await located(await gateway.get(url))] == [octets()]

    @pytest.mark.case("the JPEG inside a JPEG XL Recompression object can be had as image/jpeg")
    async def test_the_jpeg_inside_jpeg_xl(self, gateway: House):
        imagecodecs = pytest.importorskip("imagecodecs")
        frames = [
            imagecodecs.jpeg8_encode(numpy.arange(6 * 8, dtype=numpy.uint8).reshape(6, 8) * number, level=90)
            for number in (1, 2)
        ]
        packed = [imagecodecs.jpegxl_encode_jpeg(frame) for frame in frames]
        source = image(2, Rows=6, Columns=8, BitsAllocated=8, BitsStored=8, HighBit=7)
        source.PixelData = pydicom.encaps.encapsulate(packed)
        await gateway.add(source, JPEG_XL_RECOMPRESSION, data=encode(source, JPEG_BASELINE))
        baseline = f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
        for accept in ("image/jpeg", f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'):
            answer = await gateway.get(f"{ONE}/frames/2", accept=accept)
            assert answer.status == 200, await answer.text()
            body = await answer.read()
            assert frames[1] in body
            assert (answer.headers["Content-Type"] == baseline) == (body == frames[1])
        found = await located(
            await gateway.get(f"{ONE}/bulkdata/7FE00010", accept='multipart/related; type="image/jpeg"')
        )
        assert [(kind, data) for kind, _, data in found] == [(baseline, frame) for frame in frames]
        kept = await located(await gateway.get(f"{ONE}/frames/1", accept='multipart/related; type="image/jxl"'))
        assert [data.rstrip(b"\0") for _, _, data in kept] == [packed[0].rstrip(b"\0")]
        lossless = await gateway.get(f"{ONE}/frames/1", accept=f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}")
        assert lossless.headers["Content-Type"] == f"image/jpeg; transfer-syntax={JPEG_LOSSLESS}"

    async def test_video_is_one_stream(self, gateway: House):
        fragments = [b"\0\0\1\xb3" + bytes(2_000_000), b"\x42" * 10]
        source = image(100, PixelData=pydicom.encaps.encapsulate(fragments, has_bot=False))
        await gateway.add(source, MPEG2)
        url = f"{ONE}/bulkdata/7FE00010"
        for accept in ("*/*", 'multipart/related; type="video/mpeg"'):
            ((kind, where, data),) = await located(await gateway.get(url, accept=accept))
            assert (kind, where, data) == (f"video/mpeg; transfer-syntax={MPEG2}", url, b"".join(fragments))
        part = await gateway.get(url, accept="video/mpeg", range="bytes=2000002-2000006")
        assert (part.status, await part.read()) == (206, bytes(2) + b"\x42" * 3)
        ((_, where, data),) = await located(await gateway.get(f"{ONE}/frames/1"))
        assert (where, data) == (f"{ONE}/frames/1", b"".join(fragments))
        assert (await gateway.get(f"{ONE}/frames/2")).status == 404
        refused = await gateway.get(url, accept="application/octet-stream")
        assert refused.status == 406
        assert "video/mpeg" in (await refused.json())["Details"]

    async def test_a_document_by_its_own_media_type(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1", EncapsulatedDocument=b"%PDF" * 500)
        source.MIMETypeOfEncapsulatedDocument = "application/pdf"
        await gateway.add(source)
        url = f"{ONE}/bulkdata/00420011"
        answer = await gateway.get(url, accept="application/pdf")
        assert answer.headers["Content-Type"] == "application/pdf"
        assert await answer.read() == b"%PDF" * 500
        assert (await gateway.get(url, accept="application/octet-stream")).content_type == "application/octet-stream"
        assert (await gateway.get(url, accept="image/jpeg")).status == 406

    async def test_head(self, gateway: House):
        await gateway.add(image())
        for path in ("bulkdata/7FE00010", "frames/1", "pixeldata", "bulkdata"):
            answer = await gateway.client.head(f"{ONE}/{path}")
            assert answer.status == 200
            assert await answer.read() == b""

    async def test_a_value_that_is_cut_short(self, gateway: House):
        await gateway.add(image(), data=encode(image())[:-10])
        for path in ("bulkdata/7FE00010", "frames/1"):
            assert (await gateway.get(f"{ONE}/{path}", accept="application/octet-stream")).status == 406

    @pytest.mark.case("every BulkDataURI can be fetched with */*, compressed icons too")
    @pytest.mark.parametrize(
        "accept", ["*/*", "multipart/*", "application/octet-stream, */*;q=0.1", "image/*, */*;q=0.5"]
    )
    async def test_a_compressed_icon(self, gateway: House, accept: str):
        source = image(2, PixelData=pydicom.encaps.encapsulate([b"ab", b"cd"]))
        icon = instance(rows=1, columns=1, PixelData=pydicom.encaps.encapsulate([b"icon"], has_bot=False))
        icon["PixelData"].VR = "OB"
        icon["PixelData"].is_undefined_length = True
        source.IconImageSequence = [icon]
        await gateway.add(source, JPEG_BASELINE)
        (found,) = await gateway.json(f"{ONE}/metadata")
        uri = dict(bulk_uris(found))["00880200/0/7FE00010"]
        answer = await gateway.get(URL(uri).path, accept=accept)
        assert answer.status == 200, await answer.text()
        kind = f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
        if answer.content_type == "image/jpeg":
            assert (answer.headers["Content-Type"], await answer.read()) == (kind, b"icon")
        else:
            ((found_kind, _, data),) = await located(answer)
            assert (found_kind, data) == (kind, b"icon")
            assert 'type="image/jpeg"' in answer.headers["Content-Type"]
        assert (await gateway.get(URL(uri).path, accept="application/octet-stream")).status == 406

    @pytest.mark.case("the type of a multipart answer is that of its parts")
    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ('multipart/related; type="application/*"', "application/pdf"),
            ('multipart/related; type="*/*"', "application/pdf"),
            (
                'multipart/related; type="text/html"; q=0.9, multipart/related; type="application/pdf"; q=0.1',
                "application/pdf",
            ),
            ('text/html, multipart/related; type="application/octet-stream"', "application/octet-stream"),
            ("multipart/*", "application/octet-stream"),
        ],
    )
    async def test_the_type_of_a_document_in_parts(self, gateway: House, accept: str, kind: str):
        source = data_set("1.1", "1.1.1", "1.1.1.1", EncapsulatedDocument=b"%PDF" * 500)
        source.MIMETypeOfEncapsulatedDocument = "application/pdf"
        await gateway.add(source)
        answer = await gateway.get(f"{ONE}/bulkdata/00420011", accept=accept)
        ((found, _, _),) = await located(answer)
        assert found == kind
        assert f'type="{kind}"' in answer.headers["Content-Type"]

    @pytest.mark.case("text as bulk data goes out in UTF-8, which is what its metadata say")
    @pytest.mark.parametrize("syntax", UNCOMPRESSED)
    async def test_text_is_utf_8(self, gateway: House, syntax: str):
        text = "größe und maß\r\n" * 10_000
        item = Dataset()
        item.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        item.TextValue = ("山田^太郎 and words\r\n" * 5_000) + "山"
        source = image(
            SpecificCharacterSet="ISO_IR 100", TextValue=text, PatientComments="größe", ContentSequence=[item]
        )
        await gateway.add(source, syntax)
        (found,) = await gateway.json(f"{ONE}/metadata")
        assert found["00080005"]["Value"] == ["ISO_IR 192"]
        uris = dict(bulk_uris(found))
        assert set(uris) == {"0040A160", "0040A730/0/0040A160", "7FE00010"}
        octet = "application/octet-stream"
        answer = await gateway.get(URL(uris["0040A160"]).path, accept=octet)
        assert (await answer.read()).decode() == text
        part = await gateway.get(URL(uris["0040A160"]).path, accept=octet, range="bytes=2-5")
        assert (await part.read()).decode() == "öß"
        nested = await gateway.get(URL(uris["0040A730/0/0040A160"]).path, accept=octet)
        assert (await nested.read()).decode() == item.TextValue
        short = await gateway.get(f"{ONE}/bulkdata/00104000", accept=octet)
        assert (await short.read()).decode() == "größe"

    async def test_long_text_in_pieces(self, gateway: House):
        """More than a mebibyte is turned as it goes, cut where its lines end."""
        text = "größe 漢字\r\n" * 200_000
        await gateway.add(image(SpecificCharacterSet="GB18030", TextValue=text))
        answer = await gateway.get(f"{ONE}/bulkdata/0040A160", accept="application/octet-stream")
        assert answer.content_length is None
        assert (await answer.read()).decode() == text


class TestAll:
    async def test_at_every_level(self, gateway: House):
        for series in ("1.1.1", "1.1.2"):
            for number in (1, 2):
                source = image(2)
                source.SeriesInstanceUID, source.SOPInstanceUID = series, f"{series}.{number}"
                source.add_new(0x60003000, "OW", bytes(2000))
                await gateway.add(source)
        await gateway.add(data_set("1.1", "1.1.3"))
        for path, count in (("", 4), ("/series/1.1.1", 2), ("/series/1.1.1/instances/1.1.1.1", 1)):
            url = f"/dicom-web/studies/1.1{path}"
            uris = [str(uri) for each in await gateway.json(f"{url}/metadata") for _, uri in bulk_uris(each)]
            found = await located(await gateway.get(f"{url}/bulkdata"))
            assert [str(gateway.client.make_url(where)) for _, where, _ in found] == uris
            assert len(found) == 2 * count
            pixels = await located(await gateway.get(f"{url}/pixeldata"))
            assert [where.rpartition("/")[2] for _, where, _ in pixels] == ["7FE00010"] * count

    async def test_float_pixel_data(self, gateway: House):
        source = image(BitsAllocated=32, PixelData=None)
        source.FloatPixelData = struct.pack("<24f", *range(24))
        await gateway.add(source)
        ((kind, where, data),) = await located(await gateway.get(f"{ONE}/pixeldata"))
        assert (kind, where, data) == (octets(), f"{ONE}/bulkdata/7FE00008", source.FloatPixelData)

    async def test_nothing_of_the_kind(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1"))
        for path in ("bulkdata", "pixeldata"):
            assert (await gateway.get(f"/dicom-web/studies/1.1/{path}")).status == 404
            assert (await gateway.get(f"/dicom-web/studies/1.9/{path}")).status == 404

    async def test_not_acceptable_before_the_first_byte(self, gateway: House):
        await gateway.add(image())
        await gateway.add(data_set("1.1"), MPEG2, data=b"")
        assert (await gateway.get("/dicom-web/studies/1.1/pixeldata", accept=OCTETS)).status == 406


async def test_an_object_that_moves_meanwhile(gateway: House):
    """The row is read again when its object has gone."""
    source = image(2)
    key, _ = await gateway.add(source)
    answer = await gateway.get(f"{ONE}/frames/2")
    before = (await located(answer))[0][2]
    newer = image(2, PixelData=bytes(96))
    await gateway.add(newer, DEFLATED, replaces=key)
    gateway.memory.remove(key)
    async with asyncio.timeout(10):
        assert (await located(await gateway.get(f"{ONE}/frames/2")))[0][2] == bytes(48) != before


def bulk_uris(model: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, attribute in model.items():
        if "BulkDataURI" in attribute:
            found.append((prefix + key, attribute["BulkDataURI"]))
        if attribute["vr"] == "SQ":
            for number, item in enumerate(attribute.get("Value", [])):
                found += bulk_uris(item, f"{prefix}{key}/{number}/")
    return found
