"""gateway/web/dicomweb/metadata.py and gateway/retrieve/metadata.py: PS3.18 §10.4.1.1.2."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from typing import Any

import msgspec
import pytest

from gateway.dicom.xml_reader import from_xml
from gateway.index.queries.metadata import OLDEST_METADATA
from gateway.retrieve import metadata
from gateway.retrieve.metadata import BLOCK, Gzip, compress, text_of
from gateway.retrieve.read_ahead import SMALLEST, MemoryBudget
from gateway.web.dicomweb.resources import RETRIEVAL
from tests.support.datasets import IMPLICIT
from tests.support.index import data_set
from tests.support.waiting import until
from tests.support.web import House, parts

ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"
XML = 'multipart/related; type="application/dicom+xml"'


async def kept(gateway: House) -> list[tuple[str, int]]:
    """Tag and size of what is kept."""
    return await gateway.database.fetch(OLDEST_METADATA, 1000)


class TestJson:
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
        assert (await gateway.get(f"{ONE}/metadata")).content_type == "application/dicom+json"
        assert (await gateway.get(f"{ONE}/metadata", accept="application/json")).content_type == "application/json"
        refused = await gateway.get(f"{ONE}/metadata", accept="application/dicom")
        assert refused.status == 406
        assert "application/dicom+xml" in (await refused.json())["Details"]

    @pytest.mark.parametrize("accept", ["application/dicom+json", 'multipart/related; type="application/dicom+xml"'])
    async def test_of_an_unreadable_instance_it_is_what_is_known_and_no_gap(self, gateway: House, accept: str):
        await gateway.add(data_set("1.1"))
        broken = data_set("1.1")
        await gateway.add(broken, data=b"\x08\x00\x18\x00UI\xff\x00")
        answer = await gateway.get("/dicom-web/studies/1.1/metadata", accept=accept)
        assert answer.status == 200
        text = await answer.text()
        assert text.count("StudyInstanceUID") + text.count("0020000D") >= 2
        assert broken.SOPInstanceUID in text

    async def test_head(self, gateway: House):
        await gateway.add(data_set("1.1"))
        answer = await gateway.client.head("/dicom-web/studies/1.1/metadata")
        assert answer.status == 200
        assert "ETag" in answer.headers
        assert await answer.read() == b""


class TestXml:
    async def test_one_document_an_instance(self, gateway: House):
        for number in range(20):
            source = data_set("1.1", PatientName="Müller^<A&B>", SpecificCharacterSet="ISO_IR 100")
            source.InstanceNumber = number
            source.PixelData = bytes(100)
            source["PixelData"].VR = "OW"
            await gateway.add(source, IMPLICIT)
        expected = await gateway.json("/dicom-web/studies/1.1/metadata")
        answer = await gateway.get("/dicom-web/studies/1.1/metadata", accept=XML)
        assert answer.status == 200
        found = parts(answer, await answer.read())
        assert {kind for kind, _ in found} == {"application/dicom+xml"}
        assert [from_xml(document) for _, document in found] == expected


class TestConditional:
    async def test_not_modified_until_something_comes(self, gateway: House):
        await gateway.add(data_set("1.1", "1.1.1"))
        url = "/dicom-web/studies/1.1/metadata"
        tag = (await gateway.get(url)).headers["ETag"]
        again = await gateway.get(url, if_none_match=tag)
        assert again.status == 304
        assert await again.read() == b""
        assert (await gateway.get(url, if_none_match=tag, accept="application/json")).status == 200
        await gateway.add(data_set("1.1", "1.1.2"))
        assert (await gateway.get(url, if_none_match=tag)).status == 200
        assert (await gateway.get(f"{url[:-9]}/series/1.1.1/metadata", if_none_match=tag)).status == 200

    async def test_a_new_version(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1")
        key, _ = await gateway.add(source)
        before = await gateway.get(f"{ONE}/metadata")
        source.PatientComments = "corrected"
        await gateway.add(source, replaces=key)
        after = await gateway.get(f"{ONE}/metadata", if_none_match=before.headers["ETag"])
        assert after.status == 200
        assert (await after.json(content_type=None))[0]["00104000"]["Value"] == ["corrected"]


class TestKept:
    async def fill(self, gateway: House, count: int) -> list[str]:
        names = []
        for number in range(count):
            source = data_set("1.1", "1.1.1", f"1.1.1.{number + 1}", InstanceNumber=number)
            await gateway.add(source)
            names.append(f"1.1.1.{number + 1}")
        return names

    async def uids(self, gateway: House, url: str, **headers: str) -> list[str]:
        return [each["00080018"]["Value"][0] for each in await gateway.json(url, **headers)]

    async def test_made_once(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        names = await self.fill(gateway, BLOCK + 50)
        study, series = "/dicom-web/studies/1.1/metadata", "/dicom-web/studies/1.1/series/1.1.1/metadata"
        assert await kept(gateway) == []
        assert await self.uids(gateway, study) == names
        assert len(await kept(gateway)) == 2

        def made_again(texts: list[bytes]) -> Any:
            raise AssertionError("made again")

        monkeypatch.setattr(metadata, "compress", made_again)
        for headers in ({}, {"accept_encoding": "identity"}):
            assert await self.uids(gateway, study, **headers) == names
            assert await self.uids(gateway, series, **headers) == names

    async def test_what_comes_later_is_there(self, gateway: House):
        await self.fill(gateway, 30)
        url = "/dicom-web/studies/1.1/metadata"
        await gateway.json(url)
        await gateway.add(data_set("1.1", "1.1.1", "1.1.1.99", InstanceNumber=-1))
        assert (await self.uids(gateway, url))[0] == "1.1.1.99"

    async def test_a_replaced_instance_leaves_nothing_behind(self, gateway: House):
        await self.fill(gateway, 30)
        source = data_set("1.1", "1.1.1", "1.1.1.99", PatientComments="wrong")
        key, _ = await gateway.add(source)
        await gateway.json("/dicom-web/studies/1.1/metadata")
        assert await kept(gateway)
        source.PatientComments = "right"
        await gateway.add(source, replaces=key)
        assert await kept(gateway) == []
        assert "wrong" not in str(await gateway.json("/dicom-web/studies/1.1/metadata"))

    async def test_few_are_not_kept(self, gateway: House):
        await self.fill(gateway, 3)
        await gateway.json("/dicom-web/studies/1.1/metadata")
        assert await kept(gateway) == []

    async def test_bounded(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(metadata, "_TRIM_EVERY", 1)
        for study in range(5):
            for number in range(8):
                await gateway.add(data_set(f"1.{study}", f"1.{study}.1", InstanceNumber=number))
        await gateway.json("/dicom-web/studies/1.0/metadata")
        ((_, size),) = await kept(gateway)
        gateway.http = msgspec.structs.replace(gateway.http, metadata_cache=2 * size + size // 2)
        for study in range(5):
            await gateway.json(f"/dicom-web/studies/1.{study}/metadata")
        assert len(await kept(gateway)) == 2
        gateway.http = msgspec.structs.replace(gateway.http, metadata_cache=0)
        assert len(await gateway.json("/dicom-web/studies/1.0/metadata")) == 8

    async def test_many_small_series_in_their_order(self, gateway: House):
        expected = []
        for series in range(40):
            for number in range([3, 1, 12][series % 3]):
                name = f"1.1.{series}.{number}"
                await gateway.add(data_set("1.1", f"1.1.{series}", name, SeriesNumber=series, InstanceNumber=number))
                expected.append(name)
        for _ in range(2):
            assert await self.uids(gateway, "/dicom-web/studies/1.1/metadata") == expected

    async def test_readers_that_leave_early(self, gateway: House):
        await self.fill(gateway, 250)
        for _ in range(5):
            answer = await gateway.get("/dicom-web/studies/1.1/metadata", accept_encoding="identity")
            answer.close()
        async with asyncio.timeout(10):
            assert len(await gateway.json("/dicom-web/studies/1.1/metadata")) == 250
        await until(lambda: not gateway.client.app[RETRIEVAL].memory.held)  # what was left ends behind its step


class TestGzip:
    @pytest.mark.parametrize("sizes", [[], [0], [5], [3, 0, 70_000, 1], [3 << 20, 2 << 20]])
    def test_a_stream_put_together(self, sizes: list[int]):
        rng = random.Random(3)
        texts = [bytes(rng.choices(b"abcdef", k=min(size, 1000))) * (size // 1000 + 1) for size in sizes]
        stream = Gzip()
        body = stream.begin() + b"".join([stream.add(compress([text])) for text in texts]) + stream.end()
        expected = b"[" + b",".join(texts) + b"]"
        assert gzip.decompress(body) == expected
        assert zlib.decompress(body, wbits=31) == expected
        assert [b"".join(text_of(compress([text]), MemoryBudget())) for text in texts] == texts

    def test_a_block_waits_compressed_where_memory_is_scarce(self):
        memory = MemoryBudget(total=1 << 20)
        memory.change(1 << 20)
        text = random.Random(4).randbytes(300_000).hex().encode()
        pieces = list(text_of(compress([text]), memory))
        assert b"".join(pieces) == text
        assert max(map(len, pieces)) <= SMALLEST

    @pytest.mark.parametrize(
        ("header", "zipped"),
        [
            ("gzip", True),
            ("deflate, gzip;q=0.5", True),
            ("GZIP", True),
            ("gzip;q=0", False),
            ("br", False),
            ("", False),
        ],
    )
    async def test_only_where_it_is_taken(self, gateway: House, header: str, zipped: bool):
        await gateway.add(data_set("1.1"))
        answer = await gateway.get("/dicom-web/studies/1.1/metadata", accept_encoding=header)
        assert (answer.headers.get("Content-Encoding") == "gzip") is zipped
        assert len(json.loads(await answer.read())) == 1
        assert "Accept-Encoding" in answer.headers["Vary"]
