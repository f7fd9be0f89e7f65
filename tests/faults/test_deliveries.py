"""Deliveries under kill -9: a healthy destination, one that refuses half, one that is dead for a while; in the end each
has exactly what the gateway took in."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.destination import Destination
from tests.support.processes import Gateway, free_port
from tests.support.traffic import Traffic
from tests.support.waiting import until

ROUNDS = 10
ACKNOWLEDGED = int(os.environ.get("DELIVERIES", "60"))
"""In each round; 500 make 5000."""
SENDERS = 8
NAMES = ("healthy", "moody", "dead")


def configuration(ports: dict[str, int]) -> str:
    lines = []
    for name, port in ports.items():
        lines += [f"[modalities.{name}]", f'aet = "{name.upper()}"', 'host = "127.0.0.1"', f"port = {port}"]
        lines += [f"[destinations.{name}]", 'kind = "dicom"', f'modality = "{name}"']
        lines += ["attempts = 100", "retry_after = 0.05", "retry_longest = 0.5"]
    lines += ["[modalities.traffic]", 'aet = "TRAFFIC"', "[rules.all]", f"destinations = {json.dumps(list(NAMES))}"]
    return "\n".join(lines)


async def until_nothing_waits(gateway: Gateway, name: str) -> dict[str, tuple[int, int]]:
    """The states then."""

    async def look() -> dict[str, tuple[int, int]] | None:
        found = await states(gateway)
        return None if found[name][0] else found

    found = await until(look, within_s=300, every_s=0.1)
    assert found is not None
    return found


def release(gateway: Gateway, name: str) -> None:
    with urllib.request.urlopen(f"{gateway.url}/destinations/{name}/release", b"{}", timeout=30) as answer:
        assert answer.status == 200


async def states(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """By destination: how many are not over, how many are lost."""
    code, body = await asyncio.to_thread(gateway.get, "/destinations?expand", 30)
    assert code == 200
    return {
        each["Name"]: (each["Waiting"] + each["Sending"] + each["HeldDeliveries"], each["Refused"] + each["Dead"])
        for each in json.loads(body)
    }


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_destination_ends_with_what_it_should_have(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    healthy, moody = Destination(), Destination()
    moody.answer = lambda message: message.respond(0 if chance.random() < 0.5 else 0xA700)
    ports = {"healthy": healthy.port, "moody": moody.port, "dead": free_port()}
    file = tmp_path / "gateway.toml"
    file.write_text(configuration(ports))
    traffic = Traffic(chance, sizes=(2_000, 2_000, 20_000))
    gateway = Gateway(tmp_path / "data", "--config", str(file))
    behind: list[float] = []
    revived: Destination | None = None
    for number in range(ROUNDS):
        await asyncio.to_thread(gateway.start)
        try:
            wanted = len(traffic.acknowledged) + ACKNOWLEDGED
            senders = [asyncio.create_task(traffic.send(gateway.host, gateway.port)) for _ in range(SENDERS)]
            await traffic.until_acknowledged(wanted)
            behind.append((await states(gateway))["healthy"][0])
            await asyncio.wait(senders, timeout=chance.random() * 0.3)
        finally:
            gateway.kill()
        await asyncio.gather(*senders)
        assert not traffic.refused, f"after kill {number}, seed {seed}"
    await asyncio.to_thread(gateway.start)
    try:
        began = time.monotonic()
        found = await until_nothing_waits(gateway, "healthy")  # the dead one does not hold it up
        assert found["dead"][0] >= len(traffic.acknowledged)
        seconds = time.monotonic() - began
        print(f"healthy had all {seconds:.1f} s after the last start; behind by {behind} in the rounds")
        ports["dead"] = (revived := Destination()).port
        file.write_text(configuration(ports))
        await asyncio.to_thread(gateway.signal, signal.SIGHUP)

        async def all_over() -> bool:
            """Its pause is ended, as whoever has mended it would do; it grows with each failure."""
            if not any(count for count, _ in (await states(gateway)).values()):
                return True
            await asyncio.to_thread(release, gateway, "dead")
            return False

        await until(all_over, within_s=300, every_s=0.2)
        found = await states(gateway)
        assert found == dict.fromkeys(NAMES, (0, 0))
        _, body = await asyncio.to_thread(gateway.get, "/statistics")
        stored = json.loads(body)["CountInstances"]
        for name, peer in (("healthy", healthy), ("moody", moody), ("dead", revived)):
            taken = {message.uid: bytes(message.data) for message in peer.messages}
            assert traffic.acknowledged <= taken.keys(), f"{name}, seed {seed}"
            assert len(taken) == stored, f"{name}, seed {seed}"
            assert all(taken[uid] == traffic.sent[uid].data for uid in taken), f"{name}, seed {seed}"
        print(f"{stored} instances to three destinations, {len(moody.messages)} attempts at the moody one")
    finally:
        await asyncio.to_thread(gateway.stop)
        for peer in (healthy, moody, revived):
            if peer is not None:
                await peer.acceptor.stop(0)
