"""One data set on its way in: from receive blocks to a synced file.

Here: gathering views, handing them on to be written, letting go of their memory, reading the header. When an
instance may be called stored is not decided here but in `ingest.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from gateway import telemetry
from gateway.archive.heading import Heading, LookedFor
from gateway.archive.keeping import Keeping
from gateway.database.database import Script
from gateway.dicom import part10
from gateway.dicom.encode import DataSet
from gateway.errors import GatewayError, OutOfSpace, StorageError
from gateway.index.record import InstanceRecord
from gateway.index.store import Origin, Placement
from gateway.storage.incoming import IncomingFile

_WRITE_AT = 640 * 1024
"""Bytes that are gathered before a thread writes them: an instance of 512 KiB needs one hand-over in all."""


class Held(Protocol):
    """Memory that stays valid while it is held, such as a receive block."""

    def hold(self) -> None: ...
    def drop(self) -> None: ...


class Reception:
    """One data set, announced as `sop_instance_uid`. All methods belong to the event loop; `threads` do the I/O."""

    def __init__(
        self,
        file: IncomingFile,
        threads: ThreadPoolExecutor,
        check_space: Callable[[], None],
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        study_instance_uid: str,
        origin: Origin,
        max_header: int,
        wanted: LookedFor,
    ) -> None:
        """`check_space` raises OutOfSpace where nothing more may be written. The last two as in `Heading`."""
        self.file = file
        self.transfer_syntax_uid = transfer_syntax_uid
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.study_instance_uid = study_instance_uid
        self.origin = origin
        self.abandoned = False
        self._threads = threads
        self._check_space = check_space
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        header = part10.file_header(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_aet=origin.calling_aet,
            sending_aet=origin.calling_aet,
            receiving_aet=origin.called_aet,
        )
        self.data_set_offset = len(header)
        self._header: bytes | None = header
        """The Part 10 header, until it has been handed to be written."""
        self._heading = Heading(transfer_syntax_uid, max_header, wanted)
        self._views: list[bytes | memoryview] = []
        self._pending = 0
        self._held: list[Held] = []
        self._received = 0
        self._writing: asyncio.Future[None] | None = None
        self._hurried = False
        self._error: GatewayError | None = None

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
            return  # The rest of the message is drained and dropped; `finish` says why.
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
            self._check_space()
        except OutOfSpace as error:
            self._fail(error)
            return
        views, held = self._take()
        self._writing = self._loop.run_in_executor(self._threads, self.file.append, self._headed(views))
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
        _drop(held)
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
        self.let_go()

    def abandon(self) -> None:
        """The sender went away before the end: `finish` will raise."""
        self.abandoned = True
        self._fail(StorageError("the sender went away in the middle of the data set"))

    def complete(self) -> None:
        """The last byte has come."""
        telemetry.RECEIVE_SECONDS.observe(self._loop.time() - self._begun)
        telemetry.INTAKE_BYTES.inc(self._received)

    async def settled(self) -> None:
        """Wait until nothing is being written, and read the header to its end. Raises StorageError."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._error is not None:
            raise self._error
        self._heading.look(self._views, complete=True)

    async def keep(self, keeping: Keeping, script: Callable[[], Script[Any]]) -> Any:
        """Have what is left written, and the file kept; see `Keeping.keep`."""
        views, held = self._take()
        try:
            result = await keeping.keep(self.file, self._headed(views), script)
        except asyncio.CancelledError:
            raise  # It may still be read: its memory goes when we do.
        except BaseException:
            _drop(held)
            raise
        _drop(held)
        return result

    def let_go(self) -> None:
        """Nothing more of it will be written."""
        _drop(self._take()[1])

    async def write_out(self) -> None:
        """Write what is left, of what will not be kept. Raises StorageError."""
        views, held = self._take()
        try:
            await self._loop.run_in_executor(self._threads, self.file.append, self._headed(views))
        finally:
            _drop(held)

    def record(self) -> InstanceRecord:
        """What the data set says of itself. Raises DataSetError."""
        return self._heading.record()

    @property
    def attributes(self) -> DataSet:
        """What else was wanted of its header."""
        return self._heading.attributes

    @property
    def placement(self) -> Placement:
        """Where the file will be, for the index."""
        size = self.data_set_offset + self._received
        return Placement(self.file.key, size, self.data_set_offset, self.transfer_syntax_uid)


def _drop(held: list[Held]) -> None:
    for memory in held:
        memory.drop()
