"""The contract of durability: what is acknowledged is there, and what fails leaves nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from gateway.archive import recovery
from gateway.archive.folder import open_folder, open_ingest
from gateway.archive.ingest import Ingest, Outcome, Taken
from gateway.config import Storage
from gateway.dicom import uids
from gateway.errors import DatabaseError, InstanceRefused, OutOfSpace, StorageError, StorageFailed
from gateway.index import store as index
from gateway.index.store import Origin
from gateway.storage.incoming import incoming_keys, try_lock
from gateway.storage.layout import Layout
from tests.support.datasets import BIG_ENDIAN, DEFLATED, IMPLICIT, ct_header, encode
from tests.support.intake import CT, Intake, intake

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid


def origin() -> Origin:
    return Origin(calling_aet="TEST", called_aet="GATEWAY", peer="127.0.0.1", received_at=time.time(), via="dimse")


async def take_in(
    ingest: Ingest, data: bytes, instance: str, syntax: str = EXPLICIT, piece: int = 0, sop_class: str = CT
) -> Taken:
    reception = ingest.begin(
        transfer_syntax_uid=syntax, sop_class_uid=sop_class, sop_instance_uid=str(instance), origin=origin()
    )
    for at in range(0, len(data), piece or len(data)):
        reception.write(data[at : at + (piece or len(data))], None)
        await reception.drained()
    return await ingest.end(reception)


def remains(path: Path) -> list[Path]:
    """Files with anything in them below the data folder, wherever they are; empty ones are in stock."""
    return [p for p in path.rglob("*") if p.is_file() and p.stat().st_size and p.parent != path]


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


class TestFailures:
    """Each failure has its error, leaves nothing behind, and harms no other instance."""

    async def fail_then_store(self, gateway: Intake, expected: type[Exception], patch: pytest.MonkeyPatch) -> None:
        data_set = ct_header(PixelData=bytes(2_000_000))
        data = encode(data_set, EXPLICIT)
        with pytest.raises(expected):
            await take_in(gateway.ingest, data, data_set.SOPInstanceUID, piece=100_000)
        patch.undo()
        assert remains(Path(gateway.folder.settings.path)) == []
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

            async def refuse(script: object) -> None:
                raise DatabaseError("disk full")

            monkeypatch.setattr(gateway.folder.database, "write", refuse)
            await self.fail_then_store(gateway, DatabaseError, monkeypatch)
            assert gateway.folder.health.sound

    async def test_a_commit_in_doubt_leaves_the_file_for_recovery(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Never a success, but the row may turn up, and then its file must."""
        data_set = ct_header()
        for committed in (True, False):
            async with asyncio.timeout(20), intake(tmp_path) as gateway:
                write = gateway.folder.database.write

                async def doubt(script: object, committed: bool = committed, write=write) -> None:  # type: ignore[no-untyped-def]
                    if committed:
                        await write(script)
                    raise DatabaseError("fsync failed", in_doubt=True)

                monkeypatch.setattr(gateway.folder.database, "write", doubt)
                with pytest.raises(DatabaseError):
                    await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
                assert not gateway.folder.health.sound
                assert len(remains(tmp_path / "incoming")) == 1
            async with open_folder(gateway.folder.settings) as folder:
                assert len(list(folder.store.keys())) == committed
                assert remains(tmp_path / "incoming") == []
            shutil.rmtree(tmp_path)


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
        monkeypatch.setattr(recovery, "_AGAIN", (0.05,) * 100)
        settings, layout, key, stranger = await self.one_stored(tmp_path)
        dead = layout.worker("dead")
        dead.mkdir()
        os.link(layout.stored(key), dead / key)
        (dead / stranger).write_bytes(b"half")
        held = try_lock(str(dead))
        assert held is not None
        async with asyncio.timeout(20), open_folder(settings) as folder, open_ingest(folder):
            assert len(incoming_keys(str(dead))) == 2
            os.close(held)
            while dead.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert list(folder.store.keys()) == [key]

    async def test_a_working_neighbour_is_left_alone(self, tmp_path: Path) -> None:
        data_set = ct_header()
        data = encode(data_set, EXPLICIT)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            reception = gateway.ingest.begin(
                transfer_syntax_uid=EXPLICIT,
                sop_class_uid=CT,
                sop_instance_uid=data_set.SOPInstanceUID,
                origin=origin(),
            )
            reception.write(data, None)
            reception.flush()
            await reception.drained()
            async with open_folder(gateway.folder.settings) as folder, open_ingest(folder) as other:
                other_set = ct_header(SOPInstanceUID="1.2.3")
                await take_in(other, encode(other_set, EXPLICIT), "1.2.3")
            assert (await gateway.ingest.end(reception)).outcome is Outcome.STORED
        assert len(remains(Layout(tmp_path).store)) == 2

    async def test_replaced_files_are_removed_in_the_end(self, tmp_path: Path) -> None:
        """Killed between the commit and the removal of the old version."""
        data_set = ct_header()
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
        reception = gateway.ingest.begin(
            transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=data_set.SOPInstanceUID, origin=origin()
        )
        reception.write(encode(data_set, EXPLICIT), None)
        gateway.ingest.end(reception)
    assert len(remains(Layout(tmp_path).store)) == 1
