"""What every way of keeping must do, in threads and by keepers; and what happens when a keeper dies."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import supervision
from gateway.config import Settings
from gateway.database.database import Script
from gateway.dicom import uids
from gateway.dimse import status
from gateway.errors import GatewayError, InstanceRefused, OutOfSpace, StorageError
from gateway.forwarding.control import Deliveries, Selection
from gateway.forwarding.rule_engine import RuleEngine
from gateway.index import store as index
from gateway.index.queries.store import LIST_FILES
from gateway.index.store import Origin
from gateway.ingest import committer_pool as module
from gateway.ingest.commit_batch import NewFrame
from gateway.ingest.committer import Committer, CommitterUnavailable, ThreadCommitter
from gateway.ingest.committer_pool import CommitterPool
from gateway.ingest.outcome import Outcome, StoreResult
from gateway.net.buffers import BLOCK_SIZE, Block, BlockPool
from gateway.net.requestor import Requestor, associate
from gateway.processes.arena import Buffer
from gateway.storage.incoming import IncomingFile
from gateway.storage.segments.keys import is_in_segment, place_of
from gateway.storage.segments.writer import SegmentWriter
from tests.forwarding.conftest import BASE
from tests.support.datasets import ct_header, encode
from tests.support.intake import CT, Intake, begun, intake
from tests.support.processes import children
from tests.support.waiting import until

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
BLOCKS = 32


def origin() -> Origin:
    return Origin(calling_aet="TEST", called_aet="GATEWAY", peer="127.0.0.1", received_at=1.0, via="dimse")


def instance(number: int = 1, pixels: int = 5000, **values: Any) -> tuple[str, bytes]:
    """(SOP Instance UID, data set); each number another instance of one series."""
    uid = f"1.2.3.{number}"
    return uid, encode(ct_header(SOPInstanceUID=uid, PixelData=os.urandom(pixels), **values), EXPLICIT)


def leased(pool: BlockPool, data: bytes) -> list[tuple[memoryview, Block]]:
    """The data in blocks of the pool, which nobody holds yet."""
    pieces = []
    for at in range(0, len(data), BLOCK_SIZE):
        block = pool.lease(pool.put_back)
        assert block is not None
        piece = data[at : at + BLOCK_SIZE]
        block.view[: len(piece)] = piece
        pieces.append((block.view[: len(piece)], block))
    return pieces


def own(data: bytes) -> tuple[memoryview, Block]:
    """The data in a block that is none of the pool's."""
    return memoryview(bytearray(data)), Block(memoryview(b""), lambda block: None)


async def take_in(gateway: Intake, uid: str, pieces: Sequence[tuple[Buffer, Block | None]]) -> StoreResult:
    """Every piece is held by who receives it until it is written, as `Link` does."""
    writer = gateway.ingest.begin(transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=uid, origin=origin())
    for _, block in pieces:
        if block is not None:
            block.retain()
    for data, block in pieces:
        writer.write(data, block)
        if block is not None:
            block.release()
        await writer.drained()
    return await writer.commit()


async def store(gateway: Intake, uid: str, data: bytes) -> StoreResult:
    return await take_in(gateway, uid, leased(gateway.blocks, data))


def stored(gateway: Intake) -> list[bytes]:
    """Everything in the store that is not about to be deleted, as files."""
    with closing(sqlite3.connect(gateway.folder.layout.database)) as database:
        garbage = {key for (key,) in database.execute("SELECT key FROM garbage")}
    found = []
    for key in filter(lambda key: key not in garbage, gateway.folder.store.keys()):
        file = gateway.folder.store.open(key)
        found.append(file.read(0, file.size))
        file.close()
    return found


def no_holds(gateway: Intake) -> bool:
    return gateway.blocks.available == BLOCKS


