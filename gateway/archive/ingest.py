"""The only way in, and the contract of durability: when an instance may be called stored.

    1. It is written to `incoming/<worker>/<key>` as it comes, a file
       that was made before, and whose name is durable.                      Reception.write
    2. Its last bytes are written, it gets its name in the store,
       and the file is synced.                                               keeper.keep
    3. Its rows and its deliveries (`entering.py`) are committed,
       synchronously. THE ONLY COMMIT POINT.                                 keeper.keep
    4. The sender is told.                                                   (whoever awaits `end`)
    5. The store's folders are synced and the incoming names dropped.        Ingest._settle

A crash before 3 leaves an incoming file without a row: it was never acknowledged and `recovery.py` deletes it. A
crash after 3 leaves one with a row: recovery gives it its place. Readers look in the store alone, because the name
there is made before the commit. Steps 2 and 3 are done for many instances at once, by processes of their own
(`keepers.py`, `keeper.py`), or in threads (`keeping.py`).

DIMSE, STOW-RS, the REST upload and `import` all come through here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway import config, telemetry
from gateway.archive.deliveries.dispatch import Dispatch
from gateway.archive.entering import enter
from gateway.archive.heading import INDEX
from gateway.archive.health import Health
from gateway.archive.keeping import Here, KeeperLost, Keeping
from gateway.archive.reception import Reception
from gateway.database.database import Database
from gateway.errors import (
    DatabaseError,
    DataSetError,
    InstanceRefused,
    NoSuchObject,
    OutOfSpace,
    StorageError,
    StorageFailed,
)
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.rejected import RejectedFolder
from gateway.storage.scratch import Scratch

log = logging.getLogger(__name__)

# C-STORE statuses, PS3.4 Table B.2-1. Within C000-CFFF ("cannot understand") the last digits are ours.
STATUS_DOES_NOT_MATCH = 0xA900
STATUS_CANNOT_UNDERSTAND = 0xC000
STATUS_DUPLICATE = 0xC111
STATUS_OTHER_STUDY = 0xC409

_SETTLE_AFTER = 0.25
"""Seconds between batches of names that are made durable and dropped."""
_SPACE_EVERY = 0.05
"""Seconds for which a look at the free space holds."""
_COMPARE = 1 << 20


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
        dispatch: Dispatch | None = None,
        committed: Callable[[int], None] = lambda change: None,
    ) -> None:
        """`settings` gives the snapshot of now.

        `dispatch` says what else the transaction of an instance is to do; without it nothing goes anywhere.
        `committed` is called after each commit that changed something, with the number of its change log entry.
        """
        self.settings = settings
        self.store = store
        self.incoming = incoming
        self.rejected = rejected
        self.database = database
        self.health = health
        self.dispatch = dispatch
        self.committed = committed
        self.loop = asyncio.get_running_loop()
        self.threads = ThreadPoolExecutor(settings().sync_threads, thread_name_prefix="sync")
        self.keeping: Keeping = Here(self.threads, database)
        self._tasks: set[asyncio.Task[Taken]] = set()
        self._placed: list[tuple[str, str]] = []
        self._replaced = False
        self._settler: asyncio.Task[None] | None = None
        self._collector: asyncio.Task[None] | None = None
        self._restocking: asyncio.Task[None] | None = None
        self._rejecting = asyncio.Lock()
        self._space_checked = 0.0
        self._free = 0

    def begin(
        self,
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        origin: index.Origin,
        study_instance_uid: str = "",
    ) -> Reception:
        """Begin to take in one data set, claimed to be of this class and instance; of this study, where one is named.

        Raises OutOfSpace below the floor of free space and StorageFailed once a sync has failed.
        """
        if not self.health.sound:
            raise StorageFailed(self.health.failures[0])
        self.check_space()
        file = self.incoming.new_file()
        if self.incoming.is_low and self._restocking is None:
            self._restocking = self.loop.create_task(self.restock())
        return Reception(
            file,
            self.threads,
            self.check_space,
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            study_instance_uid=study_instance_uid,
            origin=origin,
            max_header=self.settings().max_header,
            wanted=self.dispatch.looked_for if self.dispatch is not None else INDEX,
        )

    def end(self, reception: Reception) -> asyncio.Task[Taken]:
        """The data set is complete. The task ends when it is safe, or raises:

        InstanceRefused    with its C-STORE status: it cannot be read, does not match, or is refused as a duplicate
        OutOfSpace         there is no room for it now
        KeeperLost         who was storing it has died; a new one is on its way
        StorageFailed      nothing can be vouched for any more
        StorageError, DatabaseError   this one could not be stored
        """
        reception.complete()
        return self._take_in(reception)

    def scratch(self) -> Scratch:
        """A file for what is not an instance yet. Blocks. Raises OutOfSpace, StorageError."""
        return Scratch(self.incoming.new_path())

    def abandon(self, reception: Reception) -> None:
        """The sender has gone in the middle of the data set: leave nothing of it."""
        if not reception.abandoned:
            reception.abandon()
            self._take_in(reception)

    def check_space(self) -> None:
        """Raises OutOfSpace below the configured floor."""
        now = self.loop.time()
        if now - self._space_checked > _SPACE_EVERY:
            self._space_checked = now
            self._free = self.store.free_bytes()
        floor = self.settings().min_free
        if self._free < floor:
            raise OutOfSpace(f"{self._free >> 20} MiB free, the floor is {floor >> 20} MiB")

    async def restock(self) -> None:
        """Have empty files ready, so that instances need not wait for their names."""
        try:
            await self.loop.run_in_executor(self.threads, self.incoming.restock)
        except StorageFailed as error:
            self.health.fail(str(error))
        except StorageError as error:
            log.warning("%s", error)  # Each instance makes its own, if there is room for it.
        finally:
            self._restocking = None

    def _take_in(self, reception: Reception) -> asyncio.Task[Taken]:
        """A complete data set is taken in even if its sender has gone, so its task is ours."""
        task = self.loop.create_task(self._finish(reception))
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Taken]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever asked for it has seen it, or has gone.

    async def _finish(self, reception: Reception) -> Taken:
        try:
            await reception.settled()
            taken = await self._commit(reception, _checked_record(reception))
        except BaseException as error:
            await self._give_up(reception, error)
            raise
        file = reception.file
        if taken.outcome in (Outcome.SAME, Outcome.KEPT):
            await self.loop.run_in_executor(self.threads, file.discard)
        else:
            assert file.folder is not None
            self._settle_later(file.key, file.folder, replaced=taken.outcome is Outcome.REPLACED)
            self.committed(taken.change)
            if self.dispatch is not None and self.dispatch.routes.router:
                self.dispatch.wake()
        telemetry.INSTANCES.labels(taken.outcome.value).inc()
        return taken

    async def _commit(self, reception: Reception, record: InstanceRecord) -> Taken:
        """Steps 2 and 3. A duplicate is compared outside the transaction, and its key checked again inside the next."""
        placement, origin = reception.placement, reception.origin
        dispatch = self.dispatch
        following = dispatch.follow(record, placement, origin, reception.attributes) if dispatch is not None else None
        replaces: str | None = None
        missing = ""
        script = functools.partial(enter, record, placement, origin, following)
        answer = await reception.keep(self.keeping, functools.partial(script, replaces))
        while isinstance(answer, index.Exists):
            try:
                same = await self.loop.run_in_executor(self.threads, self._is_same, placement, answer)
            except NoSuchObject:
                if missing == answer.key:
                    log.error("the file of %s, %s, is lost: it is replaced", record.sop_instance_uid, missing)
                    replaces = missing
                missing = answer.key  # Replaced meanwhile: look again.
            else:
                if same:
                    return Taken(Outcome.SAME, record, answer.version)
                policy = self.settings().duplicates
                log.warning(
                    "%s from %s is here already with other bytes: %s",
                    record.sop_instance_uid,
                    origin.calling_aet or origin.via,
                    {"keep": "the first is kept", "overwrite": "it is replaced", "reject": "it is refused"}[policy],
                )
                if policy == "keep":
                    return Taken(Outcome.KEPT, record, answer.version)
                if policy == "reject":
                    raise InstanceRefused("the instance is stored already, with other bytes", STATUS_DUPLICATE)
                replaces = answer.key
            answer = await self.database.write(functools.partial(script, replaces))
        if answer.flags:
            log.warning("%s: a UID of this instance is known under another parent too", record.sop_instance_uid)
        outcome = Outcome.STORED if replaces is None else Outcome.REPLACED
        return Taken(outcome, record, answer.version, answer.change)

    def _is_same(self, ours: index.Placement, other: index.Exists) -> bool:
        """Whether transfer syntax and data set bytes equal the stored ones. Blocks. Raises NoSuchObject where those
        are gone, StorageError.
        """
        length = ours.size - ours.data_set_offset
        if (other.transfer_syntax_uid, other.size - other.data_set_offset) != (ours.transfer_syntax_uid, length):
            return False
        with contextlib.ExitStack() as opened:
            theirs = opened.enter_context(contextlib.closing(self.store.open(other.key)))
            try:
                new = opened.enter_context(contextlib.closing(self.store.open(ours.key)))
            except NoSuchObject:
                raise StorageError("the file of a new instance has gone") from None
            return all(
                new.read(ours.data_set_offset + at, _COMPARE) == theirs.read(other.data_set_offset + at, _COMPARE)
                for at in range(0, length, _COMPARE)
            )

    async def _give_up(self, reception: Reception, error: BaseException) -> None:
        """It was not stored: leave nothing behind, unless it may yet turn out to have been committed."""
        if isinstance(error, asyncio.CancelledError):
            return  # We are broken off, and whoever keeps it may yet commit it: the next start looks.
        outcome = "abandoned" if reception.abandoned else "refused" if isinstance(error, InstanceRefused) else "failed"
        telemetry.INSTANCES.labels(outcome).inc()
        if isinstance(error, StorageFailed):
            self.health.fail(str(error))
        if isinstance(error, DatabaseError) and error.in_doubt:
            # The row may be there after a restart, and then the file must be too: recovery looks it up.
            reception.file.close()
            self.health.fail(f"the database could not commit: {error}")
        elif isinstance(error, KeeperLost) and reception.file.folder is not None:
            await self._look_up(reception.file, reception.file.folder)
        elif isinstance(error, InstanceRefused) and error.status == STATUS_CANNOT_UNDERSTAND:
            await self._reject(reception, str(error))
        else:
            reception.let_go()
            await self.loop.run_in_executor(self.threads, reception.file.discard)

    async def _look_up(self, file: IncomingFile, folder: str) -> None:
        """Whoever kept it has died, and its sender is told that it is not stored. Whether it is after all, the row
        says; nobody commits it any more.
        """
        try:
            disowned = await self.database.write(functools.partial(index.disown, file.key, time.time()))
        except DatabaseError as error:
            log.warning("%s; what becomes of %s is left to the next start", error, file.key)
            return
        if disowned:
            await self.loop.run_in_executor(self.threads, file.discard)
        else:
            self._settle_later(file.key, folder, replaced=False)

    def _settle_later(self, key: str, folder: str, *, replaced: bool) -> None:
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

    async def _reject(self, reception: Reception, reason: str) -> None:
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
                await reception.write_out()
                await self.loop.run_in_executor(self.threads, self.rejected.keep, reception.file, note)
            except (OSError, StorageError) as error:
                log.warning("an unreadable object could not be kept aside: %s", error)
                await self.loop.run_in_executor(self.threads, reception.file.discard)

    def collect_after(self, seconds: float) -> None:
        """Delete files that are not needed any more once they are that old, and all that come meanwhile."""
        if self._collector is None:
            self._collector = self.loop.create_task(self._collect(seconds))

    async def _collect(self, seconds: float) -> None:
        try:
            while await index.garbage(self.database, older_than=math.inf, limit=1):
                await asyncio.sleep(seconds)
                await collect_garbage(self.database, self.store, self.threads)
        except (OSError, DatabaseError) as error:
            log.warning("files that are not needed any more stay on disk for now: %s", error)
        finally:
            self._collector = None

    async def close(self) -> None:
        """Wait for every instance that is complete, settle all, and stop the threads."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._collector is not None:
            self._collector.cancel()  # the next start goes on with it
            await asyncio.wait([self._collector])
        for task in (self._settler, self._restocking):
            if task is not None:
                await task
        await self.keeping.close()
        self.threads.shutdown()
        self.incoming.close()


