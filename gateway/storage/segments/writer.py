"""Writing frames: one process, one open segment, one flush for a batch of instances.

The bytes of a batch are copied into memory that a direct write can use (14 us for 512 KB; a buffered write copies them
as well, and then costs more), checksummed, and written by one call that also flushes. A batch that is read at once, for
deliveries, is written through the page cache if it is not large: from the disk each instance would be read again.
Until `flush` has returned nothing of a batch may be acknowledged; after it failed nothing more is written by this
process: what the kernel has dropped is unknown."""

from __future__ import annotations

import logging
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from isal import isal_zlib

from gateway.errors import StorageError, StorageFailed
from gateway.processes.arena import Buffer
from gateway.storage.failures import NO_ROOM, storage_error
from gateway.storage.segments.folder import OpenSegment, SegmentFolder
from gateway.storage.segments.frame import (
    BLOCK_BYTES,
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    FrameHeader,
    FrameKind,
    frame_length,
)
from gateway.storage.segments.keys import key_at

log = logging.getLogger(__name__)

_WORTH_BYTES: Final = 8 << 20
"""Bytes after which it is worth while to write spare files beforehand."""
_CACHED_BYTES: Final = 9 << 19
"""The largest batch that is written through the page cache: eight instances of 512 KB. Larger ones come of many senders
at once, whom a flush that takes twice as long would slow down."""
_BUFFER_BYTES: Final = 4 << 20
"""The memory for a batch, at first; it grows to that of the largest one."""


