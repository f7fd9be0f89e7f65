"""Stored objects made to harm, and clients that read slowly, oddly or not at all: right codes, others unharmed."""

from __future__ import annotations

import asyncio
import gzip
import resource
import struct
import time
import zlib

import msgspec
import pytest

from gateway.config import Dicomweb
from gateway.web.streaming import RateGuard
from tests.support.datasets import DEFLATED, EXPLICIT, encode, instance
from tests.support.index import data_set
from tests.support.waiting import paced
from tests.support.web import House, parts

ONE = "/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1"
PATHS = ("metadata", "bulkdata", "bulkdata/7FE00010", "pixeldata", "frames/1")


async def others_are_served(gateway: House) -> None:
    await gateway.add(data_set("1.9"))
    assert len(await gateway.json("/dicom-web/studies/1.9/metadata")) == 1


def peak() -> int:
    """Bytes of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class TestObjects:
    async def test_ten_thousand_nested_sequences(self, gateway: House):
        level = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        source = data_set("1.1", "1.1.1", "1.1.1.1")
        await gateway.add(source, data=encode(source) + level * 10_000)
        for path in PATHS:
            answer = await gateway.get(f"{ONE}/{path}")
            if path == "metadata":
                assert len((await answer.json(content_type=None))[0]) == 4
                continue
            assert answer.status == 406, path
            assert "more than 128" in (await answer.json())["Details"]
        await others_are_served(gateway)

    async def test_a_deflated_bomb(self, gateway: House, monkeypatch: pytest.MonkeyPatch):
        """256 MiB of nothing in a few hundred KB, as the value of a private element before the pixels."""
        source = instance()
        source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
        del source.PixelData
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 512) + bytes(512)
        deflate = zlib.compressobj(9, wbits=-15)
        pieces = [deflate.compress(encode(source) + struct.pack("<HH2sHI", 0x0091, 0x1001, b"UN", 0, 1 << 28))]
        pieces += [deflate.compress(bytes(1 << 20)) for _ in range(1 << 8)]
        pieces += [deflate.compress(pixels), deflate.flush()]
        await gateway.add(source, DEFLATED, data=b"".join(pieces))
        before = peak()
        for path in ("metadata", "bulkdata/7FE00010", "frames/1"):
            answer = await gateway.get(f"{ONE}/{path}")
            assert answer.status == 200, path
            assert len(await answer.read()) < 20_000
        assert peak() - before < 48 << 20
        for limit in ("gateway.dicom.bulk.INFLATE_LIMIT", "gateway.imaging.pixels.INFLATE_LIMIT"):
            monkeypatch.setattr(limit, 1 << 24)
        refused = await gateway.get(f"{ONE}/bulkdata/7FE00010")
        assert refused.status == 406
        assert "inflates to more" in (await refused.json())["Details"]
        await others_are_served(gateway)

    async def test_many_values_of_a_deflated_data_set_are_inflated_once(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1")
        source.add_new(0x00911001, "UN", bytes(16 << 20))
        for number in range(500):
            source.add_new(0x00920000 + 0x1000 + number, "UN", bytes([number % 256]) * 2000)
        await gateway.add(source, DEFLATED)
        started = time.process_time()
        answer = await gateway.get(f"{ONE}/bulkdata")
        assert len(parts(answer, await answer.read())) == 501
        assert time.process_time() - started < 5, "one pass takes 0.05 s"

    async def test_lengths_that_lie(self, gateway: House):
        source = data_set("1.1", "1.1.1", "1.1.1.1")
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE)
        await gateway.add(source, data=encode(source) + pixels + bytes(100))
        before = peak()
        for path, status in (("metadata", 200), ("bulkdata/7FE00010", 406), ("bulkdata", 406), ("frames/1", 406)):
            assert (await gateway.get(f"{ONE}/{path}")).status == status, path
        assert peak() - before < 48 << 20


class TestClients:
    async def raw(self, gateway: House, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = gateway.client.make_url(path)
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=1 << 12)
        accept = "Accept: multipart/related; type=application/dicom; transfer-syntax=*\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n{accept}\r\n".encode())
        return reader, writer

    async def large(self, gateway: House) -> None:
        for number in range(4):
            source = data_set("1.1", "1.1.1", f"1.1.1.{number + 1}", PixelData=bytes(20 << 20), InstanceNumber=number)
            source["PixelData"].VR = "OB"
            await gateway.add(source)

    async def test_one_byte_a_second_is_let_go(
        self, gateway: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        """The window is made short: what takes a minute takes a third of a second."""
        monkeypatch.setattr(RateGuard.__init__, "__defaults__", (0.3,))
        gateway.http = msgspec.structs.replace(gateway.http, min_rate=1 << 20)
        await self.large(gateway)
        async with asyncio.timeout(20):
            reader, writer = await self.raw(gateway, "/dicom-web/studies/1.1")
            async for _ in paced(lambda: "reads too slowly" in caplog.text):
                assert len(await reader.read(1)) == 1
            writer.transport.abort()
            await asyncio.sleep(0)
        await others_are_served(gateway)

    @pytest.mark.parametrize("path", ["", "/metadata", "/bulkdata", "/pixeldata"])
    async def test_leaving_ends_the_work(self, gateway: House, path: str):
        await self.large(gateway)
        async with asyncio.timeout(20):
            for _ in range(5):
                reader, writer = await self.raw(gateway, f"/dicom-web/studies/1.1{path}")
                await reader.read(100)
                writer.transport.abort()
                await asyncio.sleep(0)
            await others_are_served(gateway)

    async def test_many_slow_readers_of_a_large_object(self, gateway: House):
        await self.large(gateway)
        before = peak()
        async with asyncio.timeout(30):
            slow = [await self.raw(gateway, "/dicom-web/studies/1.1") for _ in range(30)]
            for reader, _ in slow:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            started = time.monotonic()
            await others_are_served(gateway)
            assert time.monotonic() - started < 5
            assert peak() - before < 300 << 20, "2.4 GB are being sent"
            for _, writer in slow:
                writer.transport.abort()
            await asyncio.sleep(0)


async def test_a_study_of_every_syntax_and_level_by_head(gateway: House):
    source = instance(frames=2)
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    await gateway.add(source, EXPLICIT)
    for base in ("/dicom-web/studies/1.1", "/dicom-web/studies/1.1/series/1.1.1", ONE):
        for path in ("", "/metadata", "/bulkdata", "/pixeldata"):
            got, head = await gateway.get(base + path), await gateway.client.head(base + path)
            assert head.status == got.status == 200
            assert await head.read() == b""
            assert head.content_type == got.content_type


class TestFraming:
    """Where two servers in a row could disagree about where a request ends, it is none (RFC 9112 §6.3, §11.2)."""

    @pytest.mark.parametrize(
        "head",
        [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: +4",
            "Content-Length: 4, 4",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "X: a\r\n b",
            "X: a\0b",
            "X: a\nContent-Length: 4",
            "Host: evil.example",
        ],
    )
    async def test_ambiguous(self, gateway: House, head: str):
        rest = "0\r\n\r\nGET /system HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answers = await self.answers(
            gateway, f"POST /worklists/create HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{rest}"
        )
        assert answers.split(b" ", 2)[1] == b"400"
        assert answers.count(b"HTTP/1.") == 1, "what follows is not taken for another request"

    @pytest.mark.parametrize(
        "path",
        [
            "/destinations/a{}",
            "/ui{}",
            "/ohif/a{}",
            "/jobs/{}",
            "/dicom-web/studies?Unknown{}=1",
            "/dicom-web/studies?PatientName={}",
            "/dicom-web/studies/1{}/metadata",
            "/ui/?name={}",
            "/wado?requestType=WADO&contentType={}",
        ],
    )
    async def test_no_header_of_an_answer_is_made_by_who_asks(self, gateway: House, path: str):
        path = path.format("%0d%0aX-Injected:%20yes%0d%0a%0d%0a")
        answers = await self.answers(gateway, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = answers.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-content-type-options: nosniff" in head
        assert b"\r\nx-injected" not in head

    async def answers(self, gateway: House, request: str) -> bytes:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(gateway.client.host, gateway.client.port)
            try:
                writer.write(request.encode())
                return await reader.read()
            finally:
                writer.close()


class TestCompressedRequests:
    """What is unpacked on the way in counts as what it becomes."""

    @pytest.mark.parametrize("path", ["/instances", "/dicom-web/studies", "/worklists/create"])
    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    async def test_a_bomb(self, gateway: House, path: str, encoding: str):
        packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
        packed = b"".join([packer.compress(bytes(1 << 20)) for _ in range(96)]) + packer.flush()
        gateway.dicomweb = Dicomweb(max_upload=2 << 20)
        before = peak()
        headers = {"Content-Encoding": encoding, "Content-Type": "application/dicom"}
        answer = await gateway.client.post(path, data=packed, headers=headers)
        assert answer.status in (400, 413), "no instance, or too large"
        assert peak() - before < 48 << 20

    @pytest.mark.parametrize("path", ["/instances", "/worklists/create"])
    async def test_a_body_that_ends_early(self, gateway: House, path: str, caplog: pytest.LogCaptureFixture):
        packed = gzip.compress(b'{"PatientID": "1"}')
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        answer = await gateway.client.post(path, data=packed[:-3], headers=headers)
        assert answer.status == 400
        assert "in the middle of its gzip stream" in await answer.text()
        assert not caplog.records
