"""Searches for studies that users have saved, each for its user alone, wherever that user signs in."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from gateway.access import queries
from gateway.database.database import Database, Script
from gateway.errors import BadRequest, NotFound

MAX_SEARCHES_EACH: Final = 30
"""Searches of one user; for a new one the oldest goes."""
MAX_NAME_LENGTH: Final = 40
MAX_QUERY_LENGTH: Final = 2000
"""Characters of a query string."""


class SavedSearch(NamedTuple):
    """A search: the name that its user has given it, and the query string of the page, without its question mark."""

    name: str
    query: str


async def saved_searches(database: Database, user: str) -> list[SavedSearch]:
    """Read the searches of a user, the oldest first."""
    return [SavedSearch(*row) for row in await database.fetch(queries.SAVED_SEARCHES, user)]


async def save_search(database: Database, user: str, wanted: SavedSearch) -> None:
    """Save a search of a user, in place of one of the same name. Raises: BadRequest."""
    for text, what, most in ((wanted.name, "name", MAX_NAME_LENGTH), (wanted.query, "query", MAX_QUERY_LENGTH)):
        if not text.strip() or len(text) > most or not text.isprintable():
            raise BadRequest(f"the {what} of a search has 1 to {most} characters, all of them printable")
    now = time.time()

    def script() -> Script[None]:
        yield queries.SAVE_SEARCH, (user, *wanted, now)
        yield queries.FORGET_OLDEST_SEARCHES, (user, MAX_SEARCHES_EACH)

    await database.write(script)


async def forget_search(database: Database, user: str, name: str) -> None:
    """Remove a search of a user. Raises: NotFound."""

    def script() -> Script[bool]:
        return bool((yield queries.FORGET_SEARCH, (user, name)))

    if not await database.write(script):
        raise NotFound(f"there is no saved search {name[:MAX_NAME_LENGTH]}")
