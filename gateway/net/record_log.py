"""Records of ended associations in the database, so that a restart does not lose them.

They are written behind: the end of an association costs no wait, and many share a transaction. A process that is killed
loses those of its last seconds, and a flood of associations those that one transaction has no room for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self

import msgspec

from gateway.database.database import Database, Script
from gateway.database.view import seeing
from gateway.errors import DatabaseError
from gateway.net import queries
from gateway.net.association_record import AssociationRecord
from gateway.net.associations import EndedRecord, OpenAssociations, newest_first

log = logging.getLogger(__name__)

MAX_STORED: Final = 1000
"""Records in the database; as many of those with trouble, which a flood of good ones does not push out."""
MAX_LISTED: Final = 100
"""Records of earlier runs in lists, of each kind; any other that is stored is found by its number."""
MAX_AGE_S: Final = 30 * 86400.0
FLUSH_S: Final = 3.0
"""Seconds between two transactions, and until a record is durable."""


class RecordLog:
    """The records of the associations of one process, and what earlier runs have left. Belongs to one event loop."""

    def __init__(self, database: Database, last_number: int, earlier: list[AssociationRecord]) -> None:
        self._database = database
        self.last_number = last_number
        """The highest number of an association of earlier runs; 0 without any."""
        self._earlier = earlier

    @classmethod
    async def open(cls, database: Database) -> Self:
        """Read what earlier runs have left. Raises: DatabaseError."""
        ((number,),) = await database.fetch(queries.LAST_NUMBER)
        rows = [row for kind in (0, 1) for row in await database.fetch(queries.NEWEST, kind, MAX_LISTED)]
        return cls(database, number, list(_decoded(content for (content,) in rows)))

    def extended(self, records: Sequence[AssociationRecord]) -> list[AssociationRecord]:
        """These records and those of earlier runs, newest first."""
        known = {each.number for each in records}
        return newest_first([*records, *(each for each in self._earlier if each.number not in known)])

    async def write_forever(self, ended: OpenAssociations) -> None:
        """Write the records of associations that have ended, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush(ended)

    async def flush(self, ended: OpenAssociations) -> None:
        """Write the records that are not written yet. Those that the database does not take are lost, and logged."""
        batch = ended.take_ended()
        if not batch:
            return
        try:
            with seeing(None):
                await self._database.write(lambda: _add(batch, time.time()))
        except DatabaseError as error:
            log.warning("the records of %d associations are not written: %s", len(batch), error)


async def stored_record(database: Database, number: int) -> AssociationRecord | None:
    """The stored record of an ended association; None if there is none any more. Raises: DatabaseError."""
    rows = await database.fetch(queries.OF_NUMBER, number)
    return next(_decoded(content for (content,) in rows), None)


def _add(batch: Iterable[EndedRecord], now: float) -> Script[None]:
    for each in batch:
        yield queries.ADD, (each.number, each.ended_at, int(each.is_trouble), each.content)
    for kind in (0, 1):
        yield queries.FORGET_SURPLUS, (kind, MAX_STORED)
    yield queries.FORGET_OLD, (now - MAX_AGE_S,)


def _decoded(contents: Iterable[bytes]) -> Iterator[AssociationRecord]:
    """The records, without those of a release whose records had other fields."""
    for content in contents:
        try:
            yield msgspec.json.decode(content, type=AssociationRecord)
        except msgspec.DecodeError:
            log.debug("a stored record of an association cannot be read")
