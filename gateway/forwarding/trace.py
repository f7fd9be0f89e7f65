"""The trace of an instance or a study: its origin, and the outcome of every delivery of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database
from gateway.forwarding import queries
from gateway.forwarding.table import Deliverable, Delivery, State, deliverable, deliveries

MAX_TRACED: Final = 50
"""Studies or instances in one trace; also the instances of a study that are listed one by one."""
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class InstanceTrace:
    item: Deliverable
    deliveries: list[Delivery]
    """Oldest first, deliveries of earlier versions included."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The deliveries of a study that share destination, rule, change set and state, counted."""

    destination: str
    rule: str
    changes: str
    state: State
    count: int
    detail: str
    """The latest answer or error of one of the deliveries."""


@dataclass(frozen=True, slots=True)
class StudyTrace:
    study: str
    """Public id."""
    study_uid: str
    accession_number: str
    first_received: float
    """Seconds since 1970, like `last_received`."""
    last_received: float
    instances: int
    origins: list[tuple[str, str, str, str, int]]
    """Via, calling and called AE title, peer, and the number of instances received so."""
    summaries: list[Summary]


@dataclass(frozen=True, slots=True)
class Trace:
    studies: list[StudyTrace]
    instances: list[InstanceTrace]
    """The instances with the name, where it is the name of instances."""


async def find_trace(database: Database, name: str) -> Trace:
    """Trace everything that has a name: a Study, Series or SOP Instance UID, a public id, or an accession number.

    Returns at most MAX_TRACED studies and instances; an empty trace when nothing has the name.
    """
    rows = await database.fetch(queries.NAMED_INSTANCES, name, MAX_TRACED)
    instances = [deliverable(row) for row in rows]
    traced = [
        InstanceTrace(each, deliveries(await database.fetch(queries.OF_INSTANCE, 2**62, _PAGE, each.instance))[::-1])
        for each in instances
    ]
    studies = []
    if not instances:
        studies = [
            await _study(database, *row) for row in await database.fetch(queries.NAMED_STUDIES, name, MAX_TRACED)
        ]
    return Trace(studies, traced)


async def _study(
    database: Database, row: int, study: str, uid: str, accession: str, first: float, last: float, count: int
) -> StudyTrace:
    origins = [(*origin[:4], int(origin[4])) for origin in await database.fetch(queries.ORIGINS, row)]
    counts: Counter[tuple[str, str, str, State]] = Counter()
    details: dict[tuple[str, str, str, State], str] = {}
    before = 2**62
    while page := deliveries(await database.fetch(queries.OF_STUDY, before, _PAGE, study)):
        before = page[-1].id
        for each in page:
            key = each.destination, each.rule, each.changes, each.state
            counts[key] += 1
            details.setdefault(key, each.error if each.outcome == "" else each.detail)
    summaries = [Summary(*key, number, details[key]) for key, number in sorted(counts.items())]
    return StudyTrace(study, uid, accession, first, last, count, origins, summaries)
