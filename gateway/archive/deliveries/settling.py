"""Whole series and studies: once no instance has come for a time, all of them go where the rule says.

The time is the due time of a job, so that a restart does not forget it. Instances that come later make another job,
which finds that they alone have not gone yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.archive.deliveries.dispatch import Dispatch, Routes
from gateway.archive.deliveries.table import Deliverable, add_delivery, deliverable, instances_query
from gateway.config.routes import Rule
from gateway.database.database import Database, Script
from gateway.errors import JobGivenUp
from gateway.jobs.runner import Kind
from gateway.jobs.table import Job

_PAGE: Final = 500


class Settling:
    """Does the jobs of kind `following.SETTLING`."""

    def __init__(
        self, database: Database, dispatch: Dispatch, wake: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._dispatch = dispatch
        self._wake = wake
        self._clock = clock

    @property
    def kind(self) -> Kind:
        return Kind(self.work)

    async def work(self, job: Job) -> None:
        """The job: add the deliveries of everything that is in a series or study now."""
        routes, name = self._dispatch.routes, str(job.payload["rule"])
        rule = routes.settings.rules.get(name)
        if rule is None:
            raise JobGivenUp(f"there is no rule {name!r} any more")
        query, after = instances_query(job.payload["level"]), 0
        while rows := await self._database.fetch(query, job.payload["id"], after, _PAGE):
            after, items = int(rows[-1][0]), [deliverable(row) for row in rows]
            await self._database.write(lambda items=items: self._add(routes, name, rule, items))  # type: ignore[misc]
            self._wake()

    def _add(self, routes: Routes, name: str, rule: Rule, items: Sequence[Deliverable]) -> Script[None]:
        now = self._clock()
        for item in items:
            for wish in routes.wishes(name, rule, item.calling_aet):
                yield from add_delivery(wish, item, now)
