"""The contract of durability: what is acknowledged is there, and what fails leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from gateway.config import Storage
from gateway.dicom import uids
from gateway.errors import DatabaseError, InstanceRefused, OutOfDescriptors, OutOfSpace, StorageError, StorageFailed
from gateway.index import store as index
from gateway.index.store import Origin
from gateway.ingest import ingest as ingest_module
from gateway.ingest import recovery
from gateway.ingest.committer import ThreadCommitter
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.storage.disk import LOCAL, LocalDisk
from gateway.storage.incoming import IncomingFile
from gateway.storage.layout import Layout
from gateway.storage.workers import incoming_keys, try_lock
from tests.contracts.database import Failing
from tests.support.datasets import BIG_ENDIAN, DEFLATED, IMPLICIT, ct_header, encode
from tests.support.intake import CT, Intake
from tests.support.intake import file_intake as intake
from tests.support.waiting import until

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


def origin() -> Origin:
    return Origin(calling_aet="TEST", called_aet="GATEWAY", peer="127.0.0.1", received_at=time.time(), via="dimse")


async def take_in(
    ingest: Ingest, data: bytes, instance: str, syntax: str = EXPLICIT, piece: int = 0, sop_class: str = CT
) -> StoreResult:
    writer = ingest.begin(
        transfer_syntax_uid=syntax, sop_class_uid=sop_class, sop_instance_uid=str(instance), origin=origin()
    )
    for at in range(0, len(data), piece or len(data)):
        writer.write(data[at : at + (piece or len(data))], None)
        await writer.drained()
    return await writer.commit()


def remains(path: Path) -> list[Path]:
    """Files with anything in them below the data folder, wherever they are; empty ones are in stock."""
    found = []
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # stock comes and goes
            if stat.S_ISREG((status := file.stat()).st_mode) and status.st_size and file.parent != path:
                found.append(file)
    return found


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize(("piece", "keepers"), [(0, 0), (1, 0), (100, 0), (1024, 0), (0, 1), (100, 1)])
async def test_every_fragmentation_and_encoding(tmp_path: Path, syntax: str, piece: int, keepers: int) -> None:
    data_set = ct_header(PixelData=bytes(100 if piece == 1 else 5000))
    data = encode(data_set, syntax)
    async with asyncio.timeout(20), intake(tmp_path, keepers=keepers) as gateway:
        taken = await take_in(gateway.ingest, data, data_set.SOPInstanceUID, syntax, piece)
        assert taken.outcome is Outcome.STORED
        assert taken.record.patient_id == data_set.PatientID
        (key,) = gateway.folder.store.keys()
        file = gateway.folder.store.open(key)
        assert file.read(file.size - len(data), len(data)) == data
        file.close()


@pytest.mark.case("out of descriptors for a moment is no failure of the disk")
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_out_of_descriptors_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Folders of the store are opened to be synced. What cannot be opened has not failed to be synced."""
    really = os.open
    refused = 0

    def scarce(path: str | os.PathLike[str], flags: int, *arguments: int, **more: int) -> int:
        nonlocal refused
        if flags & os.O_DIRECTORY and refused < 3:
            refused += 1
            raise OSError(number, os.strerror(number))
        return really(path, flags, *arguments, **more)

    data_set = ct_header()
    async with asyncio.timeout(20), intake(tmp_path) as gateway:
        monkeypatch.setattr(os, "open", scarce)
        await take_in(gateway.ingest, encode(data_set), data_set.SOPInstanceUID)
        assert gateway.ingest.placed.task is not None
        await asyncio.wait([gateway.ingest.placed.task])
        assert gateway.folder.health.sound
    assert refused == 3
    assert "are made durable later" in caplog.text


