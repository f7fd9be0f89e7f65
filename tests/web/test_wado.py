"""gateway/web/dicomweb/wado.py: PS3.18 §10.4."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path

import pydicom
import pytest

from gateway.dicom.part10 import file_header
from gateway.index.locate import Located, located_page
from gateway.web.accept import parse
from gateway.web.dicomweb import wado
from gateway.web.dicomweb.wado import Representation, chooser, representations
from gateway.web.errors import NotAcceptable
from tests.support.datasets import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    decode,
    encode,
    instance,
    read_sample,
    sample,
)
from tests.support.index import data_set
from tests.support.web import House, archive, parts

MPEG2 = "1.2.840.10008.1.2.4.100"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"


def content_type(transfer_syntax: str) -> str:
    return f"application/dicom; transfer-syntax={transfer_syntax}"


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
            (f"multipart/related; transfer-syntax={JPEG_BASELINE}", EXPLICIT, None),
            ("*/*", JPEG_BASELINE, EXPLICIT),
            ("*/*", MPEG2, MPEG2),
            (f"multipart/related; transfer-syntax={EXPLICIT}", MPEG2, None),
            (f"multipart/related; transfer-syntax={JPEG_BASELINE};q=0.5, multipart/related", IMPLICIT, EXPLICIT),
            (
                f"multipart/related; transfer-syntax={JPEG_BASELINE};q=0.5, multipart/related",
                JPEG_BASELINE,
                EXPLICIT,
            ),
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
        assert representations(parse("application/dicom"), single=True) == [
            Representation("application/dicom", EXPLICIT, default=True)
        ]
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


class TestWholeFile:
    async def test_ranges_and_tags(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1", PixelData=bytes(range(256)) * 10_000)
        source["PixelData"].VR = "OB"
        _, file = await gateway.add(source)
        accept = "application/dicom; transfer-syntax=*"
        whole = await gateway.get(ONE, accept=accept)
        assert whole.headers["Accept-Ranges"] == "bytes"
        tag = whole.headers["ETag"]
        for start, stop in ((0, 0), (131, 1 << 20), (len(file) - 1, len(file) + 5)):
            part = await gateway.get(ONE, accept=accept, range=f"bytes={start}-{stop}", if_range=tag)
            assert part.status == 206
            assert await part.read() == file[start : stop + 1]
        assert (await gateway.get(ONE, accept=accept, range=f"bytes={len(file)}-")).status == 416
        assert (await gateway.get(ONE, accept=accept, if_none_match=tag)).status == 304

    async def test_converted_there_are_none(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.1"), IMPLICIT)
        answer = await gateway.get(ONE, accept="application/dicom", range="bytes=0-10")
        assert answer.status == 200
        assert pydicom.dcmread(io.BytesIO(await answer.read())).file_meta.TransferSyntaxUID == EXPLICIT


class TestDecoded:
    """§8.7.3.5.1: without a transfer-syntax parameter it is Explicit VR Little Endian."""

    async def test_compressed(self, gateway: House):
        source = read_sample(sample("SC_rgb_rle_2frame.dcm"))
        await gateway.add(source, source.file_meta.TransferSyntaxUID)
        answer = await gateway.get(f"/dicom-web/studies/{source.StudyInstanceUID}")
        ((kind, file),) = parts(answer, await answer.read())
        assert kind == content_type(EXPLICIT)
        read = pydicom.dcmread(io.BytesIO(file))
        assert (read.pixel_array == source.pixel_array).all()

    async def test_video_comes_as_it_is(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1")
        _, file = await gateway.add(source, MPEG2)
        answer = await gateway.get("/dicom-web/studies/1.1")
        assert parts(answer, await answer.read()) == [(content_type(MPEG2), file)]
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}'
        refused = await gateway.get("/dicom-web/studies/1.1", accept=accept)
        assert refused.status == 406
        assert MPEG2 in (await refused.json())["Details"]

    async def test_one_transfer_syntax_for_all_where_one_serves(self, gateway: House):
        await gateway.add(data_set("1.1"), EXPLICIT)
        await gateway.add(data_set("1.1"), IMPLICIT)
        accept = ", ".join(
            f'multipart/related; type="application/dicom"; transfer-syntax={uid}' for uid in (MPEG2, IMPLICIT, EXPLICIT)
        )
        answer = await gateway.get("/dicom-web/studies/1.1", accept=accept)
        assert {kind for kind, _ in parts(answer, await answer.read())} == {content_type(IMPLICIT)}

    async def test_what_need_not_be_converted_where_the_client_does_not_mind(self, gateway: House):
        await gateway.add(data_set("1.1"), EXPLICIT)
        accept = ", ".join(
            f'multipart/related; type="application/dicom"; transfer-syntax={uid}{quality}'
            for uid, quality in ((IMPLICIT, ""), (EXPLICIT, ""), (DEFLATED, ";q=0.5"))
        )
        answer = await gateway.get("/dicom-web/studies/1.1", accept=accept)
        assert {kind for kind, _ in parts(answer, await answer.read())} == {content_type(EXPLICIT)}

    async def test_a_study_that_can_be_had_in_part_is_not_sent_in_part(self, gateway: House):
        await gateway.add(data_set("1.1"))
        await gateway.add(data_set("1.1"), MPEG2, data=b"")
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}'
        assert (await gateway.get("/dicom-web/studies/1.1", accept=accept)).status == 406


class TestZip:
    async def test_study(self, gateway: House):
        files = {}
        for series in (1, 2):
            for number in (1, 2, 3):
                source = data_set("1.1", f"1.1.{series}", SeriesNumber=series, InstanceNumber=number)
                _, file = await gateway.add(source, IMPLICIT)
                files[f"series-{series:03}/{number:06}.dcm"] = file
        answer = await gateway.get("/dicom-web/studies/1.1", accept="application/zip")
        assert answer.content_type == "application/zip"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="1.1.zip"'
        archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        one = await gateway.get("/dicom-web/studies/1.1/series/1.1.2", accept="application/zip")
        assert len(zipfile.ZipFile(io.BytesIO(await one.read())).namelist()) == 3
        accept = f"application/zip; transfer-syntax={EXPLICIT}"
        converted = zipfile.ZipFile(
            io.BytesIO(await (await gateway.get("/dicom-web/studies/1.1", accept=accept)).read())
        )
        read = pydicom.dcmread(io.BytesIO(converted.read(converted.namelist()[0])))
        assert read.file_meta.TransferSyntaxUID == EXPLICIT


async def test_a_file_that_is_replaced_meanwhile_is_not_sent_under_the_old_length(
    gateway: House, monkeypatch: pytest.MonkeyPatch
):
    source = data_set("1.1")
    key, _ = await gateway.add(source)
    (stale,) = await located_page(gateway.database, "1.1")
    source.PatientComments = "longer" * 100
    await gateway.add(source, replaces=key)
    gateway.memory.remove(key)

    async def first_page(*_: object) -> list[Located]:
        return [stale]

    monkeypatch.setattr(wado, "first_page", first_page)
    path = f"/dicom-web/studies/1.1/series/{stale.series_uid}/instances/{stale.sop_uid}"
    answer = await gateway.get(path, accept="application/dicom; transfer-syntax=*")
    assert answer.status == 500


@pytest.mark.case("file 08 pixel data of defined length under a compressed syntax is never given out as pixels")
async def test_a_stream_without_fragments_is_no_picture(tmp_path: Path):
    stream = b"\xff\xd8 a stream straight as the value \xff\xd9"
    one = instance(rows=4, columns=4, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=None)
    data = encode(one, EXPLICIT) + b"\xe0\x7f\x10\x00OB\0\0" + len(stream).to_bytes(4, "little") + stream
    head = file_header(sop_class_uid=CT, sop_instance_uid=one.SOPInstanceUID, transfer_syntax_uid=JPEG_BASELINE)
    octets = 'multipart/related; type="application/octet-stream"'
    url = f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    async with asyncio.timeout(30), archive(tmp_path / "data") as house:
        answer = await house.client.post("/instances", data=head + data)
        expected = "pixel data of defined length in a compressed syntax (PS3.5 A.4)"
        assert (await answer.json())["Incomplete"] == expected
        for path, accept in [
            ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'),
            ("/frames/1", octets),
            ("/bulkdata/7FE00010", octets),
            ("/bulkdata/7FE00010", "*/*"),
            ("/rendered", "image/png"),
        ]:
            answer = await house.client.get(url + path, headers={"Accept": accept})
            assert (answer.status, stream in await answer.read()) == (406, False), path
        for accept in (AS_STORED, 'multipart/related; type="application/dicom"'):  # which rules out no form
            answer = await house.client.get(url, headers={"Accept": accept})
            assert answer.status == 200
            assert data in await answer.read()
