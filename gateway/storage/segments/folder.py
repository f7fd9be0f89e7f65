"""The folder of segments: which there are, how a new one begins, and what becomes of one that nobody needs.

A segment is begun on a spare file, whose space is allocated beforehand: no answer to a sender waits for that, and a
full disk shows itself there. A spare that was written before is the best one: a flush of it changes no metadata (ext4,
512 KB: 2654 flushes/s against 1635 of one that was only allocated). Everything blocks.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.errors import StorageError
from gateway.processes.arena import Buffer
from gateway.storage.disk import Disk, sync_folder
from gateway.storage.erasure import erase_remains
from gateway.storage.failures import NO_ROOM, storage_error
from gateway.storage.layout import Layout, new_key
from gateway.storage.segments.frame import SEGMENT_HEADER_BYTES, FrameHeader, encode_segment_header
from gateway.storage.segments.keys import is_name, new_name
from gateway.storage.segments.scan import Damage, SegmentScan

MIN_BYTES: Final = 8 << 20
MAX_BYTES: Final = 256 << 20
"""Sizes of segments: a small archive has small ones."""
_SPARE: Final = "spare-"
_WRITTEN: Final = "written-"
"""Begin the names of spare files: allocated only, or written once."""
_NEW: Final = "new-"
"""Begins the name of a file that is being made."""
_PIECE_BYTES: Final = 1 << 20
_TORN_BYTES: Final = 128 << 20
"""More than two batches have: behind that nothing was written to a segment."""
_SPARES: Final = 2
"""Spare files that are made ready ahead."""
_NO_DIRECT: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class OpenSegment(NamedTuple):
    """A segment that this process writes, and nobody else: its descriptor holds the lock."""

    name: str
    segment_id: bytes
    descriptor: int
    size: int


class SegmentFolder:
    """The segments of one data folder, and its spare files."""

    def __init__(self, layout: Layout) -> None:
        self.path = str(layout.segments)
        self.disk: Disk = layout.disk
        self._last = 0

    def path_of(self, name: str) -> str:
        """The path of a segment. Raises: StorageError for a string that is no name of one."""
        if not is_name(name):
            raise StorageError(f"{name!r} is not the name of a segment")
        return f"{self.path}/{name}"

    def names(self) -> list[str]:
        """All segments, oldest first; none where the folder does not exist. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(filter(is_name, self.disk.listdir(self.path)))
        return []

    def spares(self) -> list[str]:
        """Names of spare files, the best ones first: those that were written. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                (name for name in self.disk.listdir(self.path) if name.startswith((_SPARE, _WRITTEN))), reverse=True
            )
        return []

    def lacks_spares(self) -> bool:
        """Whether another spare file would be of use. Raises: OSError."""
        return len(self.spares()) < _SPARES

    def fill(self) -> Iterator[None]:
        """Write a spare file that is only allocated, with zeros, a piece at each step; nothing where there is none.

        Raises: OSError.
        """
        for spare in self.spares():
            path = f"{self.path}/{spare}"
            if spare.startswith(_WRITTEN):
                continue
            try:
                descriptor = self._open_direct(path)
            except FileNotFoundError:
                continue
            try:
                if not self.disk.lock(descriptor):
                    continue
                zeros, at = aligned(bytes(_PIECE_BYTES)), 0
                size = self.disk.fstat(descriptor).st_size
                while at < size:
                    yield
                    at += self.disk.write_at(descriptor, zeros[: size - at], at, durably=False)
                self.disk.fsync(descriptor)
                self.disk.rename(path, f"{self.path}/{_WRITTEN}{spare.removeprefix(_SPARE)}")
                return
            except OSError:
                self._discard(path)
                raise
            finally:
                self.disk.close(descriptor)

    def next_size(self) -> int:
        """The size for the next segment: as large as all others together, within limits. Raises: OSError."""
        total = sum(self.disk.stat(self.path_of(name)).st_size for name in self.names())
        return max(MIN_BYTES, min(1 << total.bit_length(), MAX_BYTES))

    def prepare(self, size: int) -> None:
        """Make a spare file of `size` bytes. Raises: OutOfSpace; StorageError; StorageFailed."""
        try:
            path, descriptor = self._make(size)
            try:
                self.disk.rename(path, f"{self.path}/{_SPARE}{_now()}")
            finally:
                self.disk.close(descriptor)
        except OSError as error:
            raise storage_error(error, "preparing a segment") from error

    def begin(self, least: int) -> OpenSegment:
        """Begin a segment with room for `least` bytes, on a spare file if there is one, its header and name durable.

        Raises: OutOfSpace; StorageError; StorageFailed.
        """
        least += SEGMENT_HEADER_BYTES
        try:
            for spare in self.spares():
                if (begun := self._begin_on_spare(f"{self.path}/{spare}", least)) is not None:
                    return begun
            size = max(least, self.next_size())
            while True:
                try:
                    return self._begin_on(*self._make(size))
                except OSError as error:
                    if error.errno not in NO_ROOM or size == least:
                        raise
                    size = max(least, size // 2)
        except OSError as error:
            raise storage_error(error, "beginning a segment") from error

    def _make(self, size: int) -> tuple[str, int]:
        """Make a file of `size` bytes that no other process takes: its path, and a descriptor that holds its lock.
        Raises: OSError."""
        path = f"{self.path}/{_NEW}{_now()}"
        self.disk.close(self.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        descriptor = -1
        try:
            descriptor = self._open_direct(path)
            if not self.disk.lock(descriptor) or not self.disk.fstat(descriptor).st_nlink:
                raise OSError(errno.EAGAIN, "a start of another process has cleared the file away")
            self.disk.allocate(descriptor, size)
            self.disk.fsync(descriptor)
        except BaseException:
            if descriptor >= 0:
                self.disk.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                self.disk.unlink(path)
            raise
        return path, descriptor

    def _begin_on_spare(self, path: str, least: int) -> OpenSegment | None:
        """Begin a segment on a spare file; None if that is too small, or another process's by now. Raises: OSError."""
        try:
            descriptor = self._open_direct(path)
        except FileNotFoundError:
            return None
        if self.disk.fstat(descriptor).st_size < least or not self.disk.lock(descriptor):
            self.disk.close(descriptor)
            return None
        try:
            return self._begin_on(path, descriptor)
        except FileNotFoundError:
            return None

    def _begin_on(self, path: str, descriptor: int) -> OpenSegment:
        """Begin a segment on a file whose lock the descriptor holds. Raises: OSError, and the descriptor is closed."""
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)  # Names of one process sort as they were begun.
        name, segment_id = new_name(self._last), os.urandom(16)
        try:
            header = aligned(encode_segment_header(name, segment_id))
            self.disk.write_at(descriptor, header, 0, durably=True)
            self.disk.rename(path, self.path_of(name))
            sync_folder(self.disk, self.path)
            return OpenSegment(name, segment_id, descriptor, self.disk.fstat(descriptor).st_size)
        except BaseException as error:
            self.disk.close(descriptor)
            if isinstance(error, OSError):
                self._discard(path)
            raise

    def _discard(self, path: str) -> None:
        """Remove a spare file of which a write or a flush has failed: what of it the system has dropped is unknown."""
        with contextlib.suppress(OSError):
            self.disk.unlink(path)

    def _open_direct(self, path: str) -> int:
        """Open for writing past the page cache, or through it where the file system cannot do that (tmpfs)."""
        try:
            return self.disk.open(path, os.O_RDWR | os.O_DIRECT)
        except OSError as error:
            if error.errno not in _NO_DIRECT:
                raise
            return self.disk.open(path, os.O_RDWR)

    def clear(self) -> None:
        """Remove files that were being made when their process died. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError):
            for name in self.disk.listdir(self.path):
                if not name.startswith(_NEW):
                    continue
                descriptor = self.disk.open(f"{self.path}/{name}", os.O_RDWR)
                if self.disk.lock(descriptor):
                    self.disk.unlink(f"{self.path}/{name}")
                self.disk.close(descriptor)

    def adopt(self, name: str) -> int | None:
        """Lock a segment whose writer has died, to read and end it; None while the writer lives. Raises: OSError."""
        descriptor = self.disk.open(self.path_of(name), os.O_RDWR)
        if self.disk.lock(descriptor):
            return descriptor
        self.disk.close(descriptor)
        return None

    def end_torn(self, descriptor: int, end: int) -> None:
        """End a segment whose writer has died: the bytes of what it was at are overwritten first. Raises: OSError."""
        size = self.disk.fstat(descriptor).st_size
        erase_remains(self.disk, descriptor, end, min(size, end + _TORN_BYTES))
        self.end(descriptor, end)

    def end(self, descriptor: int, end: int) -> None:
        """Cut a segment behind its last frame, and make that durable. Raises: OSError."""
        self.disk.truncate(descriptor, end)
        self.disk.fsync(descriptor)

    def recycle(self, name: str) -> None:
        """Make a spare file of a segment that no row names and whose objects are all erased, or remove it where there
        are enough; durably. One that another process has locked stays. Raises: OSError."""
        try:
            descriptor = self.adopt(name)
        except FileNotFoundError:
            return None
        if descriptor is None:
            return None
        try:
            size = self.disk.fstat(descriptor).st_size
            erase_remains(self.disk, descriptor, 0, size)  # of damaged frames, too
            if not self.lacks_spares() or size < MIN_BYTES:
                return self._unlink(name)
            self.disk.rename(self.path_of(name), f"{self.path}/{_WRITTEN}{_now()}")
            sync_folder(self.disk, self.path)
        finally:
            self.disk.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a segment that no row names, durably, with all that was written to it. Idempotent. Raises: OSError."""
        with contextlib.suppress(FileNotFoundError), self.opened(name, os.O_RDWR) as descriptor:
            erase_remains(self.disk, descriptor, 0, self.disk.fstat(descriptor).st_size)
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.disk.unlink(self.path_of(name))
        sync_folder(self.disk, self.path)

    def walk(self, name: str) -> Iterator[FrameHeader | Damage]:
        """Yield the frames of a segment, all of whose checksums are compared, and what is damaged. Raises: OSError."""
        with self.opened(name) as descriptor:
            scan = SegmentScan(self.disk, descriptor, name)
            if scan.segment_id is None:
                yield Damage(0, scan.size)
            yield from scan.walk()

    def frames(self, name: str) -> Iterator[FrameHeader]:
        """Yield the frames of a segment, erased ones too; none of one without a header. Raises: OSError."""
        with self.opened(name) as descriptor:
            yield from SegmentScan(self.disk, descriptor, name).trusted()

    @contextlib.contextmanager
    def opened(self, name: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """A descriptor of a segment. Raises: OSError."""
        descriptor = self.disk.open(self.path_of(name), flags)
        try:
            yield descriptor
        finally:
            self.disk.close(descriptor)


def _now() -> str:
    return new_key(time.time_ns() // 1_000_000)


def aligned(data: bytes) -> Buffer:
    """A copy of some bytes in memory that a direct write can use: a mapping begins on a page."""
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memoryview(memory)
