"""The contract of jobs, over SQLite."""

from __future__ import annotations

from tests.contracts.jobs import JobsContract


class TestSQLite(JobsContract):
    pass
