"""Recovery after a crash: the fate of instances that were being ingested.

Of segments, `replay.py` has what is done. Of files it reads `incoming/` alone, and there only folders whose worker has
died, with its commit processes. A file with a row was committed: its place in the store is ensured. One without was not
acknowledged, unless the database is an older copy of the one it was committed in, which cannot be detected. So an
instance that may have been acknowledged, because its data set is complete, is set aside (`unindexed/`) until the index
has the same instance; the rest is deleted, both its names. Attachments are told apart by their rows alone."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
from collections.abc import Iterator, Sequence

from gateway.database.database import Database
from gateway.dicom import part10
from gateway.errors import DatabaseError, DataSetError, GatewayError, StorageError, TruncatedDataSet
from gateway.index import store as index
from gateway.ingest.duplicates import same_bytes
from gateway.ingest.replay import SegmentReplay
from gateway.ingest.stored_header import StoredHeader, read_stored_header
from gateway.jobs.table import abandon_jobs
from gateway.storage.filesystem import FileStore, open_object
from gateway.storage.layout import Layout
from gateway.storage.store import StoredObject
from gateway.storage.unindexed import UnindexedFolder
from gateway.storage.workers import abandoned, incoming_keys, remove_if_empty

log = logging.getLogger(__name__)

_PAGE = 500
_AGAIN_S = (1.0, 5.0, 30.0)
"""Seconds between searches, after the start. A commit process may outlive its gateway, and lock the folder,
for as long as a sync takes: a gateway that restarts at once does not get that folder in its first search."""
_RETRY_S = 2.0
"""Seconds after a search that the database has not answered."""


@dataclasses.dataclass(slots=True)
class Recovered:
    """Counts of finished instances, of deleted remains, and of complete instances without a row that were set aside."""

    finished: int = 0
    deleted: int = 0
    set_aside: int = 0


class Recovery:
    """Recovery of one data folder."""

    def __init__(self, layout: Layout, store: FileStore, database: Database, max_header: int) -> None:
        """`max_header`: bytes within which the index attributes must be, as in the intake."""
        self._layout = layout
        self._disk = layout.disk
        self._store = store
        self._database = database
        self._max_header = max_header
        self._unindexed = UnindexedFolder(layout)

    async def run(self, *, replays: bool = True) -> Recovered:
        """Adopt every abandoned incoming folder, and return the jobs of its worker at once.

        Safe to run beside working gateways, and to be killed at any point. Raises: OSError; StorageError;
        DatabaseError.
        """
        if replays:
            await SegmentReplay(self._store, self._database, self._max_header).run()
        result = Recovered()
        folders = await asyncio.to_thread(lambda: list(abandoned(self._layout)))
        try:
            for folder, _ in folders:
                await self._adopt(folder, result)
        finally:
            for _, lock in folders:
                self._disk.close(lock)
        if result.finished or result.deleted:
            log.info(
                "recovery: %d instances were finished, %d that had never been acknowledged were deleted",
                result.finished,
                result.deleted,
            )
        remaining = await self._drop_indexed()
        if result.set_aside and remaining:
            log.warning(
                "recovery: complete instances that the index does not have are set aside in %s, %d by now: most likely "
                "they were never acknowledged, and are sent again; if the database was replaced by an older copy, "
                "import them with `dicom-gateway import %s`. Those that the index has are deleted from there",
                self._unindexed.path,
                remaining,
                self._unindexed.path,
            )
        return result

    async def run_late(self, again: asyncio.Event, closing: asyncio.Event) -> None:
        """Search again until `closing` is set: a few times after the start, and whenever `again` is set, which is set
        too when `closing` is."""
        pauses: Iterator[float] = iter(_AGAIN_S)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(next(pauses, None)):
                    await again.wait()
            if closing.is_set():
                return
            again.clear()
            try:
                await self.run()
            except DatabaseError as error:  # A server may be back soon.
                log.warning("remains of a crash stay until the database answers: %s", error)
                pauses = itertools.chain([_RETRY_S], pauses)
            except (OSError, GatewayError) as error:
                log.warning("remains of a crash stay until the next start: %s", error)

    async def _adopt(self, folder: str, result: Recovered) -> None:
        owner = os.path.basename(folder)
        # Before rows are looked for: a server may still commit for a writer that has died, and this waits for it.
        await self._database.write(lambda: abandon_jobs(owner))
        keys = await asyncio.to_thread(incoming_keys, self._disk, folder)
        for start in range(0, len(keys), _PAGE):
            part = keys[start : start + _PAGE]
            present = await index.keys_present(self._database, part)
            known = await index.keys_known(self._database, part)
            await asyncio.to_thread(self._sort_out, folder, part, present, known, result)
        await asyncio.to_thread(remove_if_empty, self._disk, folder)

    def _sort_out(
        self, folder: str, keys: Sequence[str], present: set[str], known: set[str], result: Recovered
    ) -> None:
        """Finish present instances; of the others set aside those that may have been acknowledged and that the index
        does not know as deleted, and delete the rest.
        """
        store = self._store
        placed = {store.place(f"{folder}/{key}", key) for key in keys if key in present}
        others = [key for key in keys if key not in present]
        aside = [key for key in others if key not in known and self._may_be_acknowledged(f"{folder}/{key}", key)]
        for key in others:
            store.remove(key)
        # Before a name in `incoming/` is unlinked: afterwards nothing explains a name in the store that comes back.
        store.sync(placed | {store.folder(key) for key in others})
        result.finished += len(keys) - len(others)
        result.set_aside += self._set_aside(folder, aside)
        for key in set(keys).difference(aside):
            path = f"{folder}/{key}"
            result.deleted += key not in present and self._disk.stat(path).st_size > 0  # The others were preallocated.
            self._disk.unlink(path)

    def _set_aside(self, folder: str, keys: Sequence[str]) -> int:
        """Set files aside; returns their number. Without space for that they stay until the next start."""
        try:
            if keys:
                self._unindexed.add([(f"{folder}/{key}", key) for key in keys])
        except OSError as error:
            log.warning("%d complete files in %s cannot be set aside and stay: %s", len(keys), folder, error.strerror)
            return 0
        return len(keys)

    def _may_be_acknowledged(self, path: str, key: str) -> bool:
        """Whether a file is complete: one without File Meta Information, or cut inside an element, was not synced."""
        try:
            with contextlib.closing(open_object(self._disk, path, key)) as file:
                try:
                    part10.read_header(file.read)
                except DataSetError:
                    return False
                broken = self._read(file, key).broken
        except TruncatedDataSet:
            return False
        except (DataSetError, StorageError) as error:
            log.warning("%s cannot be read: %s", path, error)
            return True
        return not isinstance(broken, TruncatedDataSet)

    async def _drop_indexed(self) -> int:
        """Delete files set aside that the index has, with equal bytes, under another key. Returns the rest's number."""
        remaining = 0
        for key in await asyncio.to_thread(self._unindexed.keys):
            if await self._is_indexed(key):
                await asyncio.to_thread(self._unindexed.remove, key)
            else:
                remaining += 1
        return remaining

    async def _is_indexed(self, key: str) -> bool:
        try:
            header = await asyncio.to_thread(self._read_unindexed, key)
            other = await index.stored_as(self._database, header.record.public_id)
            return other is not None and await asyncio.to_thread(
                same_bytes, self._store, header.placement, other, self._unindexed
            )
        except (DataSetError, StorageError):
            return False

    def _read_unindexed(self, key: str) -> StoredHeader:
        with contextlib.closing(self._unindexed.open(key)) as file:
            return self._read(file, key)

    def _read(self, file: StoredObject, key: str) -> StoredHeader:
        return read_stored_header(file, key, self._max_header)


def retain_placed(layout: Layout, store: FileStore) -> None:
    """Protect instances with a name in the store, for an index that has less than the store.

    An incoming file with such a name may have been acknowledged: it stays in the store, and loses its incoming name.
    """
    for folder, lock in abandoned(layout):
        try:
            for key in incoming_keys(layout.disk, folder):
                if store.exists(key):
                    layout.disk.unlink(f"{folder}/{key}")
        finally:
            layout.disk.close(lock)
