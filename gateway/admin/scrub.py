"""Scrub: bits rot in files that nobody opens, so every checksum in the segments is compared once in a while, slowly."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

from gateway import telemetry
from gateway.database.database import Database
from gateway.errors import DatabaseError
from gateway.index import segments as rows
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameHeader
from gateway.storage.segments.scan import Damage

log = logging.getLogger(__name__)

_DAY_S: Final = 86400
_LOOK_EVERY_S: Final = 600.0
_FRAMES: Final = 16
"""Frames that are read in one step."""
_BYTES_PER_S: Final = 20 << 20


class Scrub:
    """Compares the checksums of all segments. Run by one process of a gateway."""

    def __init__(
        self,
        folder: SegmentFolder,
        database: Database,
        days: Callable[[], float],
        *,
        clock: Callable[[], float] = time.time,
        bytes_per_s: float = _BYTES_PER_S,
    ) -> None:
        """`days`: within which everything is compared once; 0 for never."""
        self._folder = folder
        self._database = database
        self._days = days
        self._clock = clock
        self._bytes_per_s = bytes_per_s

    async def run_forever(self) -> None:
        """Compare what is due, and look again every ten minutes."""
        while True:
            try:
                await self.run()
            except (OSError, DatabaseError) as error:
                log.warning("the store is not checked: %s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def run(self) -> int:
        """Compare the segments that are due; returns the number of damaged places. Raises: OSError; DatabaseError."""
        damaged = 0
        while days := self._days():
            name = await rows.next_unchecked(self._database, self._clock() - days * _DAY_S)
            if name is None:
                break
            damaged += await self._check(name)
            await self._database.write(functools.partial(rows.set_checked, name, self._clock()))
        return damaged

    async def _check(self, name: str) -> int:
        damaged = 0
        try:
            walk = self._folder.walk(name)
            while found := await asyncio.to_thread(_some, walk):
                size = 0
                for each in found:
                    if isinstance(each, Damage):
                        damaged += 1
                        telemetry.SCRUB_DAMAGED.inc()
                        log.error("segment %s is damaged from %d to %d: restore it from a backup", name, *each)
                    else:
                        size += each.length
                telemetry.SCRUB_BYTES.inc(size)
                await asyncio.sleep(size / self._bytes_per_s)
        except FileNotFoundError:
            pass  # What lived in it was moved meanwhile, or deleted.
        return damaged


def _some(walk: Iterator[FrameHeader | Damage]) -> list[FrameHeader | Damage]:
    return list(itertools.islice(walk, _FRAMES))
