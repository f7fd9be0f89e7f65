"""The memory of a server for work that should need little: measured while it works, in megabytes."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from loadtest import engine, peers
from loadtest.compare.measures import Measure, Stand, run_work, target_of, trouble_of
from loadtest.compare.table import Measured
from loadtest.scenario import Scenario, Work
from loadtest.shelf import Place
from loadtest.stats import Summary
from loadtest.target import Target
from loadtest.watch import Usage, Watch

_RECEIVE_BUFFER = 16 << 10
"""Bytes of the kernel's buffer of a slow reader."""
_SIP = 4 << 10
"""Bytes that a slow reader reads at a time."""
_SLOW_FOR = 8.0
"""Seconds for which slow readers read."""
_RAMP = 0.002
"""Seconds between the starts of two readers: a thousand at once would overrun the backlog of some servers."""


class Allowed(NamedTuple):
    """The memory budget of a server in megabytes: in all, or beyond what it had before."""

    megabytes: float
    growth: bool = False

    def figure(self, usage: Usage) -> float:
        """The part of the usage that the budget limits, in megabytes."""
        return (usage.memory_growth if self.growth else usage.memory_peak) / 1e6

    def measured(self, usage: Usage, trouble: str) -> Measured:
        budget = self.megabytes * 1e6 + (usage.memory_before if self.growth else 0)
        return Measured(self.figure(usage), trouble, msgspec.structs.replace(usage, budget=round(budget), command=""))


def storing(size: str, associations: int, allowed: Allowed) -> Measure:
    """C-STORE of `count` instances, none of which may be refused."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        at_once = min(associations, count)
        work = Work(do="store", data=size, count=count, at_once=at_once)
        return _watched(peer, Scenario(title="storing", about="", work=(work,)), [], allowed)

    return measure


def downloading(size: str, allowed: Allowed) -> Measure:
    """WADO-RS of a study of `count` instances."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        places = stand.study(peer, size, count)
        scenario = Scenario(title="download", about="", work=(Work(do="study", count=1),))
        return _watched(peer, scenario, places, allowed)

    return measure


def slow_readers(instances: int, allowed: Allowed) -> Measure:
    """`count` concurrent clients that request a study of `instances` instances of 512 KB, and hardly read it."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        import uvloop

        study = stand.study(peer, "512KB", instances)[0].study

        async def all_of_them() -> Measured:
            async with Watch(peer.pid) as watch, asyncio.TaskGroup() as group:
                tasks = []
                for _ in range(count):
                    tasks.append(group.create_task(_read_slowly(target_of(peer), study)))
                    await asyncio.sleep(_RAMP)
            troubles = [task.result() for task in tasks if task.result()]
            return allowed.measured(watch.usage, troubles[0] if troubles else "")

        return uvloop.run(all_of_them())

    return measure


def rate_with_stock(stock: int) -> Measure:
    """The share of its intake rate that a server keeps once it holds `stock` instances: 1 is all of it."""

    def measure(stand: Stand, peer: peers.Peer, count: int) -> Measured:
        def fill(size: str, instances: int) -> Summary:
            work = Work(do="store", data=size, count=instances, at_once=8)
            return run_work(Scenario(title="growth", about="", work=(work,)), target_of(peer))

        fill("8KB", count)  # Both rates are those of a warm server.
        before = fill("8KB", count)
        between = fill("64B", stock * count // 2000)
        after = fill("8KB", count)
        trouble = trouble_of(before) or trouble_of(between) or trouble_of(after)
        return Measured(after.instances_per_second / before.instances_per_second, trouble)

    return measure


def _watched(peer: peers.Peer, scenario: Scenario, places: list[Place], allowed: Allowed) -> Measured:
    import uvloop

    async def run() -> Measured:
        async with Watch(peer.pid) as watch:
            (stats,) = await engine.run(scenario, target_of(peer), places=places)
        return allowed.measured(watch.usage, trouble_of(stats.summary()))

    return uvloop.run(run())


async def _read_slowly(target: Target, study: str) -> str:
    """Read one answer slowly; returns the failure, or an empty text."""
    assert target.web is not None
    parts = urlsplit(target.web.url)
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    try:
        async with asyncio.timeout(target.timeout):
            await loop.sock_connect(connection, (parts.hostname, parts.port or 80))
            accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            head = f"GET {parts.path}/studies/{study} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n\r\n"
            await loop.sock_sendall(connection, head.encode())
            first = await loop.sock_recv(connection, _SIP)
        if not first.startswith(b"HTTP/1.1 200"):
            return first.partition(b"\r\n")[0].decode(errors="replace") or "the connection was closed"
        end = loop.time() + _SLOW_FOR
        while loop.time() < end:
            await asyncio.sleep(_SLOW_FOR / 8)
            if not await loop.sock_recv(connection, _SIP):
                return "the connection was closed"
    except TimeoutError:
        return "no answer in time"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        connection.close()
    return ""
