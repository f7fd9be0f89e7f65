"""What peers send does not decide how much memory the gateway takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

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
