"""Attaching files to patients, studies, series and instances, and taking them away.

An attachment becomes durable as an instance does (`ingest.py`): its object is written to an incoming file as it
arrives, placed and synced, and its row is the commit point. What a crash leaves without a row was not acknowledged.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterable, Callable

from gateway.dicom.levels import Level
from gateway.index.attachments import Attachment, attach, detach, may_attach
from gateway.index.precondition import ANYTHING, Precondition
from gateway.ingest.attached_file import HEADER_BYTES, AttachedTo, header, md5
from gateway.ingest.garbage import GRACE_S
from gateway.ingest.ingest import Ingest
from gateway.storage.incoming import IncomingFile

_WRITE_AT_BYTES = 1 << 20
"""Bytes that are gathered for one write."""


class Attaching:
    """The attachments of one archive."""

    def __init__(self, ingest: Ingest, *, clock: Callable[[], float] = time.time) -> None:
        self._ingest = ingest
        self._clock = clock

    async def attach(
        self, level: Level, public_id: str, name: str, chunks: AsyncIterable[bytes], condition: Precondition = ANYTHING
    ) -> Attachment:
        """Attach bytes to a resource, in place of what has the name, where that meets the condition.

        Whoever sends the bytes is refused before the first is read. Raises as `may_attach`; the errors of `chunks`;
        OutOfSpace, StorageError, DatabaseError; nothing is left then.
        """
        ingest = self._ingest
        await ingest.database.write(lambda: may_attach(level, public_id, name, condition))
        file = ingest.new_file()
        try:
            written = await self._write(file, AttachedTo(level, public_id, name), chunks)
        except BaseException:
            await ingest.placed.discard(file)
            raise
        now = self._clock()
        made: Attachment = await ingest.commit_file(
            file, functools.partial(attach, level, public_id, written, condition, now, now + GRACE_S)
        )
        if made.revision:
            ingest.garbage.collect_after(GRACE_S)
        return made

    async def detach(self, level: Level, public_id: str, name: str, condition: Precondition = ANYTHING) -> None:
        """Take an attachment away that meets the condition. Raises as `index.attachments.detach`."""
        now = self._clock()
        async with self._ingest.garbage.discarding(now) as delete_at:
            await self._ingest.database.write(lambda: detach(level, public_id, name, condition, now, delete_at))

    async def _write(self, file: IncomingFile, to: AttachedTo, chunks: AsyncIterable[bytes]) -> Attachment:
        digest, size = md5(), 0
        pending, waiting = list[bytes](), 0

        def write(views: list[bytes]) -> None:
            for view in views:
                digest.update(view)
            file.append(views)

        await self._in_thread(functools.partial(file.append, [header(to)]))
        async for chunk in chunks:
            size += len(chunk)
            pending.append(chunk)
            waiting += len(chunk)
            if waiting >= _WRITE_AT_BYTES:
                await self._in_thread(functools.partial(write, pending))
                pending, waiting = [], 0
        await self._in_thread(functools.partial(write, pending))
        return Attachment(to.name, file.key, HEADER_BYTES, size, digest.hexdigest())

    async def _in_thread(self, write: Callable[[], None]) -> None:
        """Run a write to its end: a file must not be closed under it when its sender goes."""
        self._ingest.check_space()
        writing = asyncio.get_running_loop().run_in_executor(self._ingest.threads, write)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
