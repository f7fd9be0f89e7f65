"""What is done to a gateway under chaos, one kind each: for a while, and then it is over.

A fault leaves the gateway running, or able to be started again; the campaign sees to it that it is up afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.support.faults import Rule, Shim
from tests.support.processes import Gateway, children

CHANGING = "@(write|writev|pwrite|ftruncate|fallocate|open|link|rename|mkdir)"
"""Calls that need room on the disk."""
READERS_S = 61
JUMPS_S = (-86_400, -3_600, 3_600, 86_400, 200 * 86_400)
KINDS = ("kill", "no room", "failed sync", "slow sync", "stuck sync", "stop", "clock", "descriptors")
SYNC_FAILURES = (
    Rule("fdatasync", errno.EIO, "1", "*/incoming/*"),
    Rule("fsync", errno.EIO, "1", "*/incoming/*"),
    Rule("f*sync", errno.EIO, "1", "*-wal"),
    Rule("pwrite", errno.EIO, "1", "*-wal"),
    Rule("fsync", errno.EIO, "1", "*/store*"),
)
"""As the kernel does it: the error is told once, and the next sync succeeds."""


def processes(gateway: Gateway) -> list[int]:
    """The process that was started first, then those that it has started, and theirs."""
    if gateway.process is None:
        return []
    found = [gateway.pid]
    for pid in found:
        found += children(pid)
    return found


class Faults:
    """All that can be done to one gateway, whose calls go through `shim` and whose clock is in `clock`."""

    def __init__(self, gateway: Gateway, shim: Shim, clock: Path, chance: random.Random) -> None:
        self._gateway, self._shim, self._clock, self._chance = gateway, shim, clock, chance
        self.kills = 0
        """Times that processes got SIGKILL."""
        self._ahead_s = 0
        actions = (
            self.kill, self.no_room, self.failed_sync, self.slow_sync, self.stuck_sync, self.stop_one, self.clock_jump,
            self.no_descriptors,
        )  # fmt: skip
        self.kinds: Mapping[str, Callable[[], Awaitable[None]]] = dict(zip(KINDS, actions, strict=True))

    async def kill(self) -> None:
        """kill -9 of one process, or of some: those that store, those that serve, the one above them, or all."""
        some = processes(self._gateway)
        chosen = self._chance.choice(["one", "first", "last", "all"])
        victims = {"one": [self._chance.choice(some)], "first": some[:1], "last": some[-1:], "all": some}[chosen]
        self.kills += 1
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(self._while(0.2, 1))

    async def no_room(self) -> None:
        """Every call that needs room fails, from some moment on, until there is room again."""
        await self._rule(Rule(CHANGING, errno.ENOSPC, f"{self._chance.randint(1, 60)}+"), 0.3, 1.5)

    async def failed_sync(self) -> None:
        """The gateway must be told to start anew after this; until then it may acknowledge nothing."""
        await self._rule(self._chance.choice(SYNC_FAILURES), 0.5, 1)

    async def slow_sync(self) -> None:
        await self._rule(Rule("f*sync", -self._chance.randint(20, 200)), 0.5, 2)

    async def stuck_sync(self) -> None:
        """One sync takes seconds."""
        await self._rule(Rule("f*sync", -self._chance.randint(2000, 5000), str(self._chance.randint(1, 20))), 1, 3)

    async def stop_one(self) -> None:
        """SIGSTOP for one of the processes, as a debugger, a snapshot of a virtual machine or a lack of memory does."""
        pid = self._chance.choice(processes(self._gateway))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(self._while(0.3, 3))
            os.kill(pid, signal.SIGCONT)

    async def clock_jump(self) -> None:
        """The clock of the day is wrong, and then right again."""
        self._set_clock(self._chance.choice(JUMPS_S))
        await asyncio.sleep(self._while(0.5, 2))
        self._set_clock(0)

    async def no_descriptors(self) -> None:
        """None of the processes gets a descriptor beyond those that it has."""
        before: dict[int, tuple[int, int]] = {}
        for pid in processes(self._gateway):
            with contextlib.suppress(OSError):
                used = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()) + 1
                soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(used, hard), hard))
                before[pid] = soft, hard
        await asyncio.sleep(self._while(0.3, 1.5))
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

    def age(self) -> None:
        """Set the clock ahead by what readers of deleted objects have, before a start: what was deleted until now is
        erased by it, and segments are compacted, while the load goes on."""
        self._ahead_s += READERS_S
        self._set_clock(0)

    def lift(self) -> None:
        """Nothing fails any more."""
        self._shim.clear()
        self._set_clock(0)

    async def _rule(self, rule: Rule, shortest_s: float, longest_s: float) -> None:
        self._shim.set(rule)
        await asyncio.sleep(self._while(shortest_s, longest_s))
        self._shim.clear()

    def _while(self, shortest_s: float, longest_s: float) -> float:
        return self._chance.uniform(shortest_s, longest_s)

    def _set_clock(self, wrong_by_s: int) -> None:
        new = self._clock.with_suffix(".new")
        new.write_text(str(self._ahead_s + wrong_by_s))
        new.replace(self._clock)
