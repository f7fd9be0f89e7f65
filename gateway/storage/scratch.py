"""Files without a name, for data too large for memory that are not an instance yet.

They lie in the incoming folder of a worker, hence on the disk that is watched, and vanish when they are closed or the
process ends. Everything blocks.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from typing import IO

from gateway.errors import StorageError
from gateway.processes.arena import Buffer
from gateway.storage.disk import Disk, write_all
from gateway.storage.erasure import erase_open
from gateway.storage.failures import storage_error


class Scratch:
    """A file without a name: bytes are appended and read anywhere."""

    def __init__(self, disk: Disk, path: str) -> None:
        """`path` must not exist, and is free again afterwards. Raises: OutOfSpace; StorageError."""
        self._disk = disk
        try:
            self._descriptor = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            disk.unlink(path)
        except OSError as error:
            raise storage_error(error, "making a temporary file") from error
        self.size = 0
        self._files: list[IO[bytes]] = []
        self._lock = threading.Lock()
        """A call whose caller has been cancelled must not use a closed descriptor, or that of another file."""

    def append(self, views: Sequence[Buffer]) -> None:
        """Write `views` at the end. Raises: OutOfSpace; StorageError."""
        with self._lock:
            self._check()
            try:
                self.size += write_all(self._disk, self._descriptor, views)
            except OSError as error:
                raise storage_error(error, "writing a temporary file") from error

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._check()
            try:
                return self._disk.read(self._descriptor, length, offset)
            except OSError as error:
                raise StorageError(f"cannot read a temporary file: {error}") from error

    def clear(self) -> None:
        """Remove all bytes."""
        with self._lock:
            self._check()
            self._erase()
            self._disk.truncate(self._descriptor, 0)
            self._disk.rewind(self._descriptor)
            self.size = 0

    def file(self) -> IO[bytes]:
        """A file object of the whole file, to be closed separately. Nothing may be appended meanwhile."""
        with self._lock:
            self._check()
            self._files.append(self._disk.reader(self._descriptor))
            return self._files[-1]

    def close(self) -> None:
        """Overwrite the bytes, and close the file. Idempotent."""
        with self._lock:
            if self._descriptor >= 0:
                self._erase()
                self._disk.close(self._descriptor)
                self._descriptor = -1

    def _erase(self) -> None:
        """Overwrite the bytes, as far as the disk allows it, unless somebody whose request is over still reads them."""
        if all(file.closed for file in self._files):
            with contextlib.suppress(OSError):
                erase_open(self._disk, self._descriptor)

    def _check(self) -> None:
        if self._descriptor < 0:
            raise StorageError("the temporary file is closed already")
