"""Replay: the index catches up with the segments whose writer has died.

The log is the truth, and the index a view of it up to the mark of each segment (`index/segments.py`). Frames behind the
mark were flushed, or were about to be, when the writer died: what was acknowledged is among them if a power cut undid
its transaction. To replay a frame twice changes nothing.

What such an instance entailed is written again by a job, once a gateway runs that has an outbox: the room that knows
rules and destinations is above this one. No delivery of it can have been recorded as done: that transaction, which was
flushed, would have flushed those before it too.

    the segment                                         what is done
    --------------------------------------------------  ---------------------------------------------------------------
    a  has a row, is ended                              nothing
    b  has a row, and another process has its lock      nothing: it is being written
    c  has a row and is not ended                       its frames behind the mark are replayed, then it is ended
    d  the same, and there is damage behind the mark    as c, and the damage is reported
    e  has a row, and no file                           reported: instances are lost
    f  has no row, and holds no whole frame             removed: nothing in it was acknowledged
    g  has no row, and frames of one batch              as c: the transaction of its first batch has been undone
    h  has no row, and frames of several batches        the index is older than the store, as `unknown` finds
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database, Script
from gateway.errors import DataSetError, StorageError
from gateway.index import segments as rows
from gateway.index import store as index
from gateway.index.queries.store import ADD_GARBAGE, keys_known
from gateway.index.rebuild import pass_over
from gateway.index.record import InstanceRecord
from gateway.ingest.frame_notes import FrameNotes, decode
from gateway.ingest.outbox import REPLAYED
from gateway.ingest.stored_header import read_stored_header
from gateway.jobs.table import add_job
from gateway.storage.filesystem import FileStore
from gateway.storage.segments.frame import SEGMENT_HEADER_BYTES, FrameHeader, FrameKind
from gateway.storage.segments.keys import key_at
from gateway.storage.segments.scan import Damage, SegmentScan

log = logging.getLogger(__name__)

_PAGE: Final = 200
"""Frames that are entered at once."""


@dataclass(slots=True)
class Replayed:
    """Counts of instances that the index has now and had not, of frames that it had or does not need, and of damaged
    places."""

    entered: int = 0
    known: int = 0
    damaged: int = 0


class SegmentReplay:
    """The replay of one data folder."""

    def __init__(self, store: FileStore, database: Database, max_header: int) -> None:
        """`max_header`: bytes within which the index attributes must be, as in the intake."""
        self._store = store
        self._folder = store.segments
        self._database = database
        self._max_header = max_header

    async def unknown(self) -> list[str]:
        """Segments of which the index has no row though it must have had one: it is older than they are, or another
        archive's. Raises: OSError; DatabaseError."""
        known = {segment.name for segment in await rows.segments(self._database)}
        return await asyncio.to_thread(
            lambda: [name for name in self._folder.names() if name not in known and self._is_old(name)]
        )

    def _is_old(self, name: str) -> bool:
        """Whether something lives in a segment that was not of its first batch, whose transaction was flushed by
        then."""
        with contextlib.suppress(FileNotFoundError):
            return any(
                frame.kind is FrameKind.INSTANCE and frame.synced_up_to > SEGMENT_HEADER_BYTES
                for frame in self._folder.frames(name)
            )
        return False

    async def run(self) -> Replayed:
        """Replay every segment whose writer has died. Safe beside working gateways, and to be killed at any point.

        Raises: OSError; StorageError; DatabaseError.
        """
        result = Replayed()
        known = {segment.name: segment for segment in await rows.segments(self._database)}
        await asyncio.to_thread(self._folder.clear)
        names = await asyncio.to_thread(self._folder.names)
        for name in sorted(set(known) - set(names)):  # e
            log.error("segment %s of the store is missing: the %d bytes in it are lost", name, known[name].live)
        for name in names:
            row = known.get(name)
            if row is None or not row.ended:
                await self._replay(name, row.mark if row is not None else 0, result)
        if result.entered:
            log.info("recovery: %d instances of the store were entered in the index", result.entered)
        return result

    async def _replay(self, name: str, mark: int, result: Replayed) -> None:
        try:
            descriptor = await asyncio.to_thread(self._folder.adopt, name)
        except FileNotFoundError:
            return  # Another process has removed it.
        if descriptor is None:
            return  # b
        try:
            # What was written is not durable yet, if only its writer has died: rows must not outlive it.
            await asyncio.to_thread(self._folder.disk.fsync, descriptor)
            await asyncio.to_thread(self._folder.disk.drop_cache, descriptor)
            scan = await asyncio.to_thread(SegmentScan, self._folder.disk, descriptor, name)
            found = await asyncio.to_thread(list[FrameHeader | Damage], scan.walk(max(mark, SEGMENT_HEADER_BYTES)))
            behind = [each for each in found if isinstance(each, FrameHeader)]
            if not behind and not mark:
                await asyncio.to_thread(self._folder.remove, name)  # f
                return
            for each in found:
                if isinstance(each, Damage):
                    result.damaged += 1
                    log.error("segment %s is damaged from %d to %d: what was stored there is lost", name, *each)
            instances = [frame for frame in behind if frame.kind is FrameKind.INSTANCE]
            for start in range(0, len(instances), _PAGE):
                page = instances[start : start + _PAGE]
                await asyncio.gather(*(self._enter(name, frame, result) for frame in page))  # They share commits.
            live = await asyncio.to_thread(self._live, name)
            end = behind[-1].end if behind else mark
            await self._database.write(functools.partial(rows.set_segment, name, end, live))
            await asyncio.to_thread(self._folder.end_torn, descriptor, end)
        finally:
            self._folder.disk.close(descriptor)

    def _live(self, name: str) -> int:
        """Bytes of the frames in a segment that are not erased. Blocks. Raises: OSError."""
        return sum(frame.length for frame in self._folder.frames(name) if frame.kind is FrameKind.INSTANCE)

    async def _enter(self, name: str, frame: FrameHeader, result: Replayed) -> None:
        key = key_at(name, frame.offset)
        if await index.keys_known(self._database, [key]):
            result.known += 1
            return
        try:
            record, placement, notes, tenant = await asyncio.to_thread(self._header, key)
        except (DataSetError, StorageError) as error:
            log.error("%s cannot be entered in the index: %s", self._store.where(key), error)
            await self._database.write(functools.partial(pass_over, key, str(error), time.time()))
            return
        entered = await self._database.write(functools.partial(_enter_again, record, placement, notes, tenant))
        result.entered += entered
        result.known += not entered

    def _header(self, key: str) -> tuple[InstanceRecord, index.FileLocation, FrameNotes, str]:
        with contextlib.closing(self._store.in_segments.open(key)) as stored:
            header = read_stored_header(stored, key, self._max_header)
            return header.record, header.placement, decode(stored.notes()), header.meta.tenant


def _enter_again(record: InstanceRecord, placement: index.FileLocation, notes: FrameNotes, tenant: str) -> Script[bool]:
    """Enter an instance that was stored, unless another one of its name is there. Whether it is in the index now.

    It cannot have been deleted since: that transaction, which was flushed, would have flushed the mark behind it too.
    What has just been looked for is looked for again: a server commits what its dead writer had asked for.
    """
    if (yield keys_known(1), (placement.key,)):
        return False
    if not notes.replayable:  # It was not acknowledged: its transaction would have been flushed.
        yield ADD_GARBAGE, (placement.key, time.time())
        return False
    answer = yield from index.store_instance(record, placement, notes.origin(tenant))
    if isinstance(answer, index.Duplicate):
        yield ADD_GARBAGE, (placement.key, time.time())
        return False
    if notes.entails:
        payload = {"public_id": record.public_id, "version": answer.version, "noted": notes.entails}
        yield from add_job(REPLAYED, payload, time.time(), due_at=0.0)  # A clock may have stood still with the power.
    return True
