"""Instances on their way in: the folder of one worker, and the files that grow there.

A file is created under a new key, written as its data come, synced, and given its name in the store; its name here
goes once that one is durable (`settle`). Who may call an instance stored, and when, is `archive/ingest.py`.

Empty files are kept in stock: one fsync of the folder makes the names of all of them durable beforehand, so that no
instance waits for its own (537 instances/s of 512 KB became 824, 321 became 687). Everything blocks and is called in
threads, except `new_file`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from gateway.errors import OutOfSpace, StorageError, StorageFailed
from gateway.storage.arena import Buffer
from gateway.storage.filesystem import FileStore, sync_folder
from gateway.storage.layout import Layout, is_key, new_key

IOV_MAX = os.sysconf("SC_IOV_MAX")
STOCK = 64
"""Empty files that are kept ready."""
_TRIES, _PAUSE = 5, 0.02
"""How often a new folder is locked, and seconds between."""
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
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
    """One file that grows. At most one thread, of one process, works on it at a time."""

    __slots__ = ("_descriptor", "_folder", "_made", "_named", "folder", "key", "path", "size")

    def __init__(self, incoming: IncomingFolder, key: str, *, made: bool = False, named: bool = False) -> None:
        """`made`: it exists, empty or half written; `named`: its name in the incoming folder is durable."""
        self._folder = incoming
        self._descriptor = -1
        self._made = made
        self._named = named
        self.key = key
        self.path = f"{incoming.path}/{key}"
        self.size = 0
        """Bytes that this process has written."""
        self.folder: str | None = None
        """The folder of the store in which it has its second name, once it may have one."""

    def open(self) -> None:
        """Make it where it is not made, for writing at its end. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags if self._made else flags | os.O_CREAT | os.O_EXCL, 0o640)
        self._made = True

    def named(self) -> None:
        """Its name in the incoming folder is durable."""
        self._named = True

    def hand_over(self) -> tuple[str, bool, bool]:
        """Leave it to another process to `place` and `sync`: its key, and what `made` and `named` are there."""
        self.close()
        self.folder = self._folder.store.folder(self.key)
        return self.key, self._made, self._named

    def append(self, views: Sequence[Buffer]) -> None:
        """Write all bytes of `views` at the end. Raises OutOfSpace or StorageError."""
        try:
            if self._descriptor < 0:
                self.open()
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

        Raises OutOfSpace, StorageError, or StorageFailed when a sync failed.
        """
        self.place(views)
        self.sync()

    def place(self, views: Sequence[Buffer]) -> None:
        """Write the last bytes and name it in the store: before the sync, so that one journal commit carries both
        names. Raises OutOfSpace, StorageError.
        """
        self.append(views)
        try:
            self.folder = self._folder.store.place(self.path, self.key)
        except OSError as error:
            raise storage_error(error, "placing an instance in the store") from error

    def sync(self) -> None:
        """Make bytes and incoming name durable, and close it. Raises OutOfSpace, StorageFailed."""
        self.flush()
        self.close()
        if not self._named:
            self._folder.names.sync()

    def begin_sync(self) -> None:
        """Have the disk begin to write what `sync` will wait for."""
        _sync_file_range(self._descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def flush(self) -> None:
        """Make the bytes so far durable. Raises OutOfSpace, StorageFailed."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            # A delayed allocation that finds no room shows here. It too loses pages, but of this file alone,
            # which is discarded.
            if error.errno in _NO_ROOM:
                raise storage_error(error, "syncing an incoming instance") from error
            raise StorageFailed(f"fdatasync of an incoming instance failed: {error.strerror}") from error

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

    def __init__(self, layout: Layout, store: FileStore, name: str, *, lock: int | None = None) -> None:
        """Create and lock it; `lock` is the descriptor of who has done so already and shares the folder with us.

        Raises StorageError when another process has it.
        """
        self.store = store
        self.name = name
        self.path = str(layout.worker(name))
        if lock is None:
            lock = _make_locked(self.path)
            if lock is None:
                raise StorageError(f"{self.path} is in use by another process")
            sync_folder(self.path)
            sync_folder(layout.incoming)
        self.lock = lock
        """Whoever has this descriptor keeps others from adopting the folder."""
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
                file.open()
                file.close()
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
        os.close(self.lock)


def _make_locked(folder: str) -> int | None:
    """As `try_lock`, of a folder that may be new. Who recovers may take an empty one away before it is locked."""
    for _ in range(_TRIES):
        os.makedirs(folder, exist_ok=True)
        try:
            lock = try_lock(folder)
        except FileNotFoundError:
            continue
        if lock is not None:
            return lock
        time.sleep(_PAUSE)
    return None


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
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # Somebody else looked for abandoned folders at this moment: now it is theirs to remove.


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
