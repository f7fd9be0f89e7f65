"""Copying the instances of one data folder into another: files by hard links where possible, else byte by byte.

Both folders are on this machine. Everything blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import StorageError
from gateway.storage.layout import Layout
from gateway.storage.naming import private, sync_folder
from gateway.storage.segments.copying import SegmentCopy
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.keys import is_in_segment

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


def make_store(layout: Layout) -> None:
    """Make the store of a new data folder. Raises: OSError."""
    layout.store.mkdir(mode=0o750)


def remove_store(layout: Layout) -> None:
    """Remove the store of a data folder with its contents, as far as possible."""
    for folder in (layout.store, layout.segments):
        shutil.rmtree(folder, ignore_errors=True)


class StoreCopy:
    """Copies instances of one data folder into another."""

    def __init__(self, source: Layout, target: Layout, copy: bool) -> None:
        self._source, self._target, self._copy = source, target, copy
        self._segments = SegmentCopy(SegmentFolder(source), SegmentFolder(target))
        self.marks: dict[str, int] = {}
        """For each segment how far it is written, by the rows that name its objects."""
        self._here: set[str] = set()
        self._folders: set[Path] = set()
        self.named: set[str] = set()
        """Keys copied since this set was last cleared."""
        self.linked = 0
        self.copied = 0

    def bring(self, rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Copy objects, (key, size) each; returns those that are there, complete. Raises: StorageError on a write."""
        done = []
        for key, size in rows:
            if is_in_segment(key):
                if not self._segments.bring(key, size, self.marks):
                    continue
                self.copied += key not in self._here
                self._here.add(key)
            elif key in self._here or self._bring(key, size):
                self._here.add(key)
            else:
                continue
            self.named.add(key)
            done.append((key, size))
        return done

    def _bring(self, key: str, size: int) -> bool:
        source, target = Path(self._source.stored(key)), Path(self._target.stored(key))
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        try:
            if source.stat().st_size != size:
                return False
            if not self._copy:
                try:
                    target.hardlink_to(source)
                    self.linked += 1
                    return True
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    self._copy = True
            copy_file(source, target)
            if target.stat().st_size != size:  # It was being erased, and has grown by a byte before.
                target.unlink()
                return False
            self.copied += 1
            return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}") from error

    def drop_others(self) -> None:
        """Delete objects that an earlier copy of the database named and the last does not."""
        for key in filter(lambda key: not is_in_segment(key), self._here - self.named):
            os.unlink(self._target.stored(key))

    def sync(self) -> None:
        """Make the names durable; the contents already are. Nothing is copied afterwards."""
        self._segments.close()
        if not self._segments.is_empty:
            sync_folder(self._target.segments)
        for folder in self._folders | {folder.parent for folder in self._folders}:
            sync_folder(folder)
        for folder in (self._target.store, self._target.base, self._target.base.absolute().parent):
            sync_folder(folder)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file durably to a new one. Raises: OSError."""
    with source.open("rb") as old, open(target, "xb", opener=private) as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())
