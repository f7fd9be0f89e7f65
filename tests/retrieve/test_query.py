"""One page of a search: what it holds, and whether more follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.database.sqlite import SQLite
from gateway.errors import BadRequest, DatabaseError
from gateway.index.attributes import STUDY_DATE
from gateway.index.search import Search
from gateway.retrieve.query import search_page
from tests.support.index import data_set, fill


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    database = await SQLite.open(tmp_path / "index.sqlite")
    try:
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize(("limit", "offset", "count", "more"), [(2, 0, 2, True), (3, 0, 3, False), (5, 2, 1, False)])
async def test_a_page(database: SQLite, limit: int, offset: int, count: int, more: bool) -> None:
    await fill(database, [data_set(study=f"1.{n}") for n in range(3)])
    page = await search_page(database, Search("study", limit=limit, offset=offset))
    assert (len(page.matches), page.more) == (count, more)


async def test_a_page_of_nothing(database: SQLite) -> None:
    await fill(database, [data_set()])
    page = await search_page(database, Search("study", limit=0))
    assert (page.matches, page.more) == ([], False)


async def test_success_means_visible_to_another_process(database: SQLite) -> None:
    """A search that starts after the commit sees it, over a connection of its own too."""
    other = await SQLite.open(database.path)
    try:
        for n in range(20):
            await fill(database, [data_set(study=f"1.{n}")])
            assert len((await search_page(other, Search("study"))).matches) == n + 1
    finally:
        await other.close()


async def test_errors(database: SQLite) -> None:
    with pytest.raises(BadRequest):
        await search_page(database, Search("study", [(STUDY_DATE, "yesterday")]))
    await database.close()
    with pytest.raises(DatabaseError):
        await search_page(database, Search("study"))
