"""How many workers, and what each may have of what the settings allow all of them together. Pure but for a look at
the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from gateway.config import Settings
from gateway.net.buffers import BLOCK_SIZE

_MOST = 8
"""Workers that are started where nobody says how many: the one writer of the database is what limits more."""
_CPUS_EACH = 2
"""A worker that is busy keeps its loop, and its threads that write, sync, compress and decode, on about two."""


def cpus() -> int:
    """CPUs that we may use: of the affinity mask, and of the quota of our control group (version 2)."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].split("\n")[0]
        quota, period = (Path("/sys/fs/cgroup") / group / "cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return usable


def number_of_workers(settings: Settings) -> int:
    """As the settings say, or as the machine gives: one up to three CPUs, where a second would only take turns with
    the first and cost its memory. One where there is no Linux."""
    if sys.platform != "linux":
        return 1
    return settings.server.workers or max(1, min(_MOST, cpus() // _CPUS_EACH))


def share(settings: Settings, workers: int) -> Settings:
    """The settings for one of so many workers. Limits on associations are not divided: all count together."""

    def part(number: int, least: int = 1) -> int:
        return max(least, number // workers)

    replace = msgspec.structs.replace
    storage, http, imaging = settings.storage, settings.http, settings.imaging
    return replace(
        settings,
        storage=replace(
            storage,
            buffer_memory=part(storage.buffer_memory, 16 * BLOCK_SIZE),
            sync_threads=part(storage.sync_threads, 2),
            rejected_quota=storage.rejected_quota // workers,
        ),
        http=replace(http, read_threads=part(http.read_threads, 2)),
        dicomweb=replace(settings.dicomweb, uploads=part(settings.dicomweb.uploads)),
        retrieve=replace(settings.retrieve, threads=part(settings.retrieve.threads, 2)),
        imaging=replace(imaging, threads=part(imaging.threads), cache_memory=imaging.cache_memory // workers),
    )
