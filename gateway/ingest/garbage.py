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

GRACE_S = index.READERS_S
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

    async def collect(self, *, everything: bool = False) -> None:
        """Delete garbage whose time has come, or all. Who reads it gets an error. Raises: OSError; DatabaseError.

        After a failed sync nothing is deleted any more: a second sync may succeed without having written the first.
        """
        while keys := await self._due(everything):
            # What made them garbage may be a transaction that a power cut undoes: this one makes it last.
            await self._database.write(functools.partial(index.claim_garbage, keys))
            files = [key for key in keys if not is_in_segment(key)]
            places: dict[str, list[int]] = defaultdict(list)
            for key in keys:
                if is_in_segment(key):
                    name, offset = place_of(key)
                    places[name].append(offset)
            try:
                for key in files:  # One at a time, so that an end of the gateway waits for one at most.
                    await self._in_thread(functools.partial(self._store.erase, key))
                await self._in_thread(functools.partial(self._sync, files))
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

    async def _due(self, everything: bool) -> list[str]:
        if not self._health.sound:
            return []
        return await index.garbage(self._database, older_than=math.inf if everything else time.time())

    def _sync(self, keys: Sequence[str]) -> None:
        """Make durable that files are gone: once they are off the list nothing knows of them."""
        try:
            self._store.sync({self._store.folder(key) for key in keys})
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                raise
            raise StorageFailed(f"syncing the store failed: {error.strerror}") from error

    def begin(self) -> None:
        """Delete in the background what an earlier process has left, which may take long, and hold the reserve."""
        self.collect_after(GRACE_S, at_once=True)

    def collect_after(self, seconds: float, *, at_once: bool = False) -> None:
        """Delete garbage once it is `seconds` old, and all that is added meanwhile; `at_once`: what is now, too."""
        if self._collector is None or self._collector.done():
            work = functools.partial(self._collect, seconds, at_once)
            with seeing(None):
                self._collector = asyncio.get_running_loop().create_task(lasting("deleting old files", work))

    async def _collect(self, seconds: float, at_once: bool) -> None:
        if at_once:
            await self._try_to_collect()
            await self.hold_reserve()
        while self._health.sound and await self._is_any_left():
            await asyncio.sleep(seconds)
            await self._try_to_collect()

    async def _is_any_left(self) -> bool:
        return bool(await index.garbage(self._database, older_than=math.inf, limit=1))

    async def _try_to_collect(self) -> None:
        try:
            await self.collect()
        except (OSError, DatabaseError) as error:
            log.warning("files that are not needed any more stay on disk for now: %s", error)

    @asynccontextmanager
    async def discarding(self, now: float, readers_s: float | None = None) -> AsyncIterator[float]:
        """Discard files by a transaction inside the context; yields the time from which they may be deleted.

        `readers_s`: seconds that readers of the files have; GRACE_S by default. A full disk gives up its reserve for
        the transaction, and the files are deleted at once. Raises: OSError; DatabaseError.
        """
        wait_s = GRACE_S if readers_s is None else readers_s
        full = await self.make_room()
        yield now if full else now + wait_s
        if full:
            await self.collect()
            await self.hold_reserve()
        else:
            self.collect_after(wait_s)

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
