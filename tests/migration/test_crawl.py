"""Crawls of an archive in memory: what is lacking is asked for, what does not come is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import date
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from gateway.config import Storage
from gateway.errors import PermanentFailure, RequestFailed, SourceError
from gateway.index.store import Origin
from gateway.ingest.file_import import ingest_file
from gateway.ingest.ingest import Ingest
from gateway.migration import crawl as crawl_module
from gateway.migration.crawl import CrawlReport, open_crawl
from gateway.migration.crawled_archive import Instances, NamedInstance, StudyRow
from gateway.migration.windows import Window
from tests.support.datasets import instance
from tests.support.orthanc_folder import file_of

DAYS = date(2000, 1, 1), date(2020, 12, 31)


class Archive:
    """An archive in memory. `limit` is the number of studies that it answers at most."""

    name = "memory"

    def __init__(self, limit: int = 10**6, *, silent: bool = True) -> None:
        self.files: dict[str, dict[str, Dataset]] = {}
        self.limit = limit
        self.silent = silent
        self.asked: list[str] = []
        self.withheld: set[str] = set()
        """Instances that do not come."""
        self.names_instances = True
        self.gone = False

    def add(self, study: int, *, when: str = "20100101", at: str = "101010", instances: int = 2) -> None:
        uid = f"1.2.{study}"
        self.files[uid] = {
            f"{uid}.1.{number}": instance(
                PatientID=f"P{study}",
                StudyInstanceUID=uid,
                SeriesInstanceUID=f"{uid}.1",
                SOPInstanceUID=f"{uid}.1.{number}",
                StudyDate=when,
                StudyTime=at,
            )
            for number in range(instances)
        }

    async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
        self._check()
        answered = 0
        for uid, files in self.files.items():
            first = next(iter(files.values()))
            if window is None or _matches(window, str(first.StudyDate), str(first.StudyTime)):
                answered += 1
                if answered > self.limit:
                    if self.silent:
                        return
                    raise RequestFailed("too many", 0xA700)
                yield StudyRow(uid, str(first.StudyDate), str(first.StudyTime), len(files))

    async def instances(self, study_uid: str) -> Instances | None:
        self._check()
        if not self.names_instances:
            raise RequestFailed("cannot", 0xC000)
        return {
            uid: NamedInstance(str(each.SeriesInstanceUID), str(each.SOPClassUID))
            for uid, each in self.files[study_uid].items()
        }

    async def bring(self, ingest: Ingest, study_uid: str, lacking: Instances, series_uid: str = "") -> None:
        self._check()
        self.asked.append(series_uid or study_uid)
        for uid, data_set in self.files[study_uid].items():
            if uid not in self.withheld:
                file = _Chunks(file_of(data_set))
                await ingest_file(ingest, file, Origin("", "", "", time.time(), "dimse"))
        if self.withheld & self.files[study_uid].keys():
            raise PermanentFailure("one failed")

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.gone:
            raise SourceError("it is gone")


class _Chunks:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, length: int, /) -> bytes:
        piece, self.data = self.data[:length], self.data[length:]
        return piece


def _matches(window: Window, day: str, when: str) -> bool:
    if not (day and f"{window.first:%Y%m%d}" <= day <= f"{window.last:%Y%m%d}"):
        return False
    minute = int(when[:2]) * 60 + int(when[2:4]) if when else -1
    return not window.study_time or window.begins <= minute < window.ends


async def run(
    archive: Archive, data: Path, days: tuple[date, date] = DAYS, *, dry: bool = False, undated: bool = True
) -> CrawlReport:
    settings = Storage(path=str(data), min_free=0)
    async with (
        asyncio.timeout(40),
        open_crawl(settings, archive, days, lambda what, done, total: None, dry=dry) as (crawl, ingest),
    ):
        await crawl.list_studies(Window(*days), undated=undated)
        return await (crawl.end() if dry else crawl.bring(ingest, 0, 2))


async def test_all_comes_once(tmp_path: Path) -> None:
    archive = Archive()
    for number in range(20):
        archive.add(number, when=f"20{number:02}0101")
    archive.add(20, when="", at="")
    archive.add(21, when="18950101")
    report = await run(archive, tmp_path / "data")
    assert report == CrawlReport(studies=22, instances=44, brought=44)
    assert len(archive.asked) == 22
    archive.add(22)
    again = await run(archive, tmp_path / "data")
    assert again == CrawlReport(studies=23, instances=46, brought=2)
    assert archive.asked[22:] == ["1.2.22"]


@pytest.mark.parametrize("silent", [True, False])
async def test_an_archive_that_limits_its_answers(tmp_path: Path, silent: bool) -> None:
    archive = Archive(limit=5, silent=silent)
    for number in range(40):
        archive.add(number, when=f"2010{1 + number // 20:02}0{1 + number % 3}", at=f"10{number:02}00", instances=1)
    report = await run(archive, tmp_path / "data")
    assert (report.studies, report.brought, report.lacking) == (40, 40, 0)
    assert any("without a date" in each for each in report.doubts)


async def test_too_many_for_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl_module, "_MAX_ANSWERS", 6)
    archive = Archive()
    for number in range(30):
        archive.add(number, at="" if number % 2 else f"10{number:02}00", instances=1)
    report = await run(archive, tmp_path / "data")
    assert (report.studies, report.brought, report.doubts) == (30, 30, [])


async def test_what_does_not_come_is_said(tmp_path: Path) -> None:
    archive = Archive()
    for number in range(3):
        archive.add(number)
    archive.withheld = {"1.2.1.1.1"}
    report = await run(archive, tmp_path / "data")
    assert (report.brought, report.lacking) == (5, 1)
    assert report.problems == ["1.2.1: 1 of 2 instances are not here, as 1.2.1.1.1: one failed"]
    assert archive.asked.count("1.2.1.1") == 2  # The series alone, in both rounds.
    archive.withheld = set()
    assert await run(archive, tmp_path / "data") == CrawlReport(studies=3, instances=6, brought=1)


async def test_an_archive_that_names_no_instances(tmp_path: Path) -> None:
    archive = Archive()
    archive.names_instances = False
    for number in range(3):
        archive.add(number)
    archive.withheld = {"1.2.1.1.1"}
    report = await run(archive, tmp_path / "data")
    assert report.problems == ["1.2.1: the archive has 2 instances, 1 are here: one failed"]


async def test_an_archive_that_names_no_instances_and_counts_none(tmp_path: Path) -> None:
    class Silent(Archive):
        async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
            async for row in super().studies(window):
                yield row._replace(expected=None)

    archive = Silent()
    archive.names_instances = False
    archive.add(1)
    archive.withheld = {"1.2.1.1.1"}
    report = await run(archive, tmp_path / "data")
    assert report.problems == ["1.2.1: the archive names no instances, and sends none: one failed"]


async def test_an_archive_that_limits_how_many_instances_it_names(tmp_path: Path) -> None:
    class Limited(Archive):
        async def instances(self, study_uid: str) -> Instances | None:
            named = await super().instances(study_uid)
            return dict([*(named or {}).items()][:2])

    archive = Limited()
    archive.add(1, instances=5)
    assert await run(archive, tmp_path / "data") == CrawlReport(studies=1, instances=2, brought=5)
    archive.add(1, instances=6)
    assert await run(archive, tmp_path / "data") == CrawlReport(studies=1, instances=2, brought=1)


async def test_an_archive_that_goes_away(tmp_path: Path) -> None:
    archive = Archive()
    for number in range(30):
        archive.add(number)
    real = archive.bring

    async def bring(ingest: Ingest, study_uid: str, lacking: Instances, series_uid: str = "") -> None:
        await real(ingest, study_uid, lacking, series_uid)
        archive.gone = len(archive.asked) >= 10

    archive.bring = bring  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="it is gone"):
        await run(archive, tmp_path / "data")
    archive.gone, archive.bring = False, real  # type: ignore[method-assign]
    asked = len(archive.asked)
    report = await run(archive, tmp_path / "data")
    assert (report.studies, report.lacking) == (30, 0)
    assert len(archive.asked) - asked < 25
    assert sorted(set(archive.asked)) == sorted(archive.files)


async def test_one_that_cannot_search_ends_at_once(tmp_path: Path) -> None:
    class Failing(Archive):
        count = 0

        async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
            self.count += 1
            raise RequestFailed("cannot", 0xC001)
            yield

    archive = Failing()
    with pytest.raises(SourceError, match="cannot, to a search for the studies of 20000101"):
        await run(archive, tmp_path / "data")
    assert archive.count < 20


@pytest.mark.parametrize("uid", ["1.2.3_x", "", "1.2.3/../..", "1.2.\udcff"])
async def test_a_uid_that_is_none_is_listed(tmp_path: Path, uid: str) -> None:
    archive = Archive()
    archive.add(1)
    archive.files[uid] = archive.files["1.2.1"]
    report = await run(archive, tmp_path / "data")
    assert (report.studies, report.brought, report.lacking) == (2, 2, 1)
    assert report.problems == [f"{uid!a}: its UID is none (PS3.5 §9.1), so it cannot be asked for"]
    assert set(archive.asked) == {"1.2.1"}
    del archive.files[uid]
    assert (await run(archive, tmp_path / "data")).lacking == 0


async def test_series_and_instances_whose_uids_are_none(tmp_path: Path) -> None:
    class Odd(Archive):
        async def instances(self, study_uid: str) -> Instances | None:
            odd = {"1.2.1_1": NamedInstance("1.2.1.1", ""), "1.2.1.9.1": NamedInstance("1.2.1/9", "")}
            return {**(await super().instances(study_uid) or {}), **odd}

    archive = Odd()
    archive.add(1)
    report = await run(archive, tmp_path / "data")
    assert (report.brought, report.lacking) == (2, 1)
    assert report.problems == ["1.2.1: 2 of 4 instances are not here, as '1.2.1_1', 1.2.1.9.1"]
    assert set(archive.asked) == {"1.2.1", "1.2.1.1"}


async def test_a_dry_run_leaves_no_list(tmp_path: Path) -> None:
    archive = Archive()
    archive.add(1)
    assert await run(archive, tmp_path / "data", dry=True) == CrawlReport(studies=1)
    archive.add(2)
    assert (await run(archive, tmp_path / "data")).studies == 2


async def test_a_dry_run_leaves_alone_what_was_broken_off(tmp_path: Path) -> None:
    archive = Archive()
    archive.add(1)
    settings = Storage(path=str(tmp_path / "data"), min_free=0)
    async with open_crawl(settings, archive, DAYS, lambda what, done, total: None) as (crawl, _):
        await crawl.list_studies(Window(*DAYS))
    archive.add(2)
    assert (await run(archive, tmp_path / "data", dry=True)).studies == 2
    async with open_crawl(settings, archive, DAYS, lambda what, done, total: None) as (crawl, _):
        assert await crawl.age_of_list(time.time()) is not None
        assert await crawl.list_studies(Window(*DAYS)) == 1


async def test_a_list_of_other_days_is_another(tmp_path: Path) -> None:
    archive = Archive()
    archive.add(1, when="20050101")
    archive.add(2, when="20150101")
    settings = Storage(path=str(tmp_path / "data"), min_free=0)
    async with open_crawl(settings, archive, DAYS, lambda what, done, total: None) as (crawl, _):
        assert await crawl.list_studies(Window(*DAYS)) == 2  # Broken off before it brings anything.
    report = await run(archive, tmp_path / "data", (DAYS[0], date(2010, 12, 31)), undated=False)
    assert (report.studies, archive.asked) == (1, ["1.2.1"])


async def test_a_list_of_yesterday_is_not_used(tmp_path: Path) -> None:
    archive = Archive()
    archive.add(1)
    settings, now = Storage(path=str(tmp_path / "data"), min_free=0), time.time()
    async with open_crawl(settings, archive, DAYS, lambda what, done, total: None) as (crawl, _):
        assert await crawl.age_of_list(now - 3600) is None
        assert await crawl.list_studies(Window(*DAYS)) == 1
        archive.add(2)
        assert await crawl.list_studies(Window(*DAYS)) == 1
        assert await crawl.age_of_list(now) == pytest.approx(3600)
        assert await crawl.age_of_list(now + 86400) is None
        assert await crawl.list_studies(Window(*DAYS)) == 2


class Heedless(Archive):
    """An archive that pays no heed to windows."""

    searches = 0

    async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
        self.searches += 1
        async for row in super().studies(None):
            yield row


async def test_an_archive_that_pays_no_heed_to_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl_module, "_MAX_ANSWERS", 6)
    archive = Heedless()
    for number in range(15):
        archive.add(number, when=f"20{number:02}0101" if number else "", instances=1)
    report = await run(archive, tmp_path / "data")
    assert (report.studies, report.brought, report.lacking) == (15, 15, 0)
    assert report.doubts == [
        "its search pays no heed to dates; of all studies: the archive answers 15, and may have more"
    ]
    assert archive.searches < 10
    since = await run(archive, tmp_path / "other", (date(2010, 1, 1), DAYS[1]), undated=False)
    assert (since.studies, since.brought) == (5, 5)
    archive.searches = 0
    for number in range(20, 30):
        archive.add(number, when="20100101", instances=1)
    day = await run(archive, tmp_path / "day", (date(2010, 1, 1), date(2010, 1, 1)), undated=False)
    assert (day.studies, day.brought) == (11, 11)
    assert archive.searches < 10


async def test_a_study_that_shows_another_date_than_it_is_found_by(tmp_path: Path) -> None:
    class Moved(Archive):
        async def studies(self, window: Window | None) -> AsyncGenerator[StudyRow, None]:
            async for row in super().studies(window):
                yield row._replace(study_date="20200101") if row.uid == "1.2.3" else row

    archive = Moved()
    for number in range(8):
        archive.add(number, when=f"20{number:02}0101", instances=1)
    assert await run(archive, tmp_path / "data") == CrawlReport(studies=8, instances=8, brought=8)
