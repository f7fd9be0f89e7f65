"""Gauges of `/metrics`: whether the gateway is ready, what it holds, and the state of each destination.

They are read from the database on request, by whichever worker answers. `gateway/telemetry.py` has the counters.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.audit.table import unsent_since
from gateway.config import Settings
from gateway.database.database import Database
from gateway.events.changes import last_change
from gateway.forwarding.control import Deliveries
from gateway.forwarding.table import QUEUE_PREFIX
from gateway.index.summary import Statistics, statistics
from gateway.jobs import table as jobs
from gateway.net.tls import ends_at
from gateway.processes.host_clock import host_clock
from gateway.telemetry import metrics_text
from gateway.web.context import Context

_COUNTED_EVERY: Final = 30.0
"""Seconds for which the counts of the archive and of jobs are reused: counting reads every study and job."""
_OF_ORTHANC: Final = "As Orthanc has it."


class Measures:
    """The gauges of one web application."""

    def __init__(self, context: Context, deliveries: Deliveries) -> None:
        self._context = context
        self._deliveries = deliveries
        self._stored: Statistics | None = None
        self._counted_at = 0.0
        self._job_states: dict[str, int] = {}
        self._job_states_at = -math.inf
        self._began = time.monotonic()

    async def page(self, *, openmetrics: bool = False) -> bytes:
        """All gauges in the text format of Prometheus, or in OpenMetrics without its last line. Raises
        DatabaseError."""
        gauges = [
            *self._of_disk(),
            *_of_clock(),
            *await self._of_archive(),
            *await self._of_jobs(),
            *await self._of_destinations(),
            *await self._of_certificates(),
            *await self._of_audit(),
        ]
        return _text(gauges, openmetrics=openmetrics)

    async def orthanc_page(self) -> bytes:
        """Gauges that Orthanc has too, by its names of 1.10 and of 1.13. Raises DatabaseError."""
        stored, states = await self._counts(), await self._counts_of_jobs()
        done, failed = states.get("done", 0), states.get("failed", 0) + states.get("cancelled", 0)
        size_mb = (stored.size + stored.attached) / (1 << 20)
        values = {
            "count_instances": stored.instances,
            "count_patients": stored.patients,
            "count_series": stored.series,
            "count_studies": stored.studies,
            "disk_size_mb": size_mb,
            "jobs_completed": done + failed,
            "jobs_failed": failed,
            "jobs_pending": states.get("waiting", 0) + states.get("held", 0),
            "jobs_running": states.get("running", 0),
            "jobs_success": done,
            "jobs_total_completed": done + failed,
            "jobs_total_failed": failed,
            "jobs_total_success": done,
            "last_change": await last_change(self._context.database),
            "uncompressed_size_mb": size_mb,
            "up_time_s": int(time.monotonic() - self._began),
        }
        return _text([_gauge(f"orthanc_{name}", _OF_ORTHANC, value) for name, value in values.items()])

    def _of_disk(self) -> list[Metric]:
        ready, _reasons = self._context.readiness()
        floor = self._context.settings().storage.min_free
        return [
            _gauge("gateway_ready", "1 while `/readyz` says ready, 0 otherwise.", float(ready)),
            _gauge(
                "gateway_disk_free_bytes",
                "Free space in the file system of the store.",
                self._context.use_cases.store.free_bytes(),
            ),
            _gauge("gateway_disk_floor_bytes", "Free space below which nothing is stored: `storage.min_free`.", floor),
            _gauge(
                "gateway_backup_at_seconds",
                "When the last finished `dicom-gateway backup` began, in seconds since 1970; 0 for never.",
                self._context.use_cases.store.backed_up_at(),
            ),
        ]

    async def _counts(self) -> Statistics:
        now = time.monotonic()
        if self._stored is None or now - self._counted_at > _COUNTED_EVERY:
            self._stored, self._counted_at = await statistics(self._context.database), now
        return self._stored

    async def _counts_of_jobs(self) -> dict[str, int]:
        now = time.monotonic()
        if now - self._job_states_at > _COUNTED_EVERY:
            self._job_states, self._job_states_at = await jobs.count_states(self._context.database), now
        return self._job_states

    async def _of_archive(self) -> list[Metric]:
        stored = await self._counts()
        return [
            _gauge("gateway_stored_patients", "Patients in the archive.", stored.patients),
            _gauge("gateway_stored_studies", "Studies in the archive.", stored.studies),
            _gauge("gateway_stored_series", "Series in the archive.", stored.series),
            _gauge("gateway_stored_instances", "Instances in the archive.", stored.instances),
            _gauge("gateway_stored_bytes", "Bytes of the files of those instances.", stored.size),
        ]

    async def _of_jobs(self) -> list[Metric]:
        found = GaugeMetricFamily("gateway_jobs", "Unfinished jobs, deliveries included.", labels=["state"])
        counts = dict.fromkeys(("waiting", "running", "held"), 0)
        for (_queue, state), count in (await jobs.count_queues(self._context.database, "")).items():
            counts[state] += count
        for state, count in counts.items():
            found.add_metric([state], count)
        return [found]

    async def _of_certificates(self) -> list[Metric]:
        found = GaugeMetricFamily(
            "gateway_certificate_ends_seconds",
            "When a certificate of ours, or an authority's above it in the same file, ends, in seconds since 1970.",
            labels=["section"],
        )
        for section, file in _certificates(self._context.settings()).items():
            at = await asyncio.to_thread(ends_at, file)
            if at is not None:
                found.add_metric([section], at)
        return [found]

    async def _of_audit(self) -> list[Metric]:
        """The age of what waits to be sent; nothing where audit messages are not sent."""
        if not self._context.settings().audit.syslog:
            return []
        since = await unsent_since(self._context.database)
        age = max(0.0, time.time() - since) if since is not None else 0.0
        return [_gauge("gateway_audit_unsent_seconds", "Age of the oldest audit message that waits to be sent.", age)]

    async def _of_destinations(self) -> list[Metric]:
        now = time.time()
        backlog = GaugeMetricFamily(
            "gateway_destination_deliveries",
            "Deliveries to a destination: unfinished, refused or dead.",
            labels=["destination", "state"],
        )
        paused = GaugeMetricFamily(
            "gateway_destination_paused",
            "1 while the destination cannot be reached and its queue is paused.",
            labels=["destination"],
        )
        held = GaugeMetricFamily(
            "gateway_destination_held", "1 while an operator holds the destination.", labels=["destination"]
        )
        oldest = GaugeMetricFamily(
            "gateway_destination_oldest_seconds",
            "Age of the oldest delivery that waits for the destination, or is being sent.",
            labels=["destination"],
        )
        since = await _oldest(self._context.database)
        for each in await self._deliveries.destinations():
            counts = {
                "waiting": each.waiting,
                "sending": each.sending,
                "held": each.held_deliveries,
                "refused": each.refused,
                "dead": each.dead,
            }
            for state, count in counts.items():
                backlog.add_metric([each.name, state], count)
            paused.add_metric([each.name], float(each.paused_until > now))
            held.add_metric([each.name], float(each.held))
            oldest.add_metric([each.name], max(0.0, now - since.get(each.name, now)))
        return [backlog, paused, held, oldest]


def _certificates(settings: Settings) -> dict[str, str]:
    """The files of our certificates, by the section of the settings that names them."""
    named = {
        "dicom": settings.dicom.tls_certificate,
        "http": settings.http.certificate,
        "audit": settings.audit.certificate,
        **{f"destinations.{name}": getattr(each, "certificate", "") for name, each in settings.destinations.items()},
    }
    return {section: file for section, file in named.items() if file}


def _of_clock() -> list[Metric]:
    """The clock of the machine; nothing where its kernel does not say."""
    clock = host_clock()
    if clock is None:
        return []
    return [
        _gauge("gateway_clock_kept", "1 while a time service keeps the machine's clock.", float(clock.is_kept)),
        _gauge("gateway_clock_error_seconds", "The largest error of it that the kernel reckons with.", clock.error_s),
    ]


MEASURES: web.AppKey[Measures] = web.AppKey("measures", Measures)


async def _oldest(database: Database) -> dict[str, float]:
    """Creation time of the oldest unfinished delivery, in seconds since 1970, by destination."""
    return {
        lane.removeprefix(QUEUE_PREFIX): at for lane, at in (await jobs.oldest_jobs(database, QUEUE_PREFIX)).items()
    }


def _text(gauges: Iterable[Metric], *, openmetrics: bool = False) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Read(gauges))
    return metrics_text(registry, openmetrics=openmetrics)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


class _Read(Collector):
    """A collector of gauges that were read before."""

    def __init__(self, gauges: Iterable[Metric]) -> None:
        self._gauges = list(gauges)

    def collect(self) -> Iterator[Metric]:
        return iter(self._gauges)
