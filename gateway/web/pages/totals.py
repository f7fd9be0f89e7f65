"""Totals of the archive, and how new it is, for the page: of the part of it that its reader sees."""

from __future__ import annotations

import time
from typing import Final

from gateway.database.database import Database
from gateway.database.view import VIEW
from gateway.events.changes import last_change
from gateway.index.summary import last_received, statistics

_SHARE: Final = 0.1
"""Of the time, at most, that is spent on adding up."""


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


class RecentTotals:
    """Totals of the whole archive, added up anew when something has changed, in a small share of the time: the sum goes
    through all studies. A page gets newer ones as soon as it is open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._version = -1
        self._due = 0.0
        self._totals: dict[str, int] = {}

    async def read(self) -> dict[str, int]:
        """The totals; of a part of the archive, for a reader who sees that, as they are now."""
        if VIEW.get() is not None:
            return await read_totals(self._database)
        began, version = time.monotonic(), self._database.data_version()
        if version != self._version and began >= self._due:
            self._totals, self._version = await read_totals(self._database), version
            self._due = (ended := time.monotonic()) + (ended - began) / _SHARE
        return self._totals


async def read_sequence(database: Database) -> int:
    """Read a number that grows with every change of the archive: of the change log, or for a reader who sees a part, in
    which one would have to look for long, the time at which something was received last."""
    if VIEW.get() is None:
        return await last_change(database)
    return round(1000 * await last_received(database))
