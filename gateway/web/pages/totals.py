"""Totals of the archive, and how new it is, for the page: of the part of it that its reader sees."""

from __future__ import annotations

from gateway.database.database import Database
from gateway.database.view import VIEW
from gateway.events.changes import last_change
from gateway.index.summary import last_received, statistics


async def read_totals(database: Database) -> dict[str, int]:
    """Read `patients`, `studies`, `series`, `instances`, and the `bytes` of their files."""
    found = await statistics(database)
    return {
        "patients": found.patients,
        "studies": found.studies,
        "series": found.series,
        "instances": found.instances,
        "bytes": found.size,
    }


async def read_sequence(database: Database) -> int:
    """Read a number that grows with every change of the archive: of the change log, or for a reader who sees a part, in
    which one would have to look for long, the time at which something was received last."""
    if VIEW.get() is None:
        return await last_change(database)
    return round(1000 * await last_received(database))
