"""An archive whose power goes at any moment, and what its senders know: the model that the intake is held against.

The data folder, its recovery and the intake are the real ones, on a disk in memory, with an SQLite in memory whose
commits are durable at once, or with a later one. All that is drawn comes from one seed: what is stored, overwritten,
deleted and delivered, what runs when, at which call of the disk the power goes (or the processes are killed), and which
changes survive that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec

from gateway import config
from gateway.admin.deletion import Removal
from gateway.database import sqlite as sqlite_module
from gateway.database.database import Query, Row, Script
from gateway.database.transactions import Transactions
from gateway.errors import GatewayError, InstanceRefused, NotFound
from gateway.forwarding import queries as forwarding_queries
from gateway.forwarding.restoration import Restoration
from gateway.forwarding.rule_engine import RuleEngine
from gateway.index.identity import public_id as made_of
from gateway.index.store import Origin
from gateway.ingest import (
    attaching,
    commit_batch,
    data_folder,
    garbage,
    ingest,
    instance_writer,
    placed_files,
    replay,
    segment_upkeep,
)
from gateway.ingest.attaching import Attaching
from gateway.ingest.data_folder import DataFolder, open_folder, open_ingest
from gateway.ingest.ingest import Ingest
from gateway.ingest.outbox import REPLAYED
from gateway.ingest.outcome import STATUS_DUPLICATE, Outcome
from gateway.jobs.table import Job, claim_jobs, finish_job
from gateway.storage import incoming, layout, reserve, workers
from gateway.storage.segments import folder, writer
from gateway.storage.segments.folder import SegmentFolder
from gateway.storage.segments.frame import FrameKind
from gateway.storage.segments.keys import key_at
from tests.support.datasets import CT, EXPLICIT, encode
from tests.support.memory_disk import Fault, MemoryDisk, PowerCut
from tests.support.simulation import Simulation

T = TypeVar("T")

BASE = "/data"
EPOCH = 1_700_000_000.0
NAME = "note"
FORWARDING = {
    "modalities": {"pacs": {"aet": "PACS", "host": "127.0.0.1", "port": 104}},
    "destinations": {"pacs": {"kind": "dicom", "modality": "pacs"}},
    "rules": {"all": {"destinations": ["pacs"]}},
}
STUDY, SERIES = "1.2.3", "1.2.3.4"
UIDS = [f"1.2.3.4.{number}" for number in range(10, 16)]
FAULTS = {
    "open": (errno.EIO, errno.EMFILE, errno.ENOSPC),
    "write": (errno.EIO, errno.ENOSPC),
    "link": (errno.EIO, errno.ENOSPC),
    "unlink": (errno.EIO,),
    "mkdir": (errno.EIO, errno.ENOSPC),
    "fdatasync": (errno.EIO, errno.ENOSPC),
    "fsync": (errno.EIO,),
    "flush": (errno.EIO,),
}
"""Calls that are made to fail, and how."""


class _Connection:
    """The database as it outlives its gateways. Its commit is one of the calls at which the power goes, and is durable
    at once or with a later one, as its writer has asked for."""

    def __init__(self, world: World) -> None:
        self._world, self._connection, self._disk = world, world.connection, world.disk
        self._durably = True

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        if self._disk.is_off:
            raise PowerCut
        if sql.startswith("PRAGMA synchronous"):
            self._durably = sql.endswith("FULL")
            return None
        if sql != "COMMIT":
            return self._connection.execute(sql, parameters)
        for _ in self._disk.tick("COMMIT"):
            self._connection.execute(sql)
            if self._durably:
                self._world.databases.clear()
            self._world.databases.append(self._connection.serialize())
        return None

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Transactions(Transactions):
    """Closed by who uses them, or by the world in which that died."""

    is_closed = False

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            super().close()


class _Database:
    """`gateway.database.database.Database` over that."""

    def __init__(self, transactions: Transactions, connection: _Connection) -> None:
        self._transactions, self._connection = transactions, connection

    async def fetch(self, query: Query, *parameters: Any) -> list[Row]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: self._connection.execute(query.qmark, parameters).fetchall())

    async def write(self, script: Callable[[], Script[T]], *, durably: bool = True) -> T:
        commit = functools.partial(self._transactions.commit, [script], durably=durably)
        ((result, error),) = await asyncio.get_running_loop().run_in_executor(None, commit)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def is_bound(self, marker: Path) -> bool:
        return True  # As SQLite's, which is in its data folder.

    def data_version(self) -> int:
        raise NotImplementedError  # Nothing in that world keeps answers.

    def fail(self, reason: str) -> None:
        self._transactions.failure = reason

    async def close(self) -> None:
        pass


@cache
def _schema() -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        sqlite_module._migrate(connection)
        return connection.serialize()


@cache
def _template() -> bytes:
    from pydicom.dataset import Dataset

    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, UIDS[0]
    data_set.PatientID, data_set.PatientName = "P1", "A^B"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, SERIES
    data_set.ImageComments = "0" * 3000
    data_set.InstanceNumber = "1"
    return encode(data_set, EXPLICIT)


def instance(uid: str, version: int) -> bytes:
    """The data set of one version of an instance: all of one length."""
    number = f"{version:08}".encode()
    data = _template().replace(UIDS[0].encode(), uid.encode())
    assert len(uid) == len(UIDS[0])
    return data.replace(b"0" * 3000, (number * 375))


def public_id(uid: str) -> str:
    """Of an instance."""
    return made_of("P1", STUDY, SERIES, uid)


class World:
    """One archive, over all its lives."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = MemoryDisk()
        self.disk.makedirs("/")
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_schema())
        self.databases: list[bytes] = [self.connection.serialize()]
        """The database as it is on the disk, and after each commit since that a power cut may undo."""
        self.now = 1000.0
        self.policy = self.random.choice(("keep", "overwrite", "overwrite", "reject"))
        self.settings = config.Storage(
            path=BASE, keepers=0, min_free=0, duplicates=self.policy, pack_below=self.random.choice((0, 4000, 1 << 20))
        )  # type: ignore[arg-type]
        self.may_be: dict[str, set[bytes | None]] = {uid: {None} for uid in UIDS}
        """For each instance what an archive that keeps its promises may hold now; None where it may have nothing."""
        self.may_have: dict[str, set[bytes | None]] = {uid: {None} for uid in UIDS}
        """The same of what is attached to each instance, as NAME."""
        self.delivered: set[tuple[str, int]] = set()
        """The instances, by public id and version, whose delivery was recorded, and its record acknowledged."""
        settings = msgspec.convert(FORWARDING, config.Settings) if self.random.random() < 0.7 else config.Settings()
        self.forwards = bool(settings.rules)
        self.rule_engine = RuleEngine(lambda: settings, clock=lambda: EPOCH + self.loop.time())
        self.version = 0
        self.acknowledged = 0
        self.cuts = 0
        self._transactions: list[Transactions] = []
        self._busy: set[str] = set()

    def run(self, lives: int) -> None:
        """Live some lives that are cut short, and a last one that comes to its end and is looked at as a whole."""
        with self._stubs():
            for _ in range(lives):
                self._live(cut=self.random.random() < 0.9, faults=self.random.random() < 0.3)
            self._live(cut=False, faults=False, last=True)
            for power_cut in (True, False):
                self._end(power_cut)
                self._live(cut=False, faults=False, last=True, idle=True)

    # One life.

    def _live(self, *, cut: bool, faults: bool, last: bool = False, idle: bool = False) -> None:
        disk, random = self.disk, self.random
        disk.calls.clear()
        if cut:
            disk.off_at, disk.off_before = int(random.expovariate(1 / 150)) + 1, random.random() < 0.5
        if faults:
            call = random.choice(list(FAULTS))
            disk.faults.append(Fault(call, random.choice(FAULTS[call]), at=random.randint(1, 40)))
        self.loop = Simulation(random, self.now)
        self._busy.clear()
        lived = False
        try:
            disk.on_cut = self.loop.end
            lived = self.loop.live(self._life(idle))
        except (OSError, GatewayError):
            if not disk.failed:
                raise
        except PowerCut:
            pass
        finally:
            self.now = self.loop.time() + 1
            disk.on_cut = lambda: None
            while self._transactions:
                self._transactions.pop().close()
        if last:
            assert lived
            self._check_remains()
            if idle:  # what was deleted has had its time
                assert self._garbage() == set()
        else:
            # A sync that has failed is told to people, who look at the disk before they start it again.
            power_cut = disk.failed in ("fsync", "fdatasync", "flush") or random.random() < 0.7
            self._end(power_cut)

    def _end(self, power_cut: bool) -> None:
        self.cuts += 1
        self.disk = self.disk.after(self.random, power_cut=power_cut)
        if self.connection.in_transaction:
            self.connection.rollback()
        if power_cut:
            self.connection.deserialize(self.random.choice(self.databases))
            self.databases = [self.connection.serialize()]

    async def _life(self, idle: bool) -> None:
        async with open_folder(self.settings) as folder:
            self._check(folder)
            async with open_ingest(folder, outbox=self.rule_engine) as intake:
                if not idle:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self.random.randint(1, 4)):
                            group.create_task(self._client(intake))
                await asyncio.sleep(self.random.choice((0, 1, 200)) if not idle else 200)
            self._check(folder)

    async def _client(self, intake: Ingest) -> None:
        """Someone who stores and deletes, one thing after another."""
        for _ in range(self.random.randint(1, 8)):
            free = [uid for uid in UIDS if uid not in self._busy]
            if free:
                uid = self.random.choice(free)
                self._busy.add(uid)
                try:
                    await self.random.choice(WORK)(self, intake, uid)
                finally:
                    self._busy.discard(uid)
            await asyncio.sleep(self.random.choice((0, 0, 0.01, 0.3, 1, 70)))

    async def _store(self, intake: Ingest, uid: str) -> None:
        known = [data for data in self.may_be[uid] if data is not None]
        if known and self.random.random() < 0.3:
            data = self.random.choice(sorted(known))
        else:
            self.version += 1
            data = instance(uid, self.version)
        self.may_be[uid].add(data)
        try:
            incoming = await self._send(intake, uid, data)
            taken = await incoming.commit()
        except InstanceRefused as error:
            self.may_be[uid] -= {None, data} if error.status == STATUS_DUPLICATE else self.may_be[uid]
        except (OSError, GatewayError):
            assert self.disk.failed
            return
        else:
            assert not self.disk.is_off
            if taken.outcome is Outcome.DUPLICATE_KEPT:
                self.may_be[uid] -= {None, data}
            else:
                self.acknowledged += 1
                self.may_be[uid] = {data}
        assert self.may_be[uid], "what is said to be there is not among what may be"

    async def _send(self, intake: Ingest, uid: str, data: bytes) -> Any:
        origin = Origin(calling_aet="TEST", called_aet="GW", peer="", received_at=self.loop.time(), via="dimse")
        writer = intake.begin(transfer_syntax_uid=EXPLICIT, sop_class_uid=CT, sop_instance_uid=uid, origin=origin)
        at = 0
        while at < len(data):
            size = self.random.choice((100, 1000, 5000))
            writer.write(data[at : at + size], None)
            at += size
            if self.random.random() < 0.2:
                writer.flush()
                await asyncio.sleep(0)
        return writer

    async def _abandon(self, intake: Ingest, uid: str) -> None:
        try:
            writer = await self._send(intake, uid, instance(uid, 0)[:-50])
        except (OSError, GatewayError):
            assert self.disk.failed
            return
        writer.abandon()

    async def _delete(self, intake: Ingest, uid: str) -> None:
        self.may_be[uid].add(None)
        self.may_have[uid].add(None)
        try:
            await Removal(intake, clock=lambda: EPOCH + self.loop.time()).by_uid((STUDY, SERIES, uid))
        except NotFound:
            assert None in self.may_be[uid]
        except (OSError, GatewayError):
            assert self.disk.failed
            return
        assert not self.disk.is_off
        self.may_be[uid] = {None}
        self.may_have[uid] = {None}

    async def _attach(self, intake: Ingest, uid: str) -> None:
        self.version += 1
        data = f"attached {self.version:08}".encode() * self.random.choice((0, 1, 50, 300))
        gone = self.random.random() < 0.2

        async def chunks() -> AsyncGenerator[bytes, None]:
            for at in range(0, len(data), 1000):
                yield data[at : at + 1000]
                await asyncio.sleep(0)
            if gone:
                raise ConnectionResetError

        self.may_have[uid].update(() if gone else (data,))
        try:
            await self._attaching(intake).attach("instance", public_id(uid), NAME, chunks())
        except NotFound:
            assert None in self.may_be[uid]
        except ConnectionResetError:
            assert gone
        except (OSError, GatewayError):
            assert self.disk.failed
        else:
            assert not self.disk.is_off
            self.acknowledged += 1
            self.may_have[uid] = {data}

    async def _detach(self, intake: Ingest, uid: str) -> None:
        had = set(self.may_have[uid])
        self.may_have[uid].add(None)
        try:
            await self._attaching(intake).detach("instance", public_id(uid), NAME)
        except NotFound:
            assert None in had
        except (OSError, GatewayError):
            assert self.disk.failed
            return
        assert not self.disk.is_off
        self.may_have[uid] = {None}

    async def _deliver(self, intake: Ingest, _: str) -> None:
        """Do all jobs that are due, as a runner would that is at it alone."""
        owner = f"runner {self.random.random()}"

        def claim() -> Script[list[Job]]:
            return claim_jobs(owner, EPOCH + self.loop.time(), 1.0, 100, lambda queue: 100)

        try:
            for job in await intake.database.write(claim, durably=False):
                await (self._restore(intake, job) if job.kind == REPLAYED else self._send_on(intake, job))
        except (OSError, GatewayError):
            assert self.disk.failed

    async def _restore(self, intake: Ingest, job: Job) -> None:
        record = await Restoration(self.rule_engine, lambda: EPOCH + self.loop.time()).work(job)

        def script() -> Script[None]:
            yield from record()
            yield from finish_job(job, "done", EPOCH + self.loop.time())

        await intake.database.write(script)

    async def _send_on(self, intake: Ingest, job: Job) -> None:
        sent = str(job.payload["instance"]), int(job.payload["version"])
        assert sent not in self.delivered, f"{sent} goes out once more"

        def script() -> Script[bool]:
            answer = 0, "", 3000, "", STUDY, SERIES, ""
            yield forwarding_queries.DELIVERED, (job.id, EPOCH + self.loop.time(), *answer)
            return (yield from finish_job(job, "done", EPOCH + self.loop.time()))

        if await intake.database.write(script):
            assert not self.disk.is_off
            self.delivered.add(sent)

    def _attaching(self, intake: Ingest) -> Attaching:
        return Attaching(intake, clock=lambda: EPOCH + self.loop.time())

    # What must be so.

    def _rows(self) -> dict[str, tuple[str, int]]:
        rows = self.connection.execute("SELECT uid, key, data_set_offset FROM instances").fetchall()
        return {uid: (key, offset) for uid, key, offset in rows}

    def _attached(self) -> dict[str, tuple[str, int, int]]:
        rows = self.connection.execute("SELECT public_id, key, data_offset, size FROM attachments").fetchall()
        return {identifier: (key, offset, size) for identifier, key, offset, size in rows}

    def _check(self, folder: DataFolder) -> None:
        """Everything acknowledged is there byte for byte; everything else whole or absent. What is seen, stays, but for
        what a flush that failed was to write: that may be on the disk, and then it is replayed."""
        rows = self._rows()
        for uid, may_be in self.may_be.items():
            found: bytes | None = None
            if uid in rows:
                key, offset = rows[uid]
                file = folder.store.open(key)
                found = file.read(offset, file.size)
                file.close()
            assert found in may_be, f"{uid}: {'other bytes than any' if found else 'nothing'} of {len(may_be)} possible"
            if self.disk.failed != "flush":
                self.may_be[uid] = {found}
        self._check_deliveries()
        attached = self._attached()
        for uid, may_have in self.may_have.items():
            found = None
            if public_id(uid) in attached:
                key, offset, size = attached[public_id(uid)]
                file = folder.store.open(key)
                found = file.read(offset, file.size)
                file.close()
                assert len(found) == size
            assert found in may_have, f"attached to {uid}: {found!r:.80} of {len(may_have)} possible"
            self.may_have[uid] = {found}

    def _check_deliveries(self) -> None:
        """Whatever is stored has its delivery, or a job that will write it; what was delivered stays so."""
        if not self.forwards:
            return
        rows = self.connection.execute("SELECT instance, version, outcome FROM deliveries").fetchall()
        outcomes = {(instance, version): outcome for instance, version, outcome in rows}
        noted = {
            (payload["public_id"], payload["version"])
            for (text,) in self.connection.execute(
                "SELECT payload FROM jobs WHERE kind = ? AND state IN ('waiting', 'running')", (REPLAYED,)
            )
            for payload in (msgspec.json.decode(text),)
        }
        for stored in self.connection.execute("SELECT public_id, version FROM instances").fetchall():
            assert stored in outcomes or stored in noted, f"{stored} goes nowhere"
        for sent in self.delivered:
            assert outcomes.get(sent) == "delivered", f"{sent} was delivered, and is {outcomes.get(sent)!r}"

    def _check_remains(self) -> None:
        """Nothing else is left over."""
        keys = {key for key, _ in self._rows().values()} | {key for key, *_ in self._attached().values()}
        left = {path.rsplit("/", 1)[1] for path in self.disk.files(f"{BASE}/store")}
        segments = SegmentFolder(layout.Layout(Path(BASE), self.disk))
        for name in segments.names():
            left |= {key_at(name, frame.offset) for frame in segments.frames(name) if frame.kind is FrameKind.INSTANCE}
        left -= self._garbage()
        assert left == keys, f"left over: {left - keys}, lost: {keys - left}"
        assert self.disk.files(f"{BASE}/incoming") == {}
        assert self.disk.listdir(f"{BASE}/incoming") == []
        assert self.disk.files(f"{BASE}/rejected") == {}

    def _garbage(self) -> set[str]:
        return {key for (key,) in self.connection.execute("SELECT key FROM garbage")}

    # What stands in for the machine.

    @contextlib.contextmanager
    def _stubs(self) -> Iterator[None]:
        clock = SimpleNamespace(
            perf_counter=lambda: self.loop.time(),
            time=lambda: EPOCH + self.loop.time(),
            time_ns=lambda: int((EPOCH + self.loop.time()) * 1e9),
            strftime=time.strftime,
            gmtime=time.gmtime,
            sleep=lambda seconds: None,
        )
        with contextlib.ExitStack() as stubs:
            for target, name, stub in (
                (data_folder, "Layout", lambda base: layout.Layout(Path(base), self.disk)),
                (data_folder, "open_database", self._open_database),
                (data_folder, "open_transactions", lambda layout, url: self._begin_transactions()[0]),
                (data_folder, "_has_content", lambda database: True),
                (workers, "time", clock),
                (incoming, "time", clock),
                (garbage, "time", clock),
                (ingest, "time", clock),
                (incoming, "PREALLOCATED", self.random.choice((1, 2, 6))),
                (reserve, "MAX_RESERVE_BYTES", 1000),
                (placed_files, "time", clock),
                (commit_batch, "time", clock),
                (replay, "time", clock),
                (folder, "time", clock),
                (folder, "MIN_BYTES", 40_960),
                (folder, "MAX_BYTES", 81_920),
                (writer, "_BUFFER_BYTES", 40_960),
                (segment_upkeep, "_WORTH_BYTES", 4096),
                (attaching, "_WRITE_AT_BYTES", 2000),
                (instance_writer, "_WRITE_AT_BYTES", self.random.choice((2000, 10_000))),
                (layout.os, "urandom", self.random.randbytes),
                (layout.os, "getpid", lambda: 1),
            ):
                stubs.enter_context(patch.object(target, name, stub))
            try:
                yield
            finally:
                self.connection.close()

    def _begin_transactions(self) -> tuple[Transactions, _Connection]:
        connection = _Connection(self)
        made = _Transactions(connection, Path("/dev/null"), Path("/dev/null"))  # type: ignore[arg-type]
        self._transactions.append(made)
        return made, connection

    async def _open_database(self, *_: object) -> _Database:
        return _Database(*self._begin_transactions())


WORK = (
    *[World._store] * 6,
    *[World._delete, World._abandon] * 2,
    *[World._attach] * 3,
    World._detach,
    *[World._deliver] * 3,
)
"""What a client does next: one of these."""
