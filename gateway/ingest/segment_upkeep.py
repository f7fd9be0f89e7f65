"""Upkeep of segments: those in which nothing lives become spare files, and what lives in sparse ones is moved together.

What a counter says is only a hint: a segment goes when its own file says that nothing in it lives.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from isal import isal_zlib

from gateway.database.database import Database
from gateway.errors import StorageError, StorageFailed
from gateway.index import segments as rows
from gateway.index.store import READERS_S
from gateway.ingest.commit_batch import advance_of
from gateway.ingest.frame_notes import of_copy
from gateway.storage.filesystem import FileStore
from gateway.storage.segments.frame import FrameHeader, FrameKind
from gateway.storage.segments.keys import key_at
from gateway.storage.segments.scan import SegmentScan
from gateway.storage.segments.writer import SegmentWriter

log = logging.getLogger(__name__)

_MOVED_BYTES: Final = 8 << 20
"""Bytes that are moved in one batch, by one transaction."""
_WORTH_BYTES: Final = 4 << 20
"""Dead bytes of a segment for which it is worth while to move the rest."""
_AT_ONCE: Final = 4
"""Sparse segments that are compacted in one round."""


class SegmentUpkeep:
    """The upkeep of one store. Several processes may do it at once."""

    def __init__(
        self,
        store: FileStore,
        database: Database,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._folder = store.segments
        self._database = database
        self._in_thread = in_thread
        self._clock = clock

    async def run(self) -> None:
        """Recycle what is dead, and compact what is sparse. Raises: OSError; DatabaseError; StorageFailed."""
        for name in await rows.dead_segments(self._database):
            await self._recycle(name)
        sparse = await rows.sparse_segments(self._database, _WORTH_BYTES, _AT_ONCE)
        if sparse:
            await self._compact(sparse)

    async def _recycle(self, name: str) -> None:
        alive = await self._in_thread(functools.partial(self._alive, name))
        if alive:  # A crash between erasing and counting has had it counted twice.
            live = sum(frame.length for frame in alive)
            await self._database.write(functools.partial(rows.set_segment, name, alive[-1].end, live))
            return
        await self._database.write(functools.partial(rows.forget_segment, name))
        self._store.in_segments.forget(name)
        await self._in_thread(functools.partial(self._folder.recycle, name))

    def _alive(self, name: str) -> list[FrameHeader]:
        try:
            return [frame for frame in self._folder.frames(name) if frame.kind is FrameKind.INSTANCE]
        except FileNotFoundError:
            return []

    async def _compact(self, names: Sequence[str]) -> None:
        """Move what lives in sparse segments to one of our own; their frames are erased when readers are done."""
        writer = SegmentWriter(self._folder)
        try:
            for name in names:
                with contextlib.ExitStack() as lock:
                    if await self._in_thread(functools.partial(self._adopt, name, lock)):
                        await self._move_all(name, writer)
        except StorageFailed:
            raise
        except (FileNotFoundError, StorageError) as error:
            log.warning("segments are compacted later: %s", error)
        finally:
            name = writer.segment
            await self._in_thread(writer.close)
        if name:
            await self._database.write(functools.partial(rows.end_segment, name))

    def _adopt(self, name: str, lock: contextlib.ExitStack) -> bool:
        """Lock a segment until `lock` is closed; False while another process writes or compacts it."""
        descriptor = self._folder.adopt(name)
        if descriptor is None:
            return False
        lock.callback(self._folder.disk.close, descriptor)
        return True

    async def _move_all(self, name: str, writer: SegmentWriter) -> None:
        batch, size = list[FrameHeader](), 0
        for frame in await self._in_thread(functools.partial(self._alive, name)):
            batch.append(frame)
            size += frame.length
            if size >= _MOVED_BYTES:
                await self._move(name, batch, writer)
                batch, size = [], 0
        if batch:
            await self._move(name, batch, writer)
        await self._database.write(functools.partial(rows.empty_segment, name))
        log.info("what lives in segment %s has been moved, since a quarter of it or more is dead", name)

    async def _move(self, name: str, batch: Sequence[FrameHeader], writer: SegmentWriter) -> None:
        moved = await self._in_thread(functools.partial(self._copy, name, batch, writer))
        now = self._clock()
        if not moved:
            return
        await self._database.write(functools.partial(rows.enter_moved, moved, advance_of(writer), now, now + READERS_S))
        writer.recorded()

    def _copy(self, name: str, batch: Sequence[FrameHeader], writer: SegmentWriter) -> list[tuple[str, str]]:
        """Copy frames, durably; returns the old and the new key of each.

        A damaged one stays where it is: a copy would have a checksum that is right. So does one that is being erased.
        """
        intact = []
        with self._folder.opened(name) as descriptor:
            scan = SegmentScan(self._folder.disk, descriptor, name)
            for frame in batch:
                notes, data = scan.notes(frame), scan.read(frame.object_length, frame.object_offset)
                if isal_zlib.crc32(data, isal_zlib.crc32(notes)) != frame.checksum:
                    log.error("segment %s is damaged at %d, or is just being erased there", name, frame.offset)
                    continue
                intact.append((frame, of_copy(notes), data))
        if not intact:
            return []
        writer.reserve([(len(notes), len(data)) for _, notes, data in intact])
        moved = [
            (key_at(name, frame.offset), writer.stage(notes, [data], frame.written_at)) for frame, notes, data in intact
        ]
        writer.flush()
        return moved
