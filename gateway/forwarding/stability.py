"""Stability: a whole series or study is delivered once no instance has arrived for a time.

The timer is the due time of a job, so a restart preserves it. Instances that arrive afterwards start another job, which
adds the deliveries that do not exist yet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

from gateway import tracing
from gateway.config.routes import Rule
from gateway.database.database import Database, Script
from gateway.errors import PermanentFailure
from gateway.forwarding.rule_engine import CompiledRules, RuleEngine
from gateway.forwarding.table import Deliverable, add_delivery, deliverable, instances_query
from gateway.index.inbox import still_waits
from gateway.jobs.runner import JobType
from gateway.jobs.table import Job

_PAGE: Final = 500


class Stability:
    """Handles the jobs of type `outbox.STABILITY`."""

    def __init__(
        self, database: Database, rule_engine: RuleEngine, wake: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._rule_engine = rule_engine
        self._wake = wake
        self._clock = clock

    @property
    def kind(self) -> JobType:
        return JobType(self.work)

    async def work(self, job: Job) -> None:
        """Add the deliveries of every instance that is in the series or study now."""
        compiled, name = self._rule_engine.compiled, str(job.payload["rule"])
        rule = compiled.settings.rules.get(name)
        if rule is None:
            raise PermanentFailure(f"there is no rule {name!r} any more")
        query, after = instances_query(job.payload["level"]), 0
        add = functools.partial(self._add, compiled, name, rule, traceparent=tracing.traceparent())
        while rows := await self._database.fetch(query, job.payload["id"], after, _PAGE):
            after, items = int(rows[-1][0]), [deliverable(row) for row in rows]
            await self._database.write(functools.partial(add, items))
            self._wake()

    def _add(
        self, compiled: CompiledRules, name: str, rule: Rule, items: Sequence[Deliverable], *, traceparent: str
    ) -> Script[None]:
        now = self._clock()
        for item in items:
            if item.via == "inbox" and (yield from still_waits(item.instance)):
                continue
            for target in compiled.targets(name, rule, item.calling_aet):
                yield from add_delivery(target, item, now, traceparent)
