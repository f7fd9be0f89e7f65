"""Files without a name, for what is too large for memory and not yet an instance.

They stand in the incoming folder of a worker, so on the disk that is watched, and are gone once they are closed or the
process has ended. Everything blocks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import IO

from gateway.errors import StorageError
from gateway.storage.arena import Buffer
from gateway.storage.incoming import IOV_MAX, storage_error


class Scratch:
    """One such file: bytes are added at its end and read anywhere."""

    def __init__(self, path: str) -> None:
        """`path` is free, and will be again. Raises OutOfSpace or StorageError."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.unlink(path)
        except OSError as error:
            raise storage_error(error, "making a temporary file") from error
        self.size = 0
        self._lock = threading.Lock()
        """A call that nobody waits for any more must not meet a descriptor that is closed, or somebody else's."""

    def append(self, views: Sequence[Buffer]) -> None:
        """Raises OutOfSpace or StorageError."""
        with self._lock:
            self._check()
            try:
                for start in range(0, len(views), IOV_MAX):
                    part = views[start : start + IOV_MAX]
                    written = os.writev(self._descriptor, part)
                    if written < sum(map(len, part)):  # a full disk says so only at the next try
                        rest = memoryview(b"".join(part))[written:]
                        while rest:
                            rest = rest[os.write(self._descriptor, rest) :]
                    self.size += sum(map(len, part))
            except OSError as error:
                raise storage_error(error, "writing a temporary file") from error

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._check()
            try:
                return os.pread(self._descriptor, length, offset)
            except OSError as error:
                raise StorageError(f"cannot read a temporary file: {error}") from error

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            self._check()
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self.size = 0

    def file(self) -> IO[bytes]:
        """A file object from its beginning, to be closed by itself. Nothing may be added meanwhile."""
        with self._lock:
            self._check()
            file = os.fdopen(os.dup(self._descriptor), "rb")
        file.seek(0)
        return file

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _check(self) -> None:
        if self._descriptor < 0:
            raise StorageError("a temporary file is closed already")
