"""The modality worklist as a use case (PS3.4 Annex K): items from REST or from files, and the matches of a query.

An item is a data set with one or more Scheduled Procedure Steps; a query returns one match for each step. The index
narrows by date, the other keys are compared in memory. Files in the configured folder are read when they appear or
change, and their items deleted when the files go; in between, the database has the items.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Settings
from gateway.database.database import Database, Row, Script
from gateway.dicom import json
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import Attribute, DataSet, encode_data_set
from gateway.dicom.json import NOT_JSON
from gateway.dicom.json_reader import from_json
from gateway.dicom.part10 import read_header
from gateway.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from gateway.errors import BadRequest, DataSetError, NotFound
from gateway.index.compare import all_match, is_universal, requested
from gateway.index.matching import ends
from gateway.index.values import comparable_date, comparable_time
from gateway.index.zones import TIMEZONE_OFFSET, days_around, moved, offset_of, says_times
from gateway.workflow import queries

log = logging.getLogger(__name__)

STEPS: Final = 0x00400100
STEP_DATE: Final = 0x00400002
STEP_TIME: Final = 0x00400003
STEP_ID: Final = 0x00400009
STEP_STATUS: Final = 0x00400020
STUDY_UID: Final = 0x0020000D
FINISHED: Final = frozenset({"COMPLETED", "DISCONTINUED"})
_NO_KEYS: Final = frozenset({0x00080005, 0x00080201})
"""Character set and time zone say how to read a query; they are not matched (PS3.4 §C.2.2.2)."""
_LAST: Final = "\U0010ffff"
MAX_ITEM: Final = 1 << 20
"""Bytes of one item."""
MAX_FILES: Final = 20_000
_RESCAN = 1.0
"""Seconds within which the folder is not scanned again."""
_PAGE = 200
_CACHED = 4096
_SUFFIXES = (".wl", ".json")


@dataclass(frozen=True, slots=True)
class Item:
    """One worklist item. `source` is the name of its file, '' for an item from REST."""

    id: int
    public_id: str
    source: str
    created_at: float
    changed_at: float
    data_set: DataSet


def to_json(data_set: DataSet) -> str:
    """Encode a small data set as an object of the DICOM JSON Model."""
    syntax = EXPLICIT_VR_LITTLE_ENDIAN.uid
    data = encode_data_set(data_set, syntax)

    def no_uri(path: str) -> str:
        raise DataSetError(f"{path} is too large for a worklist item or a report")

    read: Callable[[int, int], bytes] = lambda offset, length: data[offset : offset + length]  # noqa: E731
    encoded = json.encode_data_set(read, 0, len(data), syntax, bulk_data_uri=no_uri, bulk_threshold=MAX_ITEM)
    return encoded.decode()


def checked(data_set: DataSet) -> DataSet:
    """Complete an item with a Study Instance UID, and a status in each step. Raises BadRequest when it has no step."""
    sequence = data_set.get(STEPS, Attribute("SQ"))
    steps = sequence.values if sequence.vr == "SQ" else ()
    if not steps or not all(steps):
        raise BadRequest("a worklist item needs a ScheduledProcedureStepSequence (0040,0100) with an item in it")
    scheduled = Attribute("CS", ["SCHEDULED"])
    completed = {
        **data_set,
        STEPS: Attribute(
            "SQ", [{**step} if text_of(step.get(STEP_STATUS)) else {**step, STEP_STATUS: scheduled} for step in steps]
        ),
    }
    if STUDY_UID in completed and completed[STUDY_UID].vr != "UI":
        raise BadRequest(f"StudyInstanceUID (0020,000D) of a worklist item has VR {completed[STUDY_UID].vr}, not UI")
    if not text_of(completed.get(STUDY_UID)):
        completed[STUDY_UID] = Attribute("UI", [f"2.25.{uuid.uuid4().int}"])
    return completed


class Worklists:
    """The worklist of one gateway."""

    def __init__(
        self, database: Database, settings: Callable[[], Settings], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._scanned_at = float("-inf")
        self._scanning = asyncio.Lock()
        self._unreadable: dict[str, str] = {}
        self._parsed: OrderedDict[str, tuple[int, DataSet]] = OrderedDict()

    async def create(self, data_set: DataSet) -> str:
        """Add an item; returns its id. Raises BadRequest for an invalid item."""
        kept, public_id, now = checked(data_set), str(uuid.uuid4()), self._clock()
        text = to_json(kept)
        if len(text) > MAX_ITEM:
            raise BadRequest(f"a worklist item of {len(text)} bytes; at most {MAX_ITEM} are stored")
        await self._database.write(lambda: _add(public_id, "", "", kept, text, now))
        return public_id

    async def change(self, public_id: str, data_set: DataSet) -> None:
        """Replace an item. Raises NotFound, BadRequest."""
        kept, now = checked(data_set), self._clock()
        text = to_json(kept)
        if not await self._database.write(lambda: _change(public_id, "", kept, text, now)):
            raise NotFound(f"there is no worklist item {public_id}")

    async def get(self, public_id: str) -> Item:
        rows = await self._database.fetch(queries.GET_WORKLIST_ITEM, public_id)
        if not rows:
            raise NotFound(f"there is no worklist item {public_id}")
        return self._item(rows[0])

    async def remove(self, public_id: str) -> None:
        """Delete an item. An item whose file still exists is added again by the next scan."""
        if not await self._database.write(lambda: _remove(public_id)):
            raise NotFound(f"there is no worklist item {public_id}")

    async def items(self) -> AsyncIterator[Item]:
        """Yield all items, oldest first."""
        await self.scan()
        after = 0
        while rows := await self._database.fetch(queries.LIST_WORKLIST_ITEMS, after, _PAGE):
            for row in rows:
                yield self._item(row)
            after = rows[-1][0]

    async def find(self, identifier: DataSet) -> AsyncIterator[DataSet]:
        """Yield the matches of a query, one for each step that matches. Raises BadRequest for invalid keys."""
        await self.scan()
        query = _Query(identifier)
        every_status = self._settings().worklist.show_finished or query.names_status
        after = 0
        while rows := await self._database.fetch(queries.WORKLIST_BETWEEN, after, _PAGE, query.first, query.last):
            for row in rows:
                for candidate in _by_step(self._item(row).data_set):
                    if not every_status and text_of(candidate[STEPS].values[0].get(STEP_STATUS)) in FINISHED:
                        continue
                    if query.matches(candidate):
                        yield query.answer(candidate)
            after = rows[-1][0]
            await asyncio.sleep(0)

    def _item(self, row: Row) -> Item:
        number, public_id, source, _fingerprint, created_at, changed_at, text = row
        cached, version = self._parsed.get(public_id), hash(text)
        if cached is None or cached[0] != version:
            cached = self._parsed[public_id] = version, from_json(msgspec.json.decode(text))
            if len(self._parsed) > _CACHED:
                self._parsed.popitem(last=False)
        return Item(number, public_id, source, created_at, changed_at, cached[1])

    async def scan(self) -> None:
        """Add the new and changed files of the folder, and delete the items whose files are gone."""
        async with self._scanning:
            if self._clock() < self._scanned_at + _RESCAN:
                return
            self._scanned_at = self._clock()
            known = {row[0]: row[1] for row in await self._database.fetch(queries.WORKLIST_FILES)}
            folder = self._settings().worklist.folder
            if not folder and not known:
                return
            try:
                files = await asyncio.to_thread(_files, folder) if folder else {}
            except OSError as error:
                log.warning("worklist.folder: %s cannot be read: %s", folder, error.strerror)
                return
            changed = {
                name: (path, fingerprint)
                for name, (path, fingerprint) in files.items()
                if known.get(name) != fingerprint and self._unreadable.get(name) != fingerprint
            }
            if not changed and known.keys() <= files.keys():
                return
            found = await asyncio.to_thread(self._read, changed)
            now = self._clock()
            await self._database.write(lambda: _take_files(found, set(files), now))

    def _read(self, files: dict[str, tuple[str, str]]) -> dict[str, tuple[str, DataSet, str]]:
        """Read files: name to fingerprint, item and JSON of those that are readable. Blocking."""
        found = {}
        for name, (path, fingerprint) in files.items():
            try:
                data_set = checked(read_file(path))
                found[name] = fingerprint, data_set, to_json(data_set)
            except (OSError, DataSetError, BadRequest) as error:
                log.warning("worklist.folder: %s is no worklist item: %s", name, error)
                self._unreadable[name] = fingerprint
        return found


def read_file(path: str) -> DataSet:
    """Read a worklist item from a file, `.json` as DICOM JSON Model, any other as DICOM. Blocks. Raises DataSetError,
    OSError."""
    with Path(path).open("rb") as file:
        data = file.read(MAX_ITEM + 1)
    if len(data) > MAX_ITEM:
        raise DataSetError(f"more than {MAX_ITEM} bytes")
    if path.endswith(".json"):
        try:
            model = msgspec.json.decode(data)
        except NOT_JSON as error:
            raise DataSetError(f"not JSON: {error}") from None
        if isinstance(model, list) and len(model) == 1:
            model = model[0]
        return from_json(model)
    meta = read_header(lambda offset, length: data[offset : offset + length])
    return decode_data_set(data[meta.data_set_offset :], meta.transfer_syntax_uid)


def follow_step(study_uid: str, step_ids: frozenset[str], state: str, now: float) -> Script[int]:
    """Set the status of the steps of a study, as a performed procedure step reports it; returns the items changed.

    Without step IDs, all steps of the study are set.
    """
    count = 0
    for row in (yield queries.WORKLIST_OF_STUDY, (study_uid,)):
        data_set = from_json(msgspec.json.decode(row[6]))
        steps = [
            {**step, STEP_STATUS: Attribute("CS", [state])}
            if not step_ids or text_of(step.get(STEP_ID)) in step_ids
            else step
            for step in data_set[STEPS].values
        ]
        if steps != list(data_set[STEPS].values):
            data_set[STEPS] = Attribute("SQ", steps)
            yield from _change(row[1], row[3], data_set, to_json(data_set), now)
            count += 1
    return count


def _files(folder: str) -> dict[str, tuple[str, str]]:
    """List the files of the folder: name to path and fingerprint. Blocking."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                status = entry.stat()
                found[entry.name] = entry.path, f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"
                if len(found) >= MAX_FILES:
                    log.warning("worklist.folder: only the first %d files are read", MAX_FILES)
                    break
    return found


