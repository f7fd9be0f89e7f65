"""All studies of an archive that answers queries, listed, brought and compared: dcm4chee and others.

A study is brought when the index here lacks an instance that the archive names; so a crawl that was broken off goes on
where it was, and what is here already costs a query. `dicom_source.py` and `dicomweb_source.py` speak to the archive.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from gateway import config
from gateway.database.database import Database
from gateway.errors import GatewayError, RequestFailed, SourceError
from gateway.index.locate import every_located
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.migration import queries
from gateway.migration.crawled_archive import CrawledArchive, Instances, NamedInstance, StudyRow, is_uid, shown
from gateway.migration.ledger import MigrationLedger, digest_of
from gateway.migration.windows import Listing, Window, WindowAnswer
from gateway.remote.rate_limit import Bandwidth

MAX_LISTED: Final = 1000
"""Problems that are listed; more are counted."""
_PAGE: Final = 100
_MAX_ANSWERS: Final = 1000
"""Studies of one answer, after which smaller windows are asked for: answers in the millions burden an archive."""
_ROUNDS: Final = 2
"""Attempts at studies that did not come whole."""
_MAX_UNREACHED: Final = 5
"""Studies in succession after which an archive that does not answer is given up for this run."""
_MAX_AGE_S: Final = 24 * 3600
"""Seconds after which what an archive listed is asked for anew: studies have come since."""
_NO_DATE: Final = "studies without a date or a time"
_DAY: Final = re.compile(r"\d{8}", re.ASCII)
_MINUTE: Final = re.compile(r"([01]\d|2[0-3])[0-5]\d", re.ASCII)
_HEEDLESS: Final = "its search pays no heed to dates; of all studies"

Show = Callable[[str, int, int], None]


@dataclass(slots=True)
class CrawlReport:
    """The results of a crawl."""

    studies: int = 0
    """Studies that the archive has."""
    instances: int = 0
    """Instances that it named in this run."""
    brought: int = 0
    """Instances that came in this run."""
    lacking: int = 0
    """Studies of which something is missing here, and other problems."""
    problems: list[str] = field(default_factory=list)
    """The first MAX_LISTED of them."""
    doubts: list[str] = field(default_factory=list)
    """Windows of which the archive may have more than it answers."""


class _Notes:
    """Notes in the ledger on what has been listed."""

    def __init__(self, ledger: MigrationLedger) -> None:
        self._ledger = ledger

    async def found(self, name: str) -> int | None:
        value: int | None = await asyncio.to_thread(self._ledger.value, queries.LISTED, name)
        return value

    async def note(self, name: str, found: int, proved: int) -> None:
        await asyncio.to_thread(
            self._ledger.write, (queries.ADD_LISTED, name, found), (queries.WRITE_NOTE, "proved", str(proved))
        )

    async def doubt(self, name: str, answered: int | None) -> None:
        await asyncio.to_thread(self._ledger.write, (queries.ADD_DOUBT, name, answered))


class _DatesIgnored(Exception):
    """The archive answers with studies of other days than it was asked for."""


class Crawl:
    """One run over an archive."""

    def __init__(self, source: CrawledArchive, ledger: MigrationLedger, database: Database, show: Show) -> None:
        self._source = source
        self._ledger = ledger
        self._database = database
        self._show = show
        self._report = CrawlReport()
        self._done = 0
        self._heeds_dates = False
        """Whether the archive was found to look at dates, in spite of a study outside of its window."""
        self._again: set[str] = set()
        """Studies that did not come whole the first time."""

    async def age_of_list(self, now: float) -> float | None:
        """The seconds since a listing began that a run before this one left; None for none. One that is too old is
        forgotten."""
        begun = await asyncio.to_thread(self._ledger.value, queries.READ_NOTE, "begun")
        if begun is not None and 0 <= now - float(begun) <= _MAX_AGE_S:
            return now - float(begun)
        await self._forget_list()
        await asyncio.to_thread(self._ledger.write, (queries.WRITE_NOTE, "begun", str(now)))
        await asyncio.to_thread(self._ledger.commit)
        return None

    async def _forget_list(self) -> None:
        """Have the next run ask for all studies again."""
        await asyncio.to_thread(self._ledger.write, *((each,) for each in queries.FORGET_LIST))
        await asyncio.to_thread(self._ledger.commit)

    async def list_studies(self, window: Window, *, undated: bool = True) -> int:
        """List the studies of a window, and those that no window has; returns how many there are.

        A listing that was broken off goes on. Raises GatewayError.
        """
        await self.age_of_list(time.time())
        proved = await asyncio.to_thread(self._ledger.value, queries.READ_NOTE, "proved")
        notes = _Notes(self._ledger)
        listing = Listing(self._ask, notes, int(proved or 2))
        try:
            await listing.complete(window)
        except _DatesIgnored:
            found = await self._ask_once(window, undated=undated)
            for name in (window.name, _NO_DATE):
                await notes.note(name, found, listing.proved)
            await notes.doubt(_HEEDLESS, found)
        if undated and await notes.found(_NO_DATE) is None:
            await notes.note(_NO_DATE, await self._ask_undated(window), listing.proved)
        await asyncio.to_thread(self._ledger.commit)
        ((number, _done),) = await self._ledger.of(queries.COUNT_STUDIES)
        return int(number)

    async def bring(self, ingest: Ingest, rate: int, parallel: int) -> CrawlReport:
        """Bring what is lacking, `parallel` studies at a time. Raises: SourceError if the archive is gone;
        StorageError."""
        pace, room, report = Bandwidth(rate), asyncio.Semaphore(parallel), self._report
        ((number, done),) = await self._ledger.of(queries.COUNT_STUDIES)
        report.studies, self._done, unreached = int(number), int(done), 0

        async def work(uid: str, expected: int | None) -> None:
            nonlocal unreached
            try:
                await pace.take(await self._study(ingest, uid, expected))
                unreached = 0
            except SourceError as error:
                unreached += 1
                await self._fail(uid, str(error))
                if unreached >= _MAX_UNREACHED:
                    raise
            finally:
                room.release()
            self._done += 1
            self._show("bringing studies", min(self._done, report.studies), report.studies)

        try:
            for number in range(_ROUNDS):
                after = ""
                if number:
                    self._again = {uid for (uid,) in await self._ledger.of(queries.STUDIES_LEFT)}
                while page := await self._ledger.of(queries.STUDIES_AFTER, after, _PAGE):
                    after = page[-1][0]
                    async with asyncio.TaskGroup() as group:
                        for uid, expected in page:
                            await room.acquire()
                            group.create_task(work(uid, expected))
                    await asyncio.to_thread(self._ledger.commit)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return await self.end()

    async def end(self) -> CrawlReport:
        """Say what there is, and what is lacking of what was asked for, and forget the list."""
        report = self._report
        ((report.studies, _done),) = await self._ledger.of(queries.COUNT_STUDIES)
        ((report.lacking,),) = await self._ledger.of(queries.COUNT_FAILED)
        rows = await self._ledger.of(queries.LIST_FAILED, "", MAX_LISTED)
        report.problems = [f"{name}: {reason}" for name, reason in rows]
        proved = await asyncio.to_thread(self._ledger.value, queries.READ_NOTE, "proved")
        report.doubts = [
            f"{name}: the archive {'fails to answer' if answered is None else f'answers {answered}'}, and may have more"
            for name, answered in await self._ledger.of(queries.DOUBTS, int(proved or 2), MAX_LISTED)
        ]
        await self._forget_list()
        return report

    async def _ask(self, window: Window) -> WindowAnswer:
        """Ask for a window, and note its studies. Raises _DatesIgnored."""
        found: dict[str, StudyRow] = {}
        complete = True
        try:
            async with aclosing(self._source.studies(window)) as rows:
                async for row in rows:
                    found[row.uid] = row
                    if len(found) > _MAX_ANSWERS and window.halves() is not None:
                        complete = False
                        break
        except SourceError:
            raise
        except GatewayError as error:
            too_many = isinstance(error, RequestFailed) and error.status & 0xFF00 == 0xA700
            if window.first == window.last and not found and not too_many:
                # Each of a million minutes would fail likewise.
                raise SourceError(f"{error}, to a search for the studies of {window.study_date}") from None
            complete = False
        if not self._heeds_dates and any(_lies_outside(window, row) for row in found.values()):
            if await self._ignores_dates():
                raise _DatesIgnored
            self._heeds_dates = True
        await self._note_studies(found)
        self._show("listing studies", 0, 0)
        return WindowAnswer(len(found) if complete else None, frozenset(found))

    async def _ignores_dates(self) -> bool:
        """Whether the archive has studies of a day on which nobody had any: a study outside of a window may also have
        one date in the archive's database, and another in its attributes."""
        try:
            async with aclosing(self._source.studies(Window(_NEVER, _NEVER))) as rows:
                async for row in rows:
                    if _lies_outside(Window(_NEVER, _NEVER), row):
                        return True
        except SourceError:
            raise
        except GatewayError:
            pass
        return False

    async def _ask_once(self, window: Window, *, undated: bool) -> int:
        """Ask for all studies, and note those of a window, or with `undated` all; returns how many answers came."""
        found: dict[str, StudyRow] = {}
        answered = 0
        async with aclosing(self._source.studies(None)) as rows:
            async for row in rows:
                answered += 1
                if undated or not (_lies_outside(window, row) or not row.study_date):
                    found[row.uid] = row
                if len(found) >= _MAX_ANSWERS:
                    await self._note_studies(found)
                    self._show("listing studies", 0, 0)
                    found.clear()
        await self._note_studies(found)
        return answered

    async def _ask_undated(self, window: Window) -> int:
        """Ask for all studies, and note those that no window may have found: without a date or time, or with none of
        the calendar. An answer with all studies removes every doubt."""
        first, last = (f"{each:%Y%m%d}" for each in (window.first, window.last))
        found: dict[str, StudyRow] = {}
        answered, failure = 0, ""
        try:
            async with aclosing(self._source.studies(None)) as rows:
                async for row in rows:
                    answered += 1
                    if not first <= row.study_date <= last or not row.study_time:
                        found[row.uid] = row
        except SourceError:
            raise
        except GatewayError as error:
            failure = str(error)
        await self._note_studies(found)
        ((number, _done),) = await self._ledger.of(queries.COUNT_STUDIES)
        notes = _Notes(self._ledger)
        if failure or answered < number:
            await notes.doubt(_NO_DATE, None if failure else answered)
        else:
            await asyncio.to_thread(self._ledger.write, (queries.FORGET_DOUBTS,))
        return len(found)

    async def _note_studies(self, found: Mapping[str, StudyRow]) -> None:
        rows = [(queries.ADD_STUDY, shown(row.uid), row.expected) for row in found.values()]
        await asyncio.to_thread(self._ledger.write, *rows)

    async def _study(self, ingest: Ingest, uid: str, expected: int | None) -> int:
        """Bring what is lacking of a study; returns how many instances came."""
        if not is_uid(uid):
            await self._fail(uid, "its UID is none (PS3.5 §9.1), so it cannot be asked for")
            return 0
        before = await self._here(uid)
        try:
            named = await self._source.instances(uid)
        except SourceError:
            raise
        except GatewayError:
            named = None
        if named is not None and uid not in self._again:
            self._report.instances += len(named)
        lacking, reason = _lacking(named, before), ""
        if named is None or lacking or (expected or 0) > len(before):
            reason = await self._brought(ingest, uid, named, lacking)
        here = await self._here(uid)
        came = len(here) - len(before)
        self._report.brought += came
        lacking = _lacking(named, here)
        if lacking:
            some = ", ".join(map(shown, list(lacking)[:3]))
            await self._fail(uid, f"{len(lacking)} of {len(named or ())} instances are not here, as {some}{reason}")
        elif (expected or 0) > len(here):  # It names fewer, where it limits these answers too.
            await self._fail(uid, f"the archive has {expected} instances, {len(here)} are here{reason}")
        elif named is None and reason:
            await self._fail(uid, f"the archive names no instances, and sends none{reason}")
        else:
            done = (queries.STUDY_DONE, uid), (queries.FORGET_FAILED, uid)
            await asyncio.to_thread(self._ledger.write, *done)
            await asyncio.to_thread(self._ledger.commit)
        return came

    async def _brought(self, ingest: Ingest, uid: str, named: Instances | None, lacking: Instances) -> str:
        """Have a study sent, then again the series of which something is lacking; returns what the archive said of a
        failure."""
        reason = ""
        try:
            await self._source.bring(ingest, uid, lacking)
        except SourceError:
            raise
        except GatewayError as error:
            reason = f": {error}"
        lacking = _lacking(named, await self._here(uid))
        for series in filter(is_uid, dict.fromkeys(each.series_uid for each in lacking.values())):
            try:
                await self._source.bring(ingest, uid, lacking, series)
                reason = ""
            except SourceError:
                raise
            except GatewayError as error:
                reason = f": {error}"
        return reason

    async def _here(self, uid: str) -> set[str]:
        return {each.sop_uid async for each in every_located(self._database, uid)}

    async def _fail(self, name: str, reason: str) -> None:
        await asyncio.to_thread(self._ledger.write, (queries.ADD_FAILED, name, reason))


