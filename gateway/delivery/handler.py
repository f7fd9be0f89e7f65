"""The handler of deliveries: takes an instance out of the archive, changes it, gives it to its destination, and says in
the row what came of it.

How a kind of destination is spoken to is `gateway.remote`'s, when a job is tried again the runner's. Many jobs of a
destination run at once, and share what it has open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.dispatch import Dispatch
from gateway.archive.deliveries.proof import ask_later
from gateway.archive.deliveries.table import LANE, Deliverable, deliverable
from gateway.archive.outgoing import ChangedInstance, StoredInstance
from gateway.archive.retrieve import Retrieval
from gateway.database.database import Database, Script
from gateway.delivery.destinations import Destinations
from gateway.edit.change_set import Received
from gateway.errors import DataSetError, EditError, GatewayError, JobGivenUp, NotFound, UnsupportedTransferSyntax
from gateway.jobs.runner import Kind, LaneClosed, Record, Retry
from gateway.jobs.table import Job
from gateway.remote.destination import Answer, DestinationUnavailable

AT_ONCE: Final = 16
"""Deliveries that are claimed for each connection of a destination: on their way, or ready to be."""


class Delivering:
    """Does the jobs of kind `table.KIND`."""

    def __init__(
        self,
        database: Database,
        dispatch: Dispatch,
        retrieval: Retrieval,
        destinations: Destinations,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._dispatch = dispatch
        self._retrieval = retrieval
        self._destinations = destinations
        self._clock = clock

    @property
    def kind(self) -> Kind:
        """A destination has limits of its own on how long it may take; how large an instance is, nobody knows."""
        return Kind(self.work, self._retry, None, self._failed)

    def at_once(self, lane: str) -> int:
        """How many deliveries of a lane may be under way: none outside its hours, or to what is not configured."""
        section = self._dispatch.routes.settings.destinations.get(lane.removeprefix(LANE))
        if section is None or not self._destinations.open_hours(lane.removeprefix(LANE), self._clock()):
            return 0
        return section.connections * AT_ONCE

    async def work(self, job: Job) -> Record:
        """The job: one delivery."""
        name = str(job.payload["destination"])
        item = await self._item(job)
        async with AsyncExitStack() as stack:
            outgoing, version = await self._outgoing(stack, item, str(job.payload["changes"]))
            try:
                answer = await self._destinations.get(name).send(outgoing)
            except DestinationUnavailable as error:
                raise LaneClosed(str(error), error.retry_after or 0.0) from None
        if answer.outcome != "delivered":
            await self._database.write(lambda: _note(job, answer))
            raise (JobGivenUp if answer.outcome == "refused" else GatewayError)(answer.detail)
        return lambda: self._delivered(job, item, outgoing, version, answer)

    async def _item(self, job: Job) -> Deliverable:
        rows = await self._database.fetch(queries.INSTANCE, job.payload["instance"])
        if not rows:
            raise JobGivenUp("the instance is not stored any more")
        item = deliverable(rows[0])
        if item.located.version != job.payload["version"]:
            raise JobGivenUp(f"version {item.located.version} has come")
        return item

    async def _outgoing(
        self, stack: AsyncExitStack, item: Deliverable, changes: str
    ) -> tuple[StoredInstance | ChangedInstance, str]:
        """What is sent, and the version of the changes in it. Nothing leaves half changed."""
        if not changes:
            return StoredInstance(item.located, self._retrieval), ""
        change_set = self._dispatch.routes.change_sets.get(changes)
        if change_set is None:
            raise JobGivenUp(f"there is no [changes.{changes}] any more")
        try:
            received = Received(item.calling_aet, item.received_at)  # so that another attempt makes the same
            changed = await self._retrieval.edit(item.located, change_set, received)
        except (DataSetError, EditError, UnsupportedTransferSyntax, NotFound) as error:
            raise JobGivenUp(f"{changes} cannot be made: {error}") from None
        stack.callback(changed.close)
        return ChangedInstance(changed, self._retrieval), change_set.version

    def _retry(self, job: Job) -> Retry:
        section = self._dispatch.routes.settings.destinations.get(str(job.payload["destination"]))
        return Retry(section.attempts, section.retry_after, section.retry_longest) if section is not None else Retry()

    def _failed(self, job: Job, why: str, given_up: bool) -> Script[None]:
        outcome = "refused" if given_up else "dead"
        yield queries.END, (job.id, self._clock(), outcome, why)

    def _delivered(
        self, job: Job, item: Deliverable, sent: StoredInstance | ChangedInstance, version: str, answer: Answer
    ) -> Script[None]:
        now = self._clock()
        uids = sent.study_instance_uid, sent.series_instance_uid, sent.sop_instance_uid
        yield queries.DELIVERED, (job.id, now, _status(answer), answer.detail, answer.sent, version, *uids)
        section = self._dispatch.routes.settings.destinations.get(str(job.payload["destination"]))
        if section is not None and section.prove:
            yield from ask_later(str(job.payload["destination"]), item.study, now + section.prove_after, now)


def _note(job: Job, answer: Answer) -> Script[None]:
    """What the destination answered, and how much it was sent."""
    yield queries.ANSWERED, (job.id, _status(answer), answer.sent)


def _status(answer: Answer) -> int:
    return -1 if answer.status is None else answer.status
