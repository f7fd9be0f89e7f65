"""The log of the index is overwritten once in a while, since rows that were deleted stand there until others come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from gateway.database.sqlite import SQLite
from gateway.errors import DatabaseError

log = logging.getLogger(__name__)

_HOUR_S: Final = 3600.0
_AGAIN_S: Final = 60.0


class LogErasure:
    """Overwrites the log of one index. Run by one process of a gateway."""

    def __init__(self, database: SQLite, within_hours: Callable[[], float]) -> None:
        """`within_hours`: hours in which it is done twice."""
        self._database = database
        self._within_hours = within_hours

    async def run_forever(self) -> None:
        """Overwrite the log, and again when half of the time is over; soon again where a reader prevents it."""
        while True:
            is_done = False
            try:
                is_done = await self._database.overwrite_log()
            except DatabaseError as error:
                log.warning("%s", error)
            await asyncio.sleep(self._within_hours() * _HOUR_S / 2 if is_done else _AGAIN_S)
