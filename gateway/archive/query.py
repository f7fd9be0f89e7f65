"""Searching what is stored: the one use case behind QIDO-RS, C-FIND and the pages.

The statement and its meaning are in `index/search.py`; what a client is told, and in which form, is at the edges.
`search_page` is one page of what the index knows; `Finder` goes on where the index ends, into the files.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.database.database import Database, Row
from gateway.dicom import elements, uids
from gateway.dicom.encode import Attribute, DataSet, from_json
from gateway.dicom.json import encode_elements
from gateway.errors import BadRequest, DataSetError, NoSuchObject, TruncatedDataSet
from gateway.index import attributes as tags
from gateway.index.attributes import AT_LEVEL, Level
from gateway.index.compare import all_match, is_universal
from gateway.index.queries import INSTANCES_UNDER
from gateway.index.search import Match, Search, decode, search, total, unsupported
from gateway.storage.store import Store

log = logging.getLogger(__name__)

PAGE: Final = 500
"""Matches that are fetched at once where they are streamed. The first page is a tenth of it."""
MAX_HEADER: Final = 16 << 20
"""Bytes of a file within which an attribute is looked for."""
MAX_VALUE: Final = 64 << 10
"""Bytes of a value that is matched or returned from a file; a longer one counts as absent."""
_CHUNK: Final = 50
"""Matches that are handed on at once, and instances whose files are looked at in one visit to a thread."""
_ATTEMPTS: Final = 3
_FIRST_READ: Final = 64 << 10
_PIXELS: Final = 0x7FE00000


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
        fuzzy: bool = False,
        combined: bool = False,
    ) -> None:
        """`most_read` is how many instances the other keys may leave where files are to be read."""
        self._database = database
        self._store = store
        self._level = level
        self._keys = keys
        self._fuzzy = fuzzy
        self._most_read = most_read
        matched = {tag: key for tag, key in keys.items() if not is_universal(key)}
        filters = [(tag, key.text) for tag, key in matched.items() if key.vr != "SQ" and not unsupported([(tag, "")])]
        held = AT_LEVEL[level] | _MADE[level]
        done = {tag for tag, _ in filters if not unsupported([(tag, "")], level)}
        self._in_rows = {tag: key for tag, key in matched.items() if tag in AT_LEVEL[level] and tag not in done}
        self._in_files = {tag: key for tag, key in matched.items() if tag not in held and _may_be_in_files(tag)}
        self._from_files = frozenset(tag for tag in keys if tag not in held and _may_be_in_files(tag))
        self._needs_files = any(unsupported([(tag, "")]) or keys[tag].vr == "SQ" for tag in self._in_files)
        self.complete = not any(tag not in held and not _may_be_in_files(tag) for tag in keys) and not (
            _PATIENT_COUNTS & matched.keys()
        )
        """Whether every key is supported. Known once the first page has been asked for."""
        self._search = Search(
            level,
            [*filters, *_request_ids(keys)],
            study_uid=_single(keys.get(tags.STUDY_INSTANCE_UID)) if level != "patient" else None,
            limit=PAGE // 10,
            include=frozenset(keys),
            below=True,
            fuzzy=fuzzy,
            combined=combined,
        )

    async def pages(self) -> AsyncGenerator[list[DataSet], None]:
        """Matches, some at a time, as the attributes found for the keys. Nothing is held open between pages.

        Raises TooManyInstances, BadRequest for a value that makes no sense, DatabaseError, StorageError.
        """
        read = await self._decide_to_read()
        wanted = self._search
        while True:
            page = await search_page(self._database, wanted)
            found = []
            for match in page.matches:
                attributes = self._of_row(match)
                if not all_match(self._in_rows, attributes, fuzzy=self._fuzzy):
                    continue
                if read:
                    more = await self._of_files(match.row)
                    if more is None:
                        continue
                    attributes.update(more)
                found.append(attributes)
                if len(found) >= _CHUNK:
                    yield found
                    found = []
                    await asyncio.sleep(0)  # others have their turn
            yield found
            if not page.more:
                return
            wanted = replace(wanted, after=page.matches[-1].position, limit=PAGE)

    async def _decide_to_read(self) -> bool:
        """Whether files are read: where a key stands there alone, and few enough are left."""
        if not self._from_files:
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
        self.complete = False
        return False

    def _of_row(self, match: Match) -> DataSet:
        model = {}
        for tag in self._keys:
            raw = match.attributes.get(f"{tag:08X}")
            if raw is not None:
                model[f"{tag:08X}"] = msgspec.json.decode(raw)
        return from_json(model)

    async def _of_files(self, row: int) -> DataSet | None:
        """Attributes of the first instance under a row that matches; None where none does."""
        after = -1
        query = INSTANCES_UNDER[self._level]
        for attempt in range(_ATTEMPTS):
            try:
                while rows := await self._database.fetch(query, row, after, _CHUNK):
                    found = await asyncio.to_thread(self._first_match, rows)
                    if found is not None:
                        return found
                    after = rows[-1][0]
                break
            except NoSuchObject:  # overwritten meanwhile: the row has a new key
                if attempt == _ATTEMPTS - 1:
                    raise
        return None

    def _first_match(self, rows: Sequence[Row]) -> DataSet | None:
        for _id, key, offset, size, transfer_syntax_uid in rows:
            try:
                found = read_attributes(self._store, key, offset, size, transfer_syntax_uid, self._from_files)
            except DataSetError as error:
                log.warning("instance %s cannot be read for a query: %s", key, error)
                found = {}
            if all_match(self._in_files, found, fuzzy=self._fuzzy):
                return found
        return None


def read_attributes(
    store: Store, key: str, offset: int, size: int, transfer_syntax_uid: str, wanted: frozenset[int]
) -> DataSet:
    """Some attributes of a stored instance. Blocking. Raises NoSuchObject, StorageError, DataSetError."""
    stored = store.open(key)
    try:
        length = _FIRST_READ
        while True:
            whole = length >= size - offset
            data = stored.read(offset, min(length, size - offset))
            try:
                return _pick(data, transfer_syntax_uid, wanted, final=whole)
            except TruncatedDataSet:
                if whole or length >= MAX_HEADER:
                    raise
            length *= 8
    finally:
        stored.close()


def _pick(data: bytes, transfer_syntax_uid: str, wanted: frozenset[int], *, final: bool) -> DataSet:
    if uids.transfer_syntax(transfer_syntax_uid).deflated:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_HEADER)
        except zlib.error as error:
            raise DataSetError(f"the deflated data set is corrupt: {error}") from None
    sought = wanted | {tags.SPECIFIC_CHARACTER_SET}
    found, end = elements.pick(data, transfer_syntax_uid, sought, max(sought))
    if end == len(data) and not final:
        raise TruncatedDataSet("more may follow")
    charset = found.pop(tags.SPECIFIC_CHARACTER_SET, None)
    small = {tag: element for tag, element in found.items() if element.length <= MAX_VALUE}
    return from_json(msgspec.json.decode(encode_elements(small, None if charset is None else charset.value)))


def _may_be_in_files(tag: int) -> bool:
    """Whether an instance could hold it before its pixels: nothing that is made for answers, no count."""
    return 0x00080000 <= tag < _PIXELS and tag not in _MADE["instance"] and tag != tags.INSTANCE_AVAILABILITY


def _single(key: Attribute | None) -> str | None:
    """The one value of a UID key."""
    if key is None or len(key.values) != 1 or is_universal(key):
        return None
    return str(key.values[0])


def _request_ids(keys: DataSet) -> list[tuple[int, str]]:
    """Keys in the item of the Request Attributes Sequence that narrow the search before the items are compared."""
    key = keys.get(tags.REQUEST_ATTRIBUTES_SEQUENCE)
    if key is None or key.vr != "SQ" or not key.values:
        return []
    item: DataSet = key.values[0]
    return [(tag, item[tag].text) for tag in _REQUEST_IDS if tag in item and not is_universal(item[tag])]
