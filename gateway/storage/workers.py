"""The incoming folders of workers: locked while the worker lives, found when it has died.

The files in them are handled in `incoming.py`. Everything blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from gateway.storage.disk import Disk
from gateway.storage.layout import Layout, is_key, new_key

_TRIES, _PAUSE = 5, 0.02
"""Attempts to lock a new folder, and seconds between them."""


def worker_name() -> str:
    """A name for this process that no worker has had."""
    return f"{os.getpid()}-{new_key(time.time_ns() // 1_000_000)}"


def worker_names(layout: Layout) -> list[str]:
    """The workers that have an incoming folder, alive or not. Raises: OSError."""
    return layout.disk.listdir(str(layout.incoming))


def make_locked(disk: Disk, folder: str) -> int | None:
    """Make a folder if needed and lock it as `try_lock` does. Recovery may remove an empty one before the lock."""
    for _ in range(_TRIES):
        disk.makedirs(folder)
        try:
            lock = try_lock(disk, folder)
        except FileNotFoundError:
            continue
        if lock is not None:
            return lock
        time.sleep(_PAUSE)
    return None


def try_lock(disk: Disk, folder: str) -> int | None:
    """Lock a worker's folder; the descriptor that holds the lock, or None when another process has it."""
    descriptor = disk.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT)
    # The process that removed the folder held the lock on a file that has no name any more.
    if disk.lock(descriptor) and disk.fstat(descriptor).st_nlink:
        return descriptor
    disk.close(descriptor)
    return None


def remove_if_empty(disk: Disk, folder: str) -> None:
    """Remove a worker's folder that holds nothing but its lock, which the caller holds."""
    if disk.listdir(folder) == ["lock"]:
        disk.unlink(f"{folder}/lock")
        try:
            disk.rmdir(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # Another process looked for abandoned folders at this moment: it will remove this one.


def abandoned(layout: Layout) -> Iterator[tuple[str, int]]:
    """Incoming folders whose worker has died: (path, lock that the caller now holds and closes)."""
    for name in sorted(layout.disk.listdir(str(layout.incoming))):
        folder = str(layout.worker(name))
        try:
            lock = try_lock(layout.disk, folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if lock is not None:
            yield folder, lock


def incoming_keys(disk: Disk, folder: str) -> list[str]:
    return sorted(filter(is_key, disk.listdir(folder)))


def all_incoming_keys(layout: Layout) -> set[str]:
    """Keys of all incoming files of all workers, alive or not."""
    keys: set[str] = set()
    for name in layout.disk.listdir(str(layout.incoming)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            keys.update(incoming_keys(layout.disk, str(layout.worker(name))))
    return keys
