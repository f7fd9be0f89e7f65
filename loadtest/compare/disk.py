"""The disk that is measured, and the kernel's memory before it: brought to rest, and the same for every server.

Two things make one and the same program two to forty times slower to write a file, depending on what ran before it:

- ext4 looks at every inode that was deleted in the last five minutes before it gives one to a new file: 20 us became
  900 where a former run had been deleted. `spread` keeps servers away from such places.
- A virtual machine gets a page of memory from its host when it uses it for the first time: a file of 512 KB took
  250 us to write, and 1300 in pages that were never used. `touch_memory` uses some, and `Disk.rest` gives back what a
  server has filled, so that each run finds the same.
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

_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS of <linux/fs.h>
_SET_FLAGS: Final = 0x40086602
_TOP_OF_HIERARCHY: Final = 0x00020000  # FS_TOPDIR_FL: folders below are put far from each other
_TOUCHED: Final = 1 << 30
"""Bytes: three times what the largest run of the table writes."""


def is_durable(folder: Path) -> bool:
    """Whether the folder's file system outlives the power; true where that cannot be told."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return True
    path = folder.resolve()
    over = [(len(mount), kind) for mount, kind in mounts if path.is_relative_to(mount)]
    return not over or max(over)[1] not in ("tmpfs", "ramfs")


def spread(folder: Path) -> None:
    """Have the folders that will be made in this one lie apart on the disk, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(struct.calcsize("l"))))
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _TOP_OF_HIERARCHY))
    finally:
        os.close(descriptor)


def touch_memory() -> None:
    """Use pages that the machine has perhaps never used, and give them back."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(-1, max(mmap.PAGESIZE, min(_TOUCHED, available // 2))) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1


class Disk:
    """Brings servers' folders to rest, and remembers what it has seen there."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()

    def rest(self, folder: Path) -> None:
        """Write what anybody has left to be written, and forget what is kept of the files that have come since the
        last time: instances. An index, which is there from the beginning, stays.
        """
        os.sync()
        new = set(_files(folder)) - self._seen
        self._seen |= new
        forget(new)


def forget(paths: Iterable[Path]) -> None:
    """Have the kernel drop what it keeps of these files, as far as it is written."""
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def forget_all(folder: Path) -> None:
    """Write what anybody has left to be written, and forget all that is kept of the files below."""
    os.sync()
    forget(_files(folder))


def _files(folder: Path) -> Iterator[Path]:
    """All below; what goes away meanwhile is left out."""
    for path, _, names in os.walk(folder):
        yield from (Path(path, name) for name in names)
