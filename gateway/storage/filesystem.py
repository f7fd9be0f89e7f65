"""Instances as files: reading them, and the folders they stand in.

How a new one gets here durably is `incoming.py`. Everything blocks; call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from gateway.errors import NoSuchObject, StorageError
from gateway.storage.layout import Layout, is_key

_BEGINNING = 16 << 10
"""Bytes of an object that is expected: nearly every header fits."""


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileObject:
    """An open file. Unlinking its name does not take it from its readers."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise StorageError(f"cannot read a stored object: {error}") from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileStore:
    """The store below a data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def open(self, key: str) -> FileObject:
        try:
            return FileObject(self._layout.stored(key))
        except FileNotFoundError:
            raise NoSuchObject(f"no object {key}") from None
        except OSError as error:
            raise StorageError(f"cannot open object {key}: {error}") from error

    def expect(self, key: str) -> None:
        try:
            descriptor = os.open(self._layout.stored(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # who opens it will hear of it
        try:
            os.posix_fadvise(descriptor, 0, _BEGINNING, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)

    def place(self, path: str, key: str) -> str:
        """Give the file at `path` its second name, in the store; returns the folder, which is not synced yet.

        A name that is there already is this very key, placed before a crash: keys are never used twice.
        """
        target = self._layout.stored(key)
        folder = self.folder(key)
        try:
            os.link(path, target)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            os.link(path, target)
        except FileExistsError:
            pass
        return folder

    def folder(self, key: str) -> str:
        """Where its name in the store stands, or will stand."""
        return self._layout.stored(key)[: -len(key) - 1]

    def written_at(self, key: str) -> float:
        """When the object got its last byte, seconds since 1970. Blocks. Raises OSError."""
        return os.stat(self._layout.stored(key)).st_mtime_ns / 1e9

    def remove(self, key: str) -> None:
        """Take an object's name away; readers that have it open keep it. Nothing happens when it is gone."""
        try:
            os.unlink(self._layout.stored(key))
        except FileNotFoundError:
            pass

    def sync(self, folders: set[str]) -> None:
        """Make the names in these folders durable, and the folders' own names above them."""
        above: set[str] = {os.path.dirname(folder) for folder in folders}
        for folder in (*folders, *above, str(self._layout.store)):
            sync_folder(folder)

    def keys(self) -> Iterator[str]:
        """Every key in the store, oldest first."""
        for upper in sorted(os.listdir(self._layout.store)):
            for lower in sorted(os.listdir(self._layout.store / upper)):
                yield from sorted(filter(is_key, os.listdir(self._layout.store / upper / lower)))

    def free_bytes(self) -> int:
        """Bytes that an ordinary user may still write in the file system of the store."""
        status = os.statvfs(self._layout.base)
        return status.f_bavail * status.f_frsize
