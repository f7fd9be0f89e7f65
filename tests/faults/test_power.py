"""Power cuts: what had not been written to the disk is gone, and still nothing that was acknowledged is missing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.faults import Disk, Rule, Shim
from tests.support.processes import Gateway
from tests.support.traffic import Traffic, faults_found

CUTS = 20
ACKNOWLEDGED = 60
SENDERS = 6


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_power_cuts_under_load(tmp_path: Path):
    """Each cut is the image of the disk at one moment; the next round goes on from it."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    traffic = Traffic(chance, sizes=(2_000, 2_000, 20_000, 60_000))
    disk = Disk.make(tmp_path, megabytes=768)
    checked: set[str] = set()
    for number in range(CUTS + 1):
        with disk.mounted():
            gateway = Gateway(disk.mount / "data", log=tmp_path / "gateway.log")
            await asyncio.to_thread(gateway.start)
            try:
                studies = {item.study for item in traffic.sent.values()} - (set() if number == CUTS else checked)
                assert await faults_found(gateway.url, traffic, studies) == [], f"after cut {number}, seed {seed}"
                checked |= studies
                if number == CUTS:
                    break
                wanted = len(traffic.acknowledged) + ACKNOWLEDGED
                senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
                await traffic.until_acknowledged(wanted)
                await asyncio.wait(senders, timeout=chance.random() * 0.4)
                await asyncio.to_thread(gateway.freeze)
                after = await asyncio.to_thread(disk.cut, f"cut{number}")
            finally:
                gateway.kill()
            await asyncio.gather(*senders)
        disk.forget()
        disk = after
    print(f"{len(traffic.acknowledged)} acknowledged, {len(traffic.sent)} sent")


@pytest.mark.faults
async def test_a_cut_loses_what_was_not_synced(tmp_path: Path):
    """The method itself: without this, the test above would say nothing."""
    disk = Disk.make(tmp_path, megabytes=64)
    with disk.mounted():
        (disk.mount / "unsynced").write_bytes(b"x" * 100_000)
        after = disk.cut("cut")
    with after.mounted():
        assert not (after.mount / "unsynced").exists()


@pytest.mark.faults
@pytest.mark.timeout(60)
async def test_a_gateway_that_does_not_sync_is_found_out(library: Path, tmp_path: Path):
    """The check itself: with syncs that do nothing, a cut loses what was acknowledged, and the check says so."""
    traffic = Traffic(random.Random(4), sizes=(2_000,))
    disk = Disk.make(tmp_path, megabytes=128)
    with disk.mounted():
        data = disk.mount / "data"
        shim = Shim(library, tmp_path / "control", data)
        with Gateway(data, log=tmp_path / "gateway.log") as gateway:
            await traffic.send(gateway.host, gateway.port, 10)
        environment = {**shim.environment, "GATEWAY_STORAGE__PACK_BELOW": "0"}  # A direct write would not be lost.
        with Gateway(data, environment=environment, log=tmp_path / "gateway.log") as gateway:
            shim.set(Rule("f*sync", 0))
            await traffic.send(gateway.host, gateway.port, 50)
            assert len(traffic.acknowledged) == 60
            await asyncio.to_thread(gateway.freeze)
            after = await asyncio.to_thread(disk.cut, "cut")
    with after.mounted(), Gateway(after.mount / "data", log=tmp_path / "again.log") as again:
        missing = [text for text in await faults_found(again.url, traffic) if "is not there" in text]
        assert 0 < len(missing) <= 50
