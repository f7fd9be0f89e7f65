"""Whose a data folder is: the gateway's own or foreign, and which process serves it.

The lock is held by the parent of the workers, or by the one process that serves alone, and goes with that process:
a crash leaves none. Commands that work beside a gateway do not take it. Everything blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from gateway.errors import ConfigurationError
from gateway.storage.layout import Layout

_NAMES: Final = frozenset(
    {
        *("database.sqlite", "write.lock", "serving.lock", "reserve", "store", "incoming", "rejected", "unindexed"),
        *("outputs", "migrations", "ohif", "backup.json", "segments", "database.postgresql"),
    }
)
"""What this and every earlier release makes in a data folder; and files beside the database, which begin as it does."""
_SIGNS: Final = frozenset({"database.sqlite", "database.postgresql", "database.sqlite.rebuilding", "write.lock"})
"""Names of which every data folder that was ever opened has one, whatever else somebody has put there."""
_OF_FILE_SYSTEMS: Final = frozenset({"lost+found", ".snapshot", ".zfs"})
"""What a file system itself shows in its topmost folder."""
_SHOWN: Final = 3
_MAX_PID_BYTES: Final = 20


def check_own(layout: Layout) -> None:
    """Check that a data folder is the gateway's, empty, or not there yet.

    Raises: ConfigurationError for a folder that holds something else and no sign of the gateway; OSError.
    """
    try:
        found = set(layout.disk.listdir(str(layout.base))) - _OF_FILE_SYSTEMS
    except FileNotFoundError:
        return
    foreign = sorted(name for name in found if name not in _NAMES and not name.startswith("database.sqlite"))
    if foreign and not found & _SIGNS:
        shown = ", ".join(map(repr, foreign[:_SHOWN])) + (", …" if len(foreign) > _SHOWN else "")
        raise ConfigurationError(
            f"storage.path: {layout.base} holds {shown} and is no data folder of a gateway; name an empty folder, or "
            "one that is not there yet, with --data"
        )


@contextlib.contextmanager
def served(layout: Layout) -> Iterator[None]:
    """Hold the lock of the process that serves a data folder, which must exist.

    Raises: ConfigurationError while another process holds it, or where it cannot be opened.
    """
    disk = layout.disk
    try:
        descriptor = disk.open(str(layout.serving_lock), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ConfigurationError(f"{layout.serving_lock}: it cannot be opened: {error.strerror}") from None
    try:
        if not disk.lock(descriptor):
            number = os.pread(descriptor, _MAX_PID_BYTES, 0).decode("ascii", "replace").strip()
            raise ConfigurationError(
                f"storage.path: another gateway{f', process {number},' if number.isdigit() else ''} serves "
                f"{layout.base} already; end that one first, or name another folder with --data"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        disk.close(descriptor)
