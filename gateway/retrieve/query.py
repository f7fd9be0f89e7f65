"""Search of the archive: the one use case behind QIDO-RS, C-FIND and the pages.

`index/search.py` has the statement and its meaning; the edges encode the answer. `search_page` returns one page from
the index; `QueryExecution` continues in the files where the index ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from gateway.database.database import Database, Row
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.json_reader import from_json
from gateway.dicom.levels import Level
from gateway.errors import BadRequest, DataSetError, NoSuchObject
from gateway.index import attributes as tags
from gateway.index import main_tags
from gateway.index.attributes import AT_LEVEL
from gateway.index.compare import MatchingRules, all_match, is_universal
from gateway.index.places import Place, place_of
from gateway.index.queries.search import INSTANCES_UNDER
from gateway.index.search import Match, Narrowing, Search, decode, search, total
from gateway.retrieve.stored_attributes import Members, read_attributes
from gateway.storage.store import Store

log = logging.getLogger(__name__)

PAGE: Final = 500
"""Matches per statement of a streamed query. The first page is a tenth of it."""
_CHUNK: Final = 50
"""Matches per chunk of a streamed query, and files read in one visit to a thread."""
_ATTEMPTS: Final = 3


@dataclass(slots=True)
class Page:
    """One page of matches; `more` says that further matches follow."""

    matches: list[Match]
    more: bool


async def search_page(database: Database, wanted: Search) -> Page:
    """One page of matches. Raises: BadRequest for an invalid value; DatabaseError when the index fails."""
    if wanted.limit <= 0:
        return Page([], False)
    query, parameters = search(replace(wanted, limit=wanted.limit + 1))
    rows = await database.fetch(query, *parameters)
    return Page(decode(wanted, rows[: wanted.limit]), len(rows) > wanted.limit)


class TooManyInstances(BadRequest):
    """Raised when a key is only in the files, and the other keys leave more files than one query may read."""


_REQUEST_IDS: Final = (tags.SCHEDULED_STEP_ID, tags.REQUESTED_PROCEDURE_ID)


class QueryExecution:
    """One query by keys of any kind, at one level.

    Keys with a value are matched by the index where it has a column, else in the row of each match, else in the files:
    a patient, study or series matches when one of its instances does. All keys are returned; keys of a lower level, or
    unknown to the index, with the values of the first matching instance.
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
        patient: str = "",
        fuzzy: bool = False,
        combined: bool = False,
        empty: bool = False,
        any_case: bool = False,
        narrowings: tuple[Narrowing, ...] = (),
    ) -> None:
        """`most_read`: instances that the other keys may leave when files must be read to match. `include`: further
        attributes to return; `all` is everything in the index. The other arguments are those of Search."""
        self._database = database
        self._store = store
        self._level = level
        self._keys = keys
        self._rules = MatchingRules(fuzzy=fuzzy, empty=empty, any_case=any_case)
        self._most_read = most_read
        matched = {tag: key for tag, key in keys.items() if not is_universal(key)}
        filters = [(tag, key.text) for tag, key in matched.items() if key.vr != "SQ" and _is_indexed(tag)]
        places = {tag: place_of(tag, level) for tag in (*keys, *(() if include == "all" else include))}
        # Items of a sequence have columns for these; outside of the sequence they are only in the files.
        self._from_files = frozenset(
            tag for tag, place in places.items() if place is Place.IN_FILE or tag in _REQUEST_IDS
        )
        self._extra = self._from_files & (frozenset() if include == "all" else include)
        further = main_tags.current().in_rows[level]
        self._in_rows = {
            tag: key
            for tag, key in matched.items()
            if _in_row(places[tag], key) and (tag in AT_LEVEL[level] or (tag in further and not _is_indexed(tag)))
        }
        self._further = frozenset(further & places.keys()) - AT_LEVEL[level]
        """Attributes that the settings have put into rows: where a row says nothing of one, its file is read."""
        self._in_files = {tag: key for tag, key in matched.items() if tag in self._from_files}
        self._needs_files = any(self._only_in_files(tag) for tag in self._in_files)
        self.unknown = {tag for tag, place in places.items() if place is Place.NOWHERE}
        self.unknown |= {tag for tag in matched if places[tag] is Place.MADE}
        """Keys that can be neither matched nor returned."""
        self._completed = 0
        self.unread: frozenset[int] = frozenset()
        """Keys that are not returned because too many files would have to be read. Valid after the first page."""
        self._search = Search(
            level,
            [*filters, *_request_ids(keys)],
            study_uid=study_uid,
            series_uid=series_uid,
            patient=patient,
            limit=PAGE // 10,
            include="all" if include == "all" else frozenset(keys) | include,
            below=True,
            fuzzy=fuzzy,
            combined=combined,
            empty=empty,
            any_case=any_case,
            narrowings=narrowings,
        )

    @property
    def statement(self) -> Search | None:
        """The search that finds every match by itself; None where what it finds is still to be looked at."""
        return None if self._in_rows or self._needs_files else self._search

    @property
    def complete(self) -> bool:
        """Whether every key is supported. Valid after the first page."""
        return not self.unknown and not self.unread

    async def pages(self) -> AsyncGenerator[list[DataSet], None]:
        """Yield matches, some at a time, as the attributes found for the keys. Nothing is held open between pages.

        Raises: TooManyInstances; BadRequest for an invalid value; DatabaseError; StorageError.
        """
        read = await self._decide_to_read(self._from_files)
        names = [f"{tag:08X}" for tag in self._keys]
        async with aclosing(self._matches(self._from_files if read else None)) as pages:
            async for page in pages:
                for match in page:
                    await self._complete(match, self._further, must=False)
                yield [from_json(_decoded(match.attributes, names)) for match in page]

    async def page(self, offset: int, limit: int) -> Page:
        """One page of matches, for clients that request page by page. Raises like `pages`.

        From the files only `include` and the keys matched there are returned, read from one file for each match of the
        page.
        """
        if limit <= 0:
            return Page([], False)
        if self.statement is not None:
            page = await search_page(self._database, replace(self._search, limit=limit, offset=offset))
        else:
            found: list[Match] = []
            async with aclosing(self.matches()) as pages:
                async for some in pages:
                    found += some[offset:]
                    offset -= min(offset, len(some))
                    if len(found) > limit:
                        break
            page = Page(found[:limit], len(found) > limit)
        for match in page.matches:
            await self._complete(match, self._further, must=False)
        if self._extra and not self._needs_files:
            wanted = self._extra | self._in_files.keys()
            if not self._in_files or await self._decide_to_read(wanted):
                for match in page.matches:
                    match.attributes.update(await self._of_files(match.row, wanted) or {})
        return page

    async def matches(self) -> AsyncGenerator[list[Match], None]:
        """Matches, some at a time; files are read only where keys stand in them alone. Raises what `pages` does."""
        if self._needs_files:
            await self._decide_to_read(self._from_files)
        async with aclosing(self._matches(self._from_files if self._needs_files else None)) as pages:
            async for page in pages:
                yield page

    async def _matches(self, wanted: frozenset[int] | None) -> AsyncGenerator[list[Match], None]:
        """Yield matches, with the `wanted` attributes of a file added; None: read no files."""
        search = self._search
        names = [f"{tag:08X}" for tag in self._in_rows]
        while True:
            page = await search_page(self._database, search)
            found = []
            for match in page.matches:
                if self._further:
                    await self._complete(match, self._further & self._in_rows.keys(), must=True)
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
                    await asyncio.sleep(0)  # lets other tasks run
            yield found
            if not page.more:
                return
            search = replace(search, after=page.matches[-1].position, limit=PAGE)

    async def _complete(self, match: Match, wanted: frozenset[int], *, must: bool) -> None:
        """Add attributes that the row of a match says nothing of, as it is older than the settings that name them.

        Raises TooManyInstances where it `must`, and too many files have been read.
        """
        lacking = frozenset(tag for tag in wanted if f"{tag:08X}" not in match.attributes)
        if not lacking:
            return
        if self._completed >= self._most_read:
            if not must:
                return
            tag = min(lacking)
            raise TooManyInstances(
                f"({tag >> 16:04X},{tag & 0xFFFF:04X}): over {self._most_read} files to read, whose index entries are "
                "older than storage.main_tags; POST /tools/reconstruct makes them anew"
            )
        self._completed += 1
        rows = await self._database.fetch(INSTANCES_UNDER[self._level], match.row, -1, 1)
        for _id, key, offset, size, transfer_syntax_uid in rows:
            with contextlib.suppress(NoSuchObject, DataSetError):
                match.attributes.update(
                    await asyncio.to_thread(
                        read_attributes, self._store, key, offset, size, transfer_syntax_uid, lacking
                    )
                )

    def _only_in_files(self, tag: int) -> bool:
        """Whether no column narrows the search for this key."""
        return not _is_indexed(tag) or self._keys[tag].vr == "SQ"

    async def _decide_to_read(self, wanted: frozenset[int]) -> bool:
        """Whether to read files for these keys: some key is only there, and few enough files remain."""
        if not wanted:
            return False
        query, parameters = total(self._search, self._most_read)
        ((count,),) = await self._database.fetch(query, *parameters)
        if count <= self._most_read:
            return True
        if self._needs_files:
            tag = next(tag for tag in self._in_files if self._only_in_files(tag))
            raise TooManyInstances(
                f"({tag >> 16:04X},{tag & 0xFFFF:04X}): over {self._most_read} files to read; give more keys"
            )
        self.unread = wanted
        return False

    async def _of_files(self, row: int, wanted: frozenset[int]) -> Members | None:
        """Attributes of the first matching instance under a row; None when no instance matches."""
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


def _is_indexed(tag: int) -> bool:
    """Whether a column holds the tag, at whatever level."""
    return place_of(tag) is Place.INDEXED


def _in_row(place: Place, key: Attribute) -> bool:
    """Whether the row of a match must be compared: no column holds the value, or the key is a sequence."""
    return place is Place.IN_ROW or (place is Place.INDEXED and key.vr == "SQ")


def _request_ids(keys: DataSet) -> list[tuple[int, str]]:
    """The keys in the item of the Request Attributes Sequence that narrow the search before items are compared."""
    key = keys.get(tags.REQUEST_ATTRIBUTES_SEQUENCE)
    if key is None or key.vr != "SQ" or not key.values:
        return []
    item: DataSet = key.values[0]
    return [(tag, item[tag].text) for tag in _REQUEST_IDS if tag in item and not is_universal(item[tag])]
