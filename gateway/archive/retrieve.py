"""Getting stored instances out again: finding them, opening them, reading them in bounded memory.

What DIMSE and the web share. Which transfer syntax a client may be given is the caller's decision (`Choose`), in which
one an instance can be given `imaging.transcode.forms`'s; media types, headers and statuses are not here.

A row may outlive its object for a moment: an overwritten instance gets a new key and the old object goes. So the
contract of reading is: on NoSuchObject read the row again and try once more with what it says now.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.archive.pump import MEMORY, Memory, Pump
from gateway.database.database import Database
from gateway.dicom import part10, recode, uids
from gateway.edit.change_set import ChangeSet, Received
from gateway.edit.edited import Edited
from gateway.errors import NoSuchObject, NotFound, StorageError
from gateway.imaging.transcode import forms, transcode
from gateway.index.locate import PAGE, START, Located, located_page
from gateway.storage.store import Store, StoredObject

T = TypeVar("T")

EXPLICIT_VR_LITTLE_ENDIAN = uids.EXPLICIT_VR_LITTLE_ENDIAN.uid
_ATTEMPTS = 3
_AHEAD = 16
"""Instances whose beginnings are fetched while one is worked on."""


def obtainable(stored: str, target: str) -> bool:
    """Whether an instance stored in one transfer syntax can be had in the other, as far as that can be known by it."""
    return target in forms(stored, (target,))


Work = Callable[[StoredObject, Located], Generator[T, None, None]]
Choose = Callable[[str], str]
"""Given the transfer syntax an instance is stored in, the one to hand out. Raises where there is none."""


@dataclass(slots=True)
class Content:
    """One instance, opened: its first chunk has been read. Iterate `chunks()` once.

    As a DICOM file (PS3.10), or the data set alone.
    """

    located: Located
    transfer_syntax_uid: str
    length: int | None
    """Bytes in all; None where the instance is converted on the way and the length is not known before."""
    _first: bytes
    _rest: Pump[bytes]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """It in pieces as `Memory.piece` has them. Closes everything at its end, or when it is closed."""
        try:
            chunk: bytes | None = self._first
            self._first = b""  # or it stays for as long as the client takes for all the others
            left = self.length
            while chunk is not None:
                if left is not None:
                    left -= len(chunk)
                if left != 0:
                    self._rest.ahead()  # read on while this chunk is being sent
                yield chunk
                chunk = await self._rest.next() if left != 0 else None
        finally:
            self._rest.close()

    def close(self) -> None:
        self._rest.close()


@dataclass(frozen=True, slots=True)
class Changed:
    """A stored instance with changes made: read by one reader at a time."""

    located: Located
    edited: Edited
    _stored: StoredObject

    def close(self) -> None:
        self.edited.close()
        self._stored.close()


class Retrieval:
    """Reads instances. `executor` is where blocking reads run; its size bounds how many do at once.

    `decoders` is where pixels are decoded and encoded, which takes long; without it that is done there too. `folder`
    is where they wait that are too many for memory; without it where temporary files are.
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
    ) -> None:
        """`workers` processes of this gateway have the memory for slow readers together."""
        self._folder = folder
        self._database = database
        self._store = store
        self._executor = executor
        self._decoders = decoders or executor
        self.memory = Memory(MEMORY // workers)

    async def pages(
        self, study: str, series: str | None = None, instance: str | None = None, *, after: Located | None = None
    ) -> AsyncGenerator[list[Located], None]:
        """The instances of a study, series or instance by their UIDs, page by page in their order.

        Every page is a query of its own: nothing is held open while a slow client is served. Never an empty page;
        no page at all where there is no such thing. `after`: only what follows that one.
        """
        position = after.position if after is not None else START
        while page := await located_page(self._database, study, series, instance, after=position):
            yield page
            if len(page) < PAGE:
                return
            position = page[-1].position

    async def open(self, located: Located, choose: Choose) -> Content:
        """Open one instance as a DICOM file in the transfer syntax that `choose` names.

        Raises what `choose` raises, NotFound when the instance has gone meanwhile, DataSetError when it cannot be
        converted, StorageError. What could stand in the way of the last byte is found before the first is given.
        """
        return await self._open(located, choose, whole=True)

    async def data_set(self, located: Located, choose: Choose) -> Content:
        """The data set alone, as C-STORE sends it. As `open` otherwise."""
        return await self._open(located, choose, whole=False)

    async def _open(self, located: Located, choose: Choose, *, whole: bool) -> Content:
        for _attempt in range(_ATTEMPTS):
            uid = choose(located.transfer_syntax_uid)
            offset = 0 if whole else located.data_set_offset
            if uid == located.transfer_syntax_uid:
                pump = Pump(self._executor, _read(self._store, located, offset, self.memory), self.memory, len)
                length = located.size - offset
            else:
                easy = {uid, located.transfer_syntax_uid} <= recode.SOURCES
                source = _convert(self._store, located, uid, whole, self._folder, self.memory)
                pump = Pump(self._executor if easy else self._decoders, source, self.memory, len)
                length = None
            try:
                return Content(located, uid, length, await _first(pump), pump)
            except NoSuchObject:
                located = await self._again(located)
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    async def edit(self, located: Located, changes: ChangeSet, received: Received) -> Changed:
        """An instance with changes made; whoever gets it closes it. Raises NotFound, StorageError, DataSetError and
        EditError: nothing comes out half changed."""
        for _attempt in range(_ATTEMPTS):
            work = functools.partial(_edit, self._store, located, changes, received, self._folder)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._decoders, work)
            except NoSuchObject:
                located = await self._again(located)
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    async def changed(self, changed: Changed, choose: Choose) -> Content:
        """The data set of what was changed, in the transfer syntax that `choose` names. As `data_set`."""
        edited = changed.edited
        uid = choose(edited.transfer_syntax_uid)
        easy = {uid, edited.transfer_syntax_uid} <= recode.SOURCES
        pieces = transcode(edited.read, 0, edited.length, edited.transfer_syntax_uid, uid, folder=self._folder)
        source = _joined(b"", pieces, self.memory)
        pump = Pump(self._executor if easy else self._decoders, source, self.memory, len)
        length = edited.length if uid == edited.transfer_syntax_uid else None
        return Content(changed.located, uid, length, await _first(pump), pump)

    async def opened(self, located: AsyncGenerator[Located, None], choose: Choose) -> AsyncGenerator[Content, None]:
        """Each of them opened in turn, and closed behind the caller. Raises as `open` does.

        The next one is opened while the caller is busy with the last, unless memory is scarce.
        """
        following: asyncio.Task[Content] | None = None
        try:
            async for each in located:
                ready = following
                if ready is not None and self.memory.scarce:
                    following = None
                    with closing(await ready) as content:
                        yield content
                    ready = None
                following = asyncio.create_task(self.open(each, choose))
                if ready is not None:
                    with closing(await ready) as content:
                        yield content
            if following is not None:
                ready, following = following, None
                with closing(await ready) as content:
                    yield content
        finally:
            if following is not None:
                following.add_done_callback(_discard)
                following.cancel()

    async def map(self, located: list[Located], work: Callable[[StoredObject, Located], T]) -> list[T]:
        """`work` on each of a few opened instances, in one visit to a thread.

        Their beginnings are fetched ahead: the disk looks for several at once, which one reader alone would wait for
        one after another.
        """

        def run(work: Callable[[StoredObject, Located], T], some: list[Located], done: list[T]) -> None:
            for each in some[1:_AHEAD]:
                self._store.expect(each.key)
            for number, each in enumerate(some):
                if number + _AHEAD < len(some):
                    self._store.expect(some[number + _AHEAD].key)
                stored = self._store.open(each.key)
                try:
                    done.append(work(stored, each))
                finally:
                    stored.close()

        done: list[T] = []
        for _attempt in range(_ATTEMPTS * len(located)):
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, run, work, located[len(done) :], done)
                return done
            except NoSuchObject:
                located = [*located]
                located[len(done)] = await self._again(located[len(done)])
        raise StorageError(f"instance {located[len(done)].sop_uid} keeps moving")

    async def pieces(
        self, located: Located, work: Work[T], size: Callable[[T], int], *, decodes: bool = False
    ) -> AsyncGenerator[T, None]:
        """What `work` makes of an instance, as a blocking generator that runs in threads, ahead of the caller.

        `size` says how many bytes an item has: one visit to a thread makes about `Memory.piece` of them.
        `decodes` where pixels are. Where the instance has moved, `work` begins again with where it is now.
        """
        executor = self._decoders if decodes else self._executor
        for _attempt in range(_ATTEMPTS):
            gathered = _gathered(self._worked(located, work), size, self.memory)
            pump = Pump(executor, gathered, self.memory, lambda step: sum(map(size, step[0])))
            try:
                step = await pump.next()
            except NoSuchObject:
                located = await self._again(located)
                continue
            except BaseException:
                pump.close()
                raise
            try:
                while step is not None:
                    items, last = step
                    if not last:
                        pump.ahead()
                    for item in items:
                        yield item
                    step = await pump.next() if not last else None
            finally:
                pump.close()
            return
        raise StorageError(f"instance {located.sop_uid} keeps moving")

    def _worked(self, located: Located, work: Work[T]) -> Generator[T, None, None]:
        stored = self._store.open(located.key)
        try:
            yield from work(stored, located)
        finally:
            stored.close()

    async def stepwise(self, source: Generator[bytes, None, None], length: int) -> AsyncGenerator[bytes, None]:
        """A blocking generator of `length` bytes in all, run in threads ahead of the caller and closed in the end."""
        pump = Pump(self._executor, source, self.memory, len)
        try:
            while length > 0 and (item := await pump.next()) is not None:
                length -= len(item)
                if length > 0:
                    pump.ahead()
                yield item
        finally:
            pump.close()

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Anything else that takes long, in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def _again(self, located: Located) -> Located:
        page = await located_page(self._database, located.study_uid, located.series_uid, located.sop_uid)
        for each in page:
            if each.id == located.id:
                return each
        raise NotFound(f"instance {located.sop_uid} has been removed")


