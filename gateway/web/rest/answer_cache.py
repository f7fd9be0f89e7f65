"""Cached answers of the REST API: JSON of resources, of instances' attributes and of the change log; and matches.

One cache for all of them and for pages (`pages/page_cache.py`), bounded by `rest.answer_cache`. Any process of the
gateway may write, and what a resource shows stands in many rows; so an answer is valid

- while nothing is committed: `Database.data_version` is the one that was read before the rows;
- otherwise while its source is the same: the stamp of a resource, the storage key of a file. Then it is renewed.

Entries of the change log never change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple

from aiohttp import web

from gateway.database.database import Database
from gateway.database.view import VIEW
from gateway.imaging.cache import Cache
from gateway.retrieve.find import Found

_ENTRY_BYTES: Final = 96
"""Assumed cost of an entry of the change log, besides its text: two objects, and the places that name them."""
_FOUND_BYTES: Final = 192
"""Assumed cost of a match: a pair of a number and a public id."""


class CachedAnswer(NamedTuple):
    """One encoded answer, and how long it is valid."""

    text: bytes
    version: int
    """The version of the database at which it was made or renewed."""
    until: float = math.inf
    """The time (seconds since 1970) at which it expires although nothing is committed."""
    source: Hashable = None
    """What it was made of: an answer with an equal source has the same text."""


class CachedEntries(NamedTuple):
    """A part of the change log: numbers of entries, and each entry encoded."""

    seqs: tuple[int, ...]
    texts: tuple[bytes, ...]


class CachedMatches(NamedTuple):
    """All matches of a search, at a version of the database."""

    found: list[Found]
    version: int


Value = CachedAnswer | CachedEntries | CachedMatches


class AnswerCache(Cache[Value]):
    """Answers, entries and matches by key; the least recently used are evicted first.

    What a request sees through a view is for requests with an equal view alone.
    """

    def __init__(self, database: Database, capacity: int) -> None:
        super().__init__("answers", capacity, _size)
        self.version = database.data_version
        """The current version of the database."""

    def __contains__(self, key: Hashable) -> bool:
        return super().__contains__((VIEW.get(), key))

    def peek(self, key: Hashable) -> Value | None:
        return super().peek((VIEW.get(), key))

    def put(self, key: Hashable, value: Value) -> None:
        super().put((VIEW.get(), key), value)

    def answers(self, keys: Iterable[Hashable], version: int) -> list[bytes | None]:
        """The answers under some keys; None for each that is not cached, has another version or has expired."""
        found: list[bytes | None] = []
        view, now, entries = VIEW.get(), time.time(), self._entries
        with self._lock:
            for key in keys:
                seen = view, key
                value = entries[seen][0] if seen in entries else None
                if isinstance(value, CachedAnswer) and value.version == version and now < value.until:
                    entries.move_to_end(seen)
                    found.append(value.text)
                else:
                    found.append(None)
        return found

    def renewed(self, key: Hashable, source: Hashable, version: int) -> bytes | None:
        """The answer under a key, renewed at `version`, if it was made of this source; otherwise None.

        Read the version before the source.
        """
        known = self.peek(key)
        if not isinstance(known, CachedAnswer) or known.source != source or time.time() >= known.until:
            return None
        self.put(key, known._replace(version=version))
        return known.text


def _size(value: Value) -> int:
    if isinstance(value, CachedAnswer):
        return len(value.text)
    if isinstance(value, CachedMatches):
        return _FOUND_BYTES * len(value.found)
    return sum(map(len, value.texts)) + _ENTRY_BYTES * len(value.texts)


ANSWERS: web.AppKey[AnswerCache] = web.AppKey("answers", AnswerCache)
