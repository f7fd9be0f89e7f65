"""Retrieval of stored instances: finds them, opens them, and reads them in bounded memory, for DIMSE and the web.

The caller decides which transfer syntaxes are allowed (`Choose`), `imaging.transcode.forms` which are possible; media
types, headers and statuses are the edges'.

A row may name a deleted object for a moment: an overwritten instance gets a new key, then the old object is deleted.
Hence the contract of reading: on NoSuchObject read the row again, and try again with its new key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import aclosing, closing
from pathlib import Path
from typing import TypeVar

from gateway.config.sections import Imaging
from gateway.database.database import Database
from gateway.dicom import recode
from gateway.edit.change_set import ChangeSet, Received
from gateway.errors import DataSetError, NoSuchObject, NotFound, StorageError
from gateway.imaging import derived
from gateway.imaging.transcode import SOURCES, forms, loses, transcode
from gateway.imaging.workspace import Workspace
from gateway.index.locate import PAGE, START, Located, check_patient, located_page
from gateway.retrieve.content import joined, read_converted, read_evened, read_span, read_stored
from gateway.retrieve.frame_memory import FrameMemory
from gateway.retrieve.opened import Changed, Content, first_chunk, read_edited
from gateway.retrieve.read_ahead import MEMORY, Batch, MemoryBudget, ReadAhead
from gateway.storage.store import Store, StoredObject

T = TypeVar("T")

_ATTEMPTS = 3
_AHEAD = 16
"""Instances whose beginnings are prefetched while one is read."""


def obtainable(stored: str, target: str, quality: int | None = None) -> bool:
    """Whether an instance stored in one transfer syntax can be sent in another, judged by the syntaxes alone: without
    loss, or with a `quality`, which means that there may be some."""
    return target in forms(stored, (target,)) or (quality is not None and stored in SOURCES and loses(target))


Work = Callable[[StoredObject, Located], Generator[T, None, None]]
Choose = Callable[[str], str]
"""Chooses the transfer syntax to send, from the stored one. Raises when none is acceptable."""
MayComeAsStored = Callable[[str], bool]
"""Whether an instance that cannot be transcoded may be sent as stored: its pixels decide that, not its transfer
syntax."""
LeaveOut = Callable[[Located, DataSetError], None]
"""Called for each instance that is omitted, with the reason."""


def _never(_stored: str) -> bool:
    return False


class Retrieval:
    """Reads instances. Blocking reads run in `executor`, whose size bounds how many run at once.

    Pixels are decoded and encoded, which takes long, in `decoders`, by default in `executor` too. What does not fit
    memory is written to `folder`, by default that of temporary files.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        executor: Executor,
        decoders: Executor | None = None,
        folder: Path | None = None,
        *,
        workers: int = 1,
        frame_memory: FrameMemory | None = None,
    ) -> None:
        """`workers` processes of the gateway share the memory for slow readers; `frame_memory` is reserved by every
        caller that decodes frames."""
        self._database = database
        self._store = store
        self._executor = executor
        self._decoders = decoders or executor
        self.memory = MemoryBudget(MEMORY // workers)
        self.frame_memory = frame_memory or FrameMemory(lambda: Imaging().memory)
        self.workspace = Workspace(folder, self.frame_memory.reserved)

    async def pages(
        self,
        study: str,
        series: str | None = None,
        instance: str | None = None,
        patient: str = "",
        *,
        after: Located | None = None,
    ) -> AsyncGenerator[list[Located], None]:
        """Yield the instances of a study, series or instance by their UIDs, page by page in order.

        `patient` is the public id of their patient. Without it, UIDs that several patients share raise SeveralPatients,
        on later pages too: instances of two patients are never mixed. Each page is a query of its own: nothing is held
        open while a slow client is served. No page is empty; there is none for unknown UIDs. `after`: begin after that
        instance.
        """
        position = after.position if after is not None else START
        uids = (study, series, instance)
        while page := await located_page(self._database, *uids, patient, after=position):
            if page[0].clashing_patient and not patient:
                await check_patient(self._database, *uids)
            yield page
            if len(page) < PAGE:
                return
            position = page[-1].position

    async def open(
        self,
        located: Located,
        choose: Choose,
        may_come_as_stored: MayComeAsStored = _never,
        *,
        quality: int | None = None,
    ) -> Content:
        """Open one instance as a DICOM file in the transfer syntax that `choose` returns, or as stored where allowed.

        With a `quality`, 1 to 100, another syntax that loses is encoded with loss, and the file is another instance.
        Whatever could prevent the last byte is found before the first is returned. Raises: the errors of `choose`;
        NotFound when the instance was deleted; DataSetError when it cannot be transcoded; StorageError.
        """
        try:
            return await self._open(located, choose, whole=True, quality=quality)
        except DataSetError:
            if not may_come_as_stored(located.transfer_syntax_uid):
                raise
        return await self._open(located, lambda stored: stored, whole=True)

    async def data_set(self, located: Located, choose: Choose) -> Content:
        """Open the data set alone, as for C-STORE: padded to even length (`recode.evened`). Otherwise like `open`."""
        return await self._open(located, choose, whole=False)

    async def _open(self, located: Located, choose: Choose, *, whole: bool, quality: int | None = None) -> Content:
        length: int | None
        for _attempt in range(_ATTEMPTS):
            uid = choose(located.transfer_syntax_uid)
            offset = 0 if whole else located.data_set_offset
            sop_uid = located.sop_uid
            if uid == located.transfer_syntax_uid:
                length = located.size - offset
                if whole or not length & 1:
                    stored = read_stored(self._store, located, offset, self.memory)
                else:
                    length, stored = None, read_evened(self._store, located, self.memory)
                read_ahead = ReadAhead(self._executor, stored, self.memory, len)
            else:
                easy = {uid, located.transfer_syntax_uid} <= recode.SOURCES
                loss = quality if quality is not None and loses(uid) else None
                if loss is not None:
                    sop_uid = derived.sop_instance_uid(located.sop_uid, uid, loss, b"")
                source = read_converted(
                    self._store, located, uid, whole, self.workspace, self.memory, quality=loss, sop_uid=sop_uid
                )
                read_ahead = ReadAhead(self._executor if easy else self._decoders, source, self.memory, len)
                length = None
            try:
                return Content(located, uid, length, await first_chunk(read_ahead), read_ahead, sop_uid)
            except NoSuchObject:
                located = await self._again(located)
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    async def edit(self, located: Located, changes: ChangeSet, received: Received) -> Changed:
        """Apply a change set to an instance; the caller closes the result. Nothing is returned half changed. Raises
        NotFound, StorageError, DataSetError, EditError."""
        for _attempt in range(_ATTEMPTS):
            future = self._decoders.submit(read_edited, self._store, located, changes, received, self.workspace)
            try:
                return await asyncio.wrap_future(future)
            except NoSuchObject:
                located = await self._again(located)
            except asyncio.CancelledError:
                future.add_done_callback(_close_changed)  # A thread that has begun goes on, and opens the object.
                raise
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    async def changed(self, changed: Changed, choose: Choose) -> Content:
        """Open the data set of a changed instance in the transfer syntax that `choose` returns. Like `data_set`."""
        edited = changed.edited
        uid = choose(edited.transfer_syntax_uid)
        easy = {uid, edited.transfer_syntax_uid} <= recode.SOURCES
        as_it_is = uid == edited.transfer_syntax_uid
        if as_it_is:
            pieces = recode.evened(edited.read, 0, edited.length, uid)
        else:
            pieces = transcode(edited.read, 0, edited.length, edited.transfer_syntax_uid, uid, workspace=self.workspace)
        source = joined(b"", pieces, self.memory)
        read_ahead = ReadAhead(self._executor if easy else self._decoders, source, self.memory, len)
        length = edited.length if as_it_is and not edited.length & 1 else None
        first = await first_chunk(read_ahead)
        return Content(changed.located, uid, length, first, read_ahead, edited.sop_instance_uid)

    async def opened(
        self,
        located: AsyncGenerator[Located, None],
        choose: Choose,
        may_come_as_stored: MayComeAsStored,
        leave_out: LeaveOut,
        *,
        quality: int | None = None,
    ) -> AsyncGenerator[Content, None]:
        """Yield each instance opened, and close it after the caller. Raises like `open`, except DataSetError.

        The next instance is opened while the caller uses the current one, unless memory is under pressure.
        """

        async def opened_or_left_out(each: Located) -> Content | None:
            try:
                return await self.open(each, choose, may_come_as_stored, quality=quality)
            except DataSetError as error:
                leave_out(each, error)
                return None

        following: asyncio.Task[Content | None] | None = None
        try:
            async for each in located:
                ready = following
                if ready is not None and self.memory.under_pressure:
                    following = None
                    if (content := await ready) is not None:
                        with closing(content):
                            yield content
                    ready = None
                following = asyncio.create_task(opened_or_left_out(each))
                if ready is not None and (content := await ready) is not None:
                    with closing(content):
                        yield content
            if following is not None:
                ready, following = following, None
                if (content := await ready) is not None:
                    with closing(content):
                        yield content
        finally:
            if following is not None:
                following.add_done_callback(_discard)
                following.cancel()

    async def map(
        self, located: list[Located], work: Callable[[StoredObject, Located], T], executor: Executor | None = None
    ) -> list[T]:
        """Run `work` on each of a few opened instances, in one visit to a thread of the readers or of `executor`.

        Their beginnings are prefetched: the disk reads several at once, for which one reader alone would wait one by
        one.
        """

        def run(work: Callable[[StoredObject, Located], T], some: list[Located], done: list[T]) -> None:
            for each in some[1:_AHEAD]:
                self._store.prefetch(each.key)
            for number, each in enumerate(some):
                if number + _AHEAD < len(some):
                    self._store.prefetch(some[number + _AHEAD].key)
                stored = self._store.open(each.key)
                try:
                    done.append(work(stored, each))
                finally:
                    stored.close()

        done: list[T] = []
        for _attempt in range(_ATTEMPTS * len(located)):
            try:
                await asyncio.get_running_loop().run_in_executor(
                    executor or self._executor, run, work, located[len(done) :], done
                )
                return done
            except NoSuchObject:
                located = [*located]
                located[len(done)] = await self._again(located[len(done)])
        raise StorageError(f"instance {located[len(done)].sop_uid} keeps moving")

    async def pieces(
        self, located: Located, work: Work[T], size: Callable[[T], int], *, decodes: bool = False
    ) -> AsyncGenerator[T, None]:
        """Yield the items of `work`, a blocking generator over an instance that runs in threads ahead of the caller.

        `size` gives the bytes of an item: one visit to a thread produces about `MemoryBudget.piece` bytes. `decodes`:
        pixels are decoded. Where the instance has moved, `work` starts again at its new place.
        """
        executor = self._decoders if decodes else self._executor
        for _attempt in range(_ATTEMPTS):
            gathered = _batches(self._worked(located, work), size, self.memory)
            read_ahead = ReadAhead(executor, gathered, self.memory, lambda step: sum(map(size, step[0])))
            try:
                step = await read_ahead.next()
            except NoSuchObject:
                located = await self._again(located)
                continue
            except BaseException:
                read_ahead.close()
                raise
            try:
                while step is not None:
                    items, last = step
                    if not last:
                        read_ahead.ahead()
                    for item in items:
                        yield item
                    step = await read_ahead.next() if not last else None
            finally:
                read_ahead.close()
            return
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    def _worked(self, located: Located, work: Work[T]) -> Generator[T, None, None]:
        stored = self._store.open(located.key)
        try:
            yield from work(stored, located)
        finally:
            stored.close()

    async def span(self, located: Located, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the stored object from `start` up to `stop`, as stored.

        Raises: StorageError when the object is shorter, or was replaced since its row was read.
        """

        def read(stored: StoredObject, found: Located) -> Generator[bytes, None, None]:
            if found.key != located.key:
                raise StorageError(f"instance {located.sop_uid} has been replaced while it was being sent")
            yield from read_span(stored, found, start, stop, self.memory)

        async with aclosing(self.pieces(located, read, len)) as pieces:
            async for piece in pieces:
                yield piece

    async def stepwise(self, source: Generator[bytes, None, None], length: int) -> AsyncGenerator[bytes, None]:
        """Run a blocking generator of `length` bytes in threads ahead of the caller, and close it at the end."""
        read_ahead = ReadAhead(self._executor, source, self.memory, len)
        try:
            while length > 0 and (item := await read_ahead.next()) is not None:
                length -= len(item)
                if length > 0:
                    read_ahead.ahead()
                yield item
        finally:
            read_ahead.close()

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run any other slow function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def _again(self, located: Located) -> Located:
        page = await located_page(self._database, located.study_uid, located.series_uid, located.sop_uid)
        for each in page:
            if each.id == located.id:
                return each
        raise NotFound(f"instance {located.sop_uid} has been removed")


def _close_changed(future: Future[Changed]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


def _discard(task: asyncio.Task[Content | None]) -> None:
    if not task.cancelled() and task.exception() is None and (content := task.result()) is not None:
        content.close()


def _batches(
    items: Iterator[T], size: Callable[[T], int], memory: MemoryBudget
) -> Generator[tuple[list[T], bool], None, None]:
    """Yield the items in lists of about `MemoryBudget.piece` bytes, each with whether it is known to be the last."""
    batch: Batch[T] = Batch(memory)
    for item in items:
        if batch.add(item, size(item)):
            yield batch.take(), False
    if batch:
        yield batch.take(), True
