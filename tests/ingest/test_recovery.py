"""Recovery deletes nothing that may have been acknowledged, whichever copy of the database it finds."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.admin.reindex import reindex
from gateway.dicom import part10
from gateway.errors import ConfigurationError
from gateway.index import store as index
from gateway.ingest.data_folder import DataFolder, open_folder
from gateway.ingest.file_import import import_paths
from gateway.ingest.stored_header import read_stored_header
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.layout import Layout
from gateway.storage.unindexed import UnindexedFolder
from tests.support.datasets import EXPLICIT, ct_header, encode

CT = "1.2.840.10008.5.1.4.1.1.2"


def storage(path: Path) -> config.Storage:
    return config.Storage(path=str(path), min_free=0, pack_below=0)


def as_file(number: int) -> bytes:
    """A whole Part 10 file, with the header that the intake writes."""
    data_set = ct_header(SOPInstanceUID=f"1.2.3.{number}", PixelData=bytes([number % 256]) * 3000)
    header = part10.file_header(
        sop_class_uid=CT,
        sop_instance_uid=f"1.2.3.{number}",
        transfer_syntax_uid=EXPLICIT,
        source_aet="CT",
        sending_aet="CT",
        receiving_aet="GATEWAY",
    )
    return header + encode(data_set, EXPLICIT)


class Worker:
    """What a gateway does with instances, one step of the contract of durability at a time, until it is killed."""

    def __init__(self, folder: DataFolder) -> None:
        self.folder = folder
        self.incoming = IncomingFolder(folder.layout, folder.store, "1-dead")
        self.acknowledged: list[bytes] = []
        self._unsettled: list[tuple[str, str]] = []
        self._numbers: Iterator[int] = iter(range(1 << 20))

    def receive(self) -> tuple[IncomingFile, bytes]:
        """Step 1, and all bytes but the last."""
        file, data = self.incoming.new_file(), as_file(next(self._numbers))
        file.append([data[:-1]])
        return file, data

    def sync(self) -> tuple[IncomingFile, bytes]:
        """Step 2."""
        file, data = self.receive()
        file.append([data[-1:]])
        file.place()
        file.sync()
        return file, data

    async def acknowledge(self) -> None:
        """Steps 3 and 4."""
        file, data = self.sync()
        assert file.folder is not None
        stored = self.folder.store.open(file.key)
        header = read_stored_header(stored, file.key, 1 << 20)
        stored.close()
        origin = index.Origin("CT", "GATEWAY", "", time.time(), "dimse")
        await self.folder.database.write(lambda: index.store_instance(header.record, header.placement, origin))
        self._unsettled.append((file.key, file.folder))
        self.acknowledged.append(data)

    def make_durable(self) -> None:
        """Step 5."""
        self.incoming.make_durable(self._unsettled)
        self._unsettled.clear()

    def die(self) -> None:
        self.incoming.names.close()
        os.close(self.incoming.lock)


def contents(layout: Layout, *folders: str) -> set[bytes]:
    paths = (path for folder in folders for path in (layout.base / folder).rglob("*"))
    return {path.read_bytes() for path in paths if path.is_file()}


def replace_database(layout: Layout, copy: Path) -> None:
    for path in layout.base.glob("database.sqlite*"):
        path.unlink()
    shutil.copyfile(copy, layout.database)


EVENTS = st.lists(st.sampled_from(["receive", "sync", "acknowledge", "settle", "copy"]), max_size=9)


class TestWhatWasAcknowledged:
    @pytest.mark.case("item 1 recovery deletes nothing that was acknowledged when the database is an older copy")
    async def test_is_set_aside_where_an_older_copy_does_not_know_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        layout = Layout(tmp_path / "data")
        async with open_folder(storage(layout.base)) as folder:
            await folder.database.backup(tmp_path / "older.sqlite")
            worker = Worker(folder)
            await worker.acknowledge()
            worker.die()
        replace_database(layout, tmp_path / "older.sqlite")
        async with open_folder(storage(layout.base)) as folder:
            assert contents(layout, "unindexed") == set(worker.acknowledged)
            assert list(folder.store.keys()) == []
        (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        assert f"dicom-gateway import {layout.unindexed}" in warning
        await import_paths(storage(layout.base), [layout.unindexed])
        assert contents(layout, "store")
        async with open_folder(storage(layout.base)):
            assert not layout.unindexed.exists()

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(events=EVENTS, older=st.booleans())
    def test_is_there_after_any_order_of_events(self, events: list[str], older: bool) -> None:
        asyncio.run(self.run(events, older))

    async def run(self, events: list[str], older: bool) -> None:
        with tempfile.TemporaryDirectory() as name:
            layout, copy = Layout(Path(name, "data")), Path(name, "older.sqlite")
            async with open_folder(storage(layout.base)) as folder:
                await folder.database.backup(copy)
                worker = Worker(folder)
                for event in events:
                    if event == "copy":
                        copy.unlink()
                        await folder.database.backup(copy)
                    elif event == "acknowledge":
                        await worker.acknowledge()
                    elif event == "settle":
                        worker.make_durable()
                    elif event == "sync":
                        worker.sync()
                    else:
                        worker.receive()[0].close()
                worker.die()
            if older:
                replace_database(layout, copy)
            acknowledged = set(worker.acknowledged)
            before = contents(layout, "store", "incoming")
            assert acknowledged <= before
            try:
                for _ in range(2):
                    async with open_folder(storage(layout.base)) as folder:
                        assert acknowledged <= contents(layout, "store", "unindexed")
                        assert older or acknowledged == contents(layout, "store")
                        keys = list(folder.store.keys())
                        assert await index.keys_present(folder.database, keys) == set(keys)
                        assert contents(layout, "incoming") == set()
            except ConfigurationError:
                assert older
                assert contents(layout, "store", "incoming") == before
                await reindex(storage(layout.base))
                assert acknowledged <= contents(layout, "store")


class TestWhatWasNot:
    async def left(self, path: Path) -> set[bytes]:
        async with open_folder(storage(path)):
            return contents(Layout(path), "store", "incoming", "unindexed")

    async def test_is_deleted_where_it_is_not_whole(self, tmp_path: Path) -> None:
        async with open_folder(storage(tmp_path)) as folder:
            worker = Worker(folder)
            worker.incoming.preallocate()
            for length in (1, 140, 700, len(as_file(0)) - 1):
                file = worker.incoming.new_file()
                file.append([as_file(0)[:length]])
                file.place()
                file.close()
            worker.receive()[0].close()
            worker.die()
        assert await self.left(tmp_path) == set()

    async def test_goes_once_it_was_sent_again(self, tmp_path: Path) -> None:
        async with open_folder(storage(tmp_path)) as folder:
            worker = Worker(folder)
            _, data = worker.sync()
            worker.die()
        assert await self.left(tmp_path) == {data}
        (tmp_path / "again.dcm").write_bytes(data)
        await import_paths(storage(tmp_path), [tmp_path / "again.dcm"])
        (stored,) = await self.left(tmp_path)
        assert stored.endswith(data[-3000:])
        assert not (tmp_path / "unindexed").exists()


async def test_a_kill_while_it_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two names that change, the next start finds it."""
    async with open_folder(storage(tmp_path)) as folder:
        worker = Worker(folder)
        _, data = worker.sync()
        worker.die()

    def killed(*names: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            set_aside(tmp_path)
    async with open_folder(storage(tmp_path)):
        assert contents(Layout(tmp_path), "unindexed") == {data}


def set_aside(path: Path) -> None:
    layout = Layout(path)
    (incoming,) = (file for file in layout.incoming.glob("*/*") if file.name != "lock")
    UnindexedFolder(layout).add([(str(incoming), incoming.name)])


async def test_no_room_to_set_it_aside_leaves_it_to_the_next_start(tmp_path: Path) -> None:
    async with open_folder(storage(tmp_path)) as folder:
        worker = Worker(folder)
        _, data = worker.sync()
        worker.die()
    layout = Layout(tmp_path)
    layout.unindexed.write_bytes(b"in the way")  # as good as a disk without an inode
    async with open_folder(storage(tmp_path)):
        assert data in contents(layout, "incoming")
    layout.unindexed.unlink()
    async with open_folder(storage(tmp_path)):
        assert contents(layout, "unindexed") == {data}
