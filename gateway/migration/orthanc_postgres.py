"""A copy of an Orthanc's PostgreSQL index (of its plugin's schema), in the form of an SQLite one.

Everything is read in one transaction, repeatable and read-only: no lock that Orthanc would meet, and one state of all
tables. Needs asyncpg, which `pip install '.[postgres]'` brings.
"""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigurationError, SourceError
from gateway.migration import queries

_PAGE: Final = 5000
_INSTANCE_OF_PLUGINS: Final = 3
"""The number of instances among types of resources, which begin with 0 for plugins (observed on version 4.0) and with 1
in Orthanc itself."""
_WORDS: Final = {
    **dict.fromkeys(("host", "hostaddr"), "host"),
    **{name: name for name in ("port", "user", "password")},
    "dbname": "database",
    "sslmode": "ssl",
}
"""Words of libpq, and what asyncpg calls them."""
_NAMES: Final = {"uncompressedMD5": "uncompressedhash", "compressedMD5": "compressedhash"}
"""Columns of PostgreSQL that are called otherwise than SQLite's."""


def connection_options(section: Mapping[str, Any]) -> dict[str, Any]:
    """The options to connect with, of the section `PostgreSQL` of Orthanc's configuration. Raises:
    ConfigurationError."""
    if uri := str(section.get("ConnectionUri") or ""):
        return {"dsn": uri} if uri.startswith(("postgresql:", "postgres:")) else _of_words(uri)
    try:
        port = int(section.get("Port", 5432))
    except (TypeError, ValueError):
        raise ConfigurationError("PostgreSQL.Port is not a number") from None
    options = {
        "host": str(section.get("Host", "localhost")),
        "port": port,
        "database": str(section.get("Database", "orthanc")),
        "user": str(section.get("Username", "orthanc")),
        "password": str(section.get("Password", "")) or None,
    }
    if section.get("EnableSsl") is True:
        options["ssl"] = "require"
    return options


def _of_words(text: str) -> dict[str, Any]:
    """The options of a connection string of libpq, `host=… dbname=…`. Raises: ConfigurationError."""
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError:
        raise ConfigurationError("PostgreSQL.ConnectionUri: quotation marks do not match") from None
    options: dict[str, Any] = {}
    for name, equals, value in words:
        if not equals or name not in _WORDS:
            raise ConfigurationError(f"PostgreSQL.ConnectionUri: {name!r:.40} is not understood; write postgresql://…")
        options[_WORDS[name]] = int(value) if name == "port" and value.isdigit() else value
    return options


async def copy_postgres(section: Mapping[str, Any], target: Path) -> None:
    """Write what the index has to a new SQLite file. Raises: SourceError; ConfigurationError without asyncpg."""
    try:
        import asyncpg
    except ImportError:
        raise ConfigurationError(
            "the index is in PostgreSQL; reading it needs asyncpg: pip install '.[postgres]' in the gateway's sources"
        ) from None
    await asyncio.to_thread(target.unlink, missing_ok=True)
    await asyncio.to_thread(lambda: target.parent.mkdir(mode=0o700, parents=True, exist_ok=True))
    try:
        connection = await asyncpg.connect(**connection_options(section), timeout=30)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await _Copy(connection, target).run()
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, sqlite3.Error) as error:
        reason = str(error) or type(error).__name__
        raise SourceError(f"the index of Orthanc in PostgreSQL cannot be read: {reason}") from None


class _Copy:
    def __init__(self, connection: Any, target: Path) -> None:
        self._source = connection
        self._target = sqlite3.connect(target, isolation_level=None, check_same_thread=False)

    async def run(self) -> None:
        target = self._target
        try:
            for pragma in queries.FAST:
                await asyncio.to_thread(target.execute, pragma)
            for table in queries.COPIED_TABLES:
                await asyncio.to_thread(target.execute, queries.create_table(table))
                await self._table(table)
            for index in queries.INDEXES:
                await asyncio.to_thread(target.execute, index)
        finally:
            await asyncio.to_thread(target.close)

    async def _table(self, table: str) -> None:
        there = await self._columns(table.lower())
        if not there and table != "Labels":
            raise SourceError(f"PostgreSQL has no table {table.lower()}: it is no index of Orthanc")
        sources = [_NAMES.get(name, name.lower()) for name in queries.COPIED_TABLES[table]]
        if not there:
            return
        columns = [name if name in there else "NULL" for name in sources]
        if table == "Resources" and await self._source.fetchval(queries.LOWEST_LEVEL) == _INSTANCE_OF_PLUGINS:
            columns[columns.index("resourcetype")] = queries.RENUMBERED
        sql = queries.select_all(table.lower(), columns)
        insert = queries.insert_row(table)
        cursor = await self._source.cursor(sql)
        while rows := await cursor.fetch(_PAGE):
            await asyncio.to_thread(self._insert, insert, [tuple(row) for row in rows])
        if table == "GlobalProperties":
            await self._server_properties(insert)

    async def _server_properties(self, insert: str) -> None:
        """Modalities and peers of the index belong to one server of several; those of all are brought."""
        if await self._columns("serverproperties"):
            rows = await self._source.fetch(queries.SERVER_PROPERTIES)
            await asyncio.to_thread(self._insert, insert.replace("INSERT", "INSERT OR IGNORE", 1), [*map(tuple, rows)])

    async def _columns(self, table: str) -> set[str]:
        return {row[0] for row in await self._source.fetch(queries.POSTGRES_COLUMNS, table)}

    def _insert(self, insert: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._target.execute("BEGIN")
        self._target.executemany(insert, rows)
        self._target.execute("COMMIT")
