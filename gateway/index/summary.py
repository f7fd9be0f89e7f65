"""A summary of the archive: its totals, and when it received something last."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.database.database import Database
from gateway.database.view import VIEW
from gateway.index.queries import summary as queries


@dataclass(frozen=True, slots=True)
class Statistics:
    patients: int
    studies: int
    series: int
    instances: int
    size: int
    """Bytes of all current files of instances."""
    attached: int
    """Bytes of all attachments."""


async def statistics(database: Database) -> Statistics:
    query = queries.STATISTICS if VIEW.get() is None else queries.STATISTICS_SEEN
    ((patients, studies, series, instances, size),) = await database.fetch(query)
    ((attached,),) = await database.fetch(queries.ATTACHED_BYTES)
    return Statistics(patients, studies, series, instances, size, attached)


async def last_received(database: Database) -> float:
    """When something was received last (seconds since 1970); 0 if nothing was."""
    ((at,),) = await database.fetch(queries.NEWEST_STUDY)
    return float(at)
