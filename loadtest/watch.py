"""The processor time and memory that a server on this machine uses, with its child processes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

_EVERY = 0.25
"""Seconds between two samples, initially."""
_MAX_SAMPLES = 1200
"""Samples at most; past this number every second one is dropped, and the interval is doubled."""
_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(msgspec.Struct, frozen=True):
    at: float
    """Seconds since the beginning of the watch."""
    cpus: float
    """Processors busy since the previous sample: 1.5 is one and a half."""
    memory: int
    """Bytes; see `resident`."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    command: str
    samples: list[Sample]
    cpu_seconds: float
    memory_before: int
    memory_peak: int
    budget: int | None = None
    """Bytes of memory that the server may use; None if not given."""

    @property
    def memory_growth(self) -> int:
        return max(0, self.memory_peak - self.memory_before)


class Watch:
    """Samples a process from `start` to `stop`, or while an `async with` lasts; `usage` has the outcome."""

    def __init__(self, pid: int, budget: int | None = None) -> None:
        self.pid = pid
        self._budget = budget
        self._samples: list[Sample] = []
        self._every = _EVERY
        self._used = 0.0
        self._spent = 0.0
        self._began = 0.0
        self._before = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._began = time.perf_counter()
        self._before = self._look(0.0)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Take the last sample and stop, if the watch was started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._look(time.perf_counter() - self._began)

    async def __aenter__(self) -> Watch:
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def usage(self) -> Usage:
        return Usage(
            pid=self.pid,
            command=command_of(self.pid),
            samples=self._samples,
            cpu_seconds=self._spent,
            memory_before=self._before,
            memory_peak=max((sample.memory for sample in self._samples), default=0),
            budget=self._budget,
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look(time.perf_counter() - self._began)
            if len(self._samples) > _MAX_SAMPLES:
                del self._samples[::2]
                self._every *= 2

    def _look(self, at: float) -> int:
        """Take a sample, and return the memory in bytes."""
        used = cpu_seconds(self.pid)
        spent = max(0.0, used - self._used) if self._samples else 0.0
        self._used = used
        memory = resident(self.pid)
        since = at - self._samples[-1].at if self._samples else 0.0
        self._spent += spent
        if since or not self._samples:
            self._samples.append(Sample(at, spent / since if since else 0.0, memory))
        return memory


def family(pid: int) -> Iterator[int]:
    """The process ids of a process and of all its descendants."""
    yield pid
    for task in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """The processor time that a process and all its descendants have used, those that have ended among them."""
    ticks = 0
    for each in family(pid):
        try:
            fields = (_PROC / str(each) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended just now; once its parent has noticed, its time counts there.
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICK


def resident(pid: int) -> int:
    """The memory of a process and all its descendants, in bytes. Shared memory counts once."""
    total = 0
    for each in family(pid):
        try:
            total += _memory(_PROC / str(each))
        except OSError:
            continue  # It has ended just now.
    return total


def _memory(process: Path) -> int:
    try:
        shared_out = re.search(r"^Pss:\s+(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)
    except PermissionError:
        shared_out = None  # another user's process: use its resident size
    if shared_out is not None:
        return int(shared_out[1]) << 10
    return int((process / "statm").read_text().split()[1]) * _PAGE


def command_of(pid: int) -> str:
    """The command line of a process, for display; empty if it cannot be read."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return ""


def listening(host: str, port: int) -> int | None:
    """Find the process that listens on a port of `host`; None if that is another machine, or the process is hidden."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
        with socket.socket(socket.AF_INET6 if ":" in str(address) else socket.AF_INET) as probe:
            probe.bind((address, 0))  # Only an address of this machine can be bound.
    except OSError:
        return None
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                if any(str(each.readlink()) in sockets for each in (entry / "fd").iterdir()):
                    return int(entry.name)
            except OSError:
                continue  # The process is another user's, or has ended.
    return None


def _inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                yield fields[9]
