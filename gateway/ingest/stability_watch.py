"""The watch over arrivals: says in the change log which series are complete, and what is stable.

One watch runs for a gateway, however many workers it has. Its notes are in the database (`index/stability.py`), so that
a restart loses no entry.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.database.database import Database
from gateway.errors import DatabaseError
from gateway.index import stability
from gateway.supervision import lasting

log = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0
"""Seconds between two looks at the change log."""


class StabilityWatch:
    """Watches, from `start` until `close`.

    `notify` is called with the number of the last entry that the watch has added to the change log.
    """

    def __init__(
        self,
        database: Database,
        notify: Callable[[int], None] = lambda seq: None,
        *,
        age: float = stability.STABLE_AFTER_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._notify = notify
        self._age = age
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start watching."""
        self._task = asyncio.get_running_loop().create_task(
            lasting("watching what becomes stable", self._work), name="stability-watch"
        )

    async def close(self) -> None:
        """Stop. What is interrupted is done after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Note what has arrived, and log what is stable. Raises DatabaseError."""
        database = self._database
        while (found := await stability.arrivals(database)) is not None:
            self._added(await database.write(functools.partial(stability.note_arrivals, found, self._clock())))
            if found.last:  # What comes meanwhile is for the next look: entry by entry took 15 % of a busy intake.
                break
        now = self._clock()
        if await stability.is_clock_behind(database, now):
            await database.write(functools.partial(stability.begin_again, now))
        while resources := await stability.stable(database, now, self._age):
            self._added(await database.write(functools.partial(stability.log_stable, resources, now, self._age)))

    def _added(self, seq: int) -> None:
        if seq:
            self._notify(seq)

    async def _work(self) -> None:
        while True:
            try:
                await self.look()
            except DatabaseError as error:
                log.warning("what has become stable cannot be said now, and will be later: %s", error)
            await asyncio.sleep(_PAUSE_S)
