"""Copying segments from one data folder into another, as far as they are written. Everything blocks.

A segment that is being written grows, and objects in it are erased: so a copy has bytes of its own, no hard link to the
original, and what was erased before it was copied is not in it. A copy that is there already is continued.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from gateway.errors import NoSuchObject, StorageError
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.keys import place_of
from gateway.storage.segments.reader import SegmentReader

_PIECE_BYTES: Final = 1 << 20
_NOT_IN_KERNEL: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class SegmentCopy:
    """Copies segments, and says which objects of them are there. Close it."""

    def __init__(self, source: SegmentFolder, target: SegmentFolder) -> None:
        self._source = source
        self._target = target
        self._reader = SegmentReader(target)
        self._copied: dict[str, int] = {}
        """Bytes of each segment that are copied."""

    def bring(self, key: str, size: int, marks: dict[str, int]) -> bool:
        """Have the object in the copy; whether it is there, with this size. `marks`: by segment, how far it is written.

        Raises: StorageError on a write.
        """
        name, _ = place_of(key)
        if self._copied.get(name, 0) < marks.get(name, 0):
            self._copy(name, marks[name])
        try:
            with contextlib.closing(self._reader.open(key)) as stored:
                return stored.size == size
        except NoSuchObject:
            return False

    def _copy(self, name: str, end: int) -> None:
        os.makedirs(self._target.path, 0o750, exist_ok=True)
        target = self._target.path_of(name)
        try:
            with self._source.opened(name) as old:
                new = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
                try:
                    _copy_range(old, new, self._copied.get(name, 0), end)
                    os.fsync(new)
                finally:
                    os.close(new)
        except FileNotFoundError:
            end = 0
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}") from error
        self._reader.forget(name)
        self._copied[name] = end

    @property
    def is_empty(self) -> bool:
        """Whether nothing was copied."""
        return not self._copied

    def close(self) -> None:
        self._reader.close()


def _copy_range(old: int, new: int, at: int, end: int) -> None:
    """Copy bytes to the same place, in the kernel where it can: XFS and btrfs share the blocks. Raises: OSError."""
    in_kernel = True
    while at < end:
        if in_kernel:
            try:
                copied = os.copy_file_range(old, new, end - at, at, at)
            except OSError as error:
                if error.errno not in _NOT_IN_KERNEL:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(old, min(_PIECE_BYTES, end - at), at)
            copied = os.pwrite(new, data, at)
        if not copied:
            raise OSError(errno.EIO, "the segment is shorter than the index says")
        at += copied
