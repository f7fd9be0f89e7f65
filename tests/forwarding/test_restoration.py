"""Deliveries whose transaction a power cut has undone: they are written again from what the frames have noted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.admin.deletion import Removal
from gateway.config import Storage
from gateway.database.database import Query, Script
from gateway.forwarding.restoration import Restoration
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.outbox import REPLAYED
from gateway.jobs.table import Job, finish_job
from tests.forwarding.conftest import Archive
from tests.support.intake import undo

_TIMERS = Query("timers: how many wait", "SELECT COUNT(*) FROM jobs WHERE kind = 'settling' AND state = 'waiting'")
RULES = {
    "all": {"destinations": ["pacs"], "newest_first": True},
    "whole": {"destinations": ["other"], "each": "study"},
}


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Archive]:
    settings = msgspec.convert({"path": str(path / "data"), "min_free": 0, "duplicates": "overwrite"}, Storage)
    async with asyncio.timeout(30), open_folder(settings) as folder:
        archive = Archive(folder, path / "data")
        archive.configure(**RULES)
        async with open_ingest(folder, outbox=archive.rule_engine) as archive.ingest:
            yield archive


@pytest.fixture
async def undone(tmp_path: Path) -> Path:
    """A folder whose index has lost the second of two instances, and what it entailed."""
    async with opened(tmp_path) as archive:
        await archive.store("1.2.3.1", StudyInstanceUID="1.1")
        await archive.folder.database.backup(tmp_path / "database.sqlite")
        await archive.store("1.2.3.2", StudyInstanceUID="1.2")
        archive.now += 50
        await archive.store("1.2.3.3", StudyInstanceUID="1.2")
    undo(tmp_path / "data", tmp_path)
    return tmp_path


async def restore(archive: Archive) -> int:
    """Do the jobs of replayed instances; how many."""
    restoration = Restoration(archive.rule_engine, lambda: archive.now)
    jobs = [job for job in await archive.claim() if job.kind == REPLAYED]
    for job in jobs:
        record = await restoration.work(job)

        def script(job: Job = job, record=record) -> Script[None]:  # type: ignore[no-untyped-def]
            yield from record()
            yield from finish_job(job, "done", archive.now)

        await archive.database.write(script)
    return len(jobs)


async def test_they_are_as_they_were(undone: Path) -> None:
    async with opened(undone) as archive:
        archive.now = 1020.0
        assert [each.sop_uid for each in await archive.all()] == ["1.2.3.1"]
        assert await restore(archive) == 2
        first, second, third = sorted(await archive.all(), key=lambda each: each.sop_uid)
        assert [first.sop_uid, second.sop_uid, third.sop_uid] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        assert (second.rule, second.priority, second.generation) == (first.rule, first.priority, first.generation)
        assert second.due_at == third.due_at == -1000.0, "by when its study began"
        archive.now += 10_000
        assert await archive.settle() == 2, "both studies"
        assert await restore(archive) == 0


async def test_by_the_rules_of_then(undone: Path) -> None:
    async with opened(undone) as archive:
        archive.configure(now={"destinations": ["other"]})
        await restore(archive)
        assert {destination for _, destination, _ in await archive.places()} == {"pacs"}
        assert await archive.database.fetch(_TIMERS) == [(1,)], "that of the first; the rule is there no more"


async def test_what_was_deleted_or_replaced_meanwhile_goes_nowhere(undone: Path) -> None:
    async with opened(undone) as archive:
        await Removal(archive.ingest).by_uid(("1.2", "1.2.3", "1.2.3.2"))
        await archive.store("1.2.3.3", StudyInstanceUID="1.2", PatientName="Other")
        assert await restore(archive) == 2
        third = [(each.sop_uid, each.version) for each in await archive.all()]
        assert third == [("1.2.3.1", 1), ("1.2.3.3", 2)]
