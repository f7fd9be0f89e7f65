"""The counter of commits of a SQLite file, read on a connection of its own.

What was made of rows is valid for as long as the counter is the same, whichever process commits. Cached answers are
checked by it (`web/rest/answer_cache.py`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

_READ: Final = "PRAGMA data_version"
"""Differs once another connection, of this process or another, has committed; ours never does. Reading it takes 3 us:
the index of the write-ahead log is in shared memory."""


class DataVersions:
    """The counter of one file. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the connection. Raises: sqlite3.Error."""
        # No waiting: a lock that another process holds for long counts as a change.
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            self._connection.close()
            raise
        self._unknown = 0

    def current(self) -> int:
        """The counter; where it cannot be read, a number that was never returned before."""
        with contextlib.suppress(sqlite3.Error):
            # Read to the end: an open statement would hold its snapshot, and see no change any more.
            ((version,),) = self._connection.execute(_READ)
            return int(version)
        self._unknown -= 1
        return self._unknown

    def close(self) -> None:
        """Close the connection, before those that write: the last one of a file checkpoints it, which is slow."""
        self._connection.close()
