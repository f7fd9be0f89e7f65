"""Searching what is stored: the one use case behind QIDO-RS, C-FIND and the pages.

The statement and its meaning are in `index/search.py`; what a client is told, and in which form, is at the edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.database.database import Database
from gateway.index.search import Match, Search, decode, search


@dataclass(slots=True)
class Page:
    """`more` says that matches follow after these."""

    matches: list[Match]
    more: bool


async def search_page(database: Database, wanted: Search) -> Page:
    """One page of matches. BadRequest for a value that makes no sense, DatabaseError where the index fails."""
    if wanted.limit <= 0:
        return Page([], False)
    query, parameters = search(replace(wanted, limit=wanted.limit + 1))
    rows = await database.fetch(query, *parameters)
    return Page(decode(wanted, rows[: wanted.limit]), len(rows) > wanted.limit)
