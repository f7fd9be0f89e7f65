"""An empty index for the tests of this room, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.database.database import Database
from gateway.database.postgres import PostgreSQL
from gateway.database.sqlite import SQLite
from tests.support.postgres import TEMPLATE, new_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.interop)])
def server(request: pytest.FixtureRequest) -> str:
    """The folder of the socket of PostgreSQL; empty for SQLite."""
    return str(request.getfixturevalue("postgres_server")) if request.param == "postgresql" else ""


@pytest.fixture
async def database(tmp_path: Path, server: str) -> AsyncIterator[Database]:
    if not server:
        database = await SQLite.open(tmp_path / "index.sqlite")
        try:
            yield database
        finally:
            await database.close()
        return
    async with new_database(server, template=TEMPLATE) as url:
        opened = await PostgreSQL.open(url, lock_path=tmp_path / "write.lock")
        try:
            yield opened
        finally:
            await opened.close()
