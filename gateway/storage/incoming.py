"""Instances on their way in: the folder of one worker, and the files that grow there.

A file is created under a new key, written as its data come, synced, and given its name in the store; its name here
goes once that one is durable (`settle`). Who may call an instance stored, and when, is `archive/ingest.py`.

Empty files are kept in stock: one fsync of the folder makes the names of all of them durable beforehand, so that no
instance waits for its own (537 instances/s of 512 KB became 824, 321 became 687). Everything blocks and is called in
threads, except `new_file`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from gateway.errors import OutOfSpace, StorageError, StorageFailed
from gateway.storage.filesystem import FileStore, sync_folder
from gateway.storage.layout import Layout, is_key, new_key

Buffer = bytes | bytearray | memoryview
IOV_MAX = os.sysconf("SC_IOV_MAX")
STOCK = 64
"""Empty files that are kept ready."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def storage_error(error: OSError, doing: str) -> StorageError:
    """The OSError of a write as OutOfSpace or StorageError."""
    if error.errno in _NO_ROOM:
        return OutOfSpace(f"{doing}: {error.strerror}")
    return StorageError(f"{doing}: {error.strerror}")


class GroupSync:
    """One fsync of a folder for all threads that wait for one.

    A caller needs an fsync that *begins* after its call. The first caller syncs; those that come meanwhile share
    the next one. After a failure everyone fails, for good: what the kernel dropped is unknown.
    """

    def __init__(self, folder: str) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._condition = threading.Condition()
        self._begun = 0
        self._done = 0
        self._running = False
        self._failure: OSError | None = None
        self.waiting = 0
        """Threads that wait for a sync that another thread does."""

    def sync(self) -> None:
        condition = self._condition
        with condition:
            wanted = self._begun + 1
            while self._done < wanted and self._failure is None:
                if self._running:
                    self.waiting += 1
                    condition.wait()
                    self.waiting -= 1
                    continue
                self._running = True
                self._begun += 1
                condition.release()
                failure = None
                try:
                    os.fsync(self._descriptor)
                except OSError as error:
                    failure = error
                finally:
                    condition.acquire()
                    self._running = False
                    self._failure = self._failure or failure
                    self._done = self._begun
                    condition.notify_all()
            if self._failure is not None:
                raise StorageFailed(f"fsync of the incoming folder failed: {self._failure.strerror}")

    def close(self) -> None:
        os.close(self._descriptor)


class IncomingFile:
    """One file that grows. At most one thread works on it at a time."""

    __slots__ = ("_descriptor", "_folder", "_named", "folder", "key", "path", "size")

    def __init__(self, incoming: IncomingFolder, key: str) -> None:
        self._folder = incoming
        self._descriptor = -1
        self._named = False
        self.key = key
        self.path = f"{incoming.path}/{key}"
        self.size = 0
        self.folder: str | None = None
        """The folder of the store in which it has its second name, once it has."""

    def create(self) -> None:
        """Make it, empty. Raises OSError."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def named(self) -> None:
        """Its name in the incoming folder is durable."""
        self._named = True

    def append(self, views: Sequence[Buffer]) -> None:
        """Write all bytes of `views` at the end. Raises OutOfSpace or StorageError."""
        try:
            if self._descriptor < 0:
                self.create()
            for start in range(0, len(views), IOV_MAX):
                part = views[start : start + IOV_MAX]
                total = sum(map(len, part))
                written = os.writev(self._descriptor, part)
                if written < total:
                    self._append_rest(part, written)
                self.size += total
        except OSError as error:
            raise storage_error(error, "writing an incoming instance") from error

    def _append_rest(self, views: Sequence[Buffer], written: int) -> None:
        """After a short write, which a full disk or a signal makes."""
        for view in views:
            rest = memoryview(view)[written:]
            written = max(0, written - len(view))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self, views: Sequence[Buffer]) -> None:
        """Write the last bytes, name it in the store, and make bytes and incoming name durable.

        The link comes before the sync so that one journal commit carries both names. Raises OutOfSpace,
        StorageError, or StorageFailed when a sync failed.
        """
        self.append(views)
        try:
            self.folder = self._folder.store.place(self.path, self.key)
        except OSError as error:
            raise storage_error(error, "placing an instance in the store") from error
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            # A delayed allocation that finds no room shows here. It too loses pages, but of this file alone,
            # which is discarded.
            if error.errno in _NO_ROOM:
                raise storage_error(error, "syncing an incoming instance") from error
            raise StorageFailed(f"fdatasync of an incoming instance failed: {error.strerror}") from error
        self.close()
        if not self._named:
            self._folder.names.sync()

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Close it and take both names away: it was never acknowledged."""
        self.close()
        if self.folder is not None:
            self._folder.store.remove(self.key)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


