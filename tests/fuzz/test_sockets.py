"""Hostile and broken peers over real sockets, against the gateway as its own process.

What a violation is answered with is tested in memory (`test_ul_mutations.py`, tests/ul/); here is what only a process
shows: it lives, answers others in between, and holds on to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.net.requestor import Call, associate
from gateway.storage.incoming import PREALLOCATED
from tests.support.links import IMPLICIT, VERIFICATION, a_request
from tests.support.mutations import corpus, mutate
from tests.support.processes import Gateway
from tests.support.waiting import wait_until

CONNECTIONS = 10_000
AT_ONCE = 16
MEMORY = 24 << 20
"""Bytes that ten thousand connections may add for good."""
ARTIM = 1.0

HELLO = bytes.fromhex("160301007a010000760303") + bytes(111)
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environment = {"GATEWAY_DICOM__ARTIM_TIMEOUT": str(ARTIM), "GATEWAY_LOG__LEVEL": "warning"}
    with Gateway(tmp_path_factory.mktemp("fuzz") / "data", environment=environment) as started:
        yield started


async def exchange(gateway: Gateway, *parts: bytes, timeout: float = 10.0) -> bytes:
    """Send the parts, one segment each, and read until the gateway closes."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    try:
        async with asyncio.timeout(timeout):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await reader.read(65536)
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def echo(gateway: Gateway) -> None:
    call = Call(gateway.host, gateway.port, "GATEWAY", "TEST", contexts=[(VERIFICATION, [IMPLICIT])])
    async with asyncio.timeout(10), associate(call) as association:
        assert await association.echo() == 0


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", ABORT),
        (HELLO, b""),
        (b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03", ABORT),
        (b"\x01\x00\xff\xff\xff\xff\x00\x01", ABORT),
        (b"\xff" * 100, ABORT),
        (b"\x01\x00\x00", b""),
        (b"", b""),
    ],
    ids=["HTTP", "TLS", "data first", "four gigabytes announced", "noise", "half a header", "silence"],
)
async def test_not_dicom(gateway: Gateway, sent: bytes, answer: bytes):
    """A-ABORT from the service-user (AA-1, PS3.8 §9.2.3); who says too little is let go when ARTIM expires.

    Who speaks TLS is let go at once, without a word that it would not understand.
    """
    got = await exchange(gateway, sent)
    assert got.startswith(answer)
    assert bool(got) is bool(answer)
    await echo(gateway)


async def test_silence_is_not_waited_for(gateway: Gateway):
    """A hundred connections that say nothing hold up nobody, and are gone after ARTIM."""
    silent = [asyncio.create_task(exchange(gateway, b"\x01")) for _ in range(100)]
    await asyncio.wait(silent, timeout=0.1)
    await echo(gateway)
    assert await asyncio.gather(*silent) == [b""] * 100


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_ten_thousand_broken_connections(gateway: Gateway):
    """No crash, no leak, no traceback, and C-ECHO answered in between."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await _batch(gateway, chance, 500)
    await echo(gateway)
    memory, descriptors = _memory(gateway), _descriptors(gateway)
    kinds: Counter[str] = Counter()
    for _ in range(CONNECTIONS // 500):
        kinds += await _batch(gateway, chance, 500)
        await echo(gateway)
    # What comes and goes by itself: one of the web's, and the empty incoming files in stock, which are open.
    most = descriptors + 1 + PREALLOCATED
    await asyncio.to_thread(wait_until, lambda: _descriptors(gateway) <= most, 10, "descriptors leak")
    grown = _memory(gateway) - memory
    print(f"{dict(kinds)}; memory grew by {grown >> 10} KiB")
    assert gateway.get("/readyz")[0] == 200
    assert grown < MEMORY
    assert "Traceback" not in gateway.log


async def _batch(gateway: Gateway, chance: random.Random, count: int) -> Counter[str]:
    """Connections of every kind, some at a time; how many of each."""
    prepared = corpus()
    openings, messages = prepared[0][1], prepared[2][1]
    room = asyncio.Semaphore(AT_ONCE)
    kinds: Counter[str] = Counter()

    async def one(seed: int) -> None:
        own = random.Random(seed)
        kind = own.choice(("noise", "opening", "opening", "data", "data", "data", "reset", "HTTP", "cut"))
        kinds[kind] += 1
        async with room:
            match kind:
                case "noise":
                    await _throw(gateway, [own.randbytes(own.randrange(1, 200))], own)
                case "opening":
                    await _throw(gateway, [mutate(own.choice(openings), own.choice(openings), own)], own)
                case "data":
                    broken = [mutate(own.choice(messages), own.choice(messages), own) for _ in range(2)]
                    await _throw(gateway, [a_request().encode(), None, *broken], own)
                case "reset":
                    await _throw(gateway, [a_request().encode(), None, own.choice(messages)[:-3]], own, reset=True)
                case "HTTP":
                    await _throw(gateway, [b"GET / HTTP/1.0\r\n\r\n"], own)
                case "cut":
                    whole = own.choice(openings)
                    await _throw(gateway, [whole[: own.randrange(len(whole))]], own)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(chance.getrandbits(32)))
    return kinds


async def _throw(gateway: Gateway, parts: list[bytes | None], chance: random.Random, *, reset: bool = False) -> None:
    """Send the parts (None: wait for one PDU); then close, sometimes after reading what is said to it."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    try:
        for part in parts:
            if part is None:
                (length,) = struct.unpack(">2xL", await reader.readexactly(6))
                await reader.readexactly(length)
                continue
            at = chance.randrange(len(part)) if part and chance.random() < 0.3 else len(part)
            writer.write(part[:at])
            await writer.drain()
            writer.write(part[at:])
        if chance.random() < 0.2 and not reset:
            async with asyncio.timeout(0.05):
                await reader.read(4096)
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _memory(gateway: Gateway) -> int:
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))


def _descriptors(gateway: Gateway) -> int:
    return sum(1 for _ in Path(f"/proc/{gateway.pid}/fd").iterdir())
