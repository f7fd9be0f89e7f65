"""Erasing files: their bytes are overwritten, durably, before their names go. Everything blocks.

To unlink a file only frees its blocks, and what stood in them can be read from the disk until something else is written
there. A file system that writes elsewhere than in place (btrfs, ZFS, a file with shared blocks), a snapshot, and the
spare blocks of a flash disk keep copies that no program can overwrite: against these helps encryption of the disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Final

from gateway.storage.disk import Disk
from gateway.storage.failures import NO_ROOM

log = logging.getLogger(__name__)

_ZEROS: Final = bytes(1 << 20)


def write_zeros(disk: Disk, descriptor: int, start: int, end: int) -> None:
    """Write zeros over a part of a file, not durably. Raises: OSError."""
    while start < end:
        start += disk.write_at(descriptor, memoryview(_ZEROS)[: end - start], start, durably=False)


def erase_remains(disk: Disk, descriptor: int, start: int, end: int) -> None:
    """Overwrite, durably, what is not zero in a part of a file: most of it is. Raises: OSError."""
    is_changed = False
    while start < end and (data := disk.read(descriptor, min(len(_ZEROS), end - start), start)):
        if data.count(0) < len(data):
            write_zeros(disk, descriptor, start, start + len(data))
            is_changed = True
        start += len(data)
    if is_changed:
        disk.fdatasync(descriptor)


def erase_open(disk: Disk, descriptor: int) -> None:
    """Overwrite all bytes of a file, durably, unless it has other names: those are a backup's, whose bytes they are.

    The file grows by a byte before, by which those who have it open for reading notice. Raises: OSError.
    """
    status = disk.fstat(descriptor)
    if status.st_nlink > 1 or not status.st_size:
        return
    disk.truncate(descriptor, status.st_size + 1)
    write_zeros(disk, descriptor, 0, status.st_size)
    disk.fdatasync(descriptor)


def erase_file(disk: Disk, path: str) -> None:
    """Erase a file that nobody links to any more, and unlink it; idempotent. Raises: OSError.

    A file system that needs room to overwrite, and has none, gets it by the deletion: then the bytes stay in free
    blocks.
    """
    with contextlib.suppress(FileNotFoundError):
        descriptor = disk.open(path, os.O_RDWR)
        try:
            erase_open(disk, descriptor)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            log.warning("%s is deleted and not overwritten, since there is no room for that here", path)
        finally:
            disk.close(descriptor)
        disk.unlink(path)