class IncomingFolder:
    """The incoming folder of one worker, locked while the worker lives."""

    def __init__(self, layout: Layout, store: FileStore, name: str) -> None:
        """Create and lock it. Raises StorageError when another process has it."""
        self.store = store
        self.name = name
        self.path = str(layout.worker(name))
        os.makedirs(self.path, exist_ok=True)
        lock = try_lock(self.path)
        if lock is None:
            raise StorageError(f"{self.path} is in use by another process")
        self._lock = lock
        sync_folder(self.path)
        sync_folder(layout.incoming)
        self.names = GroupSync(self.path)
        self._stock: deque[IncomingFile] = deque()

    def new_file(self) -> IncomingFile:
        """A file under a new key: one in stock, or one that its first `append` creates."""
        return self._stock.popleft() if self._stock else self._make()

    def new_path(self) -> str:
        """Where a file may stand that is no instance; should it ever be left there, recovery deletes it."""
        return self._make().path

    @property
    def is_low(self) -> bool:
        """It is time to `restock`."""
        return len(self._stock) < STOCK // 2

    def restock(self) -> None:
        """Create empty files, and make their names durable with one sync. Raises OutOfSpace, StorageFailed."""
        files = [self._make() for _ in range(STOCK - len(self._stock))]
        try:
            for file in files:
                file.create()
            self.names.sync()
        except BaseException as error:
            for file in files:
                file.discard()
            if isinstance(error, OSError):
                raise storage_error(error, "preparing incoming files") from error
            raise
        for file in files:
            file.named()
        self._stock.extend(files)

    def _make(self) -> IncomingFile:
        return IncomingFile(self, new_key(time.time_ns() // 1_000_000))

    def settle(self, placed: Sequence[tuple[str, str]]) -> None:
        """Make store names durable, then drop the incoming ones. `placed`: (key, folder of the store)."""
        self.store.sync({folder for _, folder in placed})
        for key, _ in placed:
            try:
                os.unlink(f"{self.path}/{key}")
            except FileNotFoundError:
                pass

    def close(self) -> None:
        """Let the folder go; an empty one is removed with its lock."""
        while self._stock:
            self._stock.popleft().discard()
        self.names.close()
        remove_if_empty(self.path)
        os.close(self._lock)


def try_lock(folder: str) -> int | None:
    """Lock a worker's folder; the descriptor that holds the lock, or None when somebody else has it."""
    descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever removed the folder held the lock on a file that has no name any more.
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def remove_if_empty(folder: str) -> None:
    """Remove a worker's folder that holds nothing but its lock, which the caller holds."""
    if os.listdir(folder) == ["lock"]:
        os.unlink(f"{folder}/lock")
        os.rmdir(folder)


def abandoned(layout: Layout) -> Iterator[tuple[str, int]]:
    """Incoming folders whose worker is gone: (path, lock that the caller now holds and closes)."""
    for name in sorted(os.listdir(layout.incoming)):
        folder = str(layout.worker(name))
        try:
            lock = try_lock(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if lock is not None:
            yield folder, lock


def incoming_keys(folder: str) -> list[str]:
    return sorted(filter(is_key, os.listdir(folder)))
