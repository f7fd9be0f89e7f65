"""gateway/admin/scrub.py: damage is found, once, and slowly."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gateway.admin.scrub import Scrub
from gateway.ingest.data_folder import DataFolder
from gateway.ingest.outcome import Outcome
from tests.ingest.test_replay import opened, store


async def fill(path: Path) -> None:
    async with opened(path) as (_, ingest):
        for number in range(4):
            assert await store(ingest, number) is Outcome.STORED


def scrub(folder: DataFolder, days: float = 30.0, now: float = 1e10) -> Scrub:
    return Scrub(folder.store.segments, folder.database, lambda: days, clock=lambda: now, bytes_per_s=1e12)


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_a_whole_store(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with opened(tmp_path) as (folder, _):
        before = counted("gateway_scrub_bytes_total")
        assert await scrub(folder).run() == 0
        first = counted("gateway_scrub_bytes_total") - before
        (name,) = folder.store.segments.names()
        assert first == sum(frame.length for frame in folder.store.segments.frames(name))
        assert await scrub(folder).run() == 0
        assert counted("gateway_scrub_bytes_total") - before == first, "it is not due again"
        assert await scrub(folder, now=1e10 + 31 * 86400).run() == 0
        assert counted("gateway_scrub_bytes_total") - before == 2 * first
        assert await scrub(folder, days=0.0, now=1e11).run() == 0
        assert counted("gateway_scrub_bytes_total") - before == 2 * first


async def test_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await fill(tmp_path)
    async with opened(tmp_path) as (folder, _):
        (name,) = folder.store.segments.names()
        second = list(folder.store.segments.frames(name))[1]
        with Path(folder.store.segments.path_of(name)).open("r+b") as file:
            file.seek(second.object_offset + 1000)
            file.write(b"\xff\x00\xff")
        before = counted("gateway_scrub_damaged_total")
        assert await scrub(folder).run() == 1
        assert f"segment {name} is damaged from {second.offset} to {second.end}" in caplog.text
        assert counted("gateway_scrub_damaged_total") == before + 1
    caplog.clear()


async def test_a_segment_that_goes_meanwhile(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with opened(tmp_path) as (folder, _):
        (name,) = folder.store.segments.names()
        Path(folder.store.segments.path_of(name)).unlink()
        assert await scrub(folder).run() == 0
