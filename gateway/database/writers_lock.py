"""The lock file on which the writers of a database queue, in threads and in processes of one data folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import DatabaseError


class WritersLock:
    """One holder's end of the lock. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, made where it is missing. Raises: OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self._descriptor)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock: inside, no other writer writes. Raises: DatabaseError."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self, *, waits: bool = True) -> bool:
        """Take the lock; whether it could be had. Blocks if it `waits`. Raises: DatabaseError."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise DatabaseError(f"the lock of the database failed: {error}") from error
        return True

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
