"""Failing disks: a sync that fails, a disk that is full. Never a success for what is not there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import random
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.net.requestor import Call, Requestor, associate
from tests.support.faults import Disk, Rule, Shim
from tests.support.processes import Gateway
from tests.support.traffic import CT, EXPLICIT, Item, Traffic, faults_found
from tests.support.waiting import wait_until

OUT_OF_RESOURCES = range(0xA700, 0xA800)
CHANGING = "@(write|writev|pwrite|pwritev2|ftruncate|fallocate|open|link|rename|mkdir)"
"""Calls that need room on the disk."""


@pytest.fixture(params=["kill", "power cut"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Disk | None]]:
    """A folder for data, and the disk it is on where the gateway will end by a power cut."""
    if request.param == "kill":
        yield tmp_path / "data", None
        return
    disk = Disk.make(tmp_path, megabytes=128)
    with disk.mounted():
        yield disk.mount / "data", disk


@contextlib.asynccontextmanager
async def association(gateway: Gateway) -> AsyncIterator[Requestor]:
    call = Call(gateway.host, gateway.port, called_aet="GATEWAY", calling_aet="TEST", contexts=[(CT, [EXPLICIT])])
    async with associate(call) as opened:
        yield opened


async def status_of(gateway: Gateway, traffic: Traffic, item: Item) -> int:
    async with association(gateway) as opened:
        return await traffic.send_item(opened, item)


FILES = {"GATEWAY_STORAGE__PACK_BELOW": "0"}
"""Each instance is a file."""
SYNCS = {
    "the segment": Rule("pwritev2", errno.EIO, "1", "*/segments/*"),
    "a write of the commit over a segment": Rule("pwrite", errno.EIO, "1", "*-wal"),
    "the file": Rule("fdatasync", errno.EIO, "1", "*/incoming/*"),
    "its folder": Rule("fsync", errno.EIO, "1", "*/incoming/*"),
    "the commit": Rule("f*sync", errno.EIO, "1", "*-wal"),
    "a write of the commit": Rule("pwrite", errno.EIO, "1", "*-wal"),
    "the store, later": Rule("fsync", errno.EIO, "1", "*/store*"),
}


@pytest.mark.faults
@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", SYNCS)
async def test_a_failed_sync_is_the_end_of_success(
    what: str, place: tuple[Path, Disk | None], library: Path, tmp_path: Path
):
    """It fails once and would lie from then on, as a kernel does. No retry, no success any more, and it says so."""
    data, disk = place
    traffic = Traffic(random.Random(1), sizes=(3_000,))
    shim = Shim(library, tmp_path / "control", data)
    form = {} if "segment" in what else FILES
    gateway = Gateway(data, environment={**shim.environment, **form}, log=tmp_path / "gateway.log")
    await asyncio.to_thread(gateway.start)
    try:
        await traffic.send(gateway.host, gateway.port, 20)
        assert len(traffic.acknowledged) == 20, gateway.log
        shim.set(SYNCS[what])
        await asyncio.gather(*(traffic.send(gateway.host, gateway.port, 10) for _ in range(3)))
        await asyncio.to_thread(wait_until, lambda: bool(shim.fired), 10, "nothing has failed")
        await asyncio.to_thread(wait_until, lambda: gateway.get("/readyz")[0] == 503, 10, "it still says ready")
        assert gateway.get("/livez")[0] == 200
        for item in itertools.islice(traffic.items(), 3):
            assert await status_of(gateway, traffic, item) in OUT_OF_RESOURCES
        assert len(shim.fired) == 1
        assert "Traceback" not in gateway.log
        if disk is not None:
            await asyncio.to_thread(gateway.freeze)
            disk = await asyncio.to_thread(disk.cut, "after")
    finally:
        gateway.kill()
    with disk.mounted() if disk else contextlib.nullcontext():
        data = disk.mount / "data" if disk else data
        with Gateway(data, log=tmp_path / "again.log") as again:
            assert await faults_found(again.url, traffic) == []
            assert await status_of(again, traffic, next(traffic.items())) == 0


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_no_room_at_every_write(library: Path, tmp_path: Path):
    """The Nth call that needs room gets ENOSPC, for every N: refused or stored, and then all is well again."""
    traffic = Traffic(random.Random(2), sizes=(2_000, 3_000_000))
    shim = Shim(library, tmp_path / "control", tmp_path / "data")
    items = traffic.items()
    refused = 0
    with Gateway(tmp_path / "data", environment=shim.environment) as gateway:
        for number in range(1, 400):
            shim.set(Rule(CHANGING, errno.ENOSPC, str(number)))
            tried = [next(items), next(items)]
            statuses = [await status_of(gateway, traffic, item) for item in tried]
            fired = shim.fired
            shim.clear()
            if not fired:
                break
            assert {status for status in statuses if status and status not in OUT_OF_RESOURCES} == set(), fired
            refused += any(statuses)
            for item, status in zip(tried, statuses, strict=True):
                assert status == 0 or await status_of(gateway, traffic, item) == 0, f"{fired}\n{gateway.log[-3000:]}"
        else:
            pytest.fail("the calls never came to an end")
        assert gateway.get("/readyz")[0] == 200
        assert refused > 5
        assert "Traceback" not in gateway.log
        assert await faults_found(gateway.url, traffic) == []
    with Gateway(tmp_path / "data") as again:
        assert await faults_found(again.url, traffic) == []
    print(f"{number - 1} calls failed in turn, {refused} of them refused an instance")


@pytest.mark.faults
@pytest.mark.parametrize("floor", [0, 8 << 20], ids=["to the last block", "to the floor"])
@pytest.mark.timeout(60)
async def test_a_full_disk_recovers_by_itself(tmp_path: Path, floor: int):
    """A real one: A700 while it is full, what was acknowledged is there, and with room it goes on by itself."""
    traffic = Traffic(random.Random(3), sizes=(200_000,))
    disk = Disk.make(tmp_path, megabytes=64)
    with disk.mounted():
        filler = disk.mount / "filler"
        filler.write_bytes(bytes(16 << 20))
        environment = {"GATEWAY_STORAGE__MIN_FREE": str(floor)}
        data = disk.mount / "data"
        with Gateway(data, environment=environment, log=tmp_path / "gateway.log") as gateway:
            async with asyncio.timeout(30):
                while not traffic.refused:
                    await traffic.send(gateway.host, gateway.port, 40)
            assert set(traffic.refused.values()) <= set(OUT_OF_RESOURCES)
            assert await faults_found(gateway.url, traffic) == []
            if floor:
                code, body = gateway.get("/readyz")
                assert (code, b"there is no room" in body) == (503, True)
            filler.unlink()
            async with asyncio.timeout(10):
                while await status_of(gateway, traffic, next(traffic.items())) != 0:
                    pass
            assert gateway.get("/readyz")[0] == 200
            assert "Traceback" not in gateway.log
        with Gateway(data, environment=environment, log=tmp_path / "again.log") as again:
            assert await faults_found(again.url, traffic) == []


@pytest.mark.case("broken 17 what is on a full disk can be deleted, which makes room")
@pytest.mark.faults
@pytest.mark.timeout(60)
async def test_deleting_makes_room_on_a_full_disk(tmp_path: Path):
    traffic = Traffic(random.Random(4), sizes=(200_000,))
    disk = Disk.make(tmp_path, megabytes=64)
    environment = {"GATEWAY_DICOMWEB__DELETE": "true"}
    with (
        disk.mounted(),
        Gateway(disk.mount / "data", environment=environment, log=tmp_path / "gateway.log") as gateway,
    ):
        async with asyncio.timeout(30):
            while not traffic.refused:
                await traffic.send(gateway.host, gateway.port, 40)
        for study in {traffic.sent[uid].study for uid in traffic.acknowledged}:
            request = urllib.request.Request(f"{gateway.url}/dicom-web/studies/{study}", method="DELETE")
            with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
                assert answer.status == 204
        traffic.acknowledged.clear()
        assert await status_of(gateway, traffic, next(traffic.items())) == 0
        assert "Traceback" not in gateway.log
        assert (disk.mount / "data" / "reserve").stat().st_size > 0
        assert await faults_found(gateway.url, traffic) == []
