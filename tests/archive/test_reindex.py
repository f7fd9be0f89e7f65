"""Reindex: what the files say is in the index again, and what only the database knew is kept."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from pathlib import Path

import pytest

from gateway import config
from gateway.archive.reindex import reindex
from gateway.errors import ConfigurationError
from gateway.net.requestor import associate
from tests.support.intake import intake
from tests.support.traffic import Item, Traffic

DERIVED = {
    "patients": "public_id, patient_id, attributes",
    "studies": "public_id, uid, flags, patient_id, date, series_count, instance_count, size, attributes, extras",
    "series": "public_id, uid, flags, modality, number, instance_count, size, attributes, extras",
    "instances": "public_id, uid, number, key, flags, transfer_syntax_uid, size, data_set_offset, attributes, extras",
}
ORIGINS = "public_id, version, received_at, via, calling_aet, called_aet, peer"


def storage(path: Path) -> config.Storage:
    return config.Storage(path=str(path), min_free=0)


def rows(data: Path, table: str, columns: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(data / "database.sqlite")) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def derived(data: Path) -> dict[str, list[tuple[object, ...]]]:
    return {table: rows(data, table, columns) for table, columns in DERIVED.items()}


def lose_database(data: Path) -> None:
    for path in data.glob("database.sqlite*"):
        path.unlink()


async def fill(data: Path, count: int = 30) -> Traffic:
    traffic = Traffic(random.Random(count), sizes=(500, 100_000))
    async with intake(data) as running:
        await traffic.send(*running.acceptor.address, count)
    assert len(traffic.acknowledged) == count
    return traffic


async def test_same_as_before(tmp_path: Path):
    await fill(tmp_path / "data")
    before, origins = derived(tmp_path / "data"), rows(tmp_path / "data", "instances", ORIGINS)
    changes = rows(tmp_path / "data", "changes", "*")
    seen: list[tuple[int, int | None]] = []
    report = await reindex(storage(tmp_path / "data"), progress=lambda done, total: seen.append((done, total)))
    assert (report.instances, report.superseded, report.unreadable) == (30, 0, [])
    assert seen[-1] == (30, 30)
    assert derived(tmp_path / "data") == before
    assert rows(tmp_path / "data", "instances", ORIGINS) == origins
    assert rows(tmp_path / "data", "changes", "*") == changes


async def test_without_the_database(tmp_path: Path):
    """The files alone say what there is, and who sent it."""
    await fill(tmp_path / "data")
    before, origins = derived(tmp_path / "data"), rows(tmp_path / "data", "instances", ORIGINS)
    lose_database(tmp_path / "data")
    report = await reindex(storage(tmp_path / "data"))
    assert report.instances == 30
    assert derived(tmp_path / "data") == before
    for old, new in zip(origins, rows(tmp_path / "data", "instances", ORIGINS), strict=True):
        assert (old[0], old[1], old[3], old[4], old[5]) == (new[0], new[1], new[3], new[4], new[5])
        assert old[2] == pytest.approx(new[2], abs=2)


async def test_without_the_database_after_a_crash(tmp_path: Path):
    """What was acknowledged a moment before still has its incoming name; recovery must not take it for a remainder."""
    await fill(tmp_path / "data", 3)
    worker = tmp_path / "data" / "incoming" / "1-dead"
    worker.mkdir()
    (worker / "lock").touch()
    stored = next(path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    (worker / stored.name).hardlink_to(stored)
    lose_database(tmp_path / "data")
    assert (await reindex(storage(tmp_path / "data"))).instances == 3
    assert stored.exists()


@pytest.mark.parametrize("lost", [False, True], ids=["with its database", "without"])
async def test_an_old_version_that_is_still_there(tmp_path: Path, lost: bool):
    traffic = Traffic(random.Random(6), sizes=(500,))
    item = next(traffic.items())
    newer = Item(item.study, item.series, item.uid, item.data[:-4] + b"last")
    policy = {"duplicates": "overwrite"}
    async with intake(tmp_path / "data", storage=policy) as running, associate(running.call()) as association:
        await traffic.send_item(association, item)
        (first,) = (path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
        kept = first.read_bytes()
        await traffic.send_item(association, newer)
    # As if the gateway had been killed before it deleted the file.
    first.write_bytes(kept)
    os.utime(first, (1, 1))
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "database.sqlite")) as connection:
        connection.execute("INSERT INTO garbage VALUES (?, 0) ON CONFLICT DO NOTHING", (first.name,))
        connection.commit()
    if lost:
        lose_database(tmp_path / "data")
    report = await reindex(storage(tmp_path / "data"))
    assert (report.instances, report.superseded) == (1, 1)
    ((key, version),) = rows(tmp_path / "data", "instances", "key, version")
    assert key != first.name
    assert lost or version == 2  # No file tells how many came before it.
    assert rows(tmp_path / "data", "garbage", "key") == [(first.name,)]


async def test_unreadable_files_are_named(tmp_path: Path):
    await fill(tmp_path / "data", 4)
    empty, torn, *_ = sorted(path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    empty.write_bytes(b"")
    torn.write_bytes(torn.read_bytes()[:400])
    report = await reindex(storage(tmp_path / "data"))
    assert report.instances == 2
    assert sorted(path for path, _ in report.unreadable) == [str(empty), str(torn)]
    assert empty.exists()


async def test_not_while_a_gateway_runs(tmp_path: Path):
    async with intake(tmp_path / "data"):
        with pytest.raises(ConfigurationError, match="stop it first"):
            await reindex(storage(tmp_path / "data"))


async def test_no_data_folder(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no data folder"):
        await reindex(storage(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
