"""The only way in, and the contract of durability: when an instance may be called stored.

A small instance, which is in memory as a whole (`storage.pack_below`):

    1. It is appended to a segment with all that wait at that moment, and
       one flush makes them durable.                                         commit_batch
    2. Their rows are committed with the mark of the segment, and are
       visible. THE ONLY COMMIT POINT is the flush: `replay.py` makes
       again what a power cut takes of this transaction.                     commit_batch
    3. The sender gets its acknowledgement.                                  (the caller of `commit`)

A large one, whose rows may say more than a file does:

    1. It is written to `incoming/<worker>/<key>` as it arrives, to a
       preallocated file whose name is durable.                              InstanceWriter.write
    2. Its last bytes are written, it gets its name in the store,
       and the file is synced.                                               commit_batch
    3. Its rows and its deliveries (`commit_script.py`) are committed,
       synchronously. THE ONLY COMMIT POINT.                                 commit_batch
    4. The sender gets its acknowledgement.                                  (the caller of `commit`)
    5. The store's folders are synced and the incoming names unlinked.       PlacedFiles

A crash before 3 leaves an incoming file without a row: it was never acknowledged, and `recovery.py` deletes it, or
sets it aside if it is complete, since an older copy of the database would have no row of an acknowledged one either. A
crash after 3 leaves one with a row: recovery places it. Readers look in the store alone: the name there is made before
the commit. All this is done for many instances at once, by commit processes (`committer_pool.py`) or a thread.

DIMSE, STOW-RS, the REST upload and `import` all come through here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from gateway import config, telemetry, tracing
from gateway.access.link_limits import LinkLimits
from gateway.database.database import Database, Script
from gateway.database.view import seeing
from gateway.errors import (
    InstanceRefused,
    NoSuchObject,
    OutOfSpace,
    StorageError,
    StorageFailed,
)
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.ingest.commit_script import InstanceScript
from gateway.ingest.committer import Committer
from gateway.ingest.duplicates import same_bytes
from gateway.ingest.garbage import GRACE_S, Garbage
from gateway.ingest.header_scan import wanted_tags
from gateway.ingest.health import Health
from gateway.ingest.instance_writer import InstanceWriter
from gateway.ingest.outbox import Outbox
from gateway.ingest.outcome import (
    STATUS_CANNOT_UNDERSTAND,
    STATUS_DUPLICATE,
    Outcome,
    StoreResult,
    log_fields,
)
from gateway.ingest.placed_files import PlacedFiles
from gateway.ingest.tenant_limits import TenantLimits
from gateway.storage.filesystem import FileStore
from gateway.storage.incoming import IncomingFile, IncomingFolder
from gateway.storage.rejected import RejectedFolder
from gateway.storage.reserve import Reserve
from gateway.storage.scratch import Scratch

Result = TypeVar("Result")

log = logging.getLogger(__name__)

ITSELF: Final = "*"
"""In the place of a key: that of the same instance, whichever it is."""
NOTHING: Final = "-"
"""In the place of a key: what is stored stays."""
_SPACE_EVERY_S = 0.05
"""Seconds between checks of the free space."""
_POLICIES = {"keep": "the first is kept", "overwrite": "it is replaced", "reject": "it is refused"}


class Ingest:
    """Ingests instances. One for each worker; `close` waits for those in progress."""

    def __init__(
        self,
        settings: Callable[[], config.Storage],
        *,
        store: FileStore,
        incoming: IncomingFolder,
        rejected: RejectedFolder,
        reserve: Reserve,
        database: Database,
        health: Health,
        threads: ThreadPoolExecutor,
        committer: Committer,
        limits: TenantLimits,
        outbox: Outbox | None = None,
        committed: Callable[[int], None] = lambda change: None,
    ) -> None:
        """`settings` returns the current settings. `threads` write and sync; `close` ends them, and `committer`.

        `outbox` adds deliveries to the transaction of an instance; without it there are none.
        `committed` is called after each commit that changed something, with the number of its change log entry.
        """
        self.settings = settings
        self.store = store
        self.incoming = incoming
        self.rejected = rejected
        self.database = database
        self.health = health
        self.limits = limits
        self.link_limits = LinkLimits(database)
        self.outbox = outbox
        self.committed = committed
        self.loop = asyncio.get_running_loop()
        self.threads = threads
        self.committer = committer
        self.garbage = Garbage(database, store, reserve, self.threads, health)
        self.placed = PlacedFiles(incoming, database, threads, self.garbage, health)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._preallocating: asyncio.Task[None] | None = None
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
        patient: str = "",
        overwrites: str = "",
    ) -> InstanceWriter:
        """Begin to ingest one data set, announced as of this class and instance; of this study and of the patient with
        this public id, if they are named. `overwrites` is the key of a stored object that it replaces if it is the same
        instance, whatever the settings say; ITSELF is whichever it is, NOTHING none.

        Raises: OutOfSpace below the floor of free space; StorageFailed once a sync has failed.
        """
        self.check()
        return InstanceWriter(
            self.new_file,
            self.threads,
            self.check_space,
            self._schedule,
            transfer_syntax_uid=transfer_syntax_uid,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            study_instance_uid=study_instance_uid,
            patient=patient,
            overwrites=overwrites,
            origin=origin,
            max_header=self.settings().max_header,
            wanted=self.outbox.wanted_tags if self.outbox is not None else wanted_tags(),
            pack_below=self.settings().pack_below,
        )

    def check(self) -> None:
        """Check that something can be stored. Raises as `begin`."""
        if not self.health.sound:
            raise StorageFailed(self.health.failures[0])
        self.check_space()

    def new_file(self) -> IncomingFile:
        """A file for one object that comes in. Raises as `begin`."""
        self.check()
        file = self.incoming.new_file()
        if self.incoming.is_low and self._preallocating is None:
            self._preallocating = self.loop.create_task(self.preallocate())
        return file

    async def commit_file(self, file: IncomingFile, script: Callable[[], Script[Any]]) -> Any:
        """Run steps 2, 3 and 5 for a whole file that is no instance; returns the result of the script.

        It is committed even if its sender has gone. Raises as `Committer.commit`, when nothing is left of the file;
        and the errors of the script, which must be such as can be pickled.
        """
        return await asyncio.shield(self._own(self._finish_file(file, script)))

    async def _finish_file(self, file: IncomingFile, script: Callable[[], Script[Any]]) -> Any:
        try:
            result = await self.committer.commit(file, (), script)
        except BaseException as error:
            await self.placed.clean_up(file, error)
            raise
        assert file.folder is not None
        self.placed.add(file.key, file.folder)
        return result

    def scratch(self) -> Scratch:
        """A temporary file for data that are not an instance yet. Blocks. Raises: OutOfSpace; StorageError."""
        return Scratch(self.incoming.disk, self.incoming.new_path())

    def check_space(self) -> None:
        """Check the free space. Raises: OutOfSpace below the configured floor."""
        now = self.loop.time()
        if now - self._space_checked > _SPACE_EVERY_S:
            self._space_checked = now
            self._free = self.store.free_bytes()
        floor = self.settings().min_free
        if self._free < max(floor, 1):
            raise OutOfSpace(f"{self._free >> 20} MiB free, the floor is {floor >> 20} MiB")

    def obstacles(self) -> list[str]:
        """The reasons why nothing can be stored now, in words: temporary ones, and those that a person must remove."""
        reasons = []
        try:
            self.check_space()
        except OutOfSpace as error:
            reasons.append(f"there is no room: {error}")
        if self.store.free_files() == 0:
            reasons.append("there is no room for another file: the file system has no inode left")
        if obstacle := self.committer.obstacle():
            reasons.append(obstacle)
        return reasons

    async def preallocate(self) -> None:
        """Fill the pool of empty files, so that instances need not wait for their names."""
        try:
            await self.loop.run_in_executor(self.threads, self.incoming.preallocate)
        except StorageFailed as error:
            self.health.fail(str(error))
        except StorageError as error:
            log.warning("%s", error)  # Each instance creates its own file, if there is space for it.
        finally:
            self._preallocating = None

    def _schedule(self, writer: InstanceWriter) -> asyncio.Task[StoreResult]:
        """Finish an instance in a task of ours: a complete data set is committed even if its sender has gone."""
        return self._own(self._finish(writer) if writer.span is tracing.NO_SPAN else self._finish_traced(writer))

    def _own(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """A task for which `close` waits; it sees everything, whoever brings what is stored."""
        with seeing(None):
            task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Marked as retrieved: the caller has seen it, or has gone.

    async def _finish_traced(self, writer: InstanceWriter) -> StoreResult:
        with tracing.recorded(writer.span) as span:
            result = await self._finish(writer)
            span.set("gateway.outcome", result.outcome.value)
            span.set("gateway.bytes", writer.placement.size)
            if tracing.records_uids():
                span.set("dicom.study_instance_uid", result.record.parents.study_instance_uid)
            return result

    async def _finish(self, writer: InstanceWriter) -> StoreResult:
        try:
            await writer.finish_writing()
            record, tenant = writer.checked_record(), writer.origin.tenant
            if tenant:
                await self.limits.admit(tenant, writer.placement.size)
            result = await self._commit_within_limits(writer, record)
        except BaseException as error:
            await self._clean_up(writer, error)
            raise
        writer.release()
        file = writer.file
        if result.outcome in (Outcome.IDENTICAL, Outcome.DUPLICATE_KEPT):
            if file is not None:
                await self.placed.discard(file)
        else:
            if file is not None:
                assert file.folder is not None
                self.placed.add(file.key, file.folder, replaced=result.outcome is Outcome.REPLACED)
            elif result.outcome is Outcome.REPLACED:
                self.garbage.collect_after(GRACE_S)
            self.committed(result.change)
            if self.outbox is not None:
                self.outbox.committed()
        telemetry.INSTANCES.labels(result.outcome.value).inc()
        telemetry.observe(telemetry.INTAKE_SECONDS, self.loop.time() - writer.begun)
        if result.lacking:
            telemetry.INCOMPLETE.labels("intake").inc()
        if tenant:
            await self.limits.pace(tenant, writer.placement.size)
        return result

    async def _commit_within_limits(self, writer: InstanceWriter, record: InstanceRecord) -> StoreResult:
        """Commit an instance, which the limits of its link allow, if it came by one. What is not stored counts not."""
        link, size = writer.origin.link, writer.placement.size
        if not link:
            return await self._commit(writer, record)
        await self.link_limits.take(link, size)
        is_stored = False
        try:
            result = await self._commit(writer, record)
            is_stored = result.outcome is Outcome.STORED
        finally:
            if not is_stored:
                await self.link_limits.give_back(link, size)
        return result

    async def _commit(self, writer: InstanceWriter, record: InstanceRecord) -> StoreResult:
        """Run steps 2 and 3. A duplicate is compared outside of the transaction; the next one checks its key again."""
        if not writer.is_small:
            writer.opened_file()
        placement, origin = writer.placement, writer.origin
        outbox = self.outbox
        entailed = outbox.follow(record, placement, origin, writer.attributes) if outbox is not None else None
        replaces: str | None = None
        missing = ""

        async def submit() -> index.Stored | index.Duplicate:
            work = InstanceScript(record, placement, origin, entailed, replaces)
            if not writer.is_small:
                return await writer.submit(self.committer, work)  # type: ignore[no-any-return]
            noted = entailed.noted if entailed is not None else {}
            return await writer.append(  # type: ignore[no-any-return]
                self.committer, work, record, placement, replaces=replaces, entails=noted
            )

        with tracing.span("commit"):
            answer = await submit()
        while isinstance(answer, index.Duplicate):
            try:
                ours_in = writer.source(self.store, placement)
                same = await self.loop.run_in_executor(self.threads, same_bytes, self.store, placement, answer, ours_in)
            except NoSuchObject:
                if missing == answer.key:
                    log.error("the file of %s, %s, is lost: it is replaced", record.sop_instance_uid, missing)
                    replaces = missing
                missing = answer.key  # Perhaps it has been replaced meanwhile: look up again.
            else:
                if same:
                    return StoreResult(
                        Outcome.IDENTICAL, record, answer.version, lacking=placement.lacking, shared=answer.shared
                    )
                policy = self.settings().duplicates
                if writer.overwrites in (answer.key, ITSELF):
                    policy = "overwrite"
                elif writer.overwrites == NOTHING:
                    policy = "keep"
                mended = bool(answer.lacking) and not placement.lacking
                log.warning(
                    "%s from %s is stored already with other bytes: %s",
                    record.sop_instance_uid,
                    origin.calling_aet or origin.via,
                    "the stored one, which lacks pixel data, is replaced" if mended else _POLICIES[policy],
                    extra={"log_fields": log_fields(record, origin)},
                )
                if mended:
                    pass  # Whatever the policy, which is for two complete instances.
                elif policy == "keep":
                    return StoreResult(
                        Outcome.DUPLICATE_KEPT, record, answer.version, lacking=placement.lacking, shared=answer.shared
                    )
                elif policy == "reject":
                    raise InstanceRefused("the instance is stored already, with other bytes", STATUS_DUPLICATE)
                replaces = answer.key
            answer = await submit()
        if answer.flags:
            log.warning("%s: a UID of this instance is known under another parent too", record.sop_instance_uid)
        if placement.lacking:
            log.warning(
                "%s from %s is incomplete and stored as it is: %s",
                record.sop_instance_uid,
                origin.calling_aet or origin.peer or origin.via,
                placement.lacking,
            )
        outcome = Outcome.STORED if replaces is None else Outcome.REPLACED
        return StoreResult(outcome, record, answer.version, answer.change, placement.lacking, answer.shared)

    async def _clean_up(self, writer: InstanceWriter, error: BaseException) -> None:
        """Remove what is left of an instance that was not stored, unless it may still turn out to be committed."""
        if isinstance(error, asyncio.CancelledError):
            return  # As in `PlacedFiles.clean_up`.
        outcome = "abandoned" if writer.abandoned else "refused" if isinstance(error, InstanceRefused) else "failed"
        telemetry.INSTANCES.labels(outcome).inc()
        if isinstance(error, InstanceRefused) and error.status == STATUS_CANNOT_UNDERSTAND:
            await self._reject(writer, str(error))
        else:
            writer.release()
            await self.placed.clean_up(writer.file, error)

    async def _reject(self, writer: InstanceWriter, reason: str) -> None:
        """Move an unreadable object to the rejected folder."""
        note = {
            "reason": reason,
            "transfer_syntax_uid": writer.transfer_syntax_uid,
            "sop_class_uid": writer.sop_class_uid,
            "sop_instance_uid": writer.sop_instance_uid,
            "calling_aet": writer.origin.calling_aet,
            "peer": writer.origin.peer,
            "received_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(writer.origin.received_at)),
        }
        async with self._rejecting:
            try:
                file = await writer.write_out()
                await self.loop.run_in_executor(self.threads, self.rejected.add, file, note)
            except (OSError, StorageError) as error:
                log.warning("an unreadable object could not be moved to the rejected folder: %s", error)
                if writer.file is not None:
                    await self.loop.run_in_executor(self.threads, writer.file.discard)

    async def close(self) -> None:
        """Wait for every complete instance, make all durable, and stop the threads."""
        self.limits.close()
        self.placed.no_more()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.garbage.close()
        for task in (self.placed.task, self._preallocating):
            if task is not None:
                await task
        await self.committer.close()
        self.threads.shutdown()
        self.incoming.close()
