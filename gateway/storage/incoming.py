"""Incoming instances: the folder of one worker, and the files that grow in it.

A file is created under a new key, written as its data arrive, synced, and given its name in the store; its incoming
name is unlinked once the other one is durable (`make_durable`). When an instance counts as stored is in
`ingest/ingest.py`.

Empty files are preallocated: one fsync of the folder makes the names of all of them durable beforehand, so that no
instance waits for its own (537 instances/s of 512 KB became 824, 321 became 687). Everything blocks and is called in
threads, except `new_file`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Sequence

from gateway.errors import StorageError, StorageFailed
from gateway.processes.arena import Buffer
from gateway.storage.disk import sync_folder, write_all
from gateway.storage.erasure import write_zeros
from gateway.storage.failures import NO_ROOM, storage_error
from gateway.storage.filesystem import FileStore
from gateway.storage.group_sync import GroupSync
from gateway.storage.layout import Layout, new_key
from gateway.storage.workers import make_locked, remove_if_empty

log = logging.getLogger(__name__)

PREALLOCATED = 64
"""Empty files in the preallocated pool."""


class IncomingFile:
    """One growing file. At most one thread, of one process, uses it at a time."""

    __slots__ = ("_descriptor", "_disk", "_folder", "_made", "_named", "folder", "key", "path", "size")

    def __init__(self, incoming: IncomingFolder, key: str, *, made: bool = False, named: bool = False) -> None:
        """`made`: the file exists, empty or half written; `named`: its name in the incoming folder is durable."""
        self._disk = incoming.disk
        self._folder = incoming
        self._descriptor = -1
        self._made = made
        self._named = named
        self.key = key
        self.path = f"{incoming.path}/{key}"
        self.size = 0
        """Bytes written by this process."""
        self.folder: str | None = None
        """The folder of the store in which the file has, or may have, its second name; None before that."""

    def open(self) -> None:
        """Open the file for appending; create it unless it exists. Raises: OSError."""
        flags = os.O_WRONLY | os.O_APPEND
        self._descriptor = self._disk.open(self.path, flags if self._made else flags | os.O_CREAT | os.O_EXCL)
        self._made = True

    def hand_over(self) -> tuple[str, bool, bool]:
        """Close the file so that another process can `place` and `sync` it; returns its key, `made` and `named`.

        The file may come back from there, and go again: a duplicate is compared between two requests. By then it is
        both made and named.
        """
        self.close()
        self.folder = self._folder.store.folder(self.key)
        state = self.key, self._made, self._named
        self._made = self._named = True
        return state

    def append(self, views: Sequence[Buffer]) -> None:
        """Write all bytes of `views` at the end. Raises: OutOfSpace; StorageError."""
        try:
            if self._descriptor < 0:
                self.open()
            self.size += write_all(self._disk, self._descriptor, views)
        except OSError as error:
            raise storage_error(error, "writing an incoming instance") from error

    def place(self) -> None:
        """Give the file its name in the store, once its incoming name is durable: a power cut could leave only the name
        in the store, an orphan that recovery does not look for. Raises: OutOfSpace; StorageError; StorageFailed.
        """
        if not self._named:
            name_durably([self])
        try:
            self.folder = self._folder.store.place(self.path, self.key)
        except OSError as error:
            raise storage_error(error, "placing an instance in the store") from error

    def sync(self) -> None:
        """Make the file's bytes durable, and close it. Raises: OutOfSpace; StorageFailed."""
        self.flush()
        self.close()

    def begin_sync(self) -> None:
        """Start writing the bytes for which `sync` will wait."""
        self._disk.begin_sync(self._descriptor)

    def flush(self) -> None:
        """Make the bytes written so far durable. Raises: OutOfSpace; StorageFailed."""
        try:
            self._disk.fdatasync(self._descriptor)
        except OSError as error:
            # A delayed allocation that finds no room fails here. It too loses pages, but of this file alone,
            # which is discarded.
            if error.errno in NO_ROOM:
                raise storage_error(error, "syncing an incoming instance") from error
            raise StorageFailed(f"fdatasync of an incoming instance failed: {error.strerror}") from error

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._disk.close(descriptor)

    def discard(self) -> bool:
        """Close, overwrite and unlink the file, which was never acknowledged. False where the disk refuses; recovery
        unlinks it at the next start.

        If the file may have a name in the store, that name goes first, and the incoming one with the next
        `make_durable`: in the other order a power cut could leave an orphan in the store.
        """
        self.close()
        if self.size:
            self._overwrite()
        try:
            if self.folder is not None:
                self._folder.store.remove(self.key)
            else:
                self._disk.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s cannot be deleted (%s); the next start will try again", self.path, error.strerror)
            return False
        return True

    def _overwrite(self) -> None:
        """Overwrite the bytes, as far as the disk allows it: it may be full, or fail."""
        with contextlib.suppress(OSError):
            descriptor = self._disk.open(self.path, os.O_RDWR)
            try:
                write_zeros(self._disk, descriptor, 0, self._disk.fstat(descriptor).st_size)
                self._disk.fdatasync(descriptor)
            finally:
                self._disk.close(descriptor)


