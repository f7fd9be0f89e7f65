"""Restoration of outbox entries: what an instance entailed is written again where a power cut has undone its
transaction.

The instance is in the index again by then (`ingest/replay.py`), and its frame has noted the deliveries that the rules
wanted when it came; the rules of today are not asked.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.database.database import Script
from gateway.forwarding import queries
from gateway.forwarding.outbox import restart_timer
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.table import DeliveryTarget, add_delivery, deliverable, supersede
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job


class _Noted(msgspec.Struct, frozen=True):
    """What the frame of an instance has noted, as `OutboxEntry.noted` gives it."""

    targets: list[DeliveryTarget] = []
    rules: list[str] = []
    """The names of the rules that wait for its series or study to be stable."""
    traceparent: str = ""
    """The trace of the instance, as in `OutboxEntry`."""


class Restoration:
    """Handles the jobs of type `REPLAYED`."""

    def __init__(self, rule_engine: RuleEngine, clock: Callable[[], float]) -> None:
        self._rule_engine = rule_engine
        self._clock = clock

    @property
    def kind(self) -> JobType:
        """The job type."""
        return JobType(self.work)

    async def work(self, job: Job) -> CompletionScript:
        """Write the outbox entry of a replayed instance, in the transaction that ends the job."""
        noted = msgspec.convert(job.payload["noted"], _Noted)
        public_id, version = str(job.payload["public_id"]), int(job.payload["version"])
        rules = {name: rule for name in noted.rules if (rule := self._rule_engine.compiled.settings.rules.get(name))}

        def record() -> Script[None]:
            now = self._clock()
            rows = yield queries.INSTANCE, (public_id,)
            if not rows or (item := deliverable(rows[0])).located.version != version:
                return  # It was deleted, or replaced by a version with deliveries of its own.
            if version > 1:
                yield from supersede(public_id, version, now)
            for target in noted.targets:
                yield from add_delivery(target, item, now, noted.traceparent)
            for name, rule in rules.items():
                yield from restart_timer(name, rule, item.study, item.series, now)

        return record