async def _first(pump: Pump[bytes]) -> bytes:
    """The first chunk, b"" where there is none; what comes before it while all is gone through is passed over."""
    try:
        while (first := await pump.next()) == b"":
            pass
    except BaseException:
        pump.close()
        raise
    return first or b""


def _discard(task: asyncio.Task[Content]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _gathered(
    items: Iterator[T], size: Callable[[T], int], memory: Memory
) -> Generator[tuple[list[T], bool], None, None]:
    """The items in lists that come to about as many bytes as `memory` has room for.

    With each list goes whether it is the last for sure.
    """
    gathered, total = list[T](), 0
    for item in items:
        gathered.append(item)
        total += size(item)
        if total >= memory.piece:
            yield gathered, False
            gathered, total = [], 0
    if gathered:
        yield gathered, True


def _read(store: Store, located: Located, offset: int, memory: Memory) -> Generator[bytes, None, None]:
    stored = store.open(located.key)
    try:
        while offset < located.size:
            chunk = stored.read(offset, min(memory.piece, located.size - offset))
            if not chunk:
                raise StorageError(f"instance {located.sop_uid}: {located.size} bytes expected, {offset} found")
            offset += len(chunk)
            if offset == located.size:
                stored.close()  # most instances are one chunk: no further visit only to close
            yield chunk
    finally:
        stored.close()


def _check_size(stored: StoredObject, located: Located) -> None:
    if stored.size < located.size:
        raise StorageError(f"instance {located.sop_uid}: {located.size} bytes expected, {stored.size} found")


def _edit(store: Store, located: Located, changes: ChangeSet, received: Received, folder: Path | None) -> Changed:
    stored = store.open(located.key)
    try:
        _check_size(stored, located)
        edited = changes.apply(
            stored.read,
            located.data_set_offset,
            located.size,
            located.transfer_syntax_uid,
            received=received,
            folder=folder,
        )
    except BaseException:
        stored.close()
        raise
    return Changed(located, edited, stored)


def _convert(
    store: Store, located: Located, target: str, whole: bool, folder: Path | None, memory: Memory
) -> Generator[bytes, None, None]:
    """As `target`; b"" now and then before the first piece.

    `whole`: under a new file meta header that keeps where the instance came from.
    """
    stored = store.open(located.key)
    try:
        _check_size(stored, located)
        header = b""
        if whole:
            header = part10.file_header(
                sop_class_uid=located.sop_class_uid,
                sop_instance_uid=located.sop_uid,
                transfer_syntax_uid=target,
                **_origin(part10.read_header(stored.read)),
            )
        start, end = located.data_set_offset, located.size
        yield from _joined(
            header, transcode(stored.read, start, end, located.transfer_syntax_uid, target, folder=folder), memory
        )
    finally:
        stored.close()


def _origin(meta: part10.FileMeta) -> dict[str, str]:
    """(0002,0016) to (0002,0018) as they stand in the stored file."""
    names = {"source_aet": 0x00020016, "sending_aet": 0x00020017, "receiving_aet": 0x00020018}
    found = {name: meta.elements[tag] for name, tag in names.items() if tag in meta.elements}
    return {name: bytes(element.value).decode("ascii", "replace").strip(" \0") for name, element in found.items()}


def _joined(header: bytes, body: Iterator[bytes], memory: Memory) -> Generator[bytes, None, None]:
    """The pieces, joined to about as many bytes as `memory` has room for.

    Small ones would cost a visit to a thread each.
    """
    pieces: list[bytes] = []
    size = 0
    for piece in body:
        if not piece:
            if not size:
                yield piece
            continue
        pieces.append(piece)
        size += len(piece)
        if size >= memory.piece:
            yield b"".join((header, *pieces))
            pieces, size, header = [], 0, b""
    if pieces or header:
        yield b"".join((header, *pieces))
