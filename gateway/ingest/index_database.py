"""The database that holds the index of a data folder: SQLite in the folder, or PostgreSQL on a server.

A folder whose index is in PostgreSQL has a marker in the place of the file, so that no command takes it for one without
an index. asyncpg is loaded only where PostgreSQL is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.database.sqlite import SQLite
from gateway.database.transactions import BatchTransactions, transactions
from gateway.errors import ConfigurationError, DatabaseError
from gateway.storage.layout import Layout

if TYPE_CHECKING:
    from gateway.database.postgres import PostgreSQL


async def open_database(
    layout: Layout, url: str, on_failed: Callable[[str], None] = lambda reason: None
) -> SQLite | PostgreSQL:
    """Open the database of a data folder; `url` is that of PostgreSQL, or empty.

    Raises: ConfigurationError, when the folder says that its index is elsewhere, or asyncpg is missing; DatabaseError.
    """
    if not url:
        if layout.marker.exists():
            raise ConfigurationError(
                f"{layout.base}: the index of this data folder is in PostgreSQL; name it with database.url"
            )
        return await SQLite.open(layout.database, lock_path=layout.write_lock, on_failed=on_failed)
    try:
        from gateway.database.postgres import PostgreSQL
    except ImportError:
        raise ConfigurationError(
            "database.url: PostgreSQL needs asyncpg: pip install '.[postgres]' in the gateway's sources"
        ) from None
    return await PostgreSQL.open(url, lock_path=layout.write_lock, on_failed=on_failed)


def open_transactions(layout: Layout, url: str, *, patience_s: float = 0.0) -> BatchTransactions:
    """Open a writing connection to the database of a data folder that is open; waits `patience_s` seconds for a server.

    Blocks. Raises: DatabaseError.
    """
    if not url:
        return transactions(layout.database, layout.write_lock)
    from gateway.database.postgres_transactions import PostgresTransactions

    try:
        return PostgresTransactions(url, layout.write_lock, patience_s=patience_s)
    except OSError as error:
        raise DatabaseError(f"{layout.write_lock}: cannot be opened: {error.strerror}") from error
