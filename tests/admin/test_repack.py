"""gateway/admin/repack.py: small files move into segments, and nothing else changes for anybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.admin import repack as module
from gateway.admin.reindex import reindex
from gateway.admin.repack import repack
from gateway.cli.main import app
from gateway.database.database import Query
from gateway.index.queries.store import LIST_FILES
from gateway.ingest import garbage
from gateway.ingest.outcome import Outcome
from gateway.storage.segments.keys import is_in_segment
from tests.ingest.test_replay import opened, storage, store, stored

ROWS = Query("rows", "SELECT uid, size, via, calling_aet, peer, received_at, version FROM instances ORDER BY uid")


async def fill(path: Path, count: int = 7, **changes: object) -> list[bytes]:
    """Instances as files of their own."""
    async with opened(path, pack_below=0, **changes) as (folder, ingest):
        for number in range(count):
            await store(ingest, number, bytes([number]) * (5000 if number else 50_000))
        return sorted(await stored(folder))


async def test_small_ones_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 3)
    monkeypatch.setattr(module, "READERS_S", 0.0)
    monkeypatch.setattr(garbage, "GRACE_S", 0.0)
    before = await fill(tmp_path)
    async with opened(tmp_path) as (folder, _):
        rows = await folder.database.fetch(ROWS)
    seen: list[int] = []
    report = await repack(storage(tmp_path, pack_below=30_000), progress=lambda done, total: seen.append(done))
    assert (report.moved, report.missing, seen) == (6, 0, [3, 6])
    async with opened(tmp_path) as (folder, ingest):
        assert sorted(await stored(folder)) == before
        assert await folder.database.fetch(ROWS) == rows
        keys = [key for key, _ in await folder.database.fetch(LIST_FILES, "", 100)]
        assert sum(map(is_in_segment, keys)) == 6
        assert await store(ingest, 1, b"\1" * 5000) is Outcome.IDENTICAL
        await ingest.garbage.collect()
        assert sorted(folder.store.keys()) == sorted(keys)
    assert (await repack(storage(tmp_path, pack_below=30_000))).moved == 0
    assert (await repack(storage(tmp_path))).moved == 1


async def test_one_that_is_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    before = await fill(tmp_path)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await repack(storage(tmp_path), progress=stop)
    assert (await repack(storage(tmp_path))).moved == 5
    async with opened(tmp_path) as (folder, _):
        assert sorted(await stored(folder)) == before


async def test_while_a_gateway_goes_on(tmp_path: Path) -> None:
    before = await fill(tmp_path)
    async with opened(tmp_path) as (folder, ingest):
        moving, _ = await asyncio.gather(repack(storage(tmp_path)), store(ingest, 20))
        assert moving.moved == 7
        found = await stored(folder)
        assert len(found) == 8
        assert set(before) < set(found)


async def test_a_reindex_afterwards(tmp_path: Path) -> None:
    before = await fill(tmp_path)
    await repack(storage(tmp_path))
    for file in tmp_path.glob("database.sqlite*"):
        file.unlink()
    report = await reindex(storage(tmp_path))
    assert report.instances == 7
    async with opened(tmp_path) as (folder, _):
        assert sorted(await stored(folder)) == before


async def test_a_file_that_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await fill(tmp_path)
    next(path for path in (tmp_path / "store").rglob("*") if path.is_file()).unlink()
    report = await repack(storage(tmp_path))
    assert (report.moved, report.missing) == (6, 1)
    assert "is missing, and stays so" in caplog.text


def test_the_command(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    result = CliRunner().invoke(app, ["storage", "repack", "--data", str(tmp_path)])
    assert (result.exit_code, "7 instances moved" in result.output) == (0, True), result.output
