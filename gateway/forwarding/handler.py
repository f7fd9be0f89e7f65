"""The handler of delivery jobs: opens the instance, applies the change set, sends, and writes the outcome to the row.

Each kind of destination is implemented in `gateway.remote`; the runner decides when a job is retried. Several jobs of
one destination run at once and share its open connections.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from gateway import tracing
from gateway.audit.entry import AuditSubject
from gateway.audit.log import AuditLog
from gateway.audit.searches import detail_text
from gateway.database.actor import GATEWAY
from gateway.database.database import Database, Script
from gateway.edit.change_set import Received
from gateway.errors import (
    DataSetError,
    EditError,
    GatewayError,
    NotFound,
    Overloaded,
    PermanentFailure,
    UnsupportedTransferSyntax,
)
from gateway.events.exports import log_exports
from gateway.forwarding import queries
from gateway.forwarding.destinations import Destinations
from gateway.forwarding.rule_engine import RuleEngine
from gateway.forwarding.table import QUEUE_PREFIX, Deliverable, deliverable
from gateway.forwarding.verification import schedule_verification
from gateway.jobs.runner import CompletionScript, JobType, QueuePaused, Retry
from gateway.jobs.table import Job
from gateway.remote.destination import Answer, DestinationUnavailable
from gateway.retrieve.outgoing import ChangedInstance, StoredInstance
from gateway.retrieve.retrieval import Retrieval
from gateway.telemetry import DELIVERY_SECONDS, observe

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Deliveries claimed for each connection of a destination: one being sent, the others prepared to be sent next."""


class _Obsolete(Exception):
    """Raised when nothing is left to deliver. The text gives the reason."""


