"""Steps 2 and 3 of the contract of durability in `ingest.py`, for many instances at once: their only implementation.

Small instances are frames of a segment: one flush makes all of them durable, and their rows follow from it, so that the
transaction needs no flush of its own. It runs while the flush does, and waits for it before it commits. A large
instance is a file of its own, with a flush of its own, and a transaction that is flushed.

Runs in a commit process (`commit_process.py`) or a thread of the gateway (`committer.py`). When an instance is
complete, and how a failure is handled, is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from gateway.database.database import Script
from gateway.database.transactions import BatchTransactions, Outcome
from gateway.errors import DatabaseError, StorageError, StorageFailed
from gateway.index.queries.store import find_instances
from gateway.index.segments import SegmentAdvance, advance
from gateway.index.store import Duplicate, FileLocation, duplicate
from gateway.processes.arena import Buffer
from gateway.storage.incoming import IncomingFile, name_durably
from gateway.storage.segments.writer import SegmentWriter

MAX_BATCH: Final = 64
"""Instances in one batch."""
MAX_BATCH_BYTES: Final = 8 << 20
"""Bytes to write after which no further instance is added to a batch: of 2, 4, 8 and 16 MiB the best for 8 operations
at once on one association, which would else wait for one another, and for 64 associations."""

_Work = Callable[[IncomingFile, Sequence[Buffer]], None]


class NewFrame(NamedTuple):
    """An instance that becomes a frame of a segment."""

    public_id: str
    replaces: str | None
    """The key of the object that it replaces; None for a new instance."""
    placement: FileLocation
    """Gets its key when its place is known; the script holds the same object."""
    notes: bytes
    replayable: bool
    """Whether the transaction can be made again from the frame alone."""
    read_soon: bool = False
    """Whether it is read at once: deliveries go with it."""


class Complete(NamedTuple):
    """An instance whose bytes have all arrived."""

    file: IncomingFile | None
    """None for a frame."""
    views: Sequence[Buffer]
    """Its last bytes, which are not in the file yet; all of a frame's."""
    script: Callable[[], Script[Any]]
    """Makes the script of its transaction."""
    frame: NewFrame | None = None


class CommitReply(NamedTuple):
    """The outcomes of a batch."""

    outcomes: list[Outcome]
    """For each instance the result of its script or its error, in the order of the batch."""
    synced: float
    """Seconds to write and sync all of them."""
    committed: float
    """Seconds of the commit."""
    failure: str
    """The reason why nothing more can be committed; '' if there is none."""
    keys: list[str]
    """For each instance the key of its frame; '' for a file."""
    flushed: float = 0.0
    """Seconds of the flush of its frames, which overlaps with the commit; 0 without frames."""


class Flush(Protocol):
    """Flushes a writer, perhaps in another thread."""

    def begin(self, writer: SegmentWriter) -> None:
        """Begin to flush; nothing else may be done with the writer until `wait` has returned."""

    def wait(self) -> None:
        """Wait for the end of it. Raises as `SegmentWriter.flush`."""


class FlushHere:
    """Flushes in the thread that waits."""

    def __init__(self) -> None:
        self._writer: SegmentWriter | None = None

    def begin(self, writer: SegmentWriter) -> None:
        self._writer = writer

    def wait(self) -> None:
        assert self._writer is not None
        self._writer.flush()


def commit_batch(
    batch: Sequence[Complete], database: BatchTransactions, writer: SegmentWriter, flush: Flush
) -> CommitReply:
    """Write and flush the frames and files of a batch, and commit the scripts of those that succeeded.

    Instances fail one by one, but for frames, which share a flush. All files are written before the first is synced:
    then one commit of the file system's journal covers many. Blocks.
    """
    began = time.perf_counter()
    outcomes: list[Outcome] = [(None, None)] * len(batch)

    def each(work: _Work, which: Sequence[int]) -> list[int]:
        """Call `work` for the files at these indices; returns the indices of those that succeeded."""
        done = []
        for at in which:
            if (file := batch[at].file) is None:
                continue
            try:
                work(file, batch[at].views)
                done.append(at)
            except StorageError as error:
                file.close()
                outcomes[at] = (None, error)
        return done

    framed = _stage(batch, database, writer, outcomes)
    if framed:
        flush.begin(writer)
    synced = _store_files(batch, each)
    between = time.perf_counter()
    stored = sorted([*framed, *synced])
    if stored:
        log = _Log(writer, flush, [batch[at].frame for at in stored]) if framed else None
        for at, outcome in zip(stored, _commit([batch[at] for at in stored], database, log), strict=True):
            outcomes[at] = outcome
    keys = [instance.frame.placement.key if instance.frame is not None else "" for instance in batch]
    failure = database.failure or writer.failure
    flushed = writer.flush_seconds if framed else 0.0
    return CommitReply(outcomes, between - began, time.perf_counter() - between, failure, keys, flushed)


