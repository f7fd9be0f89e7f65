"""Deliveries as rows: one for each version of an instance, change set and destination. Scripts, and pages to read.

A delivery and its job are written in one transaction, most often that of the instance itself. The job is deleted some
days after its end; the delivery remains as the record of what was sent. The view and actions of an operator are in
`control.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.config import Settings
from gateway.database.database import Query, Row, Script
from gateway.forwarding import queries
from gateway.index.locate import Located, located
from gateway.index.queries.columns import COLUMN_COUNT
from gateway.jobs.table import add_job, cancel_job, hold_job, traced

KIND: Final = "delivery"
QUEUE_PREFIX: Final = "to:"
"""Prefix of the queue of a destination's delivery jobs; the name of the destination follows."""
_PURGE: Final = 500
INCOMPLETE: Final = "incomplete: {}"
"""The reason given for holding a delivery."""

State = Literal["waiting", "sending", "held", "delivered", "refused", "dead", "cancelled"]
"""`refused`: the destination does not want it, for good. `dead`: it failed too often, or cannot be sent at all."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the deliveries with the state of its job. Times are seconds since 1970, 0 for none."""

    id: int
    job: int
    study: str
    """Public id, like `series` and `instance`."""
    series: str
    instance: str
    version: int
    study_uid: str
    series_uid: str
    sop_uid: str
    destination: str
    changes: str
    """Name of the change set; '' for none."""
    changes_version: str
    """Version of the change set when it was applied."""
    rule: str
    generation: str
    """Generation of the rules that added the delivery."""
    created_at: float
    ended_at: float
    outcome: str
    status: int
    """The last DIMSE or HTTP status from the destination, -1 for none."""
    detail: str
    """The last answer of the destination in words."""
    sent: int
    """Bytes, over all attempts that were answered."""
    sent_study_uid: str
    """UIDs of the instance as sent, changes included; empty until it was delivered."""
    sent_series_uid: str
    sent_sop_uid: str
    proof: int
    """Consecutive verifications in which the destination lacked the instance that it had accepted."""
    proven_at: float
    job_state: str
    attempts: int
    due_at: float
    error: str
    """The reason of the last failure, for as long as the job exists."""
    priority: int

    @property
    def state(self) -> State:
        """The state of the job while it is not over, then the outcome of the delivery."""
        if self.job_state in ("waiting", "held"):
            return self.job_state  # type: ignore[return-value]
        if self.job_state == "running":
            return "sending"
        return self.outcome or "cancelled"  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Deliverable:
    """One stored instance, with the columns that a delivery needs."""

    located: Located
    study: str
    """Public id, like `series` and `instance`."""
    series: str
    instance: str
    calling_aet: str
    study_began: float
    """Seconds since 1970, like `received_at`."""
    received_at: float
    via: str
    called_aet: str
    peer: str
    lacking: str
    """The missing part of the pixel data, in words; '' when none is known to be missing."""


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """The target of a delivery as a rule names it."""

    destination: str
    changes: str
    rule: str
    priority: int
    newest_first: bool
    generation: str
    hold_incomplete: bool = True
    """Whether an instance with incomplete pixel data is held until an operator releases it."""


def add_delivery(target: DeliveryTarget, item: Deliverable, now: float, traceparent: str = "") -> Script[int]:
    """Add a delivery of this version of an instance, with its job, which continues the trace of `traceparent`. Returns
    the job's id, 0 for a delivery that exists."""
    known = item.instance, item.located.version, target.destination, target.changes
    if (yield queries.KNOWN, known):
        return 0
    payload = dict(zip(("instance", "version", "destination", "changes"), known, strict=True)) | traced(traceparent)
    # At one priority the earliest due time goes first; a time before 1970 is always due, and sorts newest first.
    due = -item.study_began if target.newest_first else now
    job = yield from add_job(
        KIND, payload, now, queue=QUEUE_PREFIX + target.destination, priority=target.priority, due_at=due
    )
    located = item.located
    yield (
        queries.ADD,
        (
            job,
            item.study,
            item.series,
            item.instance,
            located.version,
            located.study_uid,
            located.series_uid,
            located.sop_uid,
            target.destination,
            target.changes,
            target.rule,
            target.generation,
            now,
        ),
    )
    if item.lacking and target.hold_incomplete:
        yield from hold_job(job, INCOMPLETE.format(item.lacking))
    return job


def supersede(instance: str, version: int, now: float) -> Script[None]:
    """Cancel the unsent deliveries of earlier versions when a newer version of an instance is stored."""
    for number, job in (yield queries.SUPERSEDED, (instance, version)):
        yield from cancel_job(int(job), now)
        yield queries.CANCEL, (number, now, f"version {version} has come")


def priority_of(delivery: Delivery, settings: Settings) -> int:
    """The priority of a delivery under its current rule and destination."""
    rule, destination = settings.rules.get(delivery.rule), settings.destinations.get(delivery.destination)
    return (rule.priority if rule else 0) + (destination.priority if destination else 0)


def send_again(delivery: Delivery, priority: int, now: float, traceparent: str = "") -> Script[None]:
    """Add a new job for a delivery that is over, in the trace of `traceparent`; the old job may have been deleted."""
    payload = {
        "instance": delivery.instance,
        "version": delivery.version,
        "destination": delivery.destination,
        "changes": delivery.changes,
        **traced(traceparent),
    }
    job = yield from add_job(KIND, payload, now, queue=QUEUE_PREFIX + delivery.destination, priority=priority)
    yield queries.REOPEN, (delivery.id, job)


def deliverable(row: Row) -> Deliverable:
    """A deliverable from a row of the queries that name instances."""
    return Deliverable(located(row), *row[COLUMN_COUNT:])


def forget_deliveries(before: float) -> Script[int]:
    """Delete some deliveries that ended before a time, with the versions of deleted instances remembered for their
    sake.

    Returns the number of rows deleted.
    """
    gone = yield queries.FORGET, (before, _PURGE)
    versions = yield queries.FORGET_VERSIONS, (before, _PURGE)
    return len(gone) + len(versions)


def deliveries(rows: Sequence[Row]) -> list[Delivery]:
    return [Delivery(*row) for row in rows]


def instances_query(level: Literal["series", "study"]) -> Query:
    return queries.STUDY_INSTANCES if level == "study" else queries.SERIES_INSTANCES
