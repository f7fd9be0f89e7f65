"""Acceptance of what waits in the inbox: from then on it is as if it had arrived, and the rules send it on.

What an outsider has uploaded goes nowhere until a person has seen it. The label goes, and the deliveries are added, in
one transaction for each page of instances: what is broken off can be accepted again, and nothing is accepted without
what the rules want.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from gateway import tracing
from gateway.config import Settings
from gateway.database.database import Database, Script
from gateway.errors import DataSetError, NoSuchObject
from gateway.forwarding import queries
from gateway.forwarding.explanation import read_stored
from gateway.forwarding.outbox import restart_timer
from gateway.forwarding.rule_engine import NO_PLAN, CompiledRules, DeliveryPlan
from gateway.forwarding.table import Deliverable, add_delivery, deliverable
from gateway.index.inbox import accept_instance, accept_study
from gateway.routing.conditions import Facts
from gateway.storage.store import Store

log = logging.getLogger(__name__)

_PAGE: Final = 200


class Acceptance:
    """Accepts what waits of a study, by the rules that are in force."""

    def __init__(
        self,
        database: Database,
        store: Store,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the job runner that a job may be due."""
        self._database = database
        self._store = store
        self._settings = settings
        self._wake = wake
        self._clock = clock

    async def accept(self, study: str) -> int:
        """Accept every waiting instance of a study, by its public id; how many were accepted. Raises DatabaseError."""
        compiled, after, count = await asyncio.to_thread(CompiledRules, self._settings()), 0, 0
        while rows := await self._database.fetch(queries.STUDY_INSTANCES, study, after, _PAGE):
            after = int(rows[-1][0])
            items = [item for item in map(deliverable, rows) if item.via == "inbox"]
            plans = await asyncio.to_thread(lambda items=items: [self._plan(compiled, item) for item in items])  # type: ignore[misc]
            count += await self._database.write(functools.partial(self._script, items, plans, tracing.traceparent()))
            self._wake()
        await self._database.write(lambda: accept_study(study))
        return count

    def _plan(self, compiled: CompiledRules, item: Deliverable) -> DeliveryPlan:
        """What the rules want of an instance. Blocks."""
        if not compiled.router:
            return NO_PLAN
        try:
            _, attributes = read_stored(self._store, item, compiled.router.wanted)
        except (NoSuchObject, DataSetError) as error:
            log.warning("%s is accepted, but no rule can be asked about it: %s", item.located.sop_uid, error)
            return NO_PLAN
        origin = item.calling_aet, item.called_aet, item.peer, item.via, item.received_at
        return compiled.plan(Facts(*origin, attributes, item.located.tenant))

    def _script(self, items: Sequence[Deliverable], plans: Sequence[DeliveryPlan], traceparent: str) -> Script[int]:
        now, count = self._clock(), 0
        for item, plan in zip(items, plans, strict=True):
            if not (yield from accept_instance(item.instance)):
                continue  # It has been here before, or somebody else has accepted it.
            count += 1
            for target in plan.targets:
                yield from add_delivery(target, item, now, traceparent)
            for name, rule in plan.stability_rules.items():
                yield from restart_timer(name, rule, item.study, item.series, now)
        return count
