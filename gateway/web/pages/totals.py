"""Totals of the archive, for the page."""

from __future__ import annotations

from gateway.database.database import Database
from gateway.index.summary import statistics


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