def _take_files(found: dict[str, tuple[str, DataSet, str]], names: set[str], now: float) -> Script[None]:
    known = {source: (fingerprint, public_id) for source, fingerprint, public_id in (yield queries.WORKLIST_FILES, ())}
    for source, (_, public_id) in known.items():
        if source not in names:
            yield queries.REMOVE_WORKLIST_ITEM, (public_id,)
    for name, (fingerprint, data_set, text) in found.items():
        if name not in known:
            yield from _add(str(uuid.uuid4()), name, fingerprint, data_set, text, now)
        elif known[name][0] != fingerprint:
            yield from _change(known[name][1], fingerprint, data_set, text, now)


def _add(public_id: str, source: str, fingerprint: str, data_set: DataSet, text: str, now: float) -> Script[None]:
    columns = (text_of(data_set.get(STUDY_UID)), *_dates(data_set))
    yield queries.ADD_WORKLIST_ITEM, (public_id, source, fingerprint, *columns, now, text)


def _change(public_id: str, fingerprint: str, data_set: DataSet, text: str, now: float) -> Script[bool]:
    columns = (text_of(data_set.get(STUDY_UID)), *_dates(data_set))
    return bool((yield queries.CHANGE_WORKLIST_ITEM, (public_id, fingerprint, *columns, now, text)))


