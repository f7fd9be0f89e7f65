"""gateway/web/dicomweb/wado.py: PS3.18 §10.4."""

from __future__ import annotations

import io

import pydicom
import pytest

from gateway.web.accept import parse
from gateway.web.dicomweb.wado import Representation, chooser, representations
from gateway.web.errors import NotAcceptable
from tests.support.datasets import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE, decode, encode, instance
from tests.support.index import data_set
from tests.support.web import House, parts

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"


def content_type(transfer_syntax: str) -> str:
    return f"application/dicom; transfer-syntax={transfer_syntax}"


MPEG2 = "1.2.840.10008.1.2.4.100"


class TestSelection:
    """§8.7.3.5: which transfer syntax is acceptable."""

    @pytest.mark.parametrize(
        ("accept", "stored", "sent"),
        [
            ("*/*", IMPLICIT, EXPLICIT),
            ("multipart/related; type=application/dicom", BIG_ENDIAN, EXPLICIT),
            ("multipart/related", DEFLATED, EXPLICIT),
            (AS_STORED, JPEG_BASELINE, JPEG_BASELINE),
            (
                f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_BASELINE}',
                JPEG_BASELINE,
                JPEG_BASELINE,
            ),
            (f"multipart/related; transfer-syntax={IMPLICIT}", IMPLICIT, IMPLICIT),
            (f"multipart/related; transfer-syntax={IMPLICIT}", EXPLICIT, IMPLICIT),
            ("*/*", JPEG_BASELINE, EXPLICIT),
            (f"multipart/related; transfer-syntax={JPEG_BASELINE}", EXPLICIT, None),
            ("*/*", MPEG2, None),
            (f"multipart/related; transfer-syntax={JPEG_BASELINE};q=0.5, multipart/related", IMPLICIT, EXPLICIT),
            (f"multipart/related; transfer-syntax={MPEG2};q=0.5, multipart/related", MPEG2, MPEG2),
        ],
    )
    def test_choice(self, accept: str, stored: str, sent: str | None):
        select = chooser(representations(parse(accept), single=False))
        if sent is None:
            with pytest.raises(NotAcceptable, match=stored):
                select(stored)
        else:
            assert select(stored) == sent

    def test_single_part_is_for_instances(self):
        assert representations(parse("application/dicom"), single=True) == [Representation(False, EXPLICIT)]
        with pytest.raises(NotAcceptable):
            representations(parse("application/dicom"), single=False)


class TestInstances:
    async def test_as_stored_is_the_file_itself(self, gateway: House):
        files = [(await gateway.add(data_set("1.1", f"1.1.{n}")))[1] for n in (1, 1, 2)]
        for path, wanted in (("1.1", files), ("1.1/series/1.1.1", files[:2]), ("1.1/series/1.1.2", files[2:])):
            answer = await gateway.get(f"/dicom-web/studies/{path}", accept=AS_STORED)
            assert answer.status == 200
            found = parts(answer, await answer.read())
            assert sorted(content for _, content in found) == sorted(wanted)
            assert {kind for kind, _ in found} == {content_type(EXPLICIT)}

    @pytest.mark.parametrize("stored", [IMPLICIT, BIG_ENDIAN, DEFLATED])
    async def test_converted_under_a_new_header_that_keeps_the_origin(self, gateway: House, stored: str):
        source = data_set("1.1", "1.1.1", "1.1.1.1", Rows=3, PixelData=bytes(300), BitsAllocated=16)
        source["PixelData"].VR = "OW"
        await gateway.add(source, stored)
        for path in ("/dicom-web/studies/1.1", ONE):
            answer = await gateway.get(path)
            ((kind, file),) = parts(answer, await answer.read())
            assert kind == content_type(EXPLICIT)
            read = pydicom.dcmread(io.BytesIO(file))
            assert read.file_meta.TransferSyntaxUID == EXPLICIT
            assert read.file_meta.SourceApplicationEntityTitle == "MODALITY"
            assert read == decode(encode(source, EXPLICIT))

    async def test_single_part(self, gateway: House):
        _, file = await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.get(ONE, accept="application/dicom; transfer-syntax=*")
        assert answer.headers["Content-Type"] == content_type(EXPLICIT)
        assert answer.content_length == len(file)
        assert await answer.read() == file

    async def test_video_is_not_sent_as_something_else(self, gateway: House):
        source = instance()
        source.StudyInstanceUID = "1.1"
        await gateway.add(source, MPEG2, data=encode(source))
        answer = await gateway.get("/dicom-web/studies/1.1")
        assert answer.status == 406
        assert MPEG2 in (await answer.json())["Details"]
        assert (await gateway.get("/dicom-web/studies/1.1", accept=AS_STORED)).status == 200

    async def test_a_study_that_can_be_had_in_part_is_not_sent_in_part(self, gateway: House):
        await gateway.add(data_set("1.1"))
        await gateway.add(data_set("1.1"), MPEG2, data=b"")
        assert (await gateway.get("/dicom-web/studies/1.1")).status == 406

    async def test_many_chunks(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1", PixelData=bytes(range(256)) * 20000)
        source["PixelData"].VR = "OB"
        _, file = await gateway.add(source)
        answer = await gateway.get(ONE, accept=AS_STORED)
        assert parts(answer, await answer.read()) == [(content_type(EXPLICIT), file)]

    async def test_head(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        answer = await gateway.client.head(ONE)
        assert answer.status == 200
        assert await answer.read() == b""

    @pytest.mark.parametrize(
        "path",
        [
            "1.9",
            "1.1/series/1.9",
            "1.1/series/1.1.1/instances/1.9",
            "1.9/metadata",
            "%2e%2e/x",
            "1.1/series/1.9/metadata",
        ],
    )
    async def test_what_is_not_there(self, gateway: House, path: str):
        await gateway.add(data_set("1.1", "1.1.1"))
        answer = await gateway.get(f"/dicom-web/studies/{path}")
        assert answer.status == 404
        assert (await answer.json())["HttpStatus"] == 404


class TestMetadata:
    async def test_every_level(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        for _ in range(20):
            await gateway.add(data_set("1.1", "1.1.2"))
        assert len(await gateway.json("/dicom-web/studies/1.1/metadata")) == 21
        assert len(await gateway.json("/dicom-web/studies/1.1/series/1.1.2/metadata")) == 20
        (found,) = await gateway.json(f"{ONE}/metadata")
        assert found["00080018"] == {"vr": "UI", "Value": ["1.1.1.1"]}

    async def test_bulk_data_is_pointed_at(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1", PixelData=bytes(4000))
        source["PixelData"].VR = "OW"
        await gateway.add(source)
        (found,) = await gateway.json(f"{ONE}/metadata")
        assert found["7FE00010"]["BulkDataURI"] == str(gateway.client.make_url(f"{ONE}/bulkdata/7FE00010"))

    async def test_accept(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"))
        assert (await gateway.get(f"{ONE}/metadata", accept="application/json")).content_type == "application/json"
        assert (await gateway.get(f"{ONE}/metadata", accept="application/dicom")).status == 406

    async def test_an_unreadable_instance_is_an_error_not_a_gap(self, gateway: House):
        await gateway.add(data_set("1.1"), data=b"\x08\x00\x18\x00UI\xff\x00")
        answer = await gateway.get("/dicom-web/studies/1.1/metadata")
        assert answer.status == 500
        assert "cannot be read" in (await answer.json())["Details"]
