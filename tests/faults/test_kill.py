"""kill -9 under load: whatever was acknowledged is there afterwards, whole, and the gateway is up at once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from gateway.storage.filesystem import FileStore
from gateway.storage.layout import Layout
from tests.support.intake import begun
from tests.support.processes import Gateway
from tests.support.traffic import Traffic, faults_found

ROUNDS = 20
ACKNOWLEDGED = 200
SENDERS = 6
SECONDS_TO_COME_UP = 5.0


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_kill_under_load(tmp_path: Path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    traffic = Traffic(chance)
    gateway = Gateway(tmp_path / "data")
    checked: set[str] = set()
    slowest = 0.0
    for number in range(ROUNDS):
        await asyncio.to_thread(gateway.start)
        try:
            assert gateway.seconds_to_listen < SECONDS_TO_COME_UP
            slowest = max(slowest, gateway.seconds_to_listen)
            studies = {item.study for item in traffic.sent.values()} - checked
            assert await faults_found(gateway.url, traffic, studies) == [], f"after kill {number}, seed {seed}"
            checked |= studies
            wanted = len(traffic.acknowledged) + ACKNOWLEDGED
            senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
            await traffic.until_acknowledged(wanted)
            await asyncio.wait(senders, timeout=chance.random() * 0.3)
        finally:
            gateway.kill()
        await asyncio.gather(*senders)
        assert not traffic.refused
    await asyncio.to_thread(gateway.start)
    try:
        assert await faults_found(gateway.url, traffic) == [], f"in the end, seed {seed}"
        print(f"{len(traffic.acknowledged)} acknowledged, {len(traffic.sent)} sent; up in {slowest:.1f} s at most")
        listed = await asyncio.to_thread(stored_files, gateway.data)
    finally:
        code = await asyncio.to_thread(gateway.stop)
    assert code == 0
    # What was never acknowledged leaves nothing behind: every file belongs to an instance that was sent and is listed.
    assert len(traffic.acknowledged) <= listed <= len(traffic.sent)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.case("broken 01 what a receipt names is there after kill -9")
async def test_kill_during_stow(tmp_path: Path):
    """What a receipt names is there after kill -9, and no half of anything else."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    traffic = Traffic(chance)
    gateway = Gateway(tmp_path / "data")
    for _ in range(4):
        await asyncio.to_thread(gateway.start)
        try:
            wanted = len(traffic.acknowledged) + ACKNOWLEDGED
            senders = [asyncio.create_task(traffic.post(gateway.url)) for _ in range(SENDERS)]
            await traffic.until_acknowledged(wanted)
            await asyncio.wait(senders, timeout=chance.random() * 0.3)
        finally:
            gateway.kill()
        await asyncio.gather(*senders)
    await asyncio.to_thread(gateway.start)
    try:
        assert await faults_found(gateway.url, traffic) == [], f"seed {seed}"
        listed = await asyncio.to_thread(stored_files, gateway.data)
    finally:
        await asyncio.to_thread(gateway.stop)
    assert len(traffic.acknowledged) <= listed <= len(traffic.sent)


def stored_files(data: Path) -> int:
    """Objects in the store, each in a file or in a frame of a segment."""
    assert not begun(data)
    return len(list(FileStore(Layout(data)).keys()))
