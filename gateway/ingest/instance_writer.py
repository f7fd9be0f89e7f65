"""Writing one instance as its data set arrives, until it is committed or abandoned.

Here: gathering views, writing them in threads, releasing their memory, scanning the header, and comparing the data set
with the announcement. When an instance may be called stored is not decided here but in `ingest.py`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from gateway import telemetry, tracing
from gateway.database.database import Script
from gateway.dicom import part10
from gateway.dicom.encode import DataSet
from gateway.errors import DataSetError, GatewayError, InstanceRefused, StorageError
from gateway.index.record import InstanceRecord, of_tenant
from gateway.index.store import FileLocation, Origin
from gateway.ingest.commit_batch import NewFrame
from gateway.ingest.committer import Committer
from gateway.ingest.frame_notes import FrameNotes
from gateway.ingest.header_scan import HeaderScanner, WantedTags
from gateway.ingest.outcome import STATUS_CANNOT_UNDERSTAND, STATUS_DOES_NOT_MATCH, STATUS_OTHER_STUDY, StoreResult
from gateway.storage.incoming import IncomingFile
from gateway.storage.memory import MemoryStore
from gateway.storage.store import ObjectSource

_WRITE_AT_BYTES = 640 * 1024
"""Bytes gathered before a thread writes them: an instance of 512 KiB then needs one hand-over in all."""


class Retained(Protocol):
    """Memory that stays valid while it is retained, such as a receive block."""

    def retain(self) -> None: ...
    def release(self) -> None: ...


class InstanceWriter:
    """Writes one data set, announced as `sop_instance_uid`, and commits or abandons it.

    All methods belong to the event loop; `threads` do the I/O.
    """

    def __init__(
        self,
        new_file: Callable[[], IncomingFile],
        threads: ThreadPoolExecutor,
        check_space: Callable[[], None],
        finish: Callable[[InstanceWriter], asyncio.Task[StoreResult]],
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        study_instance_uid: str,
        patient: str,
        overwrites: str,
        origin: Origin,
        max_header: int,
        wanted: WantedTags,
        pack_below: int,
    ) -> None:
        """`new_file` makes its file, if it gets one: below `pack_below` bytes it is a frame of a segment, if it comes
        at once. `check_space` raises OutOfSpace if nothing more may be written; `finish` starts to commit a complete
        one, or to remove an abandoned one. `max_header` and `wanted` are as in `HeaderScanner`."""
        self.file: IncomingFile | None = None
        """Its file; None for one that is to be a frame of a segment, or until there is something to write."""
        self.key = ""
        """The key of what is stored, once it is."""
        self.transfer_syntax_uid = transfer_syntax_uid
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.study_instance_uid = study_instance_uid
        self.patient = patient
        self.overwrites = overwrites
        self.origin = origin
        self.abandoned = False
        self.span = (
            tracing.begin("store instance", about={"gateway.via": origin.via}) if tracing.is_on() else tracing.NO_SPAN
        )
        """The instance in its trace."""
        self._new_file = new_file
        self._pack_below = pack_below
        self._threads = threads
        self._check_space = check_space
        self._finish = finish
        self._loop = asyncio.get_running_loop()
        self.begun = self._loop.time()
        header = part10.file_header(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_aet=origin.calling_aet,
            sending_aet=origin.calling_aet,
            receiving_aet=origin.called_aet,
            tenant=origin.tenant,
        )
        self.data_set_offset = len(header)
        self._header: bytes | None = header
        """The Part 10 header, until it is passed on to be written."""
        self._scanner = HeaderScanner(transfer_syntax_uid, max_header, wanted)
        self._views: list[bytes | memoryview] = []
        self._pending = 0
        self._retained: list[Retained] = []
        self._lacking = ""
        self._received = 0
        self._writing: asyncio.Future[None] | None = None
        self._flush_wanted = False
        self._error: GatewayError | None = None

    @property
    def congested(self) -> bool:
        """Whether more has arrived than the disk has taken; senders that can wait should wait for `drained`."""
        return self._writing is not None and self._pending >= _WRITE_AT_BYTES

    async def drained(self) -> None:
        """Wait until the write in progress, if any, is done."""
        while self.congested:
            assert self._writing is not None
            await asyncio.wait([self._writing])

    def write(self, data: bytes | memoryview, memory: Retained | None) -> None:
        """Append bytes of the data set. `memory` is the memory behind them; None for bytes that never change."""
        self._received += len(data)
        if self._error is not None:
            return  # The rest of the message is drained and dropped; `commit` raises the error.
        self._views.append(data)
        self._pending += len(data)
        if memory is not None and (not self._retained or self._retained[-1] is not memory):
            memory.retain()
            self._retained.append(memory)
        if self._pending >= _WRITE_AT_BYTES and self._writing is None:
            self.flush()

    def flush(self) -> None:
        """Write pending bytes now, and release their memory afterwards."""
        if self._writing is not None:
            self._flush_wanted = True
            return
        self._flush_wanted = False
        if not self._pending or self._error is not None:
            return
        try:
            self._check_space()
            file = self.opened_file()
        except GatewayError as error:
            self._fail(error)
            return
        views, retained = self._take()
        more = self._scanner.scan(views, complete=False)
        write = functools.partial(self._write_and_resume, file) if more else file.append
        self._writing = self._loop.run_in_executor(self._threads, write, self._headed(views))
        self._writing.add_done_callback(lambda future: self._written(future, retained))

    def opened_file(self) -> IncomingFile:
        """Its file, which it has from now on. Raises: StorageFailed; OutOfSpace."""
        if self.file is None:
            self.file = self._new_file()
            self.key = self.file.key
        return self.file

    def _write_and_resume(self, file: IncomingFile, views: list[bytes | memoryview]) -> None:
        file.append(views)
        self._scanner.resume()

    def _take(self) -> tuple[list[bytes | memoryview], list[Retained]]:
        views, self._views = self._views, []
        retained, self._retained = self._retained, []
        self._pending = 0
        return views, retained

    def _headed(self, views: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """The views to write, after the Part 10 header if that is not written yet."""
        if self._header is None:
            return views
        header, self._header = self._header, None
        return [header, *views]

    def _written(self, future: asyncio.Future[None], retained: list[Retained]) -> None:
        self._writing = None
        _release(retained)
        error = future.exception()
        if isinstance(error, GatewayError):
            self._fail(error)
        elif error is not None:
            self._fail(StorageError(f"writing failed: {error}"))
        elif self._flush_wanted or self._pending >= _WRITE_AT_BYTES:
            self.flush()

    def _fail(self, error: GatewayError) -> None:
        """Record an error; later bytes are dropped."""
        self._error = error
        self.release()

    def commit(self) -> asyncio.Task[StoreResult]:
        """Commit the complete data set. The task ends when the instance is durable. Raises:

        InstanceRefused    with its C-STORE status: it cannot be read, does not match, or is refused as a duplicate
        OutOfSpace         there is no space for it now
        CommitterUnavailable  the process that commits has died; a new one is starting
        StorageFailed      durability can no longer be guaranteed
        StorageError, DatabaseError   this one could not be stored
        """
        telemetry.observe(telemetry.RECEIVE_SECONDS, self._loop.time() - self.begun, self.span)
        telemetry.INTAKE_BYTES.inc(self._received)
        return self._finish(self)

    def abandon(self) -> None:
        """Remove the instance: its sender has gone in the middle of the data set."""
        if not self.abandoned:
            self.abandoned = True
            self._fail(StorageError("the sender went away in the middle of the data set"))
            self._finish(self)

    # Called by `Ingest` after that.

    async def finish_writing(self) -> None:
        """Wait until no write is in progress, and scan the header to its end. Raises: StorageError."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._error is not None:
            raise self._error
        if self._scanner.scan(self._views, complete=True):
            await self._loop.run_in_executor(self._threads, self._scanner.resume)

    @property
    def is_small(self) -> bool:
        """Whether all of it is in memory, and little enough for a frame of a segment."""
        return self.file is None and self.data_set_offset + self._received <= self._pack_below

    async def submit(self, committer: Committer, script: Callable[[], Script[Any]]) -> Any:
        """Have the committer write the last bytes and commit the script; see `Committer.commit`."""
        views, retained = self._take()
        try:
            result = await committer.commit(self.opened_file(), self._headed(views), script)
        except asyncio.CancelledError:
            raise  # The committer may still read the memory, which is freed with this object.
        except BaseException:
            _release(retained)
            raise
        _release(retained)
        return result

    async def append(
        self,
        committer: Committer,
        script: Callable[[], Script[Any]],
        record: InstanceRecord,
        placement: FileLocation,
        *,
        replaces: str | None,
        entails: dict[str, Any] | None,
    ) -> Any:
        """Have the committer append all of it to a segment, if it `is_small`, and commit the script. Its bytes stay in
        memory until `release`: they may be compared with what is stored, and appended once more. `entails` is what the
        frame notes of the consequences; None where they cannot be written again from it."""
        replayable = replaces is None and entails is not None
        noted = entails if replayable else None
        notes = FrameNotes.of(self.origin, placement.lacking, replayable=replayable, entails=noted).encode()
        frame = NewFrame(record.public_id, replaces, placement, notes, replayable, bool(entails))
        result = await committer.append(frame, self._whole(), script)
        self.key = placement.key
        return result

    def _whole(self) -> list[bytes | memoryview]:
        assert self._header is not None
        return [self._header, *self._views]

    def source(self, store: ObjectSource, placement: FileLocation) -> ObjectSource:
        """Where its bytes can be read under the key of its placement: in memory, or in the store."""
        if not self.is_small:
            return store
        memory = MemoryStore()
        memory.put(placement.key, b"".join(self._whole()))
        return memory

    def release(self) -> None:
        """Release the memory of pending bytes, which will not be written."""
        _release(self._take()[1])

    async def write_out(self) -> IncomingFile:
        """Write the last bytes of an instance that will not be stored; returns its file. Raises: StorageError."""
        file = self.opened_file()
        views, retained = self._take()
        try:
            await self._loop.run_in_executor(self._threads, file.append, self._headed(views))
        finally:
            _release(retained)
        return file

    def checked_record(self) -> InstanceRecord:
        """The record of the data set. Raises: InstanceRefused if it differs from the announcement."""
        try:
            record = of_tenant(self._scanner.record(), self.origin.tenant)
        except DataSetError as error:
            raise InstanceRefused(f"the data set cannot be read: {error}", STATUS_CANNOT_UNDERSTAND) from None
        try:
            self._lacking = self._scanner.lacking()
        except DataSetError as error:
            raise InstanceRefused(str(error), STATUS_CANNOT_UNDERSTAND) from None
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
        study = record.parents.study_instance_uid
        if self.study_instance_uid not in ("", study):
            raise InstanceRefused(
                f"the instance belongs to study {study}, not to {self.study_instance_uid}", STATUS_OTHER_STUDY
            )
        if self.patient not in ("", record.parents.patient_public_id):
            raise InstanceRefused("the instance belongs to another patient than this resource", STATUS_OTHER_STUDY)
        return record

    @property
    def attributes(self) -> DataSet:
        """Attributes of the header beside those of the index."""
        return self._scanner.attributes

    @property
    def placement(self) -> FileLocation:
        """The location of the file in the store and what it lacks, for the index."""
        size = self.data_set_offset + self._received
        return FileLocation(self.key, size, self.data_set_offset, self.transfer_syntax_uid, self._lacking)


def _release(retained: list[Retained]) -> None:
    for memory in retained:
        memory.release()
