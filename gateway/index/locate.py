"""Where the instances of a study, series or single UID are: what a retrieval reads, page by page, in a stable order.

A page is one statement; between pages nothing stays open. Reading the files is in `archive/retrieve.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.database.database import Database, Query
from gateway.index import queries
from gateway.index.remove import Level

PAGE = 500
"""Instances in one page at most."""
Position = tuple[int, int, int, int]
START: Position = (-(2**62), -1, -1, -1)
"""Before the first instance."""


@dataclass(frozen=True, slots=True)
class Located:
    """One stored instance, with where its file is and in which transfer syntax. Sizes are bytes."""

    id: int
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    key: str
    size: int
    data_set_offset: int
    version: int
    position: Position
    """Of the instance in the order; the next page begins after it."""


def locate(
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    *,
    after: Position = START,
    limit: int = PAGE,
) -> tuple[Query, tuple[str | int, ...]]:
    """The statement for a page of the instances after a position, ordered by series number, instance number, id."""
    parameters = (study_uid, *after, limit)
    if series_uid is None:
        return queries.LOCATE_STUDY, parameters
    if sop_uid is None:
        return queries.LOCATE_SERIES, (*parameters, series_uid)
    return queries.LOCATE_INSTANCE, (*parameters, series_uid, sop_uid)


async def located_page(
    database: Database,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    *,
    after: Position = START,
    limit: int = PAGE,
) -> list[Located]:
    """One page; an empty one where nothing (more) matches."""
    query, parameters = locate(study_uid, series_uid, sop_uid, after=after, limit=limit)
    rows = await database.fetch(query, *parameters)
    return [Located(*[*row[:10], (*row[10:13], row[0])]) for row in rows]


async def located_by_public_id(database: Database, level: Level, public_id: str) -> AsyncIterator[Located]:
    """All of them, of a patient too, fetched in pages, in the order of rows."""
    after = -1
    while True:
        rows = await database.fetch(queries.LOCATE_BY_PUBLIC_ID[level], public_id, after, PAGE)
        for row in rows:
            yield Located(*[*row[:10], (*row[10:13], row[0])])
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


async def representative(database: Database, study_uid: str, series_uid: str | None = None) -> Located | None:
    """The instance in the middle of a series, or of a study's first series with pictures; None without any."""
    if series_uid is None:
        rows = await database.fetch(queries.LOCATE_MIDDLE_OF_STUDY, study_uid)
    else:
        rows = await database.fetch(queries.LOCATE_MIDDLE_OF_SERIES, study_uid, series_uid)
    return Located(*[*rows[0][:10], (*rows[0][10:13], rows[0][0])]) if rows else None


async def located(
    database: Database, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> AsyncIterator[Located]:
    """All of them, fetched in pages. What is stored meanwhile may or may not be among them."""
    after = START
    while True:
        page = await located_page(database, study_uid, series_uid, sop_uid, after=after)
        for instance in page:
            yield instance
        if len(page) < PAGE:
            return
        after = page[-1].position
