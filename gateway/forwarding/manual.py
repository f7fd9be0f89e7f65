"""Deliveries that a person asks for: of stored resources to a destination, without a rule, with its retries."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from gateway import tracing
from gateway.config import Settings
from gateway.database.database import Database, Script
from gateway.dicom.levels import Level
from gateway.errors import NotFound
from gateway.forwarding import queries
from gateway.forwarding.table import Deliverable, Delivery, DeliveryTarget, add_delivery, deliverable, send_again
from gateway.index.locate import counted_resources
from gateway.index.resources import resources_below

BY_HAND: Final = "by hand"
"""In place of the name of a rule."""
_PAGE: Final = 200
_OVER: Final = ("delivered", "refused", "dead", "cancelled")
_QUERIES: Final = {"study": queries.STUDY_INSTANCES, "series": queries.SERIES_INSTANCES}


class ManualDeliveries:
    """Adds deliveries of resources by public id."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the job runner that a job may be due."""
        self._database = database
        self._settings = settings
        self._wake = wake
        self._clock = clock

    async def add(self, destination: str, public_ids: Sequence[str]) -> int:
        """Deliver every instance of the resources, again if it was delivered before; the number of deliveries that are
        under way by that. Raises: NotFound for a destination or resource that is not known."""
        section = self._settings().destinations.get(destination)
        if section is None:
            raise NotFound(f"there is no destination {destination[:80]}")
        found = await counted_resources(self._database, public_ids)
        for public_id in public_ids:
            if public_id not in found:
                raise NotFound(f"there is no resource {public_id[:80]}")
        target = DeliveryTarget(destination, "", BY_HAND, section.priority, False, "", hold_incomplete=False)
        count, script = 0, functools.partial(self._script, target, tracing.traceparent())
        for public_id, counted in found.items():
            async for items in self._instances(counted.level, public_id):
                count += await self._database.write(functools.partial(script, items))
                self._wake()
        return count

    async def _instances(self, level: Level, public_id: str) -> AsyncIterator[list[Deliverable]]:
        """The instances of a resource in pages, as the asker sees them."""
        if level == "instance":
            yield [deliverable(row) for row in await self._database.fetch(queries.INSTANCE, public_id)]
        elif level == "patient":
            async for page in resources_below(self._database, "patient", public_id, "study"):
                for study in page:
                    async for items in self._instances("study", study.public_id):
                        yield items
        else:
            after = 0
            while rows := await self._database.fetch(_QUERIES[level], public_id, after, _PAGE):
                after = int(rows[-1][0])
                yield [deliverable(row) for row in rows]

    def _script(self, target: DeliveryTarget, traceparent: str, items: Sequence[Deliverable]) -> Script[int]:
        now, count = self._clock(), 0
        for item in items:
            if (yield from add_delivery(target, item, now, traceparent)):
                count += 1
                continue
            known = item.instance, item.located.version, target.destination, target.changes
            rows = yield queries.KNOWN, known
            rows = yield queries.GET, (rows[0][0],)
            delivery = Delivery(*rows[0])
            if delivery.state in _OVER:
                yield from send_again(delivery, target.priority, now, traceparent)
            count += 1
        return count
