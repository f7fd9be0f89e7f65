"""Garbage collection: files that no row names any more are deleted after a grace period, or at once on a full disk."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.database.database import Database, Script
from gateway.database.view import seeing
from gateway.errors import DatabaseError, StorageFailed
from gateway.index import segments
from gateway.index import store as index
from gateway.ingest.health import Health
from gateway.ingest.segment_upkeep import SegmentUpkeep
from gateway.storage.failures import NO_DESCRIPTORS
from gateway.storage.filesystem import FileStore
from gateway.storage.reserve import Reserve
from gateway.storage.segments.erasure import erase
from gateway.storage.segments.keys import is_in_segment, key_at, place_of
from gateway.supervision import lasting

Result = TypeVar("Result")

log = logging.getLogger(__name__)

GRACE_S = 60.0
"""Seconds for which the files of a deleted resource stay, so that their readers can finish."""


class Garbage:
    """The garbage of one archive, and the reserve that makes deletion possible on a full disk."""

    def __init__(
        self, database: Database, store: FileStore, reserve: Reserve, threads: ThreadPoolExecutor, health: Health
    ) -> None:
        self._database = database
        self._health = health
        self._store = store
        self._reserve = reserve
        self._threads = threads
        self._upkeep = SegmentUpkeep(store, database, self._in_thread, time.time)
        self._collector: asyncio.Task[None] | None = None

    async def collect(self) -> None:
        """Delete garbage whose time has come. Readers that have a file open go on. Raises: OSError; DatabaseError.

        After a failed sync nothing is deleted any more: a second sync may succeed without having written the first.
        """
        while self._health.sound and (keys := await index.garbage(self._database, older_than=time.time())):
            # What made them garbage may be a transaction that a power cut undoes: this one makes it last.
            await self._database.write(functools.partial(index.claim_garbage, keys))
            files = [key for key in keys if not is_in_segment(key)]
            places: dict[str, list[int]] = defaultdict(list)
            for key in keys:
                if is_in_segment(key):
                    name, offset = place_of(key)
                    places[name].append(offset)
            try:
                await self._in_thread(functools.partial(self._remove, files))
                sizes: dict[str, int] = {}
                for name, offsets in places.items():
                    erased = await self._in_thread(functools.partial(erase, self._store.segments, name, offsets))
                    sizes |= {key_at(name, offset): size for offset, size in erased.items()}
            except StorageFailed as error:
                self._health.fail(str(error))
                return
            await self._database.write(functools.partial(_forget, keys, sizes))
        if self._health.sound:
            try:
                await self._upkeep.run()
            except StorageFailed as error:
                self._health.fail(str(error))

    def _remove(self, keys: Sequence[str]) -> None:
        """Delete files durably: once they are off the list nothing knows of them."""
        for key in keys:
            self._store.remove(key)
        try:
            self._store.sync({self._store.folder(key) for key in keys})
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                raise
            raise StorageFailed(f"syncing the store failed: {error.strerror}") from error

    def collect_after(self, seconds: float) -> None:
        """Delete garbage once it is `seconds` old, and all that is added meanwhile."""
        if self._collector is None or self._collector.done():
            work = functools.partial(self._collect, seconds)
            with seeing(None):
                self._collector = asyncio.get_running_loop().create_task(lasting("deleting old files", work))

    async def _collect(self, seconds: float) -> None:
        try:
            while self._health.sound and await index.garbage(self._database, older_than=math.inf, limit=1):
                await asyncio.sleep(seconds)
                await self.collect()
        except (OSError, DatabaseError) as error:
            log.warning("files that are not needed any more stay on disk for now: %s", error)

    @asynccontextmanager
    async def discarding(self, now: float) -> AsyncIterator[float]:
        """Discard files by a transaction inside the context; yields the time from which they may be deleted.

        A full disk gives up its reserve for the transaction, and the files are deleted at once. Raises: OSError;
        DatabaseError.
        """
        full = await self.make_room()
        yield now if full else now + GRACE_S
        if full:
            await self.collect()
            await self.hold_reserve()
        else:
            self.collect_after(GRACE_S)

    async def make_room(self) -> bool:
        """Release the reserve on a full disk, so that deletions can be recorded. Whether the disk is full."""
        return await self._in_thread(lambda: self._reserve.release_when_full(self._store.free_bytes()))

    async def hold_reserve(self) -> None:
        """Allocate the reserve again, as far as there is space."""
        await self._in_thread(lambda: self._reserve.hold(self._store.free_bytes()))

    async def close(self) -> None:
        """Stop deleting; the next start continues."""
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.wait([self._collector])

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Call `work` in a thread. Who is cancelled waits for its end: it uses what is closed next."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise


def _forget(keys: Sequence[str], sizes: Mapping[str, int]) -> Script[None]:
    """Take deleted objects off the list, and those of segments, with the sizes of their frames, off the segments."""
    forgotten = yield from index.forget_garbage(keys)
    for key in forgotten:
        if key in sizes:  # Another process may delete the same: each is counted once.
            name, _ = place_of(key)
            yield from segments.erased(name, sizes[key])
