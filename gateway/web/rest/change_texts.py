"""Entries of the change log as encoded JSON, cached in blocks.

An entry never changes, none appears between others later, and none is deleted: an entry gets its number in the
transaction that commits it, and writers take turns. A block has the entries of _BLOCK numbers in a row; it is complete,
and cached, once a higher number is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from gateway.database.database import Database
from gateway.database.view import VIEW
from gateway.events.changes import Change, read_changes
from gateway.web.rest.answer_cache import AnswerCache, CachedEntries
from gateway.web.rest.answers import place, timestamp

_BLOCK: Final = 100
"""Numbers in one block: some 28 KB of JSON."""
_BEFORE, _BETWEEN, _AFTER = b"[\n   [", b"\n      },", b"\n   ]\n]"
"""Around and between the members of a list in a list. A line break inside a value is escaped."""


class ChangeTexts:
    """The change log of one database as JSON, in the order of its numbers."""

    def __init__(self, database: Database, answers: AnswerCache) -> None:
        self._database = database
        self._answers = answers
        self._highest = 0
        """The highest number seen; there may be higher ones."""

    async def after(self, since: int, limit: int) -> tuple[CachedEntries, bool]:
        """The first `limit` entries after number `since`, and whether these are the last of all."""
        if VIEW.get() is not None:  # A view may show old entries that it did not show before, and hide others.
            page = await read_changes(self._database, since=since, limit=limit)
            return entries(page.changes), page.is_last
        seqs: list[int] = []
        texts: list[bytes] = []
        at = since
        while len(seqs) < limit and (block := self._block(at)) is not None:
            first = bisect_right(block.seqs, at)
            seqs += block.seqs[first:]
            texts += block.texts[first:]
            at += _BLOCK - at % _BLOCK
        if len(seqs) < limit or self._highest <= seqs[limit - 1]:
            found = await self._read(at, limit + 1 - len(seqs))  # One more says whether there are more.
            seqs += found.seqs
            texts += found.texts
            return CachedEntries(tuple(seqs[:limit]), tuple(texts[:limit])), len(seqs) <= limit
        return CachedEntries(tuple(seqs[:limit]), tuple(texts[:limit])), False

    def _block(self, at: int) -> CachedEntries | None:
        """The block of the number after `at`, if it is cached."""
        found = self._answers.peek(_key(at // _BLOCK))
        return found if isinstance(found, CachedEntries) else None

    async def _read(self, at: int, count: int) -> CachedEntries:
        """Read at least `count` entries after number `at`, where there are as many, and cache the blocks among them.

        Complete blocks are read whole. At the end of the log, where most readers wait, no more is read than wanted.
        """
        start, end = at - at % _BLOCK, -(-(at + count) // _BLOCK) * _BLOCK
        if start + _BLOCK > self._highest:
            start = at
        if end > self._highest:
            end = at + count
        found = entries((await read_changes(self._database, since=start, limit=end - start)).changes)
        if found.seqs:
            self._highest = max(self._highest, found.seqs[-1])
            for number in range(-(-start // _BLOCK), found.seqs[-1] // _BLOCK):
                low, high = (bisect_right(found.seqs, edge * _BLOCK) for edge in (number, number + 1))
                self._answers.put(_key(number), CachedEntries(found.seqs[low:high], found.texts[low:high]))
        first = bisect_right(found.seqs, at)
        return CachedEntries(found.seqs[first:], found.texts[first:])


def entries(changes: Sequence[Change]) -> CachedEntries:
    """Entries in Orthanc's JSON."""
    if not changes:
        return CachedEntries((), ())
    text = msgspec.json.format(msgspec.json.encode([[_as_json(change) for change in changes]]), indent=3)
    *others, last = text[len(_BEFORE) : -len(_AFTER)].split(_BETWEEN)
    return CachedEntries(tuple([each.seq for each in changes]), (*[each + _BETWEEN[:-1] for each in others], last))


def _as_json(change: Change) -> dict[str, str | int]:
    return {
        "ChangeType": change.kind,
        "Date": timestamp(change.at),
        "ID": change.public_id,
        "Path": place(change.level, change.public_id),
        "ResourceType": change.level,
        "Seq": change.seq,
    }


def _key(number: int) -> tuple[str, int]:
    return "changes", number


CHANGES: web.AppKey[ChangeTexts] = web.AppKey("changes", ChangeTexts)