class SegmentWriter:
    """The open segment of one process. Not for several threads at once, except that `flush` may run in another one
    while nothing else is called."""

    def __init__(self, folder: SegmentFolder) -> None:
        self.folder = folder
        self.failure = ""
        """The reason why nothing more can be written; '' while there is none."""
        self._segment: OpenSegment | None = None
        self._cached = -1
        """A descriptor of the open segment for writes through the page cache; -1 before the first of them."""
        self._end = 0
        """Where the next frame begins."""
        self._synced = 0
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
        self._used = 0
        """Bytes of the buffer that wait for `flush`."""
        self.read_soon = False
        """Whether the batch is written through the page cache, since its objects are read at once."""
        self.flushed = 0
        """Bytes of the frames of the last batch."""
        self.flush_seconds = 0.0
        """How long the last flush took."""
        self._written = 0
        """Bytes written since the start, or since spare files could not be written."""
        self._filling: Iterator[None] | None = None
        self._succeeded = ""
        """The segment whose successor is ready: a look into the folder after each batch took 1 % of the time."""
        self.begun = ""
        """The segment that was begun for this batch, which no row names yet; '' if there is none."""
        self.ended = ""
        """The segment that is full since this batch, and that no row says so of; '' if there is none."""

    @property
    def segment(self) -> str:
        """The name of the open segment; '' before the first batch."""
        return self._segment.name if self._segment is not None else ""

    @property
    def end(self) -> int:
        """The offset behind the last frame of the open segment."""
        return self._end

    def reserve(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Make room for frames, (bytes of notes, bytes of object) each, in one segment: a flush covers one file.

        Raises: OutOfSpace; StorageError; StorageFailed.
        """
        if self.failure:
            raise StorageFailed(self.failure)
        total = sum(frame_length(*each) for each in sizes)
        if total > len(self._buffer):
            self._buffer = memoryview(mmap.mmap(-1, -(-total // BLOCK_BYTES) * BLOCK_BYTES))
        if self._segment is not None and self._end + total <= self._segment.size:
            return
        begun = self.folder.begin(total)
        self._leave()
        self._segment, self._end, self._synced = begun, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES
        self.begun = begun.name

    def _leave(self) -> None:
        """Leave the open segment, which is full: cut behind its last frame, and unlocked."""
        if self._segment is None:
            return
        self.ended = self._segment.name
        try:
            self.folder.end(self._segment.descriptor, self._end)
        except OSError as error:
            self._fail(f"ending a segment failed: {error.strerror}")
            raise StorageFailed(self.failure) from error
        finally:
            self._close()

    def stage(self, notes: bytes, views: Sequence[Buffer], written_at: float) -> str:
        """Copy one instance into the batch, within what was reserved; returns its key."""
        assert self._segment is not None
        start = at = self._used + FRAME_HEADER_BYTES
        buffer = self._buffer
        for view in (notes, *views):
            buffer[at : at + len(view)] = view
            at += len(view)
        length = at - start - len(notes)
        header = FrameHeader(
            FrameKind.INSTANCE,
            self._segment.segment_id,
            self._end,
            len(notes),
            length,
            self._synced,
            written_at,
            isal_zlib.crc32(buffer[start:at]),
        )
        buffer[self._used : start] = header.encode()
        key = key_at(self._segment.name, self._end)
        total = frame_length(len(notes), length)
        self._used += total
        buffer[at : self._used] = bytes(self._used - at)
        self._end += total
        return key

    def flush(self) -> None:
        """Write the batch and make it durable. Raises: StorageFailed, and then for ever; OutOfSpace: file systems that
        write elsewhere what was allocated (btrfs, ZFS) may have no room after all. Then the segment is left, since what
        of it the system has dropped is unknown."""
        if not self._used:
            return
        assert self._segment is not None
        at, rest = self._end - self._used, self._buffer[: self._used]
        began = time.perf_counter()
        try:
            cached = self.read_soon and self._used <= _CACHED_BYTES
            descriptor = self._cached_descriptor() if cached else self._segment.descriptor
            while rest:
                written = self.folder.disk.write_at(descriptor, rest, at, durably=True)
                at, rest = at + written, rest[written:]
        except OSError as error:
            self._end -= self._used
            self._used = 0
            if error.errno in NO_ROOM:
                self._drop()
                raise storage_error(error, "writing a segment") from error
            self._fail(f"writing a segment failed: {error.strerror}")
            raise StorageFailed(self.failure) from error
        self._written += self._used
        self.flushed = self._used
        self.flush_seconds = time.perf_counter() - began
        self._used = 0
        self._synced = self._end

    def _cached_descriptor(self) -> int:
        """The descriptor for writes through the page cache. Raises: OSError."""
        assert self._segment is not None
        if self._cached < 0:
            self._cached = self.folder.disk.open(self.folder.path_of(self._segment.name), os.O_RDWR)
        return self._cached

    def _close(self) -> None:
        """Close the descriptors of the open segment, which then has no lock."""
        assert self._segment is not None
        if self._cached >= 0:
            self.folder.disk.close(self._cached)
        self.folder.disk.close(self._segment.descriptor)
        self._segment, self._cached = None, -1

    def _drop(self) -> None:
        """Leave the open segment as it is: the rows of what it holds say how much of it counts."""
        assert self._segment is not None
        if self.begun != self._segment.name:
            self.ended = self._segment.name
            self._close()

    def recorded(self) -> None:
        """Note that the rows of this batch, those of its segments too, are committed."""
        self.begun = self.ended = ""

    def abandon(self) -> None:
        """Leave a segment that was begun for a batch whose rows were not committed: no row ever names it."""
        if self.begun and self._segment is not None:
            self._close()
            try:
                self.folder.remove(self.begun)
            except OSError as error:
                log.warning("segment %s stays until the next start: %s", self.begun, error.strerror)
            self.begun = ""

    def prepare(self) -> None:
        """Make the next spare file ready when this segment is half full. Call it while nobody waits."""
        if self._segment is None or self.failure or self._succeeded == self.segment:
            return
        if self._end < self._segment.size // 2:
            return
        try:
            if not self.folder.spares():
                self.folder.prepare(self.folder.next_size())
            self._succeeded = self.segment
        except StorageFailed as error:
            self._fail(str(error))
        except (StorageError, OSError):
            pass  # Whoever needs it tries again, and reports why not.

    def improve(self) -> bool:
        """Do a part of what makes later flushes cheaper: have spare files ready that were written before. Call it while
        there is nothing else to do; whether there is more to do. A writer that has hardly written anything does
        nothing."""
        if self._written < _WORTH_BYTES or self.failure:
            return False
        try:
            if self._filling is None:
                if self.folder.lacks_spares():
                    self.folder.prepare(self.folder.next_size())
                self._filling = self.folder.fill()
            next(self._filling)
        except StopIteration:
            self._filling = None
            return self.folder.lacks_spares()
        except (StorageError, OSError) as error:
            log.info("spare files are not written beforehand: %s", error)
            self._filling, self._written = None, 0
            return False
        return True

    def close(self) -> None:
        """Leave the open segment, cut behind its last frame. The next start enters that it has ended."""
        if self._segment is None:
            return
        try:
            if not self.failure:
                self.folder.end(self._segment.descriptor, self._end)
        except OSError as error:
            log.warning("segment %s cannot be ended (%s); the next start tries again", self.segment, error.strerror)
        finally:
            self._close()

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
