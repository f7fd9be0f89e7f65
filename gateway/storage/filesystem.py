"""The store: reading objects, each in a file of its own or in a segment, and the folders of the files.

How a new one is stored durably is in `incoming.py`. Everything blocks; call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from gateway.errors import NoSuchObject, OutOfDescriptors, StorageError
from gateway.storage.disk import Disk, sync_folder
from gateway.storage.erasure import erase_file
from gateway.storage.failures import NO_DESCRIPTORS
from gateway.storage.layout import LOWER_LENGTH, UPPER_LENGTH, Layout, is_key, is_part_of_key
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameKind
from gateway.storage.segments.keys import is_in_segment, is_name, key_at, place_of
from gateway.storage.segments.reader import SegmentObject, SegmentReader

_PREFETCH_BYTES = 16 << 10
"""Prefetched bytes of an object: nearly every header fits."""
_LEAVING = ".erased"
"""Ends the name of an object while it is overwritten."""


class FileObject:
    """An open file. Its readers can go on after its name is unlinked, until it is erased (`erasure.py`)."""

    def __init__(self, disk: Disk, path: str, key: str) -> None:
        self._disk = disk
        self._key = key
        self._descriptor = disk.open(path, os.O_RDONLY)
        self.size = disk.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        try:
            data = self._disk.read(self._descriptor, length, offset)
            grown = self._disk.fstat(self._descriptor).st_size > self.size
        except OSError as error:
            raise StorageError(f"cannot read a stored object: {error}") from error
        if grown:
            raise NoSuchObject(f"no object {self._key}: it was erased while it was read")
        return data

    def close(self) -> None:
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1


def open_object(disk: Disk, path: str, key: str) -> FileObject:
    """Open the file of an object. Raises: NoSuchObject when there is none; OutOfDescriptors; StorageError."""
    try:
        return FileObject(disk, path, key)
    except FileNotFoundError:
        raise NoSuchObject(f"no object {key}") from None
    except OSError as error:
        kind = OutOfDescriptors if error.errno in NO_DESCRIPTORS else StorageError
        raise kind(f"cannot open object {key}: {error}") from error


class FileStore:
    """The store below a data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._disk = layout.disk
        self.segments = SegmentFolder(layout)
        self.in_segments = SegmentReader(self.segments)

    def open(self, key: str) -> FileObject | SegmentObject:
        if is_in_segment(key):
            return self.in_segments.open(key)
        return open_object(self._disk, self._layout.stored(key), key)

    def prefetch(self, key: str) -> None:
        if is_in_segment(key):
            self.in_segments.prefetch(key, _PREFETCH_BYTES)
            return
        try:
            descriptor = self._disk.open(self._layout.stored(key), os.O_RDONLY)
        except OSError:
            return  # Opening the object for reading will report the error.
        try:
            self._disk.prefetch(descriptor, _PREFETCH_BYTES)
        finally:
            self._disk.close(descriptor)

    def place(self, path: str, key: str) -> str:
        """Give the file at `path` its second name, in the store; returns the folder, which is not synced yet.

        An existing name is that of the same file, placed before a crash: keys are never used twice.
        """
        target = self._layout.stored(key)
        folder = self.folder(key)
        try:
            self._disk.link(path, target)
        except FileNotFoundError:
            self._disk.makedirs(folder)
            self._disk.link(path, target)
        except FileExistsError:
            pass
        return folder

    def folder(self, key: str) -> str:
        """The folder of the object's name in the store, whether the name exists or not."""
        return self._layout.stored(key)[: -len(key) - 1]

    def prepare(self) -> None:
        """Make missing folders of the store, durably.

        Raises: OSError; StorageError where the folders are not on one file system.
        """
        layout, disk = self._layout, self._disk
        folders = [str(path) for path in (layout.store, layout.segments, layout.incoming, layout.rejected)]
        for path in (str(layout.base), *folders):
            disk.makedirs(path, 0o750)
        for path in (str(layout.base), str(layout.base.absolute().parent)):
            sync_folder(disk, path)
        if len({disk.stat(path).st_dev for path in folders}) > 1:
            raise StorageError(
                f"store, segments, incoming and rejected in {layout.base} must be on one file system, "
                "because instances are linked from one to the other"
            )

    def where(self, key: str) -> str:
        """The place of an object, or of a segment by its name, in words, for people."""
        if is_name(key):
            return self.segments.path_of(key)
        if is_in_segment(key):
            name, offset = place_of(key)
            return f"{self.segments.path_of(name)} at {offset}"
        return self._layout.stored(key)

    def is_there(self) -> bool:
        """Whether the store exists at all."""
        return self._layout.store.is_dir()

    def is_empty(self) -> bool:
        """Whether the store has never held an object. Raises: OSError."""
        return not self._disk.listdir(str(self._layout.store)) and not self.segments.names()

    def exists(self, key: str) -> bool:
        """Whether the object has its name in the store. Raises: OSError."""
        try:
            self._disk.stat(self._layout.stored(key))
        except FileNotFoundError:
            return False
        return True

    def written_at(self, key: str) -> float:
        """The time of the object's last write, seconds since 1970. Blocks. Raises: OSError; NoSuchObject."""
        if is_in_segment(key):
            with contextlib.closing(self.in_segments.open(key)) as stored:
                return stored.frame.written_at
        return self._disk.stat(self._layout.stored(key)).st_mtime_ns / 1e9

    def remove(self, key: str) -> None:
        """Unlink an object; readers that have it open go on reading. Idempotent.

        After a power cut the name may be back, unless its `folder` was synced.
        """
        try:
            self._disk.unlink(self._layout.stored(key))
        except FileNotFoundError:
            pass

    def erase(self, key: str) -> None:
        """Overwrite the bytes of an object, then unlink it; readers that have it open get an error. Idempotent.

        A backup may link to the object until it has another name: whoever was first decides whether its bytes stay.
        After a power cut the names may be back, unless its `folder` was synced. Raises: OSError.
        """
        leaving = self._layout.stored(key) + _LEAVING
        with contextlib.suppress(FileNotFoundError):
            self._disk.rename(self._layout.stored(key), leaving)
        erase_file(self._disk, leaving)

    def sync(self, folders: set[str]) -> None:
        """Make the names in these folders durable, and the names of the folders themselves.

        A folder that does not exist holds no names.
        """
        above: set[str] = {os.path.dirname(folder) for folder in folders}
        for folder in (*sorted(folders), *sorted(above), str(self._layout.store)):
            with contextlib.suppress(FileNotFoundError):
                sync_folder(self._disk, folder)

    def keys(self, strays: list[str] | None = None) -> Iterator[str]:
        """Every key in the store, files first, each kind oldest first. Paths of foreign files are added to `strays`
        and skipped."""
        for folder in self._folders(strays, newest_first=False):
            yield from self._keys_in(folder, strays)
        for name in self.segments.names():
            for frame in self.segments.frames(name):
                if frame.kind is FrameKind.INSTANCE:
                    yield key_at(name, frame.offset)

    def newest_keys(self) -> Iterator[str]:
        """Keys of the store, newest first. A key is made some moments before its object arrives."""
        for folder in self._folders(None, newest_first=True):
            yield from reversed(self._keys_in(folder, None))

    def last_changed(self, count: int) -> list[str]:
        """Up to `count` keys, newest first, of the folder changed last: clocks may once have been ahead."""
        upper = self._changed_last(str(self._layout.store))
        lower = upper and self._changed_last(upper)
        return self._keys_in(lower, None)[: -count - 1 : -1] if lower else []

    def _folders(self, strays: list[str] | None, *, newest_first: bool) -> Iterator[str]:
        """The folders that hold objects, by name."""
        for upper in self._named(str(self._layout.store), UPPER_LENGTH, strays, newest_first):
            yield from self._named(upper, LOWER_LENGTH, strays, newest_first)

    def _named(self, folder: str, length: int, strays: list[str] | None, newest_first: bool) -> list[str]:
        folders = []
        with self._disk.scandir(folder) as entries:
            for entry in entries:
                if is_part_of_key(entry.name, length) and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif strays is not None:
                    strays.append(entry.path)
        return sorted(folders, reverse=newest_first)

    def _keys_in(self, folder: str, strays: list[str] | None) -> list[str]:
        keys = []
        with self._disk.scandir(folder) as entries:
            for entry in entries:
                if (
                    is_key(entry.name)
                    and self._layout.stored(entry.name) == entry.path
                    and entry.is_file(follow_symlinks=False)
                ):
                    keys.append(entry.name)
                elif strays is not None:
                    strays.append(entry.path)
        return sorted(keys)

    def free_files(self) -> int | None:
        """Files that an ordinary user may still create in the store's file system; None where they are not counted."""
        return self._disk.free_files(str(self._layout.base))

    def free_bytes(self) -> int:
        """Bytes that an ordinary user may still write in the store's file system."""
        return self._disk.free_bytes(str(self._layout.base))

    def backed_up_at(self) -> float:
        """When the last finished backup began, in seconds since 1970; 0 if none is known. Blocks, hardly."""
        try:
            return self._layout.backed_up.stat().st_mtime
        except OSError:
            return 0.0

    def note_backup(self, at: float) -> None:
        """Note that a backup that began at this time has been finished. Blocks. Raises: OSError."""
        self._layout.backed_up.touch(mode=0o640)
        os.utime(self._layout.backed_up, (at, at))

    def _changed_last(self, folder: str) -> str:
        """The subfolder with the newest time of change; '' if there is none."""
        with self._disk.scandir(folder) as entries:
            times = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return max(times, default=(0, ""))[1]