class Gate:
    """Has instances kept once it is opened."""

    def __init__(self, behind: Committer) -> None:
        self._behind = behind
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def obstacle(self) -> str:
        return ""

    async def commit(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        self.reached.set()
        await self.opened.wait()
        return await self._behind.commit(file, views, script)

    async def close(self) -> None:
        await self._behind.close()

    async def append(self, frame: NewFrame, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        self.reached.set()
        await self.opened.wait()
        return await self._behind.append(frame, views, script)


async def send(association: Requestor, uid: str, data: bytes) -> int:
    response = await association.store(association.context_for(CT), uid, [data])
    return response.status or 0


@pytest.fixture(params=[0, 2], ids=["here", "keepers"])
def count(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def pack_below() -> int:
    return 0


@pytest.fixture
async def gateway(tmp_path: Path, count: int, pack_below: int) -> AsyncIterator[Intake]:
    before = set(children(os.getpid()))
    storage = {"pack_below": pack_below}
    async with asyncio.timeout(50), intake(tmp_path, keepers=count, blocks=BLOCKS, storage=storage) as opened:
        assert len(set(children(os.getpid())) - before) == count
        yield opened
        assert opened.folder.health.sound
        assert no_holds(opened)
    vars(opened).clear()  # pytest keeps what a fixture gave, and with it the memory
    assert set(children(os.getpid())) == before
    assert begun(tmp_path) == []
    assert list((tmp_path / "incoming").iterdir()) == []


class TestPageCache:
    @pytest.fixture
    def count(self) -> int:
        return 0

    @pytest.fixture
    def pack_below(self) -> int:
        return 640 << 10

    async def test_only_what_deliveries_go_with_is_written_to_be_read_soon(
        self, gateway: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        soon = list[bool]()
        flush = SegmentWriter.flush

        def noted(writer: SegmentWriter) -> None:
            soon.append(writer.read_soon)
            flush(writer)

        monkeypatch.setattr(SegmentWriter, "flush", noted)
        await store(gateway, *instance(1))
        settings = msgspec.convert({**BASE, "rules": {"each": {"destinations": ["pacs"]}}}, Settings)
        gateway.ingest.outbox = RuleEngine(lambda: settings)
        await store(gateway, *instance(2))
        assert soon == [False, True]


class TestContract:
    @pytest.fixture(params=[0, 640 << 10], ids=["files", "segments"])
    def pack_below(self, request: pytest.FixtureRequest) -> int:
        return request.param

    @pytest.mark.parametrize("size", [10, 5000, BLOCK_SIZE, 600_000, 700_000, 5_000_000])
    async def test_the_bytes_are_those_that_came(self, gateway: Intake, size: int) -> None:
        """Those that are not written before, some that are, and so many that they are synced before."""
        uid, data = instance(pixels=size)
        taken = await store(gateway, uid, data)
        assert taken.outcome is Outcome.STORED
        (file,) = stored(gateway)
        assert file.endswith(data)
        located = await gateway.folder.database.fetch(LIST_FILES, "", 10)
        assert located == [(next(iter(gateway.folder.store.keys())), len(file))]

    async def test_bytes_of_any_memory_in_any_order(self, gateway: Intake) -> None:
        uid, data = instance(pixels=400_000)
        third = len(data) // 3
        parts = data[:third], data[third : 2 * third], data[2 * third :]
        for number, order in enumerate(["pool own bytes", "own pool bytes", "bytes bytes pool", "own own own"]):
            pieces: list[tuple[Buffer, Block | None]] = []
            for kind, part in zip(order.split(), parts, strict=True):
                if kind == "pool":
                    pieces += leased(gateway.blocks, part)
                else:
                    pieces.append(own(part) if kind == "own" else (part, None))
            taken = await take_in(gateway, uid, pieces)
            assert taken.outcome is (Outcome.IDENTICAL if number else Outcome.STORED), order
        (file,) = stored(gateway)
        assert file.endswith(data)

    async def test_many_at_once(self, gateway: Intake) -> None:
        """More than one batch of them, each its own bytes."""
        some = dict(instance(number, pixels=100 + number) for number in range(150))
        pieces = {uid: [own(data)] for uid, data in some.items()}
        pieces |= {uid: leased(gateway.blocks, some[uid]) for uid in list(some)[:24]}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take_in(gateway, uid, pieces[uid])) for uid in some]
        assert {task.result().outcome for task in tasks} == {Outcome.STORED}
        changes = [task.result().change for task in tasks]
        assert len(set(changes)) == len(changes)
        assert sorted(file[-200:] for file in stored(gateway)) == sorted(data[-200:] for data in some.values())

    @pytest.mark.parametrize("policy", ["keep", "overwrite", "reject"])
    @pytest.mark.parametrize("stock", [True, False], ids=["in stock", "none in stock"])
    async def test_duplicates(self, gateway: Intake, policy: str, stock: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """What overwrites is ordered twice; whoever made its file at the first order finds it at the second."""
        if not stock:
            monkeypatch.setattr(gateway.ingest.incoming, "new_file", gateway.ingest.incoming._make)
        gateway.folder.settings = msgspec.structs.replace(gateway.folder.settings, duplicates=policy)
        uid, data = instance()
        other = data[:-1] + bytes([data[-1] ^ 1])
        assert (await store(gateway, uid, data)).outcome is Outcome.STORED
        assert (await store(gateway, uid, data)).outcome is Outcome.IDENTICAL
        if policy == "reject":
            with pytest.raises(InstanceRefused):
                await store(gateway, uid, other)
        else:
            again = await store(gateway, uid, other)
            assert (again.outcome, again.version) == (
                (Outcome.DUPLICATE_KEPT, 1) if policy == "keep" else (Outcome.REPLACED, 2)
            )
        await until(lambda: len(stored(gateway)) == 1)
        assert stored(gateway)[0].endswith(other if policy == "overwrite" else data)

    async def test_the_same_at_once_is_stored_once(self, gateway: Intake) -> None:
        uid, data = instance()
        taken = await asyncio.gather(*(store(gateway, uid, data) for _ in range(10)))
        assert sorted(each.outcome.value for each in taken) == ["same"] * 9 + ["stored"]
        assert len(stored(gateway)) == 1

    async def test_a_lost_file_is_replaced(self, gateway: Intake) -> None:
        """The row is there, and the file is not: whoever sends it again must not wait for ever."""
        uid, data = instance()
        await store(gateway, uid, data)
        (key,) = gateway.folder.store.keys()
        if is_in_segment(key):
            name, offset = place_of(key)
            with Path(gateway.folder.store.segments.path_of(name)).open("r+b") as segment:
                segment.seek(offset)
                segment.write(bytes(100))
        else:
            gateway.folder.store.remove(key)
        assert (await store(gateway, uid, data)).outcome is Outcome.REPLACED
        assert [file[-len(data) :] for file in stored(gateway)] == [data]

    async def test_deliveries_are_written_with_the_instance(self, gateway: Intake) -> None:
        rules = {
            "each": {"destinations": ["pacs"]},
            "whole": {"destinations": ["other"], "each": "study", "stable_after": 60.0},
        }
        settings = msgspec.convert({**BASE, "rules": rules}, Settings)
        gateway.ingest.outbox = RuleEngine(lambda: settings)
        await store(gateway, *instance())
        deliveries = Deliveries(gateway.folder.database, lambda: settings)
        (only,) = (await deliveries.page(Selection())).deliveries
        assert (only.sop_uid, only.destination) == ("1.2.3.1", "pacs")

    async def test_what_is_refused_leaves_nothing(self, gateway: Intake) -> None:
        uid, data = instance()
        with pytest.raises(InstanceRefused):
            await store(gateway, "1.2.3.99", data)
        with pytest.raises(InstanceRefused):
            await store(gateway, uid, data[:300])
        assert stored(gateway) == []
        assert len(list((gateway.folder.layout.rejected).glob("*.dcm"))) == 1
        assert begun(gateway.folder.layout.base) == []

    async def test_over_an_association(self, gateway: Intake) -> None:
        some = dict(instance(number, pixels=300_000) for number in range(12))
        async with associate(gateway.call()) as one, associate(gateway.call()) as two:

            async def half(association: Requestor, which: int) -> list[int]:
                return [await send(association, uid, data) for uid, data in list(some.items())[which::2]]

            statuses = await asyncio.gather(half(one, 0), half(two, 1))
        assert {*statuses[0], *statuses[1]} == {status.SUCCESS}
        assert sorted(file[-1000:] for file in stored(gateway)) == sorted(data[-1000:] for data in some.values())
        await until(lambda: no_holds(gateway))

    async def test_a_sender_that_does_not_wait(self, gateway: Intake) -> None:
        """Its association ends while its instance is kept: it is complete, so it is taken in."""
        uid, data = instance(pixels=300_000)
        gateway.ingest.committer = gate = Gate(gateway.ingest.committer)
        association = await Requestor.open(gateway.call(), BlockPool(4))
        sending = asyncio.ensure_future(send(association, uid, data))
        await gate.reached.wait()
        await association.abort()
        with pytest.raises(GatewayError):
            await sending
        await until(lambda: not gateway.acceptor.associations())
        assert not no_holds(gateway)
        gate.opened.set()
        await until(lambda: not gateway.ingest._tasks)
        assert [file[-len(data) :] for file in stored(gateway)] == [data]
        await until(lambda: no_holds(gateway))


def processes(gateway: Intake) -> list[int]:
    """Those of the keepers."""
    return [
        pid for pid in children(os.getpid()) if b"ingest.commit_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def lines(gateway: Intake) -> list[module._Connection]:
    assert isinstance(gateway.ingest.committer, CommitterPool)
    return gateway.ingest.committer._ready


def asked(gateway: Intake) -> int:
    """Instances that keepers have been asked to keep, and have not answered yet."""
    return sum(line.load() for line in lines(gateway))


async def kill(gateway: Intake) -> None:
    """kill -9 of the only keeper, and wait until that is known."""
    (keeper,), (line,) = processes(gateway), lines(gateway)
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: line not in lines(gateway))


class TestDeaths:
    """Never a success for what is not there, nothing that waits for ever, and it goes on."""

    @pytest.fixture
    def count(self) -> int:
        return 1

    async def test_killed_before_it_has_begun(self, gateway: Intake, caplog: pytest.LogCaptureFixture) -> None:
        some = dict(instance(number, pixels=100_000) for number in range(5))
        (keeper,) = processes(gateway)
        os.kill(keeper, signal.SIGSTOP)
        async with asyncio.TaskGroup() as group:

            async def one(uid: str, data: bytes) -> int:
                async with associate(gateway.call()) as association:
                    return await send(association, uid, data)

            senders = [group.create_task(one(uid, data)) for uid, data in some.items()]
            await until(lambda: asked(gateway) == len(some))
            os.kill(keeper, signal.SIGKILL)
        assert {task.result() for task in senders} == {status.OUT_OF_RESOURCES}
        await until(lambda: not gateway.ingest._tasks)
        assert stored(gateway) == []
        await until(lambda: not begun(gateway.folder.layout.base))
        assert (await store(gateway, *next(iter(some.items())))).outcome is Outcome.STORED
        assert processes(gateway) != [keeper]
        assert "was killed by signal 9; it is started again in 0.0 s" in caplog.text
        caplog.clear()  # of errors, with what was on their way

    async def test_again_and_again(self, gateway: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervision, "_FIRST_S", 0.01)
        monkeypatch.setattr(module, "_COMMITTER_WAIT_S", 20.0)
        for number in range(4):
            assert (await store(gateway, *instance(number))).outcome is Outcome.STORED
            await kill(gateway)
        assert len(stored(gateway)) == 4

    @pytest.mark.case("a gateway without a process that stores is not ready")
    async def test_one_that_does_not_come_back(self, gateway: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        """Instances are refused, for now; the gateway closes as ever."""
        monkeypatch.setattr(module, "_COMMITTER_WAIT_S", 0.05)
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        assert gateway.ingest.obstacles() == []
        await kill(gateway)
        with pytest.raises(CommitterUnavailable, match="not back yet"):
            await store(gateway, *instance())
        assert gateway.ingest.obstacles() == ["the process that stores instances has died and is not back yet"]
        assert begun(gateway.folder.layout.base) == []

    async def test_a_disk_that_refuses_its_writes(self, gateway: Intake) -> None:
        """Of one instance only, and told as what it is."""
        resource.prlimit(processes(gateway)[0], resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
        big, small = await asyncio.gather(
            store(gateway, *instance(1, 1_600_000)), store(gateway, *instance(2, 1000)), return_exceptions=True
        )
        assert isinstance(big, OutOfSpace)
        assert isinstance(small, StoreResult)
        assert len(stored(gateway)) == 1

    @pytest.mark.parametrize(("size", "syncs"), [(4_000_000, 0), (5_500_000, 1)])
    async def test_what_is_large_is_synced_before(
        self, gateway: Intake, monkeypatch: pytest.MonkeyPatch, size: int, syncs: int
    ) -> None:
        """By us, so that the others of its batch do not wait for it."""
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        assert (await store(gateway, *instance(pixels=size))).outcome is Outcome.STORED
        assert len(synced) == syncs

    async def test_an_order_that_cannot_be_told_fails_alone(self, gateway: Intake) -> None:
        files = [gateway.ingest.incoming.new_file() for _ in range(3)]

        def good() -> Any:
            return functools.partial(index.tombstone_if_uncommitted, "0" * 26, 1.0)

        results = await asyncio.gather(
            gateway.ingest.committer.commit(files[0], [b"x"], good()),
            gateway.ingest.committer.commit(files[1], [b"x"], lambda: index.tombstone_if_uncommitted("0" * 26, 1.0)),
            gateway.ingest.committer.commit(files[2], [b"x"], good()),
            return_exceptions=True,
        )
        for file in files:
            await gateway.ingest.placed.discard(file)
        assert (results[0], results[2]) == (True, True)
        assert isinstance(results[1], Exception)
        assert (await store(gateway, *instance())).outcome is Outcome.STORED

    async def test_one_that_does_not_end_is_killed(self, gateway: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PROCESS_TIMEOUT_S", 0.1)
        os.kill(processes(gateway)[0], signal.SIGSTOP)
        await gateway.ingest.committer.close()
        assert processes(gateway) == []

    async def test_closed_while_one_starts_again(self, gateway: Intake, caplog: pytest.LogCaptureFixture) -> None:
        """It ends by itself, as soon as it is up."""
        await kill(gateway)
        await until(lambda: "is started again" in caplog.text)
        async with asyncio.timeout(15):
            await gateway.ingest.committer.close()
        assert "does not end" not in caplog.text

    async def test_signals_to_the_whole_group_do_not_end_it(self, gateway: Intake) -> None:
        (keeper,) = processes(gateway)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(keeper, number)
        assert (await store(gateway, *instance())).outcome is Outcome.STORED
        assert processes(gateway) == [keeper]

    async def test_it_has_no_more_of_ours_than_it_is_given(self, gateway: Intake) -> None:
        """No listening socket above all: with the gateway dead, its port must be free."""
        async with associate(gateway.call()):
            (keeper,) = processes(gateway)
            theirs, ours = (
                {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
                for pid in (keeper, "self")
            )
        assert len([name for name in theirs if name.startswith("socket:")]) == 1
        assert not [name for name in theirs & ours if name.startswith("socket:")]


class Dying(ThreadCommitter):
    """Hands over, commits or not, and dies."""

    def __init__(self, of: ThreadCommitter, commits: bool) -> None:
        super().__init__(of._threads, of._database, of._writer, of._failed)
        self._commits = commits

    async def commit(self, file: IncomingFile, views: Sequence[Buffer], script: Callable[[], Script[Any]]) -> Any:
        if self._commits:
            await super().commit(file, views, script)
        else:
            file.append(views)
        file.hand_over()
        raise CommitterUnavailable("died")


class TestWhatADeadOneHasCommitted:
    async def test_it_stays_and_sending_it_again_is_the_same(self, tmp_path: Path) -> None:
        uid, data = instance()
        async with asyncio.timeout(20), intake(tmp_path, blocks=BLOCKS, storage={"pack_below": 0}) as gateway:
            assert isinstance(gateway.ingest.committer, ThreadCommitter)
            alive, gateway.ingest.committer = gateway.ingest.committer, Dying(gateway.ingest.committer, commits=True)
            with pytest.raises(CommitterUnavailable):
                await store(gateway, uid, data)
            gateway.ingest.committer = alive
            assert (await store(gateway, uid, data)).outcome is Outcome.IDENTICAL
            assert no_holds(gateway)
            assert gateway.folder.health.sound
        assert [file[-len(data) :] for file in stored(gateway)] == [data]
        assert list((tmp_path / "incoming").iterdir()) == []

    async def test_what_it_has_not_committed_leaves_nothing(self, tmp_path: Path) -> None:
        uid, data = instance()
        async with asyncio.timeout(20), intake(tmp_path, blocks=BLOCKS, storage={"pack_below": 0}) as gateway:
            assert isinstance(gateway.ingest.committer, ThreadCommitter)
            alive, gateway.ingest.committer = gateway.ingest.committer, Dying(gateway.ingest.committer, commits=False)
            with pytest.raises(CommitterUnavailable):
                await store(gateway, uid, data)
            await until(lambda: not begun(tmp_path))
            assert stored(gateway) == []
            # That it is not there has been written: a commit that nobody sees yet cannot come back.
            assert len(await index.garbage(gateway.folder.database, older_than=1e12)) == 1
            gateway.ingest.committer = alive
            assert (await store(gateway, uid, data)).outcome is Outcome.STORED


class TestStarting:
    @pytest.fixture
    def before(self) -> set[int]:
        return set(children(os.getpid()))

    async def refused(self, path: Path, match: str, before: set[int]) -> None:
        with pytest.raises(StorageError, match=match):
            async with asyncio.timeout(10), intake(path, keepers=1):
                pass
        assert set(children(os.getpid())) == before
        assert list((path / "incoming").iterdir()) == []

    async def test_one_that_ends_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: set[int]
    ) -> None:
        monkeypatch.setattr("sys.executable", "/bin/false")
        await self.refused(tmp_path, "ended with code 1", before)

    async def test_one_that_cannot_be_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: set[int]
    ) -> None:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        await self.refused(tmp_path, "cannot be started", before)

    async def test_one_that_says_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: set[int]
    ) -> None:
        silent = tmp_path / "silent"
        silent.write_text("#!/bin/sh\nexec sleep 600\n")
        silent.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(silent))
        monkeypatch.setattr(module, "_PROCESS_TIMEOUT_S", 0.3)
        await self.refused(tmp_path / "data", "is not up", before)
