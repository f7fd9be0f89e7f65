"""The errors of a disk as errors of the gateway."""

from __future__ import annotations

import errno
from typing import Final

from gateway.errors import OutOfDescriptors, OutOfSpace, StorageError, StorageFailed

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of opening, never of reading, writing or syncing: nothing is lost, and a retry may succeed."""


def storage_error(error: OSError, doing: str) -> StorageError:
    """Map the OSError of a write to OutOfSpace, OutOfDescriptors, StorageFailed or StorageError.

    A file system turns read-only (EROFS) when the kernel has found it broken, and stays read-only.
    """
    if error.errno == errno.EROFS:
        return StorageFailed(f"{doing}: {error.strerror}")
    if error.errno in NO_ROOM:
        return OutOfSpace(f"{doing}: {error.strerror}")
    if error.errno in NO_DESCRIPTORS:
        return OutOfDescriptors(f"{doing}: {error.strerror}")
    return StorageError(f"{doing}: {error.strerror}")
