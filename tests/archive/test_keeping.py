"""Both ways of keeping instances are one contract: in threads, and by processes of their own, which may die."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.archive.ingest import Outcome
from gateway.archive.keepers import Keepers
from gateway.archive.keeping import Here, KeeperLost
from gateway.database.database import Script
from gateway.dicom import uids
from gateway.errors import InstanceRefused, StorageError
from gateway.net.requestor import Requestor, associate
from gateway.storage.arena import Buffer
from gateway.storage.incoming import IncomingFile
from gateway.storage.layout import Layout
from tests.archive.test_ingest import remains, take_in
from tests.support.datasets import ct_header, encode
from tests.support.intake import CT, Intake, intake
from tests.support.processes import wait_until
from tests.support.traffic import Traffic

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
OUT_OF_RESOURCES = 0xA700


def children() -> set[int]:
    """Processes that this one has started and that live."""
    return {
        int(number)
        for task in Path("/proc/self/task").iterdir()
        for number in (task / "children").read_text().split()
        if (Path("/proc") / number / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    }


@pytest_asyncio.fixture(params=[0, 1], ids=["threads", "keeper"])
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Intake]:
    async with intake(tmp_path, storage={"keepers": request.param}) as gateway:
        assert isinstance(gateway.ingest.keeping, Keepers if request.param else Here)
        yield gateway


def stored(gateway: Intake, length: int) -> list[bytes]:
    """The last bytes of everything that is stored."""
    found = []
    for key in list(gateway.folder.store.keys()):
        file = gateway.folder.store.open(key)
        found.append(file.read(file.size - length, length))
        file.close()
    return found


class TestContract:
    @pytest.mark.parametrize("size", [1_000, 60_000, 700_000, 6_000_000])
    @pytest.mark.parametrize("piece", [0, 50_000])
    async def test_bytes_are_kept_as_they_came(self, gateway: Intake, size: int, piece: int) -> None:
        """Whole with the order, written before by a thread, and synced before as well."""
        data_set = ct_header(PixelData=random.Random(size).randbytes(size))
        data = encode(data_set, EXPLICIT)
        async with asyncio.timeout(20):
            taken = await take_in(gateway.ingest, data, data_set.SOPInstanceUID, piece=piece)
        assert taken.outcome is Outcome.STORED
        assert taken.change > 0
        assert stored(gateway, len(data)) == [data]

    async def test_many_at_once_over_associations(self, gateway: Intake) -> None:
        traffic = Traffic(random.Random(7), sizes=(500, 5_000, 300_000))
        async with asyncio.timeout(30):
            await asyncio.gather(*(traffic.send(*gateway.acceptor.address[:2], 12) for _ in range(8)))
        assert len(traffic.acknowledged) == 96
        assert sorted(map(len, stored(gateway, 0))) == [0] * 96
        ours = {item.data[-500:] for item in traffic.sent.values()}
        assert set(stored(gateway, 500)) == ours
        assert gateway.blocks.available == 32, "a block is still held"

    async def test_the_same_again_and_another(self, gateway: Intake) -> None:
        data_set = ct_header()
        uid = data_set.SOPInstanceUID
        async with asyncio.timeout(20):
            first = encode(data_set, EXPLICIT)
            await take_in(gateway.ingest, first, uid)
            assert (await take_in(gateway.ingest, first, uid)).outcome is Outcome.SAME
            data_set.PatientName = "Another"
            other = encode(data_set, EXPLICIT)
            assert (await take_in(gateway.ingest, other, uid)).outcome is Outcome.KEPT
            gateway.ingest.settings = lambda: _with_policy(gateway, "overwrite")
            assert (await take_in(gateway.ingest, other, uid)).outcome is Outcome.REPLACED
            assert (await take_in(gateway.ingest, other, uid)).outcome is Outcome.SAME
            gateway.ingest.settings = lambda: _with_policy(gateway, "reject")
            data_set.PatientName = "Again"
            with pytest.raises(InstanceRefused):
                await take_in(gateway.ingest, encode(data_set, EXPLICIT), uid)

    async def test_what_cannot_be_read_goes_aside_whole(self, gateway: Intake, tmp_path: Path) -> None:
        data = encode(ct_header(PixelData=bytes(100)), EXPLICIT)[:50]
        async with asyncio.timeout(20):
            with pytest.raises(InstanceRefused):
                await take_in(gateway.ingest, data, "1.2.3")
        (kept,) = (tmp_path / "rejected").glob("*.dcm")
        assert kept.read_bytes().endswith(data)
        assert remains(tmp_path / "incoming") == []


def _with_policy(gateway: Intake, policy: str) -> Any:
    gateway.configure(storage={"duplicates": policy})
    return gateway.settings.storage


class TestDeath:
    """A keeper is killed. Whoever waits for it hears so at once, and another comes."""

    async def test_what_waits_is_refused_and_leaves_nothing(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = children()
        async with asyncio.timeout(30), intake(tmp_path, storage={"keepers": 1}) as gateway:
            (keeper,) = children() - before
            keeping = gateway.ingest.keeping
            assert isinstance(keeping, Keepers)
            os.kill(keeper, signal.SIGSTOP)
            traffic = Traffic(random.Random(1), sizes=(500, 300_000))
            senders = [asyncio.create_task(_status(gateway, traffic)) for _ in range(4)]
            await asyncio.to_thread(wait_until, lambda: keeping._lines[0].load() == 4, 10, "it never came")
            os.kill(keeper, signal.SIGKILL)
            statuses = await asyncio.gather(*senders)
            assert set(statuses) == {OUT_OF_RESOURCES}
            assert remains(tmp_path / "incoming") == []
            assert list(gateway.folder.store.keys()) == []
            assert gateway.blocks.available == 32
            await asyncio.to_thread(wait_until, lambda: bool(keeping._lines), 10, "it never came")
            assert await _status(gateway, traffic) == 0
            assert gateway.folder.health.sound
            assert children() - before != {keeper}
        caplog.clear()  # errors in it have tracebacks, and those the memory
        assert children() == before
        assert len(remains(Layout(tmp_path).store)) == 1

    @pytest.mark.parametrize("committed", [True, False])
    async def test_whether_it_was_committed_the_row_says(self, tmp_path: Path, committed: bool) -> None:
        """It died behind the commit, or before it. The sender is told that it failed; sent again it is there or new."""
        data_set = ct_header()
        data = encode(data_set, EXPLICIT)
        async with asyncio.timeout(20), intake(tmp_path) as gateway:
            threads, database = gateway.ingest.threads, gateway.folder.database

            class Dying(Here):
                async def keep(
                    self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]
                ) -> Any:
                    await asyncio.get_running_loop().run_in_executor(threads, file.finish, views)
                    if committed:
                        await database.write(script)
                    raise KeeperLost("it has died")

            gateway.ingest.keeping = Dying(threads, database)
            with pytest.raises(KeeperLost):
                await take_in(gateway.ingest, data, data_set.SOPInstanceUID)
            assert len(list(gateway.folder.store.keys())) == committed
            gateway.ingest.keeping = Here(threads, database)
            again = await take_in(gateway.ingest, data, data_set.SOPInstanceUID)
            assert again.outcome is (Outcome.SAME if committed else Outcome.STORED)
        assert len(remains(Layout(tmp_path).store)) == 1
        assert remains(tmp_path / "incoming") == []

    async def test_while_there_is_none_nothing_waits_for_one(self, tmp_path: Path) -> None:
        async with asyncio.timeout(20), intake(tmp_path, storage={"keepers": 1}) as gateway:
            keeping = gateway.ingest.keeping
            assert isinstance(keeping, Keepers)
            lines, keeping._lines = keeping._lines, []
            data_set = ct_header()
            with pytest.raises(KeeperLost, match="started again"):
                await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
            keeping._lines = lines
            assert (
                await take_in(gateway.ingest, encode(data_set, EXPLICIT), data_set.SOPInstanceUID)
            ).outcome is Outcome.STORED

    async def test_one_that_cannot_start_is_an_error_and_no_wait_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = children()
        monkeypatch.setattr("gateway.archive.keepers._PATIENCE", 0.5)
        monkeypatch.setattr("sys.executable", "/bin/false")
        async with asyncio.timeout(20):
            with pytest.raises(StorageError, match="do not start"):
                async with intake(tmp_path, storage={"keepers": 1}):
                    pass
        assert children() == before


async def _status(gateway: Intake, traffic: Traffic) -> int:
    """What one C-STORE over an association of its own is answered."""
    association: Requestor
    async with associate(gateway.call((CT, [EXPLICIT]))) as association:
        return await traffic.send_item(association, next(traffic.items()))
