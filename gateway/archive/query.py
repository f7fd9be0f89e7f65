"""Searching what is stored: the one use case behind QIDO-RS, C-FIND and the pages.

The statement and its meaning are in `index/search.py`; what a client is told, and in which form, is at the edges.
`search_page` is one page of what the index knows; `Finder` goes on where the index ends, into the files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from gateway.archive.stored_attributes import Members, may_be_stored, read_attributes
from gateway.database.database import Database, Row
from gateway.dicom.encode import DataSet, from_json
from gateway.errors import BadRequest, DataSetError, NoSuchObject
from gateway.index import attributes as tags
from gateway.index.attributes import AT_LEVEL, Level
from gateway.index.compare import Rules, all_match, is_universal
from gateway.index.queries import INSTANCES_UNDER
from gateway.index.search import Match, Search, decode, search, total, unsupported
from gateway.storage.store import Store

log = logging.getLogger(__name__)

PAGE: Final = 500
"""Matches that are fetched at once where they are streamed. The first page is a tenth of it."""
_CHUNK: Final = 50
"""Matches that are handed on at once, and instances whose files are looked at in one visit to a thread."""
_ATTEMPTS: Final = 3


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


class TooManyInstances(BadRequest):
    """A key stands in the files alone, and the other keys leave more files than may be read for one query."""


_PATIENT_COUNTS: Final = frozenset(
    {
        tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
        tags.NUMBER_OF_PATIENT_RELATED_SERIES,
        tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
    }
)
_OF_STUDIES: Final = _PATIENT_COUNTS | {
    tags.MODALITIES_IN_STUDY,
    tags.SOP_CLASSES_IN_STUDY,
    tags.NUMBER_OF_STUDY_RELATED_SERIES,
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
}
_OF_SERIES: Final = _OF_STUDIES | {tags.NUMBER_OF_SERIES_RELATED_INSTANCES}
_MADE: Final[dict[Level, frozenset[int]]] = {
    "patient": _PATIENT_COUNTS,
    "study": _OF_STUDIES,
    "series": _OF_SERIES,
    "instance": _OF_SERIES | {tags.AVAILABLE_TRANSFER_SYNTAX_UID},
}
"""Attributes that no instance holds and that the index makes, by level of the search."""
_REQUEST_IDS: Final = (tags.SCHEDULED_STEP_ID, tags.REQUESTED_PROCEDURE_ID)


class Finder:
    """One query by keys of any kind, at one level.

    Keys with a value are matched: by the index where it can, otherwise on what the index keeps of each match,
    otherwise in the files: a patient, study or series matches when one of its instances does. All keys are returned;
    those of a lower level, or unknown to the index, as the first matching instance has them.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        level: Level,
        keys: DataSet,
        *,
        most_read: int,
        include: frozenset[int] | Literal["all"] = frozenset(),
        study_uid: str | None = None,
        series_uid: str | None = None,
        fuzzy: bool = False,
        combined: bool = False,
        empty: bool = False,
    ) -> None:
        """`most_read` is how many instances the other keys may leave where files are to be read to match; `include`
        is returned too, `all` being all that the index has; the rest is as in Search."""
        self._database = database
        self._store = store
        self._level = level
        self._keys = keys
        self._rules = Rules(fuzzy=fuzzy, empty=empty)
        self._most_read = most_read
        matched = {tag: key for tag, key in keys.items() if not is_universal(key)}
        filters = [(tag, key.text) for tag, key in matched.items() if key.vr != "SQ" and not unsupported([(tag, "")])]
        held = AT_LEVEL[level] | _MADE[level]
        done = {tag for tag, _ in filters if not unsupported([(tag, "")], level)}
        stored = {tag for tag in (*keys, *(() if include == "all" else include)) if tag not in held}
        self._from_files = frozenset(filter(_may_be_in_files, stored))
        self._extra = self._from_files & (frozenset() if include == "all" else include)
        self._in_rows = {tag: key for tag, key in matched.items() if tag in AT_LEVEL[level] and tag not in done}
        self._in_files = {tag: key for tag, key in matched.items() if tag in self._from_files}
        self._needs_files = any(unsupported([(tag, "")]) or keys[tag].vr == "SQ" for tag in self._in_files)
        self.unknown = stored - self._from_files | (_PATIENT_COUNTS & matched.keys())
        """What can be neither matched nor returned."""
        self.unread: frozenset[int] = frozenset()
        """What is not returned since too many files would have to be read for it. Known once the first page has been
        asked for."""
        self._search = Search(
            level,
            [*filters, *_request_ids(keys)],
            study_uid=study_uid,
            series_uid=series_uid,
            limit=PAGE // 10,
            include="all" if include == "all" else frozenset(keys) | include,
            below=True,
            fuzzy=fuzzy,
            combined=combined,
            empty=empty,
        )

    @property
    def complete(self) -> bool:
        """Whether every key is supported. Known once the first page has been asked for."""
        return not self.unknown and not self.unread

    async def pages(self) -> AsyncGenerator[list[DataSet], None]:
        """Matches, some at a time, as the attributes found for the keys. Nothing is held open between pages.

        Raises TooManyInstances, BadRequest for a value that makes no sense, DatabaseError, StorageError.
        """
        read = await self._decide_to_read(self._from_files)
        names = [f"{tag:08X}" for tag in self._keys]
        async with aclosing(self._matches(self._from_files if read else None)) as pages:
            async for page in pages:
                yield [from_json(_decoded(match.attributes, names)) for match in page]

    async def page(self, offset: int, limit: int) -> Page:
        """One page of matches, for those who ask again for the next. Raises what `pages` does.

        Returned from files is only what `include` names, besides keys that are matched there: of one file for each
        match of the page, however many there are in all.
        """
        if limit <= 0:
            return Page([], False)
        if not self._in_rows and not self._needs_files:
            page = await search_page(self._database, replace(self._search, limit=limit, offset=offset))
        else:
            if self._needs_files:
                await self._decide_to_read(self._from_files)
            found: list[Match] = []
            async with aclosing(self._matches(self._from_files if self._needs_files else None)) as pages:
                async for some in pages:
                    found += some[offset:]
                    offset -= min(offset, len(some))
                    if len(found) > limit:
                        break
            page = Page(found[:limit], len(found) > limit)
        if self._extra and not self._needs_files:
            wanted = self._extra | self._in_files.keys()
            if not self._in_files or await self._decide_to_read(wanted):
                for match in page.matches:
                    match.attributes.update(await self._of_files(match.row, wanted) or {})
        return page

    async def _matches(self, wanted: frozenset[int] | None) -> AsyncGenerator[list[Match], None]:
        """Matches, with the `wanted` attributes of a file among theirs; None: files are left alone."""
        search = self._search
        names = [f"{tag:08X}" for tag in self._in_rows]
        while True:
            page = await search_page(self._database, search)
            found = []
            for match in page.matches:
                if names and not all_match(self._in_rows, from_json(_decoded(match.attributes, names)), self._rules):
                    continue
                if wanted is not None:
                    more = await self._of_files(match.row, wanted)
                    if more is None:
                        continue
                    match.attributes.update(more)
                found.append(match)
                if len(found) >= _CHUNK:
                    yield found
                    found = []
                    await asyncio.sleep(0)  # others have their turn
            yield found
            if not page.more:
                return
            search = replace(search, after=page.matches[-1].position, limit=PAGE)

    async def _decide_to_read(self, wanted: frozenset[int]) -> bool:
        """Whether files are read for these: where a key stands there alone, and few enough are left."""
        if not wanted:
            return False
        query, parameters = total(self._search, self._most_read)
        ((count,),) = await self._database.fetch(query, *parameters)
        if count <= self._most_read:
            return True
        if self._needs_files:
            tag = next(tag for tag in self._in_files if unsupported([(tag, "")]) or self._keys[tag].vr == "SQ")
            raise TooManyInstances(
                f"({tag >> 16:04X},{tag & 0xFFFF:04X}): over {self._most_read} files to read; give more keys"
            )
        self.unread = wanted
        return False

    async def _of_files(self, row: int, wanted: frozenset[int]) -> Members | None:
        """Attributes of the first instance under a row that matches; None where none does."""
        after = -1
        query = INSTANCES_UNDER[self._level]
        for attempt in range(_ATTEMPTS):
            try:
                while rows := await self._database.fetch(query, row, after, _CHUNK if self._in_files else 1):
                    found = await asyncio.to_thread(self._first_match, rows, wanted)
                    if found is not None:
                        return found
                    after = rows[-1][0]
                break
            except NoSuchObject:  # overwritten meanwhile: the row has a new key
                if attempt == _ATTEMPTS - 1:
                    raise
        return None

    def _first_match(self, rows: Sequence[Row], wanted: frozenset[int]) -> Members | None:
        names = [f"{tag:08X}" for tag in self._in_files]
        for _id, key, offset, size, transfer_syntax_uid in rows:
            try:
                found = read_attributes(self._store, key, offset, size, transfer_syntax_uid, wanted)
            except DataSetError as error:
                log.warning("instance %s cannot be read for a query: %s", key, error)
                found = {}
            if not names or all_match(self._in_files, from_json(_decoded(found, names)), self._rules):
                return found
        return None


def _decoded(members: Members, names: Iterable[str]) -> dict[str, Any]:
    return {name: msgspec.json.decode(members[name]) for name in names if name in members}


def _may_be_in_files(tag: int) -> bool:
    """Whether an instance could hold it before its pixels: nothing that is made for answers, no count."""
    return may_be_stored(tag) and tag not in _MADE["instance"]


def _request_ids(keys: DataSet) -> list[tuple[int, str]]:
    """Keys in the item of the Request Attributes Sequence that narrow the search before the items are compared."""
    key = keys.get(tags.REQUEST_ATTRIBUTES_SEQUENCE)
    if key is None or key.vr != "SQ" or not key.values:
        return []
    item: DataSet = key.values[0]
    return [(tag, item[tag].text) for tag in _REQUEST_IDS if tag in item and not is_universal(item[tag])]
