"""Gauges of `/metrics`: whether the gateway is ready, what it holds, and the state of each destination.

They are read from the database on request, by whichever worker answers. `gateway/telemetry.py` has the counters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.database.database import Database
from gateway.forwarding.control import Deliveries
from gateway.forwarding.table import QUEUE_PREFIX
from gateway.index.summary import Statistics, statistics
from gateway.jobs import table as jobs
from gateway.web.context import Context

_COUNTED_EVERY: Final = 30.0
"""Seconds for which the counts of the archive are reused: counting reads every study."""


class Measures:
    """The gauges of one web application."""

    def __init__(self, context: Context, deliveries: Deliveries) -> None:
        self._context = context
        self._deliveries = deliveries
        self._stored: Statistics | None = None
        self._counted_at = 0.0

    async def page(self) -> bytes:
        """All gauges in the Prometheus text format. Raises DatabaseError."""
        gauges = [*self._of_disk(), *await self._of_archive(), *await self._of_jobs(), *await self._of_destinations()]
        registry = CollectorRegistry()
        registry.register(_Read(gauges))
        return generate_latest(registry)

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
        ]

    async def _of_archive(self) -> list[Metric]:
        now = time.monotonic()
        if self._stored is None or now - self._counted_at > _COUNTED_EVERY:
            self._stored, self._counted_at = await statistics(self._context.database), now
        stored = self._stored
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


MEASURES: web.AppKey[Measures] = web.AppKey("measures", Measures)


async def _oldest(database: Database) -> dict[str, float]:
    """Creation time of the oldest unfinished delivery, in seconds since 1970, by destination."""
    return {
        lane.removeprefix(QUEUE_PREFIX): at for lane, at in (await jobs.oldest_jobs(database, QUEUE_PREFIX)).items()
    }


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


class _Read(Collector):
    """A collector of gauges that were read before."""

    def __init__(self, gauges: Iterable[Metric]) -> None:
        self._gauges = list(gauges)

    def collect(self) -> Iterator[Metric]:
        return iter(self._gauges)
