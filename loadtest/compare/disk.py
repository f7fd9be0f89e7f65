"""The measured disk, and the kernel's memory in front of it: brought to the same state of rest for every server.

Two effects make one program two to forty times slower at writing a file, depending on what ran before it:

- ext4 checks every inode deleted in the last five minutes before it gives one to a new file: 20 us became 900 where an
  earlier run had been deleted. `spread` keeps servers apart from such places.
- A virtual machine gets a page of memory from its host at its first use: a file of 512 KB took 250 us to write,
  and 1300 in pages never used before. `touch_memory` uses some, and `Disk.rest` releases what a server has filled: each
  run begins in the same state.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from loadtest.machine import file_system

_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS of <linux/fs.h>
_SET_FLAGS: Final = 0x40086602
_TOP_OF_HIERARCHY: Final = 0x00020000  # FS_TOPDIR_FL: folders below are placed far apart
_TOUCHED: Final = 1 << 30
"""Bytes: three times what the largest run of the table writes."""


def is_durable(folder: Path) -> bool:
    """Whether the folder's file system survives a power cut; true if unknown."""
    return file_system(folder) not in ("tmpfs", "ramfs")


def spread(folder: Path) -> None:
    """Make the future folders in this one lie apart on the disk, if the file system supports that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(struct.calcsize("l"))))
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _TOP_OF_HIERARCHY))
    finally:
        os.close(descriptor)


def touch_memory() -> None:
    """Use pages that the machine has perhaps never used, and free them."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(-1, max(mmap.PAGESIZE, min(_TOUCHED, available // 2))) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1


class Disk:
    """Brings servers' folders to rest, and tracks the files seen there."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()

    def rest(self, folder: Path | None) -> None:
        """Sync everything, and drop the cached pages of the files that are new since the last call: instances. The
        pages of an index, which exists from the beginning, stay. Without a folder, of a server elsewhere, only sync.
        """
        os.sync()
        if folder is None:
            return
        new = set(_files(folder)) - self._seen
        self._seen |= new
        forget(new)


def forget(paths: Iterable[Path]) -> None:
    """Have the kernel drop the cached pages of some files, as far as they are written."""
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def forget_all(folder: Path | None) -> None:
    """Sync everything, and drop the cached pages of all files below a folder."""
    os.sync()
    forget(_files(folder) if folder is not None else ())


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder; files that disappear meanwhile are omitted."""
    for path, _, names in os.walk(folder):
        yield from (Path(path, name) for name in names)
