"""The modality worklist as a use case (PS3.4 Annex K): items from REST or from files, and the matches of a query.

An item is a data set with one or more Scheduled Procedure Steps; a query returns one match for each step. The index
narrows by date, the other keys are compared in memory. Whoever asks for a tenant finds and makes items of the tenant.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import msgspec

from gateway.config import Settings
from gateway.database.database import Database, Row
from gateway.database.view import tenant_of_task
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.json_reader import from_json
from gateway.errors import BadRequest, NotFound
from gateway.index.compare import all_match, is_universal, requested
from gateway.index.matching import ends
from gateway.index.values import comparable_date, comparable_time
from gateway.index.zones import TIMEZONE_OFFSET, days_around, moved, offset_of, says_times
from gateway.workflow import queries
from gateway.workflow.worklist_folder import WorklistFolders
from gateway.workflow.worklist_items import (
    MAX_ITEM,
    STEP_DATE,
    STEP_STATUS,
    STEP_TIME,
    STEPS,
    Item,
    add_item,
    change_item,
    checked,
    remove_item,
    text_of,
    to_json,
)

FINISHED: Final = frozenset({"COMPLETED", "DISCONTINUED"})
_NO_KEYS: Final = frozenset({0x00080005, 0x00080201})
"""Character set and time zone say how to read a query; they are not matched (PS3.4 §C.2.2.2)."""
_LAST: Final = "\U0010ffff"
_PAGE = 200
_CACHED = 4096


class Worklists:
    """The worklist of one gateway."""

    def __init__(
        self, database: Database, settings: Callable[[], Settings], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self.folders = WorklistFolders(database, settings, clock=clock)
        self._parsed: OrderedDict[str, tuple[int, DataSet]] = OrderedDict()

    async def create(self, data_set: DataSet) -> str:
        """Add an item; returns its id. Raises BadRequest for an invalid item."""
        kept, public_id, now = checked(data_set), str(uuid.uuid4()), self._clock()
        text = to_json(kept)
        if len(text) > MAX_ITEM:
            raise BadRequest(f"a worklist item of {len(text)} bytes; at most {MAX_ITEM} are stored")
        item = Item(0, public_id, "", now, now, kept, tenant_of_task())
        await self._database.write(lambda: add_item(item, "", text))
        return public_id

    async def change(self, public_id: str, data_set: DataSet) -> None:
        """Replace an item. Raises NotFound, BadRequest."""
        kept, now = checked(data_set), self._clock()
        text = to_json(kept)
        if not await self._database.write(lambda: change_item(public_id, "", kept, text, now)):
            raise NotFound(f"there is no worklist item {public_id}")

    async def get(self, public_id: str) -> Item:
        rows = await self._database.fetch(queries.GET_WORKLIST_ITEM, public_id)
        if not rows:
            raise NotFound(f"there is no worklist item {public_id}")
        return self._item(rows[0])

    async def remove(self, public_id: str) -> None:
        """Delete an item. An item whose file still exists is added again by the next scan."""
        if not await self._database.write(lambda: remove_item(public_id)):
            raise NotFound(f"there is no worklist item {public_id}")

    async def items(self) -> AsyncIterator[Item]:
        """Yield all items, oldest first."""
        await self.folders.scan()
        after = 0
        while rows := await self._database.fetch(queries.LIST_WORKLIST_ITEMS, after, _PAGE):
            for row in rows:
                yield self._item(row)
            after = rows[-1][0]

    async def find(self, identifier: DataSet) -> AsyncIterator[DataSet]:
        """Yield the matches of a query, one for each step that matches. Raises BadRequest for invalid keys."""
        await self.folders.scan()
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
        number, public_id, source, _fingerprint, created_at, changed_at, text, tenant = row
        cached, version = self._parsed.get(public_id), hash(text)
        if cached is None or cached[0] != version:
            cached = self._parsed[public_id] = version, from_json(msgspec.json.decode(text))
            if len(self._parsed) > _CACHED:
                self._parsed.popitem(last=False)
        return Item(number, public_id, source, created_at, changed_at, cached[1], tenant)


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