async def test_out_of_descriptors_while_a_replaced_file_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failed sync either: the old file goes once there is a descriptor."""
    data_set = ct_header()
    async with asyncio.timeout(20), intake(tmp_path, storage={"duplicates": "overwrite"}) as gateway:
        sync, refused = gateway.folder.store.sync, 0

        def scarce(folders: set[str]) -> None:
            nonlocal refused
            if len(remains(gateway.folder.layout.store)) == 1 and refused < 3:  # behind the removal of the other
                refused += 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            sync(folders)

        await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
        assert gateway.ingest.placed.task is not None
        await asyncio.wait([gateway.ingest.placed.task])
        monkeypatch.setattr(index, "READERS_S", 0.0)
        monkeypatch.setattr(gateway.folder.store, "sync", scarce)
        data_set.PatientName = "Else"
        await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
        await asyncio.wait([gateway.ingest.placed.task])
        assert refused == 3
        assert gateway.folder.health.sound
        assert await index.garbage(gateway.folder.database, older_than=time.time()) == []


@pytest.mark.case("out of descriptors for a moment is no failure of the disk")
async def test_an_instance_that_finds_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set = ct_header()
    async with asyncio.timeout(20), intake(tmp_path) as gateway:

        def none(self: IncomingFile) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(IncomingFile, "open", none)
            with pytest.raises(OutOfDescriptors):
                await take_in(gateway.ingest, encode(data_set), data_set.SOPInstanceUID)
        assert gateway.folder.health.sound
        assert (await take_in(gateway.ingest, encode(data_set), data_set.SOPInstanceUID)).outcome is Outcome.STORED


@pytest.mark.parametrize("piece", [10_000, 700_000])
async def test_a_long_header_before_the_attributes_is_found_and_bounded(tmp_path: Path, piece: int) -> None:
    data_set = ct_header(PixelData=bytes(1000))
    data_set.ImageComments = "x" * 3000
    block = data_set.private_block(0x0009, "TEST", create=True)
    block.add_new(0x10, "OB", bytes(2_000_000))
    data = encode(data_set, EXPLICIT)
    async with asyncio.timeout(20), intake(tmp_path) as gateway:
        taken = await take_in(gateway.ingest, data, data_set.SOPInstanceUID, piece=piece)
        assert taken.outcome is Outcome.STORED
    async with asyncio.timeout(20), intake(tmp_path / "small", storage={"max_header": 1_000_000}) as gateway:
        with pytest.raises(InstanceRefused) as caught:
            await take_in(gateway.ingest, data, data_set.SOPInstanceUID, piece=piece)
        assert caught.value.status == 0xC000


def fail_statement(gateway: Intake, patch: pytest.MonkeyPatch, statement: str, code: int, *, run: bool = False) -> None:
    """Let a statement fail where instances are committed, before or after it was run."""
    assert isinstance(gateway.ingest.committer, ThreadCommitter)
    transactions = gateway.ingest.committer._database
    patch.setattr(transactions, "_connection", Failing(transactions._connection, statement, code, run=run))


class TestFailures:
    """Each failure has its error, leaves nothing behind, and harms no other instance."""

    async def fail_then_store(self, gateway: Intake, expected: type[Exception], patch: pytest.MonkeyPatch) -> None:
        data_set = ct_header(PixelData=bytes(2_000_000))
        data = encode(data_set, EXPLICIT)
        with pytest.raises(expected):
            await take_in(gateway.ingest, data, data_set.SOPInstanceUID, piece=100_000)
        patch.undo()
        await until(lambda: not remains(Path(gateway.folder.settings.path)))  # settled in the background
        if gateway.folder.health.sound:
            assert (await take_in(gateway.ingest, data, data_set.SOPInstanceUID)).outcome is Outcome.STORED
        else:
            with pytest.raises(StorageFailed):
                await take_in(gateway.ingest, data, data_set.SOPInstanceUID)

    @pytest.mark.parametrize(
        ("call", "number", "expected", "sound"),
        [
            ("open", errno.ENOSPC, OutOfSpace, True),
            ("writev", errno.ENOSPC, OutOfSpace, True),
            ("writev", errno.EIO, StorageError, True),
            ("link", errno.ENOSPC, OutOfSpace, True),
            ("fdatasync", errno.EIO, StorageFailed, False),
            ("fsync", errno.EIO, StorageFailed, False),
        ],
    )
    async def test_the_disk(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        expected: type[Exception],
        sound: bool,
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            if call in ("open", "fsync"):  # which the files in stock have behind them
                for _ in range(64):
                    gateway.ingest.incoming.new_file().discard()
            monkeypatch.setattr(os, call, fail)
            await self.fail_then_store(gateway, expected, monkeypatch)
            assert gateway.folder.health.sound is sound

    async def test_the_database_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            fail_statement(gateway, monkeypatch, "COMMIT", sqlite3.SQLITE_FULL)
            await self.fail_then_store(gateway, DatabaseError, monkeypatch)
            assert gateway.folder.health.sound

    async def test_a_commit_in_doubt_leaves_the_file_for_recovery(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Never a success, but the row may turn up, and then its file must."""
        data_set = ct_header()
        for committed in (True, False):
            async with asyncio.timeout(20), intake(tmp_path) as gateway:
                fail_statement(gateway, monkeypatch, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC, run=committed)
                with pytest.raises(DatabaseError):
                    await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
                assert not gateway.folder.health.sound
                assert len(remains(tmp_path / "incoming")) == 1
            async with open_folder(gateway.folder.settings) as folder:
                assert len(list(folder.store.keys())) == committed
                assert remains(tmp_path / "incoming") == []
            shutil.rmtree(tmp_path)


@pytest.mark.case("broken 17 a disk that turns read-only is a failure in words, and the gateway stops in order")
async def test_a_disk_that_turns_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data_set = ct_header()
    data, uid = encode(data_set, EXPLICIT), data_set.SOPInstanceUID

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            for call in ("write", "link", "unlink", "rename", "makedirs", "rmdir"):
                patched.setattr(LocalDisk, call, read_only)
            for _ in range(2):
                with pytest.raises(StorageFailed, match="Read-only file system"):
                    await take_in(gateway.ingest, data, uid)
            assert not gateway.folder.health.sound
    assert "the next start will try again" in caplog.text
    async with open_folder(gateway.folder.settings) as folder:
        assert list(folder.store.keys()) == []
        assert list(Layout(tmp_path).incoming.iterdir()) == []