def _lies_outside(window: Window, row: StudyRow) -> bool:
    """Whether a study is of another day than those of a window, or another time; False where it says none."""
    day, minute = row.study_date, row.study_time[:4]
    if _DAY.fullmatch(day) and not window.days[0] <= day <= window.days[1]:
        return True
    return _MINUTE.fullmatch(minute) is not None and not (
        window.begins <= int(minute[:2]) * 60 + int(minute[2:]) < window.ends
    )


def _lacking(named: Instances | None, here: set[str]) -> dict[str, NamedInstance]:
    return {uid: each for uid, each in (named or {}).items() if uid not in here}


@asynccontextmanager
async def open_crawl(
    settings: config.Storage,
    source: CrawledArchive,
    days: tuple[date, date],
    show: Show,
    *,
    dry: bool = False,
    url: str = "",
) -> AsyncIterator[tuple[Crawl, Ingest]]:
    """A crawl of some days into a data folder, and the ingest that takes what comes. A dry one has a list of its own,
    and so neither uses that of a run which was broken off, nor leaves one to the next.

    Raises: ConfigurationError; DatabaseError.
    """
    async with open_folder(settings, url) as folder, open_ingest(folder) as ingest:
        digest = digest_of([source.name, *days, dry]).hex()[:16]
        path = folder.layout.migrations.joinpath(f"crawl-{digest}.ledger")
        ledger: Any = await asyncio.to_thread(MigrationLedger, path)
        with ledger:
            yield Crawl(source, ledger, folder.database, show), ingest


EVER: Final = date(1900, 1, 1)
"""The first day of the first window, unless another one is wanted."""
_NEVER: Final = date(1800, 1, 1)
"""A day of which no archive has a study."""
