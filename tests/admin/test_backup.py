"""Backup and restore: every row of the copy has its file, whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import os
import random
import sqlite3
from pathlib import Path

import pytest

from gateway import config
from gateway.admin.backup import backup, restore
from gateway.database.database import Query
from gateway.errors import ConfigurationError, StorageError
from gateway.index.attachments import attachment
from gateway.storage.layout import Layout
from tests.support.attached import attach, read
from tests.support.intake import Intake
from tests.support.intake import file_intake as intake
from tests.support.traffic import Item, Traffic

STUDY = Query("study", "SELECT public_id FROM studies ORDER BY id")


def storage(path: Path) -> config.Storage:
    return config.Storage(path=str(path), min_free=0)


def files_of(path: Path) -> dict[str, bytes]:
    """The instances that the index of a folder names, each with the bytes of its file."""
    layout = Layout(path)
    with contextlib.closing(sqlite3.connect(layout.database)) as connection:
        rows = connection.execute("SELECT uid, key, size FROM instances").fetchall()
    found = {uid: Path(layout.stored(key)).read_bytes() for uid, key, _size in rows}
    assert {uid: len(found[uid]) for uid, _key, _size in rows} == {uid: size for uid, _key, size in rows}
    return found


async def send(running: Intake, traffic: Traffic, count: int | None) -> None:
    await traffic.send(*running.acceptor.address, count)


async def test_back_and_forth(tmp_path: Path):
    traffic = Traffic(random.Random(1), sizes=(1000, 5000))
    async with intake(tmp_path / "data") as running:
        await send(running, traffic, 30)
        seen: list[tuple[int, int | None]] = []
        report = await backup(
            storage(tmp_path / "data"), tmp_path / "backup", progress=lambda done, total: seen.append((done, total))
        )
    assert (report.instances, report.linked, report.copied, report.lost) == (30, 30, 0, [])
    assert running.folder.store.backed_up_at() == datetime.datetime.fromisoformat(report.made_at).timestamp()
    assert seen[-1] == (30, 30)
    again = await restore(tmp_path / "backup", storage(tmp_path / "restored"))
    assert (again.instances, again.bytes, again.made_at, again.lost) == (30, report.bytes, report.made_at, [])
    restored = files_of(tmp_path / "restored")
    assert restored == files_of(tmp_path / "data")
    assert {uid: data.endswith(traffic.sent[uid].data) for uid, data in restored.items()} == dict.fromkeys(
        traffic.acknowledged, True
    )
    async with intake(tmp_path / "restored") as running:  # It is a data folder like any other.
        await send(running, traffic, 1)
    assert len(files_of(tmp_path / "restored")) == 31


async def test_nothing_but_the_copy_is_in_it(tmp_path: Path):
    async with intake(tmp_path / "data") as running:
        await send(running, Traffic(random.Random(2), sizes=(1000,)), 3)
        report = await backup(storage(tmp_path / "data"), tmp_path / "backup", copy=True)
    assert (report.linked, report.copied) == (0, 3)
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["backup.json", "database.sqlite", "store"]
    inodes = [{path.stat().st_ino for path in top.rglob("*")} for top in (tmp_path / "data", tmp_path / "backup")]
    assert inodes[0] & inodes[1] == set()


async def test_while_instances_come_in(tmp_path: Path):
    """What was acknowledged before the backup began is in it."""
    traffic = Traffic(random.Random(3), sizes=(1000,))
    async with intake(tmp_path / "data") as running, asyncio.timeout(30):
        senders = [asyncio.create_task(send(running, traffic, None)) for _ in range(3)]
        for number in range(3):
            await traffic.until_acknowledged(60 * (number + 1))
            before = set(traffic.acknowledged)
            await backup(storage(tmp_path / "data"), tmp_path / f"backup{number}")
            found = files_of(tmp_path / f"backup{number}")
            assert before <= set(found) <= set(traffic.sent)
            assert all(data.endswith(traffic.sent[uid].data) for uid, data in found.items())
        for sender in senders:
            sender.cancel()
        await asyncio.wait(senders)


async def test_while_instances_are_replaced(tmp_path: Path):
    """A file may go while it is about to be linked; then the copy of the database is made again."""
    traffic = Traffic(random.Random(4), sizes=(1000,))
    items = [item for _, item in zip(range(20), traffic.items(), strict=False)]
    async with intake(tmp_path / "data", storage={"duplicates": "overwrite"}) as running, asyncio.timeout(30):

        async def replace() -> None:
            from gateway.net.requestor import associate

            async with associate(running.call()) as association:
                while True:
                    for item in items:
                        data = item.data[:-8] + traffic.chance.randbytes(8)
                        await traffic.send_item(association, Item(item.study, item.series, item.uid, data))

        replacing = asyncio.create_task(replace())
        await traffic.until_acknowledged(20)
        for number in range(5):
            report = await backup(storage(tmp_path / "data"), tmp_path / f"backup{number}")
            assert report.lost == []
            found = files_of(tmp_path / f"backup{number}")
            assert set(found) == {item.uid for item in items}
            files = [path for path in (tmp_path / f"backup{number}" / "store").rglob("*") if path.is_file()]
            assert len(files) == 20
        replacing.cancel()
        await asyncio.wait([replacing])


async def test_attachments_are_in_it(tmp_path: Path):
    async with intake(tmp_path / "data") as running:
        await send(running, Traffic(random.Random(6), sizes=(1000,)), 2)
        level, study = "study", (await running.folder.database.fetch(STUDY))[0][0]
        attached = await attach(running.ingest, level, study, "note", b"attached")
        report = await backup(storage(tmp_path / "data"), tmp_path / "backup")
        assert (report.instances, report.attachments, report.lost) == (2, 1, [])
        Path(running.folder.layout.stored(attached.key)).unlink()
        damaged = await backup(storage(tmp_path / "data"), tmp_path / "damaged")
        assert damaged.lost == [attached.key]
    again = await restore(tmp_path / "backup", storage(tmp_path / "restored"))
    assert (again.instances, again.attachments, again.lost) == (2, 1, [])
    async with intake(tmp_path / "restored") as running:
        assert await attachment(running.folder.database, level, study, "note") == attached
        assert read(running.folder.store, attached) == b"attached"


async def test_a_missing_file_is_named_and_the_rest_is_saved(tmp_path: Path):
    async with intake(tmp_path / "data") as running:
        await send(running, Traffic(random.Random(5), sizes=(1000,)), 3)
    victim, torn, _ = sorted(path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file())
    victim.unlink()
    torn.write_bytes(b"torn")
    report = await backup(storage(tmp_path / "data"), tmp_path / "backup")
    assert (report.instances, sorted(report.lost)) == (1, sorted([victim.name, torn.name]))
    again = await restore(tmp_path / "backup", storage(tmp_path / "restored"))
    assert (again.instances, sorted(again.lost)) == (1, sorted(report.lost))


class TestRefusals:
    async def test_target_holds_something(self, tmp_path: Path):
        async with intake(tmp_path / "data"):
            pass
        with pytest.raises(StorageError, match="not empty"):
            await backup(storage(tmp_path / "data"), tmp_path / "data")
        with pytest.raises(StorageError, match="not empty"):
            await backup(storage(tmp_path / "data"), tmp_path)

    async def test_no_data_folder(self, tmp_path: Path):
        with pytest.raises(ConfigurationError, match="no data folder"):
            await backup(storage(tmp_path / "nowhere"), tmp_path / "backup")
        assert not (tmp_path / "nowhere").exists()

    async def test_a_backup_that_never_ended(self, tmp_path: Path):
        async with intake(tmp_path / "data"):
            await backup(storage(tmp_path / "data"), tmp_path / "backup")
        (tmp_path / "backup" / "backup.json").unlink()
        with pytest.raises(StorageError, match="not a finished backup"):
            await restore(tmp_path / "backup", storage(tmp_path / "restored"))
        assert not (tmp_path / "restored").exists()

    async def test_into_a_folder_in_use(self, tmp_path: Path):
        async with intake(tmp_path / "data"):
            await backup(storage(tmp_path / "data"), tmp_path / "backup")
            with pytest.raises(StorageError, match="not empty"):
                await restore(tmp_path / "backup", storage(tmp_path / "data"))


@pytest.mark.case("broken 14 a restore that failed does not stand in the way of the next")
async def test_a_restore_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with intake(tmp_path / "data") as running:
        await send(running, Traffic(random.Random(1), sizes=(1000,)), 3)
        await backup(storage(tmp_path / "data"), tmp_path / "backup")
    (tmp_path / "restored" / "lost+found").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_room)
        with pytest.raises(StorageError, match="No space"):
            await restore(tmp_path / "backup", storage(tmp_path / "restored"))
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["lost+found"]
    assert (await restore(tmp_path / "backup", storage(tmp_path / "restored"))).instances == 3


def no_room(*paths: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.case("broken 37 nobody else on the machine reads the index or a backup")
async def test_nothing_is_for_others(tmp_path: Path) -> None:
    """Even where somebody has made the folders with the usual rights, and by a release that was not so careful."""
    for name in ("data", "backup", "restored"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "data" / "database.sqlite").touch(0o644)
    async with intake(tmp_path / "data") as running:
        await send(running, Traffic(random.Random(1), sizes=(1000,)), 3)
        assert for_others(tmp_path / "data") == []
        await backup(storage(tmp_path / "data"), tmp_path / "backup", copy=True)
    await restore(tmp_path / "backup", storage(tmp_path / "restored"))
    assert for_others(tmp_path / "backup") == for_others(tmp_path / "restored") == []


def for_others(folder: Path) -> list[str]:
    """What in the folder others may open; locks hold nothing, and folders below those that are closed do not count."""
    return [path.name for path in folder.iterdir() if path.stat().st_mode & 0o007 and "lock" not in path.name]