def _remove(public_id: str) -> Script[bool]:
    return bool((yield queries.REMOVE_WORKLIST_ITEM, (public_id,)))


def _dates(data_set: DataSet) -> tuple[str, str]:
    """The first and last date of the steps; '' twice when any step has no date."""
    dates = [comparable_date(text_of(step.get(STEP_DATE))) for step in data_set[STEPS].values]
    return (min(dates), max(dates)) if all(dates) else ("", "")


def _by_step(data_set: DataSet) -> Iterator[DataSet]:
    for step in data_set[STEPS].values:
        yield {**data_set, STEPS: Attribute("SQ", [step])}


class _Query:
    """The keys of one query. A range of step dates with a range of step times is one range of moments: "the date range
    July 5 to July 7 and the time range 10 am to 6 pm specifies the time period starting on July 5, 10 am until July 7,
    6 pm" (Table K.6-1).

    Where the query names a time zone, its times are in that zone (K.4.1.1.3.1); items that name theirs are compared at
    the same moment, others as they stand.
    """

    def __init__(self, identifier: DataSet) -> None:
        self._keys = {tag: key for tag, key in identifier.items() if tag not in _NO_KEYS}
        steps = identifier.get(STEPS)
        step: DataSet = dict(steps.values[0]) if steps is not None and steps.vr == "SQ" and steps.values else {}
        date, time_ = step.get(STEP_DATE, Attribute("DA")), step.get(STEP_TIME, Attribute("TM"))
        self.names_status = not is_universal(step.get(STEP_STATUS, Attribute("CS")))
        self.first, self.last = "", _LAST
        self._begin, self._end = ("", ""), (_LAST, _LAST)
        self._is_period = False
        self._zone = offset_of(identifier)
        zone = identifier.get(TIMEZONE_OFFSET)
        self._asks_zone = zone is not None
        if zone is not None and self._zone is None and not is_universal(zone):
            raise BadRequest(f"(0008,0201): {zone.text[:16]!r} is no offset from UTC, like +0100")
        if not is_universal(date):
            low, high = ends(date.text, "a date", comparable_date, comparable_date)
            self.first, self.last = low, high or _LAST
            if "-" in date.text and "-" in time_.text and not is_universal(time_):
                begin, end = ends(time_.text, "a time", comparable_time, lambda text: comparable_time(text, "9"))
                self._begin = self.first, begin if low else ""
                self._end = self.last, (end or _LAST) if high else _LAST
                self._is_period = True
                step |= {STEP_DATE: Attribute("DA"), STEP_TIME: Attribute("TM")}
                self._keys[STEPS] = Attribute("SQ", [step])
        self._returned = self._keys
        if self._zone is not None and step:
            self.first, self.last = days_around(self.first, self.last)
            # A matching step has been compared in the zone of the query, and is returned in its own.
            universal = {tag: Attribute(key.vr) for tag, key in step.items() if key.vr in ("DA", "TM")}
            self._returned = self._keys | {STEPS: Attribute("SQ", [step | universal])}

    def matches(self, candidate: DataSet) -> bool:
        """Whether `candidate`, an item with one step, matches."""
        zone = offset_of(candidate) if self._zone is not None else None
        if self._zone is not None and zone not in (None, self._zone):
            candidate = moved(candidate, self._zone - zone)
        if self._is_period:
            step = candidate[STEPS].values[0]
            date = comparable_date(text_of(step.get(STEP_DATE)))
            moment = comparable_time(text_of(step.get(STEP_TIME)))
            if not (date and moment and self._begin <= (date, moment) <= self._end):
                return False
        return all_match(self._keys, candidate)

    def answer(self, candidate: DataSet) -> DataSet:
        """Every key with its value, empty for none (§C.4.1.1.3.2), and the time zone of the times among them."""
        found = {tag: requested(key, candidate.get(tag)) for tag, key in self._returned.items()}
        zone = candidate.get(TIMEZONE_OFFSET)
        if self._asks_zone or (zone is not None and says_times(found)):
            found[TIMEZONE_OFFSET] = zone or Attribute("SH")
        return found


def text_of(attribute: Attribute | None) -> str:
    """The first value as text without padding; '' for none."""
    return str(attribute.values[0]).strip() if attribute is not None and attribute.values else ""
