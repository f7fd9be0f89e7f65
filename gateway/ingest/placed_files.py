"""What follows a commit, step 5 of the contract in `ingest.py`: the names in the store are made durable, in batches.

Files whose commit failed go the same way, once it is certain that no commit of theirs comes back.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from gateway.database.database import Database
from gateway.database.view import seeing
from gateway.errors import DatabaseError, StorageFailed
from gateway.index import store as index
from gateway.ingest.committer import CommitterUnavailable
from gateway.ingest.garbage import Garbage
from gateway.ingest.health import Health
from gateway.storage.failures import NO_DESCRIPTORS
from gateway.storage.incoming import IncomingFile, IncomingFolder

log = logging.getLogger(__name__)

_AFTER_S = 0.25
"""Seconds between batches of names that are made durable and unlinked."""


class PlacedFiles:
    """Files of one worker that have, or may have, a name in the store which is not durable yet."""

    def __init__(
        self,
        incoming: IncomingFolder,
        database: Database,
        threads: ThreadPoolExecutor,
        garbage: Garbage,
        health: Health,
    ) -> None:
        self._incoming = incoming
        self._database = database
        self._threads = threads
        self._garbage = garbage
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._placed: list[tuple[str, str]] = []
        self._replaced = False
        self._closing = False
        self.task: asyncio.Task[None] | None = None
        """The batches, while there is anything to do."""

    def add(self, key: str, folder: str, *, replaced: bool = False) -> None:
        """Unlink an incoming name once the state of the key's name in `folder` is durable; `replaced`: then garbage is
        collected too."""
        self._placed.append((key, folder))
        self._replaced |= replaced
        if self.task is None:
            with seeing(None):
                self.task = self._loop.create_task(self._make_durable())

    async def discard(self, file: IncomingFile) -> None:
        """Discard a file that was not stored; if the disk refuses, the next start discards it."""
        gone = await self._loop.run_in_executor(self._threads, file.discard)
        if gone and file.folder is not None:
            self.add(file.key, file.folder)

    async def clean_up(self, file: IncomingFile | None, error: BaseException) -> None:
        """Remove what is left of a file whose commit failed, unless it may still turn out to be committed. None: there
        is no file, but a frame in a segment, if anything, which stays where it is."""
        if isinstance(error, asyncio.CancelledError):
            return  # The committer may still commit the file: the next start looks it up.
        if isinstance(error, StorageFailed):
            self._health.fail(str(error))
        if isinstance(error, DatabaseError) and error.in_doubt:
            # The row may be there after a restart, and then the file must be too: recovery looks it up.
            if file is not None:
                file.close()
            self._health.fail(f"the database could not commit: {error}")
        elif file is None:
            return
        elif isinstance(error, CommitterUnavailable) and file.folder is not None:
            await self._look_up(file, file.folder)
        else:
            await self.discard(file)

    async def _look_up(self, file: IncomingFile, folder: str) -> None:
        """Look up a file whose commit process has died, and make sure that it is not committed later. Its sender
        gets an error; whether it is stored after all, its row says.
        """
        try:
            is_garbage = await self._database.write(
                functools.partial(index.tombstone_if_uncommitted, file.key, time.time())
            )
        except DatabaseError as error:
            log.warning("%s; %s is looked up again at the next start", error, file.key)
            return
        if is_garbage:
            await self.discard(file)
        else:
            self.add(file.key, folder)

    async def _make_durable(self) -> None:
        """Run step 5, in batches, while there is anything to do."""
        try:
            while self._placed:
                await asyncio.sleep(_AFTER_S)
                placed, self._placed = self._placed, []
                replaced, self._replaced = self._replaced, False
                try:
                    await self._loop.run_in_executor(self._threads, self._incoming.make_durable, placed)
                    if replaced:
                        await self._garbage.collect()
                except OSError as error:
                    if error.errno not in NO_DESCRIPTORS:
                        raise
                    if self._closing:
                        return  # Recovery does it.
                    log.warning("the names of %d instances are made durable later: %s", len(placed), error.strerror)
                    self._placed += placed
                    self._replaced |= replaced
        except OSError as error:
            # Nothing is lost: the incoming names are still there for recovery.
            self._health.fail(f"syncing the store failed: {error.strerror}")
        except DatabaseError as error:
            log.warning("old versions stay on disk for now: %s", error)
        finally:
            self.task = None

    def no_more(self) -> None:
        """Leave to recovery what cannot be made durable at once, from now on."""
        self._closing = True
