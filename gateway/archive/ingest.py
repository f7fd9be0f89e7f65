"""The only way in, and the contract of durability: when an instance may be called stored.

    1. It is written to `incoming/<worker>/<key>` as it comes.               Reception.write
    2. Its last bytes are written, it gets its name in the store,
       the file is synced, then the folder of its incoming name.             Reception._finish
    3. Its rows are committed, synchronously. THE ONLY COMMIT POINT.         Reception._commit
    4. The sender is told.                                                   (whoever called `end`)
    5. The store's folders are synced and the incoming names dropped.        Ingest._settle

A crash before 3 leaves an incoming file without a row: it was never acknowledged and `recovery.py` deletes it. A
crash after 3 leaves one with a row: recovery gives it its place. Readers look in the store alone, because the name
there is made before the commit.

DIMSE, STOW-RS, the REST upload and `import` all come through here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from gateway import config, telemetry
from gateway.archive.heading import Heading
from gateway.archive.health import Health
from gateway.database.database import Database
from gateway.dicom import part10
from gateway.errors import (
    DatabaseError,
    DataSetError,
    GatewayError,
    InstanceRefused,
    NoSuchObject,
    OutOfSpace,
    StorageError,
    StorageFailed,
)
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFolder
from gateway.storage.rejected import RejectedFolder

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 Table B.2-1. Within C000-CFFF ("cannot understand") the last digits are ours.
STATUS_DOES_NOT_MATCH = 0xA900
STATUS_CANNOT_UNDERSTAND = 0xC000
STATUS_DUPLICATE = 0xC111

_WRITE_AT = 640 * 1024
"""Bytes that are gathered before a thread writes them: an instance of 512 KiB needs one hand-over in all."""
_SETTLE_AFTER = 0.25
"""Seconds between batches of names that are made durable and dropped."""
_SPACE_EVERY = 0.05
"""Seconds for which a look at the free space holds."""
_COMPARE = 1 << 20


class Held(Protocol):
    """Memory that stays valid while it is held, such as a receive block."""

    def hold(self) -> None: ...
    def drop(self) -> None: ...


class Outcome(enum.Enum):
    """What became of an instance that was accepted."""

    STORED = "stored"
    REPLACED = "replaced"
    SAME = "same"
    """It was here already, byte for byte."""
    KEPT = "kept"
    """It was here already with other bytes, which stay: the policy is `keep`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """An instance that is safe now."""

    outcome: Outcome
    record: InstanceRecord
    version: int
    change: int = 0
    """Number of its entry in the change log; 0 where nothing changed."""


