"""The forwarding service: owns the job types, their limits and the open destinations. No behaviour but ownership."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.audit.log import AuditLog
from gateway.config import Settings
from gateway.database.database import Database
from gateway.errors import GatewayError
from gateway.forwarding.destinations import Destinations
from gateway.forwarding.handler import DeliveryHandler
from gateway.forwarding.outbox import STABILITY
from gateway.forwarding.restoration import Restoration
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.stability import Stability
from gateway.forwarding.table import KIND, QUEUE_PREFIX, Delivery
from gateway.forwarding.verification import VERIFICATION, Verification
from gateway.ingest.outbox import REPLAYED
from gateway.jobs.runner import JobType
from gateway.remote.destination import DestinationUnavailable
from gateway.retrieve.retrieval import Retrieval


class Service:
    """All forwarding of one gateway, built by the composition root; call `close` after the job runner has stopped."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        rule_engine: RuleEngine,
        retrieval: Retrieval,
        *,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
        audit: AuditLog | None = None,
    ) -> None:
        self._settings = settings
        self._destinations = Destinations(settings)
        self._handler = DeliveryHandler(database, rule_engine, retrieval, self._destinations, clock=clock, audit=audit)
        self._stability = Stability(database, rule_engine, wake, clock)
        self._restoration = Restoration(rule_engine, clock)
        self._verification = Verification(database, self._ask, rule_engine, clock=clock)

    @property
    def kinds(self) -> dict[str, JobType]:
        return {
            KIND: self._handler.kind,
            REPLAYED: self._restoration.kind,
            STABILITY: self._stability.kind,
            VERIFICATION: self._verification.kind,
        }

    def limit(self, queue: str) -> int:
        """The number of jobs of a queue that may run at once."""
        if queue.startswith(QUEUE_PREFIX):
            return self._handler.at_once(queue)
        return self._settings().jobs.per_destination

    async def _ask(self, destination: str, asked: Sequence[Delivery]) -> set[str]:
        uids = [(each.sent_study_uid, each.sent_series_uid, each.sent_sop_uid) for each in asked]
        try:
            return await self._destinations.get(destination).has(uids)
        except DestinationUnavailable as error:
            raise GatewayError(str(error)) from None

    async def close(self, grace_s: float) -> None:
        """Close every destination once its transfers have ended, or after `grace_s`."""
        await self._destinations.close(grace_s)