def advance_of(writer: SegmentWriter) -> SegmentAdvance:
    """The effect on the rows of segments of the batch that a writer has flushed."""
    return SegmentAdvance(writer.segment, writer.end, writer.flushed, bool(writer.begun), writer.ended)


def _stage(
    batch: Sequence[Complete], database: BatchTransactions, writer: SegmentWriter, outcomes: list[Outcome]
) -> list[int]:
    """Copy the frames of a batch to where they are written from; returns the indices of those that have a place.

    What is stored already is not written again; its outcome is the Duplicate.
    """
    framed = [(at, instance.frame, instance.views) for at, instance in enumerate(batch) if instance.frame is not None]
    if not framed:
        return []
    try:
        known = _known(database, [frame.public_id for _, frame, _ in framed])
        for at, frame, _ in framed:
            duplicate = known.get(frame.public_id)
            if duplicate is not None and duplicate.key != frame.replaces:
                outcomes[at] = (duplicate, None)
        framed = [each for each in framed if outcomes[each[0]] == (None, None)]
        if not framed:
            return []
        writer.reserve([(len(frame.notes), frame.placement.size) for _, frame, _ in framed])
    except (DatabaseError, StorageError) as error:
        for at, _, _ in framed:
            outcomes[at] = (None, error)
        return []
    writer.read_soon = any(frame.read_soon for _, frame, _ in framed)
    now = time.time()
    for _, frame, views in framed:
        frame.placement.key = writer.stage(frame.notes, views, now)
    return [at for at, _, _ in framed]


def _known(database: BatchTransactions, public_ids: Sequence[str]) -> dict[str, Duplicate]:
    """What is stored of these instances. Raises: DatabaseError."""
    rows = database.fetch(find_instances(len(public_ids)), public_ids)
    return {row[-1]: duplicate(row) for row in rows}


def _store_files(batch: Sequence[Complete], each: Callable[[_Work, Sequence[int]], list[int]]) -> list[int]:
    """Write, place and sync the files of a batch; returns the indices of those that succeeded."""
    written = each(lambda file, views: file.append(views), range(len(batch)))
    if not written:
        return []
    with contextlib.suppress(StorageFailed):  # An instance without a durable name fails again when it is placed.
        name_durably([file for at in written if (file := batch[at].file) is not None])
    placed = each(lambda file, _: file.place(), written)
    for at in placed:
        if (file := batch[at].file) is not None:
            file.begin_sync()
    return each(lambda file, _: file.sync(), placed)


class _Log:
    """The frames of a batch as the log that a transaction is the view of."""

    def __init__(self, writer: SegmentWriter, flush: Flush, frames: Sequence[NewFrame | None]) -> None:
        """`frames`: for each script its frame; None for a file."""
        self._writer = writer
        self._flush = flush
        self._frames = frames
        self._is_flushing = True
        self._is_committed = False
        self.replayable = not writer.begun and all(frame is None or frame.replayable for frame in frames)

    def wait(self) -> None:
        """Wait for the flush of the frames."""
        self._is_flushing = False
        self._flush.wait()

    def record(self, outcomes: Sequence[Outcome]) -> Script[None]:
        """Advance the mark of the segment, and have those frames erased that got no row."""
        writer = self._writer
        dead = [
            frame.placement.key
            for frame, (result, error) in zip(self._frames, outcomes, strict=True)
            if frame is not None and (error is not None or isinstance(result, Duplicate))
        ]
        return advance(advance_of(writer), dead, time.time())

    def committed(self) -> None:
        """Note that the rows are committed."""
        self._is_committed = True
        self._writer.recorded()

    def end(self, *, in_doubt: bool) -> None:
        """End the batch: the flush is over, and a segment that no row names is gone, unless its row may be there."""
        if self._is_flushing:
            with contextlib.suppress(StorageError):
                self.wait()
        if not self._is_committed and not in_doubt:
            self._writer.abandon()


def _commit(batch: Sequence[Complete], database: BatchTransactions, log: _Log | None) -> list[Outcome]:
    """Commit the scripts: THE ONLY COMMIT POINT. What only a file holds is flushed with it."""
    durably = log is None or not log.replayable or any(instance.file is not None for instance in batch)
    try:
        with database.turn():
            return database.commit([instance.script for instance in batch], log, durably=durably)
    except DatabaseError as error:
        return [(None, error)] * len(batch)
    finally:
        if log is not None:
            log.end(in_doubt=bool(database.failure or database.lost))
