"""The number of workers, and each worker's share of the limits. Pure except for reading the machine's CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.config import Settings
from gateway.net.buffers import BLOCK_SIZE

_MAX_WORKERS = 8
"""Workers by default: beyond that the single writer of the database is the limit."""
_CPUS_EACH = 2
"""A busy worker uses about two CPUs, for its loop and for threads that write, sync, compress and decode."""


def cpus() -> int:
    """The CPUs available to this process: by affinity mask, and by the quota of the control group (version 2)."""
    usable = len(os.sched_getaffinity(0))
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].split("\n")[0]
        quota, period = (Path("/sys/fs/cgroup") / group / "cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return usable


def number_of_workers(settings: Settings) -> int:
    """The configured number of workers, or one up to three CPUs, where a second would only take turns with the first
    and cost its memory."""
    return settings.server.workers or max(1, min(_MAX_WORKERS, cpus() // _CPUS_EACH))


def share(settings: Settings, workers: int) -> Settings:
    """The settings of one of several workers. Limits on associations are not divided: they count over all workers."""

    def part(number: int, least: int = 1) -> int:
        return max(least, number // workers)

    replace = msgspec.structs.replace
    storage, http, imaging, rest = settings.storage, settings.http, settings.imaging, settings.rest
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
        rest=replace(rest, answer_cache=rest.answer_cache // workers),
    )
