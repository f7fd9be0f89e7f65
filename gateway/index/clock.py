"""How far the clock of a sender runs ahead, as far as its studies show it.

A study that begins after it was received proves a clock that is ahead, or a time zone that is wrong, by at least that
much. One that is behind cannot be told from images that are sent late.
"""

from __future__ import annotations

import datetime
from typing import Final

from gateway.database.database import Database
from gateway.index.queries.clock import NEWEST_OF_SENDER

_STUDIES: Final = 200
"""The newest studies that are looked at, of all senders."""


async def ahead_s(database: Database, calling_aet: str) -> float:
    """Seconds by which the newest studies of a sender lie in the future; 0 if none does. Raises DatabaseError."""
    rows = await database.fetch(NEWEST_OF_SENDER, calling_aet, _STUDIES)
    return max((_begins(day, time) - received for day, time, received in rows), default=0.0)


def _begins(day: str, time: str) -> float:
    """The begin of a study by the clock of this machine, in seconds since 1970; 0 for an invalid one."""
    digits = (time.partition(".")[0] + "000000")[:6]
    try:
        return datetime.datetime.strptime(day + digits, "%Y%m%d%H%M%S").astimezone().timestamp()
    except (ValueError, OverflowError):
        return 0.0
