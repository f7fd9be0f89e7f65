"""Files other than the store's, such as databases and folders that destinations write to. Blocks."""

from __future__ import annotations

import errno
import filecmp
import os
from enum import Enum
from pathlib import Path
from typing import Final

from gateway.storage import disk
from gateway.storage.disk import LOCAL

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
"""Errors of file systems without hard links, such as Windows shares."""


def private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file; a new one is for its owner and group alone. For `open(..., opener=private)`."""
    return os.open(path, flags | os.O_CLOEXEC, 0o640)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable."""
    disk.sync_folder(LOCAL, os.fspath(path))


def replace_durably(partial: Path, final: Path) -> None:
    """Sync a file, then rename it to `final`, replacing an existing file, and sync the folder."""
    descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(final)
    sync_folder(final.parent)


class Named(Enum):
    """The result of naming a file."""

    NEW = "new"
    SAME = "same"
    """A file with equal bytes has the name."""
    TAKEN = "taken"
    """A different file has the name."""


def name_file(temporary: Path, path: Path) -> Named:
    """Give the file at `temporary` the name `path`, atomically. Raises: OSError.

    The temporary name remains if possible, and is the caller's to unlink.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        return _compared(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            return _compared(temporary, path)
        temporary.rename(path)
    return Named.NEW


def _compared(temporary: Path, path: Path) -> Named:
    is_same = path.is_file() and filecmp.cmp(temporary, path, shallow=False)
    return Named.SAME if is_same else Named.TAKEN