class TestRecovery:
    async def one_stored(self, path: Path) -> tuple[Storage, Layout, str, str]:
        """A gateway that has stopped: its settings, its folder, the key of its one instance, and one it has not."""
        data_set = ct_header()
        async with asyncio.timeout(20), intake(path) as gateway:
            await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
            settings = gateway.folder.settings
        (key,) = [p.name for p in remains(Layout(path).store)]
        return settings, Layout(path), key, key[:-1] + ("0" if key[-1] != "0" else "1")

    async def test_each_state_that_a_crash_can_leave(self, tmp_path: Path) -> None:
        """A row decides: with one the instance is finished, without one both its names go."""
        settings, layout, key, stranger = await self.one_stored(tmp_path)
        dead = layout.worker("dead")
        for has_store_name in (True, False):
            dead.mkdir()
            shutil.copy(layout.stored(key), dead / key)
            if not has_store_name:
                Path(layout.stored(key)).unlink()
            (dead / stranger).write_bytes(b"half")
            os.link(dead / stranger, layout.stored(stranger))
            async with open_folder(settings) as folder:
                assert list(folder.store.keys()) == [key]
            assert list(layout.incoming.iterdir()) == []

    async def test_a_folder_that_its_keeper_still_holds_is_adopted_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The gateway was killed and is started again at once, and a keeper of the old one is at its last batch."""
        monkeypatch.setattr(recovery, "_AGAIN_S", (0.05,) * 100)
        settings, layout, key, stranger = await self.one_stored(tmp_path)
        dead = layout.worker("dead")
        dead.mkdir()
        os.link(layout.stored(key), dead / key)
        (dead / stranger).write_bytes(b"half")
        held = try_lock(LOCAL, str(dead))
        assert held is not None
        async with asyncio.timeout(20), open_folder(settings) as folder, open_ingest(folder):
            assert len(incoming_keys(LOCAL, str(dead))) == 2
            os.close(held)
            await until(lambda: not dead.exists())
            assert list(folder.store.keys()) == [key]

    async def test_a_working_neighbour_is_left_alone(self, tmp_path: Path) -> None:
        data_set = ct_header()
        data = encode(data_set, EXPLICIT)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            writer = gateway.ingest.begin(
                transfer_syntax_uid=EXPLICIT,
                sop_class_uid=CT,
                sop_instance_uid=data_set.SOPInstanceUID,
                origin=origin(),
            )
            writer.write(data, None)
            writer.flush()
            await writer.drained()
            async with open_folder(gateway.folder.settings) as folder, open_ingest(folder) as other:
                other_set = ct_header(SOPInstanceUID="1.2.3")
                await take_in(other, encode(other_set, EXPLICIT), "1.2.3")
            assert (await writer.commit()).outcome is Outcome.STORED
        assert len(remains(Layout(tmp_path).store)) == 2

    async def test_replaced_files_are_removed_in_the_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed between the commit and the removal of the old version."""
        data_set = ct_header()
        monkeypatch.setattr(index, "READERS_S", 0.0)
        async with asyncio.timeout(20), intake(tmp_path, storage={"duplicates": "overwrite"}) as gateway:
            await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
            data_set.PatientName = "Else"
            await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
            assert len(await index.garbage(gateway.folder.database, older_than=time.time())) == 1
        assert len(remains(Layout(tmp_path).store)) == 1


@pytest.mark.parametrize("keepers", [0, 1])
async def test_a_complete_data_set_is_taken_in_although_its_sender_has_gone(tmp_path: Path, keepers: int) -> None:
    """And although the gateway closes at once."""
    data_set = ct_header()
    async with asyncio.timeout(20), intake(tmp_path, keepers=keepers) as gateway:
        writer = gateway.ingest.begin(
            transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=data_set.SOPInstanceUID, origin=origin()
        )
        writer.write(encode(data_set, EXPLICIT), None)
        writer.commit()
    assert len(remains(Layout(tmp_path).store)) == 1


@pytest.mark.case("a gateway that has no room is not ready, and says why")
async def test_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes away by itself: unlike a failed sync, it is asked for anew each time."""
    async with intake(tmp_path, storage={"min_free": 100 << 20}) as gateway:
        monkeypatch.setattr(ingest_module, "_SPACE_EVERY_S", -1.0)
        monkeypatch.setattr(gateway.folder.store, "free_bytes", lambda: 200 << 20)
        assert gateway.ingest.obstacles() == []
        monkeypatch.setattr(gateway.folder.store, "free_bytes", lambda: 7 << 20)
        assert gateway.ingest.obstacles() == ["there is no room: 7 MiB free, the floor is 100 MiB"]
        monkeypatch.setattr(gateway.folder.store, "free_files", lambda: 0)
        assert "no inode" in gateway.ingest.obstacles()[1]
        monkeypatch.setattr(gateway.folder.store, "free_bytes", lambda: 200 << 20)
        monkeypatch.setattr(gateway.folder.store, "free_files", lambda: None)  # as btrfs, which counts none
        assert gateway.ingest.obstacles() == []
