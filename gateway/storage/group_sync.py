"""The sync of one folder, shared by the threads that wait for it."""

from __future__ import annotations

import os
import threading

from gateway.errors import StorageFailed
from gateway.storage.disk import Disk


class GroupSync:
    """One fsync of a folder for all threads that wait for one.

    A caller needs an fsync that *begins* after its call. The first caller syncs; callers that arrive meanwhile share
    the next fsync. After a failure every call fails, for good: what the kernel dropped is unknown.
    """

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._descriptor = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._condition = threading.Condition()
        self._begun = 0
        self._done = 0
        self._running = False
        self._failure: OSError | None = None

    def sync(self) -> None:
        condition = self._condition
        with condition:
            wanted = self._begun + 1
            while self._done < wanted and self._failure is None:
                if self._running:
                    condition.wait()
                    continue
                self._running = True
                self._begun += 1
                condition.release()
                failure = None
                try:
                    self._disk.fsync(self._descriptor)
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
        self._disk.close(self._descriptor)