def _checked_record(reception: Reception) -> InstanceRecord:
    """The record, of the instance that was announced. Raises InstanceRefused."""
    try:
        record = reception.record()
    except DataSetError as error:
        raise InstanceRefused(f"the data set cannot be read: {error}", STATUS_CANNOT_UNDERSTAND) from None
    if record.sop_class_uid != reception.sop_class_uid:
        raise InstanceRefused(
            f"the data set is of SOP class {record.sop_class_uid}, its command of {reception.sop_class_uid}",
            STATUS_DOES_NOT_MATCH,
        )
    if record.sop_instance_uid != reception.sop_instance_uid:
        raise InstanceRefused(
            f"the data set is SOP instance {record.sop_instance_uid}, its command {reception.sop_instance_uid}",
            STATUS_DOES_NOT_MATCH,
        )
    study = record.parents.study_instance_uid
    if reception.study_instance_uid not in ("", study):
        raise InstanceRefused(
            f"the instance belongs to study {study}, not to {reception.study_instance_uid}", STATUS_OTHER_STUDY
        )
    return record


async def collect_garbage(database: Database, store: FileStore, threads: ThreadPoolExecutor) -> None:
    """Remove the files of what has been replaced or deleted. Who has one open keeps it."""
    loop = asyncio.get_running_loop()
    while keys := await index.garbage(database, older_than=time.time()):
        for key in keys:
            await loop.run_in_executor(threads, store.remove, key)
        await database.write(functools.partial(index.forget_garbage, keys))