class Ingest:
    """Takes instances in. One for each worker; `close` waits for what is on its way."""

    def __init__(
        self,
        settings: Callable[[], config.Storage],
        *,
        store: FileStore,
        incoming: IncomingFolder,
        rejected: RejectedFolder,
        database: Database,
        health: Health,
        committed: Callable[[int], None] = lambda change: None,
    ) -> None:
        """`settings` gives the snapshot of now; `committed` is called after each
        commit that changed something, with the number of its entry in the change log.
        """
        self.settings = settings
        self.store = store
        self.incoming = incoming
        self.rejected = rejected
        self.database = database
        self.health = health
        self.committed = committed
        self.loop = asyncio.get_running_loop()
        self.threads = ThreadPoolExecutor(settings().sync_threads, thread_name_prefix="sync")
        self._tasks: set[asyncio.Task[Taken]] = set()
        self._placed: list[tuple[str, str]] = []
        self._replaced = False
        self._settler: asyncio.Task[None] | None = None
        self._rejecting = asyncio.Lock()
        self._space_checked = 0.0
        self._free = 0

    def begin(
        self, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, origin: index.Origin
    ) -> Reception:
        """Begin to take in one data set, claimed to be of this class and instance.

        Raises OutOfSpace below the floor of free space and StorageFailed once a sync has failed.
        """
        if not self.health.sound:
            raise StorageFailed(self.health.failures[0])
        self.check_space()
        return Reception(self, transfer_syntax_uid, sop_class_uid, sop_instance_uid, origin)

    def check_space(self) -> None:
        """Raises OutOfSpace below the configured floor."""
        now = self.loop.time()
        if now - self._space_checked > _SPACE_EVERY:
            self._space_checked = now
            self._free = self.store.free_bytes()
        floor = self.settings().min_free
        if self._free < floor:
            raise OutOfSpace(f"{self._free >> 20} MiB free, the floor is {floor >> 20} MiB")

    def own(self, task: asyncio.Task[Taken]) -> None:
        """A complete data set is taken in even if its sender has gone, so nobody else may own its task."""
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[Taken]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever asked for it has seen it, or has gone.

    def settle(self, key: str, folder: str, *, replaced: bool) -> None:
        """The key is committed; its incoming name may go once its name in `folder` is durable."""
        self._placed.append((key, folder))
        self._replaced |= replaced
        if self._settler is None:
            self._settler = self.loop.create_task(self._settle())

    async def _settle(self) -> None:
        """Step 5, in batches, while there is anything to do."""
        try:
            while self._placed:
                await asyncio.sleep(_SETTLE_AFTER)
                placed, self._placed = self._placed, []
                await self.loop.run_in_executor(self.threads, self.incoming.settle, placed)
                if self._replaced:
                    self._replaced = False
                    await collect_garbage(self.database, self.store, self.threads)
        except OSError as error:
            # Nothing is lost: the incoming names are still there for recovery.
            self.health.fail(f"syncing the store failed: {error.strerror}")
        except DatabaseError as error:
            log.warning("old versions stay on disk for now: %s", error)
        finally:
            self._settler = None

    async def reject(self, reception: Reception, reason: str) -> None:
        """Keep an unreadable object aside."""
        note = {
            "reason": reason,
            "transfer_syntax_uid": reception.transfer_syntax_uid,
            "sop_class_uid": reception.sop_class_uid,
            "sop_instance_uid": reception.sop_instance_uid,
            "calling_aet": reception.origin.calling_aet,
            "peer": reception.origin.peer,
            "received_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reception.origin.received_at)),
        }
        async with self._rejecting:
            try:
                await self.loop.run_in_executor(self.threads, self.rejected.keep, reception.file, note)
            except OSError as error:
                log.warning("an unreadable object could not be kept aside: %s", error)
                await self.loop.run_in_executor(self.threads, reception.file.discard)

    async def close(self) -> None:
        """Wait for every instance that is complete, settle all, and stop the threads."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._settler is not None:
            await self._settler
        self.threads.shutdown()
        self.incoming.close()


async def collect_garbage(database: Database, store: FileStore, threads: ThreadPoolExecutor) -> None:
    """Remove the files of versions that have been replaced. Who has one open keeps it."""
    loop = asyncio.get_running_loop()
    while keys := await index.garbage(database, older_than=time.time()):
        for key in keys:
            await loop.run_in_executor(threads, store.remove, key)
        await database.write(functools.partial(index.forget_garbage, keys))


class Reception:
    """One data set on its way in. All methods belong to the event loop."""

    def __init__(
        self,
        ingest: Ingest,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        origin: index.Origin,
    ) -> None:
        self.transfer_syntax_uid = transfer_syntax_uid
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.origin = origin
        self.file = ingest.incoming.new_file()
        self._ingest = ingest
        self._begun = ingest.loop.time()
        header = part10.file_header(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_aet=origin.calling_aet,
            sending_aet=origin.calling_aet,
            receiving_aet=origin.called_aet,
        )
        self._data_set_offset = len(header)
        self._header: bytes | None = header
        """The Part 10 header, until it has been handed to be written."""
        self._views: list[bytes | memoryview] = []
        self._pending = 0
        self._held: list[Held] = []
        self._received = 0
        self._writing: asyncio.Future[None] | None = None
        self._hurried = False
        self._error: GatewayError | None = None
        self._abandoned = False
        self._heading = Heading(transfer_syntax_uid, ingest.settings().max_header)

    @property
    def congested(self) -> bool:
        """More has come than the disk has taken; who can wait should wait for `drained`."""
        return self._writing is not None and self._pending >= _WRITE_AT

    async def drained(self) -> None:
        """Wait until the write in progress, if any, is done."""
        while self.congested:
            assert self._writing is not None
            await asyncio.wait([self._writing])

    def write(self, data: bytes | memoryview, held: Held | None) -> None:
        """The next bytes of the data set. `held` is their memory; None for bytes that nobody will change."""
        self._received += len(data)
        if self._error is not None:
            return  # The rest of the message is drained and dropped; `end` says why.
        self._views.append(data)
        self._pending += len(data)
        if held is not None and (not self._held or self._held[-1] is not held):
            held.hold()
            self._held.append(held)
        if self._pending >= _WRITE_AT and self._writing is None:
            self.flush()

    def flush(self) -> None:
        """Write what is pending now, and let go of its memory when it is written."""
        if self._writing is not None:
            self._hurried = True
            return
        self._hurried = False
        if not self._pending or self._error is not None:
            return
        try:
            self._ingest.check_space()
        except OutOfSpace as error:
            self._fail(error)
            return
        views, held = self._take()
        self._writing = self._ingest.loop.run_in_executor(self._ingest.threads, self.file.append, self._headed(views))
        self._heading.look(views, complete=False)
        self._writing.add_done_callback(lambda future: self._written(future, held))

    def _take(self) -> tuple[list[bytes | memoryview], list[Held]]:
        views, self._views = self._views, []
        held, self._held = self._held, []
        self._pending = 0
        return views, held

    def _headed(self, views: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """What to write: the views, after the Part 10 header if that is not written yet."""
        if self._header is None:
            return views
        header, self._header = self._header, None
        return [header, *views]

    def _written(self, future: asyncio.Future[None], held: list[Held]) -> None:
        self._writing = None
        for memory in held:
            memory.drop()
        error = future.exception()
        if isinstance(error, GatewayError):
            self._fail(error)
        elif error is not None:
            self._fail(StorageError(f"writing failed: {error}"))
        elif self._hurried or self._pending >= _WRITE_AT:
            self.flush()

    def _fail(self, error: GatewayError) -> None:
        """Give up; what comes after is dropped."""
        self._error = error
        for memory in self._take()[1]:
            memory.drop()

    def abandon(self) -> None:
        """The sender went away before the end."""
        self._fail(StorageError("the sender went away in the middle of the data set"))
        if not self._abandoned:
            self._abandoned = True
            self._ingest.own(self._ingest.loop.create_task(self._finish()))

    def end(self) -> asyncio.Task[Taken]:
        """The data set is complete. The task ends when it is safe, or raises:

        InstanceRefused    with its C-STORE status: it cannot be read, does not match, or is refused as a duplicate
        OutOfSpace         there is no room for it now
        StorageFailed      nothing can be vouched for any more
        StorageError, DatabaseError   this one could not be stored
        """
        telemetry.RECEIVE_SECONDS.observe(self._ingest.loop.time() - self._begun)
        telemetry.INTAKE_BYTES.inc(self._received)
        task = self._ingest.loop.create_task(self._finish())
        self._ingest.own(task)
        return task

    async def _finish(self) -> Taken:
        ingest = self._ingest
        try:
            await self._make_durable()
            taken = await self._commit(self._checked_record())
        except BaseException as error:
            await self._give_up(error)
            raise
        if taken.outcome in (Outcome.SAME, Outcome.KEPT):
            await ingest.loop.run_in_executor(ingest.threads, self.file.discard)
        else:
            assert self.file.folder is not None
            ingest.settle(self.file.key, self.file.folder, replaced=taken.outcome is Outcome.REPLACED)
            ingest.committed(taken.change)
        telemetry.INSTANCES.labels(taken.outcome.value).inc()
        return taken

    async def _make_durable(self) -> None:
        """Step 2. The header is read while the disk works."""
        ingest = self._ingest
        began = ingest.loop.time()
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._error is not None:
            raise self._error
        views, held = self._take()
        finishing = ingest.loop.run_in_executor(ingest.threads, self.file.finish, self._headed(views))
        try:
            self._heading.look(views, complete=True)
            await finishing
        finally:
            for memory in held:
                memory.drop()
        telemetry.SYNC_SECONDS.observe(ingest.loop.time() - began)

    async def _give_up(self, error: BaseException) -> None:
        """It was not stored: leave nothing behind, unless it may yet turn out to have been committed."""
        ingest = self._ingest
        outcome = "abandoned" if self._abandoned else "refused" if isinstance(error, InstanceRefused) else "failed"
        telemetry.INSTANCES.labels(outcome).inc()
        if isinstance(error, StorageFailed):
            ingest.health.fail(str(error))
        if isinstance(error, DatabaseError) and error.in_doubt:
            # The row may be there after a restart, and then the file must be too: recovery looks it up.
            self.file.close()
            ingest.health.fail(f"the database could not commit: {error}")
        elif isinstance(error, InstanceRefused) and error.status == STATUS_CANNOT_UNDERSTAND:
            await ingest.reject(self, str(error))
        else:
            await ingest.loop.run_in_executor(ingest.threads, self.file.discard)

    async def _commit(self, record: InstanceRecord) -> Taken:
        """Step 3. A duplicate is compared outside the transaction, and its key checked again inside the next."""
        ingest = self._ingest
        placement = index.Placement(
            key=self.file.key,
            size=self.file.size,
            data_set_offset=self._data_set_offset,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )
        replaces: str | None = None
        while True:
            began = ingest.loop.time()
            answer = await ingest.database.write(
                functools.partial(index.store_instance, record, placement, self.origin, replaces=replaces)
            )
            telemetry.COMMIT_SECONDS.observe(ingest.loop.time() - began)
            if isinstance(answer, index.Stored):
                if answer.flags:
                    log.warning("%s: a UID of this instance is known under another parent too", record.sop_instance_uid)
                outcome = Outcome.STORED if replaces is None else Outcome.REPLACED
                return Taken(outcome, record, answer.version, answer.change)
            try:
                same = await ingest.loop.run_in_executor(ingest.threads, self._is_same, answer)
            except NoSuchObject:
                continue  # Replaced meanwhile: look again.
            if same:
                return Taken(Outcome.SAME, record, answer.version)
            policy = ingest.settings().duplicates
            log.warning(
                "%s from %s is here already with other bytes: %s",
                record.sop_instance_uid,
                self.origin.calling_aet or self.origin.via,
                {"keep": "the first is kept", "overwrite": "it is replaced", "reject": "it is refused"}[policy],
            )
            if policy == "keep":
                return Taken(Outcome.KEPT, record, answer.version)
            if policy == "reject":
                raise InstanceRefused("the instance is stored already, with other bytes", STATUS_DUPLICATE)
            replaces = answer.key

    def _is_same(self, other: index.Exists) -> bool:
        """Whether transfer syntax and data set bytes equal the stored ones. Blocks. Raises NoSuchObject."""
        length = self.file.size - self._data_set_offset
        if other.transfer_syntax_uid != self.transfer_syntax_uid or other.size - other.data_set_offset != length:
            return False
        ours, theirs = self._ingest.store.open(self.file.key), self._ingest.store.open(other.key)
        try:
            return all(
                ours.read(self._data_set_offset + at, _COMPARE) == theirs.read(other.data_set_offset + at, _COMPARE)
                for at in range(0, length, _COMPARE)
            )
        finally:
            ours.close()
            theirs.close()

    def _checked_record(self) -> InstanceRecord:
        """The record, of the instance that was announced. Raises InstanceRefused."""
        try:
            record = self._heading.record()
        except DataSetError as error:
            raise InstanceRefused(f"the data set cannot be read: {error}", STATUS_CANNOT_UNDERSTAND) from None
        if record.sop_class_uid != self.sop_class_uid:
            raise InstanceRefused(
                f"the data set is of SOP class {record.sop_class_uid}, its command of {self.sop_class_uid}",
                STATUS_DOES_NOT_MATCH,
            )
        if record.sop_instance_uid != self.sop_instance_uid:
            raise InstanceRefused(
                f"the data set is SOP instance {record.sop_instance_uid}, its command {self.sop_instance_uid}",
                STATUS_DOES_NOT_MATCH,
            )
        return record
