"""The calls that the store makes to a disk, and nothing else: the seam at which tests insert their own disk.

`Disk` states what each call promises after a power cut, no more than POSIX does: the double in the tests
(`tests/support/memory_disk.py`) loses everything that is not promised here. `LocalDisk` is the file system of this
machine. Both raise OSError. Everything blocks.

A descriptor is a number of the disk that opened it. Other files than the store's (databases, folders that
destinations write to) do not use this interface.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol

from gateway.processes.arena import Buffer

IOV_MAX = os.sysconf("SC_IOV_MAX")
"""Most buffers for one `write`."""
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Status(Protocol):
    """The status of a file, as in `os.stat_result`."""

    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_dev(self) -> int: ...


class FolderEntry(Protocol):
    """One name in a folder, as in `os.DirEntry`."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...
    def is_file(self, *, follow_symlinks: bool = True) -> bool: ...
    def stat(self) -> Status: ...


class Disk(Protocol):
    """Files and folders that may lose power at any moment.

    Durable are: the bytes of a file, once `fdatasync` or `fsync` of the file has returned; a new or removed name in a
    folder, once `fsync` of the folder has returned. Of all other changes any may survive a power cut and any may not,
    in any combination: a file may come back with its new size and zeros in place of its bytes.
    """

    # Files, by their descriptors.

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        """Open or create a file, or a folder (O_DIRECTORY); the descriptor is not inherited."""

    def close(self, descriptor: int) -> None:
        """Close a descriptor, which makes nothing durable."""

    def write(self, descriptor: int, views: Sequence[Buffer]) -> int:
        """Write up to IOV_MAX buffers at the file's position; returns the number of bytes written, perhaps fewer."""

    def write_at(self, descriptor: int, view: Buffer, offset: int, *, durably: bool) -> int:
        """Write at `offset`, the file's position aside; returns the number of bytes written, perhaps fewer.

        `durably`: and make them durable, as `fdatasync` does. With O_DIRECT, memory, offset and length are multiples of
        4096 bytes.
        """

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """Read up to `length` bytes from `offset`; fewer only at the end of the file."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes, or extend it with zeros. Its position stays."""

    def rewind(self, descriptor: int) -> None:
        """Set the position of the file to its beginning."""

    def allocate(self, descriptor: int, size: int) -> None:
        """Make the file at least `size` bytes long, with disk space for all of them."""

    def fstat(self, descriptor: int) -> Status:
        """The status of an open file."""

    def fdatasync(self, descriptor: int) -> None:
        """Make the bytes of the file durable. After an error they are lost, whatever a later call returns."""

    def fsync(self, descriptor: int) -> None:
        """Make a file, or the names in a folder, durable. Errors as in `fdatasync`."""

    def begin_sync(self, descriptor: int) -> None:
        """Start writing the bytes for which `fdatasync` will wait. Promises nothing, raises nothing."""

    def prefetch(self, descriptor: int, length: int, offset: int = 0) -> None:
        """Read `length` bytes from `offset` into the page cache."""

    def drop_cache(self, descriptor: int) -> None:
        """Have later reads of what was flushed go to the disk: after a failed flush the page cache has what the disk
        lacks. Promises nothing, raises nothing."""

    def lock(self, descriptor: int) -> bool:
        """Try to lock the file for this descriptor, until all copies of it are closed. Whether the lock is ours."""

    def reader(self, descriptor: int) -> IO[bytes]:
        """Duplicate the descriptor as a file object, positioned at the beginning."""

    # Names.

    def link(self, path: str, new: str) -> None:
        """Give the file at `path` a second name. Raises: FileExistsError where the name exists."""

    def unlink(self, path: str) -> None:
        """Remove a name. The file remains for those who have it open."""

    def rename(self, path: str, new: str) -> None:
        """Rename the file at `path`, replacing the file named `new`; whole or not at all."""

    def makedirs(self, path: str, mode: int = 0o777) -> None:
        """Make a folder and its parents; existing ones are left as they are."""

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, in no order."""

    def scandir(self, path: str) -> AbstractContextManager[Iterator[FolderEntry]]:
        """The entries of a folder, in no order."""

    def stat(self, path: str) -> Status:
        """The status of a file."""

    # Space.

    def free_bytes(self, path: str) -> int:
        """Bytes that an ordinary user may still write in the file system of `path`."""

    def free_files(self, path: str) -> int | None:
        """Files that an ordinary user may still create in the file system of `path`; None if not counted."""


class LocalDisk:
    """The file system of this machine. Each method is one call of the operating system under its own name.

    The indirection costs 40 to 60 ns a call, and an instance needs a dozen calls.
    """

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def write(self, descriptor: int, views: Sequence[Buffer]) -> int:
        return os.writev(descriptor, views)

    def write_at(self, descriptor: int, view: Buffer, offset: int, *, durably: bool) -> int:
        return os.pwritev(descriptor, [view], offset, os.RWF_DSYNC if durably else 0)

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def rewind(self, descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)

    def allocate(self, descriptor: int, size: int) -> None:
        os.posix_fallocate(descriptor, 0, size)

    def fstat(self, descriptor: int) -> os.stat_result:
        return os.fstat(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def begin_sync(self, descriptor: int) -> None:
        _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def prefetch(self, descriptor: int, length: int, offset: int = 0) -> None:
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)

    def drop_cache(self, descriptor: int) -> None:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def reader(self, descriptor: int) -> IO[bytes]:
        file = os.fdopen(os.dup(descriptor), "rb")
        file.seek(0)
        return file

    def link(self, path: str, new: str) -> None:
        os.link(path, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rename(self, path: str, new: str) -> None:
        os.rename(path, new)

    def makedirs(self, path: str, mode: int = 0o777) -> None:
        os.makedirs(path, mode, exist_ok=True)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def scandir(self, path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        return os.scandir(path)

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def free_files(self, path: str) -> int | None:
        status = os.statvfs(path)
        return status.f_favail if status.f_files else None


LOCAL = LocalDisk()


def sync_folder(disk: Disk, path: str) -> None:
    """Make the names in a folder durable."""
    descriptor = disk.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


def write_all(disk: Disk, descriptor: int, views: Sequence[Buffer]) -> int:
    """Write all bytes of the views at the file's position; returns their number."""
    size = 0
    for start in range(0, len(views), IOV_MAX):
        part = views[start : start + IOV_MAX]
        total = sum(map(len, part))
        written = disk.write(descriptor, part)
        if written < total:
            _write_rest(disk, descriptor, part, written)
        size += total
    return size


def _write_rest(disk: Disk, descriptor: int, views: Sequence[Buffer], written: int) -> None:
    """Write the rest after a short write, caused by a signal or a full disk: a full one fails only at the next try."""
    for view in views:
        rest = memoryview(view)[written:]
        written = max(0, written - len(view))
        while rest:
            rest = rest[disk.write(descriptor, [rest]) :]
