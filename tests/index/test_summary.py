"""Totals of the archive."""

from __future__ import annotations

from gateway.database.sqlite import SQLite
from gateway.index.summary import Statistics, statistics
from tests.support.index import data_set, placement, store


async def test_an_empty_index(database: SQLite) -> None:
    assert await statistics(database) == Statistics(0, 0, 0, 0, 0, 0)


async def test_totals(database: SQLite) -> None:
    for n in range(6):
        source = data_set(study=f"1.{n % 3}", series=f"1.{n % 3}.{n % 2}", PatientID=f"P{n % 2}")
        await store(database, source, placement(size=10))
    assert await statistics(database) == Statistics(2, 6, 6, 6, 60, 0)
