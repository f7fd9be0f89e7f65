"""The contract of jobs, over both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.database.postgres import PostgreSQL
from tests.contracts.jobs import JobsContract


class TestSQLite(JobsContract):
    pass


@pytest.mark.interop
class TestPostgreSQL(JobsContract):
    @pytest_asyncio.fixture
    async def database(self, tmp_path: Path, postgres_url: str) -> AsyncIterator[PostgreSQL]:
        opened = await PostgreSQL.open(postgres_url, lock_path=tmp_path / "write.lock")
        yield opened
        await opened.close()