class DeliveryHandler:
    """Handles the jobs of type `table.KIND`."""

    def __init__(
        self,
        database: Database,
        rule_engine: RuleEngine,
        retrieval: Retrieval,
        destinations: Destinations,
        *,
        clock: Callable[[], float] = time.time,
        audit: AuditLog | None = None,
    ) -> None:
        """What was delivered is counted in `audit`."""
        self._database = database
        self._rule_engine = rule_engine
        self._retrieval = retrieval
        self._destinations = destinations
        self._clock = clock
        self._audit = audit

    @property
    def kind(self) -> JobType:
        """The job type, without a time limit: the destination has its own, and the size of an instance has no bound."""
        return JobType(self.work, self._retry, None, self._failed)

    def at_once(self, queue: str) -> int:
        """The number of concurrent deliveries in a queue: 0 outside the destination's hours, or when it is not
        configured."""
        section = self._rule_engine.compiled.settings.destinations.get(queue.removeprefix(QUEUE_PREFIX))
        if section is None or not self._destinations.open_hours(queue.removeprefix(QUEUE_PREFIX), self._clock()):
            return 0
        return section.connections * AT_ONCE

    async def work(self, job: Job) -> CompletionScript:
        """Deliver the instance of a job, or end the delivery as cancelled when the instance is gone or replaced."""
        try:
            return await self._deliver(job)
        except _Obsolete as error:
            return self._cancelled(job, str(error))
        except GatewayError:
            # The instance may have been deleted meanwhile, which is no fault of the destination.
            try:
                await self._item(job)
            except _Obsolete as error:
                return self._cancelled(job, str(error))
            raise

    async def _deliver(self, job: Job) -> CompletionScript:
        name = str(job.payload["destination"])
        item = await self._item(job)
        async with AsyncExitStack() as stack:
            outgoing, version = await self._outgoing(stack, item, str(job.payload["changes"]))
            answer = await self._send(name, outgoing)
        if answer.outcome == "later":
            raise Overloaded(answer.detail)
        if answer.outcome != "delivered":
            await self._database.write(lambda: _note(job, answer))
            raise (PermanentFailure if answer.outcome == "refused" else GatewayError)(answer.detail)
        if self._audit is not None:
            detail = detail_text({"to": name, **({"changes": str(job.payload["changes"])} if version else {})})
            self._audit.count("send", GATEWAY, AuditSubject("study", item.study), detail=detail)
        return lambda: self._delivered(job, item, outgoing, version, answer)

    async def _send(self, name: str, outgoing: StoredInstance | ChangedInstance) -> Answer:
        """Send an instance to a destination, timed. Raises QueuePaused when the destination cannot be reached."""
        began, outcome = time.monotonic(), "failed"
        with tracing.span("deliver", about={"gateway.destination": name}) as span:
            try:
                answer = await self._destinations.get(name).send(outgoing)
                outcome = answer.outcome
            except DestinationUnavailable as error:
                outcome = "unavailable"
                raise QueuePaused(str(error), error.retry_after or 0.0) from None
            finally:
                span.set("gateway.outcome", outcome)
                observe(DELIVERY_SECONDS.labels(name, outcome), time.monotonic() - began)
            if outcome != "delivered":
                span.fail(outcome)
        return answer

    async def _item(self, job: Job) -> Deliverable:
        """The instance to deliver. Raises _Obsolete when it was deleted or replaced."""
        rows = await self._database.fetch(queries.INSTANCE, job.payload["instance"])
        if not rows:
            raise _Obsolete("the instance is not stored any more")
        item = deliverable(rows[0])
        if item.located.version != job.payload["version"]:
            raise _Obsolete(f"version {item.located.version} has come")
        return item

    async def _outgoing(
        self, stack: AsyncExitStack, item: Deliverable, changes: str
    ) -> tuple[StoredInstance | ChangedInstance, str]:
        """The instance to send and the version of its change set. An instance that cannot be changed is not sent at
        all."""
        if not changes:
            return StoredInstance(item.located, self._retrieval), ""
        change_set = self._rule_engine.compiled.change_sets.get(changes)
        if change_set is None:
            raise PermanentFailure(f"there is no [changes.{changes}] any more")
        try:
            received = Received(item.calling_aet, item.received_at)  # so that another attempt makes the same
            changed = await self._retrieval.edit(item.located, change_set, received)
        except (DataSetError, EditError, UnsupportedTransferSyntax, NotFound) as error:
            raise PermanentFailure(f"{changes} cannot be made: {error}") from None
        stack.callback(changed.close)
        return ChangedInstance(changed, self._retrieval), change_set.version

    def _retry(self, job: Job) -> Retry:
        section = self._rule_engine.compiled.settings.destinations.get(str(job.payload["destination"]))
        return Retry(section.attempts, section.retry_after, section.retry_longest) if section is not None else Retry()

    def _failed(self, job: Job, why: str, given_up: bool) -> Script[None]:
        outcome = "refused" if given_up else "dead"
        yield queries.END, (job.id, self._clock(), outcome, why)

    def _cancelled(self, job: Job, why: str) -> CompletionScript:
        """End a delivery as an operator's cancel would: nothing has failed."""
        log.info("delivery to %s (job %d): %s, so nothing is sent", job.payload["destination"], job.id, why)

        def record() -> Script[None]:
            yield queries.END, (job.id, self._clock(), "cancelled", why)

        return record

    def _delivered(
        self, job: Job, item: Deliverable, sent: StoredInstance | ChangedInstance, version: str, answer: Answer
    ) -> Script[None]:
        now = self._clock()
        uids = sent.study_instance_uid, sent.series_instance_uid, sent.sop_instance_uid
        yield queries.DELIVERED, (job.id, now, _status(answer), answer.detail, answer.sent, version, *uids)
        destination = str(job.payload["destination"])
        yield from log_exports(destination, [(str(job.payload["instance"]), "instance")], now)
        section = self._rule_engine.compiled.settings.destinations.get(destination)
        if section is not None and section.prove:
            yield from schedule_verification(destination, item.study, now + section.prove_after, now)


def _note(job: Job, answer: Answer) -> Script[None]:
    """Write the destination's answer and the bytes sent."""
    yield queries.ANSWERED, (job.id, _status(answer), answer.sent)


def _status(answer: Answer) -> int:
    return -1 if answer.status is None else answer.status
