"""What peers send does not decide how much memory the gateway takes."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from gateway.dicom.part10 import file_header
from gateway.dimse import status
from gateway.net.requestor import Call, associate
from tests.support.datasets import ct_header, encode
from tests.support.processes import Gateway

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MB = 1 << 20


def peak(gateway: Gateway) -> int:
    """The most memory that the process has had resident, bytes."""
    text = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def call(gateway: Gateway, calling: str = "TEST") -> Call:
    return Call(gateway.host, gateway.port, gateway.aet, calling, [(CT, [EXPLICIT])], timeout=60)


def a_gigabyte(instance: str) -> Iterator[bytes]:
    """A data set of 1 GiB and a little, in pieces of 1 MiB."""
    header = encode(ct_header(SOPInstanceUID=instance, NumberOfFrames=2048), EXPLICIT)
    yield header + b"\xe0\x7f\x10\x00OW\0\0" + (1024 * MB).to_bytes(4, "little")
    for _ in range(1024):
        yield bytes(MB)


@pytest.mark.slow
async def test_one_object_of_a_gigabyte(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        async with asyncio.timeout(55):
            async with associate(call(gateway)) as association:
                context = association.context_for(CT)
                small = [encode(ct_header(SOPInstanceUID="1.2.1", PixelData=bytes(MB)), EXPLICIT)]
                assert (await association.store(context, "1.2.1", small)).status == status.SUCCESS
                before = peak(gateway)
                response = await association.store(context, "1.2.2", a_gigabyte("1.2.2"))
            assert response.status == status.SUCCESS
        assert peak(gateway) - before < 50 * MB
        assert sum(path.stat().st_size for path in (tmp_path / "data/store").rglob("*") if path.is_file()) > 1024 * MB


@pytest.mark.slow
async def test_five_hundred_senders(tmp_path: Path) -> None:
    """None is refused, all is stored, and the memory stays bounded."""
    pixels = bytes(256 * 1024)

    async def send(number: int, gateway: Gateway) -> set[int | None]:
        codes: set[int | None] = set()
        nonlocal waiting
        async with associate(call(gateway, f"SENDER{number}")) as association:
            waiting -= 1
            if not waiting:
                everybody.set()
            await everybody.wait()
            for instance in (f"1.2.3.{number}.1", f"1.2.3.{number}.2"):
                data = encode(ct_header(SOPInstanceUID=instance, PixelData=pixels), EXPLICIT)
                codes.add((await association.store(association.context_for(CT), instance, [data])).status)
        return codes

    waiting, everybody = 500, asyncio.Event()
    with Gateway(tmp_path / "data") as gateway:
        async with asyncio.timeout(55):
            answers = await asyncio.gather(*(send(number, gateway) for number in range(500)))
        assert answers == [{status.SUCCESS}] * 500
        assert peak(gateway) < 400 * MB


async def post(gateway: Gateway, path: str, body: AsyncIterator[bytes], content_type: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": content_type}
        async with session.post(gateway.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()


MULTIPART = "multipart/related; boundary=XX"


@pytest.mark.slow
async def test_two_gigabytes_over_stow(tmp_path: Path) -> None:
    """One instance as a file, one as metadata and bulk data."""
    models = [ct_header(SOPInstanceUID=f"1.2.{number}", NumberOfFrames=2048) for number in (1, 2)]

    async def gigabyte() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield bytes(MB)

    async def body() -> AsyncIterator[bytes]:
        head = file_header(sop_class_uid=CT, sop_instance_uid="1.2.1", transfer_syntax_uid=EXPLICIT)
        yield b"--XX\r\nContent-Type: application/dicom\r\n\r\n" + head + encode(models[0], EXPLICIT)
        yield b"\xe0\x7f\x10\x00OW\0\0" + (1024 * MB).to_bytes(4, "little")
        async for chunk in gigabyte():
            yield chunk
        metadata = {**models[1].to_json_dict(), "7FE00010": {"vr": "OW", "BulkDataURI": "pixels"}}
        yield b"\r\n--XX\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps([metadata]).encode()
        yield b"\r\n--XX\r\nContent-Type: application/octet-stream\r\nContent-Location: pixels\r\n\r\n"
        async for chunk in gigabyte():
            yield chunk
        yield b"\r\n--XX--\r\n"

    with Gateway(tmp_path / "data") as gateway:
        gateway.get("/dicom-web/studies")
        before = peak(gateway)
        async with asyncio.timeout(55):
            status, answer = await post(gateway, "/dicom-web/studies", body(), MULTIPART)
        assert status == 200, answer
        assert peak(gateway) - before < 50 * MB
        assert sum(path.stat().st_size for path in (tmp_path / "data/store").rglob("*") if path.is_file()) > 2048 * MB


@pytest.mark.slow
async def test_bodies_made_to_fill_memory(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"--XX\r\n\r\n\r\n" * 1000

    async def header() -> AsyncIterator[bytes]:
        yield b"--XX\r\nX: "
        for _ in range(100):
            yield b"y" * MB

    async def instances() -> AsyncIterator[bytes]:
        yield b"--XX\r\nContent-Type: application/dicom+json\r\n\r\n["
        for _ in range(19):
            yield b"{}," * MB
        yield b"{}]\r\n--XX--"

    async def preamble() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"y" * MB

    async def inflating() -> AsyncIterator[bytes]:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("bomb", a_file_of(bytes(256 * MB)))
        yield target.getvalue()

    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOMWEB__MAX_UPLOAD": str(200 * MB)}) as gateway:
        gateway.get("/dicom-web/studies")
        before = peak(gateway)
        async with asyncio.timeout(55):
            for body in (parts, header, preamble, instances):
                assert (await post(gateway, "/dicom-web/studies", body(), MULTIPART))[0] == 400
            assert (await post(gateway, "/instances", inflating(), "application/zip"))[0] == 400
        assert peak(gateway) - before < 300 * MB  # of which some 200 are the metadata, as bytes and as text
        assert not [path for path in (tmp_path / "data/store").rglob("*") if path.is_file()]


def a_file_of(pixels: bytes) -> bytes:
    head = file_header(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT)
    return head + encode(ct_header(SOPInstanceUID="1.2.3", PixelData=pixels), EXPLICIT)
