"""A PostgreSQL of its own for as long as a `with` lasts; nothing of it is synced, and nothing is left of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from gateway.database.postgres import PostgreSQL
from loadtest.peers.postgres import cluster
from tests.support import peers

USER = "gateway"
TEMPLATE = "migrated"
"""The database of `make_template`, of which others are made."""
EMPTY = "template0"


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The folder of its socket, which takes `USER` without a password. Skips, or fails in CI, where there is none."""
    peers.need("postgresql")
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-", dir=memory if memory.is_dir() else None))
    with cluster(folder, USER, settings=("max_connections=60",), synced=False) as sockets:
        yield sockets


def url_of(sockets: str, database: str) -> str:
    return f"postgresql://{USER}@/{database}?host={sockets}"


@contextlib.asynccontextmanager
async def new_database(sockets: str, name: str = "archive", *, template: str = EMPTY) -> AsyncIterator[str]:
    """The URL of a new database, whose language orders texts otherwise than their bytes do."""
    await _create(sockets, name, template)
    try:
        yield url_of(sockets, name)
    finally:
        await _execute(sockets, f"DROP DATABASE {name} WITH (FORCE)")


async def make_template(sockets: str) -> None:
    """Make a database with the schema of this release."""
    await _create(sockets, TEMPLATE, EMPTY)
    with tempfile.TemporaryDirectory() as folder:
        await (await PostgreSQL.open(url_of(sockets, TEMPLATE), lock_path=Path(folder) / "lock")).close()


async def _create(sockets: str, name: str, template: str) -> None:
    locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' ENCODING 'UTF8'" if template == EMPTY else ""
    await _execute(sockets, f"CREATE DATABASE {name} TEMPLATE {template} {locale}")


async def _execute(sockets: str, statement: str) -> None:
    connection = await asyncpg.connect(url_of(sockets, "postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
