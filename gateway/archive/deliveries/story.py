"""The story of an instance or a study: where it came from, and what became of every delivery of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from gateway.archive.deliveries import queries
from gateway.archive.deliveries.table import Deliverable, Delivery, State, deliverable, deliveries
from gateway.database.database import Database

MOST: Final = 50
"""Studies or instances of one name that are told about, and of one study instances one by one."""
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class InstanceStory:
    item: Deliverable
    deliveries: list[Delivery]
    """Oldest first, those of earlier versions too."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Deliveries of a study that are alike."""

    destination: str
    rule: str
    changes: str
    state: State
    count: int
    detail: str
    """What was last said about one of them."""


@dataclass(frozen=True, slots=True)
class StudyStory:
    study: str
    """Public id."""
    study_uid: str
    accession_number: str
    first_received: float
    """Seconds since 1970, as the next."""
    last_received: float
    instances: int
    origins: list[tuple[str, str, str, str, int]]
    """Via, calling and called AE title, peer, and how many instances came so."""
    summaries: list[Summary]


@dataclass(frozen=True, slots=True)
class Story:
    studies: list[StudyStory]
    instances: list[InstanceStory]
    """Where the name is that of instances."""


async def tell(database: Database, name: str) -> Story:
    """Everything about a name: a Study, Series or SOP Instance UID, a public id, or an accession number.

    At most MOST studies and instances; nothing where there is no such name.
    """
    rows = await database.fetch(queries.NAMED_INSTANCES, name, MOST)
    instances = [deliverable(row) for row in rows]
    told = [
        InstanceStory(each, deliveries(await database.fetch(queries.OF_INSTANCE, 2**62, _PAGE, each.instance))[::-1])
        for each in instances
    ]
    studies = []
    if not instances:
        studies = [await _study(database, *row) for row in await database.fetch(queries.NAMED_STUDIES, name, MOST)]
    return Story(studies, told)


async def _study(
    database: Database, row: int, study: str, uid: str, accession: str, first: float, last: float, count: int
) -> StudyStory:
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
    return StudyStory(study, uid, accession, first, last, count, origins, summaries)
