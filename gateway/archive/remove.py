"""Deleting patients, studies, series and instances: the only way out.

What storage commitment has promised to keep is not deleted. Rows go in one transaction, with the promise looked up
inside it; the files some time after it, so that those who read them can finish. A crash in between leaves files on a
list that is worked off later.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence

from gateway.archive import queries
from gateway.archive.ingest import Ingest
from gateway.database.database import Query, Script
from gateway.errors import NotFound, Promised
from gateway.index.queries import ROWS_BY_PUBLIC_ID, ROWS_BY_UID
from gateway.index.remove import Level, Removed, remove_resource

GRACE = 60.0
"""Seconds for which the files of what is deleted stay."""


class Removal:
    """Deletes from one archive."""

    def __init__(self, ingest: Ingest, *, clock: Callable[[], float] = time.time) -> None:
        self._ingest = ingest
        self._clock = clock

    async def by_public_id(self, level: Level, public_id: str) -> Removed:
        """Delete the resource of this Orthanc identifier. Raises NotFound and Promised."""
        return await self._remove(level, ROWS_BY_PUBLIC_ID[level], (public_id,))

    async def by_uid(self, uids: Sequence[str]) -> Removed:
        """Delete a study, series or instance, named by the UIDs from the study down; one under several parents goes
        under all of them. Raises NotFound and Promised."""
        level: Level = ("study", "series", "instance")[len(uids) - 1]
        return await self._remove(level, ROWS_BY_UID[level], uids)

    async def _remove(self, level: Level, query: Query, parameters: Sequence[str]) -> Removed:
        now = self._clock()
        removed = await self._ingest.database.write(lambda: _remove(level, query, parameters, now))
        self._ingest.committed(removed.change)
        self._ingest.collect_after(GRACE)
        return removed


def _remove(level: Level, query: Query, parameters: Sequence[str], now: float) -> Script[Removed]:
    removed: Removed | None = None
    for (row,) in (yield query, parameters):
        for uid, until in (yield queries.PROMISED_BELOW[level], (row, now)):
            day = datetime.datetime.fromtimestamp(until, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise Promised(
                f"instance {uid} must be kept {'until ' + day if until else 'for now'}, as storage commitment has "
                "promised; nothing is deleted"
            )
        removed = yield from remove_resource(level, row, now, now + GRACE)
    if removed is None:
        raise NotFound(f"there is no {level} {parameters[-1]}")
    return removed
