"""Overwriting the write-ahead log of SQLite: pages of rows that were deleted stand there until others take their place,
and on the disk even longer once the log is deleted. Everything blocks.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 20
_CACHE_PAGES: Final = 16
"""Pages of zeros that stay in memory; all others of a transaction go to the log before it ends."""
_MARGIN_BYTES: Final = 1 << 17
"""More zeros than the log has bytes: those that stay in memory, and some."""
_WAIT_MS: Final = 500


def overwrite_log(connection: sqlite3.Connection, path: Path) -> bool:
    """Copy the log of a database into it, then overwrite the log with zeros, durably; returns whether that was done.

    While somebody reads from the log it cannot be done. The caller holds the lock of the writers, and closes the
    connection afterwards. The zeros are those of a transaction that is rolled back: SQLite alone writes to its files.
    Raises: sqlite3.Error; OSError.
    """
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    if not size:
        return True
    connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
    ((busy, _pages, _copied),) = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    if busy:
        return False
    connection.execute(f"PRAGMA cache_size = {_CACHE_PAGES}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE overwriting (zeros BLOB)")
        for rest in range(size + _MARGIN_BYTES, 0, -_PIECE_BYTES):
            connection.execute("INSERT INTO overwriting (zeros) VALUES (zeroblob(?))", (min(rest, _PIECE_BYTES),))
    finally:
        connection.execute("ROLLBACK")
    descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return True
