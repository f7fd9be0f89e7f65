"""All that delivers in one gateway: its kinds of jobs, their limits, what it has open. No behaviour but ownership."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.archive.deliveries.dispatch import Dispatch
from gateway.archive.deliveries.following import SETTLING
from gateway.archive.deliveries.proof import PROOF, Proof
from gateway.archive.deliveries.settling import Settling
from gateway.archive.deliveries.table import KIND, LANE, Delivery
from gateway.archive.retrieve import Retrieval
from gateway.config import Settings
from gateway.database.database import Database
from gateway.delivery.destinations import Destinations
from gateway.delivery.handler import Delivering
from gateway.errors import GatewayError
from gateway.jobs.runner import Kind
from gateway.remote.destination import DestinationUnavailable


class Service:
    """Made by the composition root; `close` once the runner has stopped."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        dispatch: Dispatch,
        retrieval: Retrieval,
        *,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._destinations = Destinations(settings)
        self._delivering = Delivering(database, dispatch, retrieval, self._destinations, clock=clock)
        self._settling = Settling(database, dispatch, wake, clock)
        self._proof = Proof(database, self._ask, dispatch, clock=clock)

    @property
    def kinds(self) -> dict[str, Kind]:
        return {KIND: self._delivering.kind, SETTLING: self._settling.kind, PROOF: self._proof.kind}

    def limit(self, lane: str) -> int:
        """How many jobs of a lane may run at once."""
        if lane.startswith(LANE):
            return self._delivering.at_once(lane)
        return self._settings().jobs.per_destination

    async def _ask(self, destination: str, asked: Sequence[Delivery]) -> set[str]:
        uids = [(each.sent_study_uid, each.sent_series_uid, each.sent_sop_uid) for each in asked]
        try:
            return await self._destinations.get(destination).has(uids)
        except DestinationUnavailable as error:
            raise GatewayError(str(error)) from None

    async def close(self) -> None:
        await self._destinations.close()