class IncomingFolder:
    """The incoming folder of one worker, locked while the worker lives."""

    def __init__(self, layout: Layout, store: FileStore, name: str, *, lock: int | None = None) -> None:
        """Create and lock the folder; `lock` is the descriptor of a process that has locked it and shares it with us.

        Raises: StorageError when another process has the lock.
        """
        self.store = store
        self.disk = layout.disk
        self.name = name
        self.path = str(layout.worker(name))
        if lock is None:
            lock = make_locked(self.disk, self.path)
            if lock is None:
                raise StorageError(f"{self.path} is in use by another process")
            sync_folder(self.disk, self.path)
            sync_folder(self.disk, str(layout.incoming))
        self.lock = lock
        """The descriptor that holds the folder's lock: while it is open no other process adopts the folder."""
        self.names = GroupSync(self.disk, self.path)
        self._preallocated: deque[IncomingFile] = deque()

    def new_file(self) -> IncomingFile:
        """A file under a new key: preallocated, or created by its first `append`."""
        return self._preallocated.popleft() if self._preallocated else self._make()

    def new_path(self) -> str:
        """A path for a temporary file that is no instance; a file left there is deleted by recovery."""
        return self._make().path

    @property
    def is_low(self) -> bool:
        """Whether it is time to `preallocate`."""
        return len(self._preallocated) < PREALLOCATED // 2

    def preallocate(self) -> None:
        """Create empty files, and make their names durable with one sync. Raises: OutOfSpace; StorageFailed."""
        files = [self._make() for _ in range(PREALLOCATED - len(self._preallocated))]
        try:
            for file in files:
                file.open()
                file.close()
            name_durably(files)
        except BaseException as error:
            for file in files:
                file.discard()
            if isinstance(error, OSError):
                raise storage_error(error, "preparing incoming files") from error
            raise
        self._preallocated.extend(files)

    def _make(self) -> IncomingFile:
        return IncomingFile(self, new_key(time.time_ns() // 1_000_000))

    def make_durable(self, placed: Sequence[tuple[str, str]]) -> None:
        """Make names in the store durable, then unlink the incoming ones. `placed`: (key, folder of the store)."""
        self.store.sync({folder for _, folder in placed})
        for key, _ in placed:
            try:
                self.disk.unlink(f"{self.path}/{key}")
            except FileNotFoundError:
                pass

    def close(self) -> None:
        """Unlock the folder; remove it if it is empty."""
        while self._preallocated:
            if not self._preallocated.popleft().discard():
                self._preallocated.clear()  # The others cannot be deleted either.
        self.names.close()
        try:
            remove_if_empty(self.disk, self.path)
        except OSError as error:
            log.warning("%s cannot be removed (%s); the next start will try again", self.path, error.strerror)
        self.disk.close(self.lock)


def name_durably(files: Sequence[IncomingFile]) -> None:
    """Make the incoming names of files of one folder durable, with at most one sync. Raises: StorageFailed."""
    unnamed = [file for file in files if not file._named]
    if unnamed:
        unnamed[0]._folder.names.sync()
    for file in unnamed:
        file._named = True
