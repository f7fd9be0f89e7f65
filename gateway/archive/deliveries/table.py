"""Deliveries as rows: one for each version of an instance, set of changes and destination. Scripts, and pages to read.

A delivery and the job that does it are written in one transaction, most often that of the instance itself; the job is
gone some days after its end, the delivery stays as the record of what left. When a person wants to see or change
something is `control.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.archive.deliveries import queries
from gateway.config import Settings
from gateway.database.database import Query, Row, Script
from gateway.index.locate import Located
from gateway.jobs.table import add_job, cancel_job

KIND: Final = "delivery"
LANE: Final = "to:"
"""Before the name of a destination: the lane of the jobs that deliver to it."""
_PURGE: Final = 500

State = Literal["waiting", "sending", "held", "delivered", "refused", "dead", "cancelled"]
"""`refused`: the destination does not want it, for good. `dead`: it failed too often, or cannot be sent at all."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as its row has it, with how it stands with its job. Times are seconds since 1970, 0 for none."""

    id: int
    job: int
    study: str
    """Public id, as the two after it."""
    series: str
    instance: str
    version: int
    study_uid: str
    series_uid: str
    sop_uid: str
    destination: str
    changes: str
    """Name of the set of changes; '' where there is none."""
    changes_version: str
    """Of the set, when it was applied."""
    rule: str
    generation: str
    """Of the configuration that asked for it."""
    created_at: float
    ended_at: float
    outcome: str
    status: int
    """What the destination answered last, -1 for nothing."""
    detail: str
    """The same in words."""
    sent: int
    """Bytes, over all attempts that were answered."""
    sent_study_uid: str
    """As it left, like the two after it; empty until it has."""
    sent_series_uid: str
    sent_sop_uid: str
    proof: int
    """How often in a row the destination did not have it when asked, though it had taken it."""
    proven_at: float
    job_state: str
    attempts: int
    due_at: float
    error: str
    """Why the last attempt failed, while the job is kept."""
    priority: int

    @property
    def state(self) -> State:
        """What its job does, while that is not over; then how it ended."""
        if self.job_state in ("waiting", "held"):
            return self.job_state  # type: ignore[return-value]
        if self.job_state == "running":
            return "sending"
        return self.outcome or "cancelled"  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Deliverable:
    """One stored instance, with what a delivery has to know of it."""

    located: Located
    study: str
    """Public id, as the two after it."""
    series: str
    instance: str
    calling_aet: str
    study_began: float
    """Seconds since 1970, as the next."""
    received_at: float
    via: str
    called_aet: str
    peer: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Where something is to go, as a rule says it."""

    destination: str
    changes: str
    rule: str
    priority: int
    newest_first: bool
    generation: str


def add_delivery(wish: Wish, item: Deliverable, now: float) -> Script[int]:
    """Add a delivery of this version of an instance, and the job that does it; 0 where it is there already."""
    known = item.instance, item.located.version, wish.destination, wish.changes
    if (yield queries.KNOWN, known):
        return 0
    payload = dict(zip(("instance", "version", "destination", "changes"), known, strict=True))
    # Of one priority, what is due first goes first; a moment before 1970 is due, and comes in the opposite order.
    due = -item.study_began if wish.newest_first else now
    job = yield from add_job(KIND, payload, now, lane=LANE + wish.destination, priority=wish.priority, due_at=due)
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
            wish.destination,
            wish.changes,
            wish.rule,
            wish.generation,
            now,
        ),
    )
    return job


def supersede(instance: str, version: int, now: float) -> Script[None]:
    """There is a newer version of an instance: what was still to be sent of earlier ones is not."""
    for number, job in (yield queries.SUPERSEDED, (instance, version)):
        yield from cancel_job(int(job), now)
        yield queries.CANCEL, (number, now, f"version {version} has come")


def priority_of(delivery: Delivery, settings: Settings) -> int:
    """As the rule and the destination have it now."""
    rule, destination = settings.rules.get(delivery.rule), settings.destinations.get(delivery.destination)
    return (rule.priority if rule else 0) + (destination.priority if destination else 0)


def send_again(delivery: Delivery, priority: int, now: float) -> Script[None]:
    """A job of its own for a delivery that is over: the old one may be gone by now."""
    payload = {
        "instance": delivery.instance,
        "version": delivery.version,
        "destination": delivery.destination,
        "changes": delivery.changes,
    }
    job = yield from add_job(KIND, payload, now, lane=LANE + delivery.destination, priority=priority)
    yield queries.REOPEN, (delivery.id, job)


def deliverable(row: Row) -> Deliverable:
    """From a row of the statements that name instances."""
    return Deliverable(Located(*[*row[:10], (*row[10:13], row[0])]), *row[13:])


def forget_deliveries(before: float) -> Script[int]:
    """Delete the records of some deliveries that were over before then; how many."""
    return len((yield queries.FORGET, (before, _PURGE)))


def deliveries(rows: Sequence[Row]) -> list[Delivery]:
    return [Delivery(*row) for row in rows]


def instances_query(level: Literal["series", "study"]) -> Query:
    return queries.STUDY_INSTANCES if level == "study" else queries.SERIES_INSTANCES
