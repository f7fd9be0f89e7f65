"""kill -9 of the processes that store instances, and of the gateway that they belong to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults.test_kill import stored_files
from tests.support.intake import begun
from tests.support.processes import Gateway, children
from tests.support.traffic import Traffic, faults_found
from tests.support.waiting import wait_until

KILLS = 6
BETWEEN = 60
"""Instances that are acknowledged from one kill to the next."""
SENDERS = 6
OUT_OF_RESOURCES = 0xA700


def state(pid: int) -> str:
    """As `ps` shows it; Z where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def alive(pid: int) -> bool:
    return state(pid) != "Z"


def stopped_without_the_database(keeper: int, data: Path) -> bool:
    """SIGSTOP; whether somebody else may write to the database then, or no other gateway could start."""
    os.kill(keeper, signal.SIGSTOP)
    wait_until(lambda: state(keeper) == "T", 5, "it does not stop")
    with (data / "write.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_kill_the_keeper_again_and_again(tmp_path: Path) -> None:
    """Nothing that was acknowledged is missing, senders hear of the rest, and the gateway stays ready."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    traffic = Traffic(chance)
    with Gateway(tmp_path / "data") as gateway:
        senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
        for _ in range(KILLS):
            await traffic.until_acknowledged(len(traffic.acknowledged) + BETWEEN, timeout=40)
            await asyncio.wait(senders, timeout=chance.random() * 0.05)
            for keeper in children(gateway.pid):
                os.kill(keeper, signal.SIGKILL)
            assert (await asyncio.to_thread(gateway.get, "/readyz"))[0] == 200
        await traffic.until_acknowledged(len(traffic.acknowledged) + BETWEEN, timeout=40)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        assert set(traffic.refused.values()) <= {OUT_OF_RESOURCES}
        assert await faults_found(gateway.url, traffic) == [], f"seed {seed}"
        assert len(children(gateway.pid)) == 1
        assert await asyncio.to_thread(gateway.stop) == 0
    assert "Traceback" not in gateway.log
    assert list((gateway.data / "incoming").iterdir()) == []
    print(f"{len(traffic.acknowledged)} acknowledged, {len(traffic.refused)} refused")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_gateway_that_is_killed_and_started_again_at_once(tmp_path: Path) -> None:
    """Its keeper ends by itself, and what it still committed is adopted, if not at the start then soon after."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    traffic = Traffic(chance)
    for _ in range(5):
        gateway = Gateway(tmp_path / "data")
        await asyncio.to_thread(gateway.start)
        senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
        await traffic.until_acknowledged(len(traffic.acknowledged) + BETWEEN)
        (keeper,) = children(gateway.pid)
        # Stopped in its batch, it holds the folder while the next gateway starts.
        while not await asyncio.to_thread(stopped_without_the_database, keeper, gateway.data):
            os.kill(keeper, signal.SIGCONT)
        gateway.signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            gateway.wait(10)
        await asyncio.gather(*senders)
        with Gateway(tmp_path / "data") as again:
            assert alive(keeper)
            os.kill(keeper, signal.SIGCONT)
            await asyncio.to_thread(wait_until, lambda: not alive(keeper), 5, "the keeper has outlived its gateway")  # noqa: B023
            await asyncio.to_thread(
                wait_until, lambda: len(list((again.data / "incoming").iterdir())) == 1, 15, "nobody adopts it"
            )
            assert await faults_found(again.url, traffic) == [], f"seed {seed}"
            assert await asyncio.to_thread(again.stop) == 0
        assert begun(again.data) == []
    assert len(traffic.acknowledged) <= stored_files(tmp_path / "data") <= len(traffic.sent)


@pytest.mark.faults
async def test_a_keeper_ends_with_its_gateway(tmp_path: Path) -> None:
    with Gateway(tmp_path / "data") as gateway:
        (keeper,) = children(gateway.pid)
        gateway.kill()
        await asyncio.to_thread(wait_until, lambda: not alive(keeper), 2, "the keeper has outlived its gateway")


@pytest.mark.faults
async def test_signals_to_the_whole_group_drain(tmp_path: Path) -> None:
    """As Ctrl-C and service managers send them: what is on its way is stored, and the end is orderly."""
    traffic = Traffic(random.Random(4))
    with Gateway(tmp_path / "data", environment={"GATEWAY_DICOM__DRAIN_TIMEOUT": "0"}) as gateway:
        senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
        await traffic.until_acknowledged(20)
        for pid in (*children(gateway.pid), gateway.pid):
            os.kill(pid, signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, 15) == 0
        await asyncio.gather(*senders)
    assert not traffic.refused
    assert "Traceback" not in gateway.log
    assert "is started again" not in gateway.log
    with Gateway(tmp_path / "data") as again:
        assert await faults_found(again.url, traffic) == []


@pytest.mark.faults
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_reload_does_not_end_a_drain(tmp_path: Path, workers: str) -> None:
    """Certificates are renewed and logs rotated whenever it pleases them: what is on its way is stored all the same."""
    traffic = Traffic(random.Random(4))
    environment = {"GATEWAY_DICOM__DRAIN_TIMEOUT": "2", "GATEWAY_SERVER__WORKERS": workers}
    with Gateway(tmp_path / "data", environment=environment) as gateway:
        senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
        await traffic.until_acknowledged(20)
        gateway.signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: "draining" in gateway.log, 10, "it does not drain")
        gateway.signal(signal.SIGHUP)
        assert await asyncio.to_thread(gateway.wait, 15) == 0
        await asyncio.gather(*senders)
    assert not traffic.refused
