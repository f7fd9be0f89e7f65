"""A connection to PostgreSQL: how it is opened, and how texts, numbers and errors of it become those of `Database`.

The answers are those of SQLite: truth is 0 and 1, sums are numbers, texts are compared byte by byte (`migrations.py`).
PostgreSQL holds no NUL in a text, and DICOM does: NUL is kept as U+0001 U+0001, and U+0001 as U+0001 U+0002, which
leaves every order and every beginning as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg

from gateway.config.addresses import without_password
from gateway.database.database import Query, Row
from gateway.errors import DatabaseError

CONNECT_S: Final = 10.0
"""Seconds for a connection, and for each statement in `STATEMENT_S`: past them the connection counts as lost."""
STATEMENT_S: Final = 60.0
_STATEMENTS: Final = 512
"""Prepared statements of a connection that are kept, as searches have hundreds of texts."""
_OLDEST: Final = 130000
_UTF_8: Final = "UTF8"
_ESCAPED: Final = ("\x01", "\x01\x02"), ("\0", "\x01\x01")
_CHECK: Final = """
SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, current_schema(),
    current_setting('synchronous_commit'), pg_is_in_recovery()
"""
LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
)
"""Errors after which a connection is of no more use. The last but one says that another server has become the first;
the last comes of a server that ends the connection between two messages of asyncpg's."""
ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    ValueError,
    OverflowError,
)
"""Whatever a statement can raise."""


_OPTIONS: Final[dict[str, Any]] = {
    "timeout": CONNECT_S,
    "command_timeout": STATEMENT_S,
    "statement_cache_size": _STATEMENTS,
    "max_cached_statement_lifetime": 0,
    # Compiling a statement takes longer than any of ours runs.
    "server_settings": {"application_name": "dicom-gateway", "jit": "off"},
}


async def connect(url: str) -> asyncpg.Connection:
    """Open a connection. Raises: DatabaseError, when nobody answers, or what answers is no database for us."""
    try:
        connection = await asyncpg.connect(url, **_OPTIONS)
    except ERRORS as error:
        raise DatabaseError(f"{without_password(url)}: cannot be opened: {described(error)}") from error
    try:
        await _set_up(connection)
    except BaseException as error:
        connection.terminate()
        if isinstance(error, ERRORS):
            raise DatabaseError(f"{without_password(url)}: cannot be opened: {described(error)}") from error
        if isinstance(error, DatabaseError):
            raise DatabaseError(f"{without_password(url)}: {error}") from None
        raise
    return connection


async def pool_of(url: str, most: int) -> asyncpg.Pool:
    """A pool of connections that read. Raises: DatabaseError."""
    try:
        # Nothing is set or locked by those who read, so that nothing has to be put back for the next.
        return await asyncpg.create_pool(url, min_size=0, max_size=most, init=_set_up, reset=_leave, **_OPTIONS)
    except ERRORS as error:
        raise DatabaseError(f"{without_password(url)}: cannot be opened: {described(error)}") from error


async def _leave(connection: asyncpg.Connection) -> None:
    pass


async def _set_up(connection: asyncpg.Connection) -> None:
    encoding, version, schema, synchronous, standby = await connection.fetchrow(_CHECK)
    if encoding != _UTF_8:
        raise DatabaseError(
            f"the database has the encoding {encoding}; make one with ENCODING 'UTF8' TEMPLATE template0"
        )
    if version < _OLDEST:
        raise DatabaseError(
            f"this is PostgreSQL {version // 10000}; the oldest that is supported is {_OLDEST // 10000}"
        )
    if schema is None:
        raise DatabaseError("the user has no schema to make tables in; CREATE SCHEMA, or grant it CREATE on one")
    if standby:
        raise DatabaseError("this server is a standby, which takes no writes; name the first one")
    if synchronous == "off":  # What is acknowledged by its row alone must be flushed.
        await connection.execute("SET synchronous_commit = on")
    # Neither Decimal nor bool: a sum is a number, and truth is 0 or 1.
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text")
    await connection.set_type_codec("bool", schema="pg_catalog", encoder=_truth, decoder=_is_true, format="text")


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _truth(value: object) -> str:
    return "t" if value else "f"


def _is_true(text: str) -> int:
    return int(text == "t")


async def schema_of(connection: asyncpg.Connection) -> str:
    """The schema of our tables. Raises: DatabaseError, when its name would have to be quoted."""
    schema = str(await connection.fetchval("SELECT current_schema()"))
    if not (schema.isascii() and schema.isidentifier() and schema.islower()):
        raise DatabaseError(f"the schema {schema!r} must have a name of small letters, digits and _")
    return schema


@lru_cache(2048)
def statement(sql: str) -> str:
    """The text of a `Query` as PostgreSQL has it."""
    return sql.replace("group_concat(", "string_agg(")


async def fetch(connection: asyncpg.Connection, query: Query, parameters: Sequence[Any]) -> list[Row]:
    """All rows of a statement. Raises: what is in ERRORS."""
    rows = await connection.fetch(statement(query.sql), *_escaped(parameters))
    return _unescaped(rows)


def _escaped(parameters: Sequence[Any]) -> Sequence[Any]:
    for value in parameters:
        if type(value) is str and ("\0" in value or "\x01" in value):
            return [_escape(each) if isinstance(each, str) else each for each in parameters]
    return parameters


def _escape(text: str) -> str:
    for character, instead in _ESCAPED:
        text = text.replace(character, instead)
    return text


def _unescaped(rows: Iterable[Sequence[Any]]) -> list[Row]:
    found = []
    for row in rows:
        for value in row:
            if type(value) is str and "\x01" in value:
                found.append(tuple([_unescape(each) if isinstance(each, str) else each for each in row]))
                break
        else:
            found.append(tuple(row))
    return found


def _unescape(text: str) -> str:
    for character, instead in reversed(_ESCAPED):
        text = text.replace(instead, character)
    return text


def described(error: BaseException) -> str:
    """The text of an error, which asyncpg's own and those of sockets do not always have."""
    return str(error) or type(error).__name__


def is_lost(connection: asyncpg.Connection, error: BaseException) -> bool:
    """Whether an error has ended a connection."""
    return connection.is_closed() or isinstance(error, LOST)


def failed(query_or_work: str, error: BaseException) -> DatabaseError:
    """The DatabaseError for an error of PostgreSQL's."""
    wrapped = DatabaseError(f"{query_or_work}: {described(error)}")
    wrapped.__cause__ = error
    return wrapped
