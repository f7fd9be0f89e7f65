"""Reindex: rebuilds the index from the files of the store, after damage or for a release that derives more from them.

Columns that only the database has (origin, version) are preserved where there is a database; derived rows are cleared
and written again, file by file, in a copy beside the database, which replaces it at the end. An interrupted reindex
changes nothing. PostgreSQL is rebuilt in its place: there no gateway starts until a reindex has come to its end.
`index/rebuild.py` has the rows.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway import config
from gateway.database.database import Database
from gateway.database.sqlite import SQLite
from gateway.dicom import part10
from gateway.errors import ConfigurationError, DataSetError, NotFound, StorageError
from gateway.index import rebuild, segments
from gateway.index import store as index
from gateway.index.attachments import Attachment, attach_again
from gateway.index.queries.summary import STATISTICS
from gateway.index.record import InstanceRecord
from gateway.index.store import Duplicate, FileLocation, Origin
from gateway.ingest.attached_file import AttachedTo, read_attachment, read_header
from gateway.ingest.data_folder import DataFolder, open_folder
from gateway.ingest.frame_notes import decode
from gateway.ingest.stored_header import read_stored_header
from gateway.storage.filesystem import FileStore
from gateway.storage.layout import Layout
from gateway.storage.naming import replace_durably
from gateway.storage.segments.frame import FrameHeader, FrameKind
from gateway.storage.segments.reader import SegmentObject
from gateway.storage.workers import worker_names

_PAGE = 200
"""Files that are read, then entered, together."""
_SIDE_FILES = ("-wal", "-shm")
"""Files of SQLite beside an open database, removed when the last connection closes."""

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(slots=True)
class Report:
    instances: int = 0
    """Files that are in the index now."""
    superseded: int = 0
    """Older versions of indexed files, to be deleted."""
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(file, reason) of files that stay in place and are not in the index."""
    attachments: int = 0
    """Files attached to resources."""
    strays: list[str] = dataclasses.field(default_factory=list)
    """Other files in the store that are not the gateway's: ignored."""


async def reindex(settings: config.Storage, url: str = "", *, progress: Progress = lambda done, total: None) -> Report:
    """Rebuild the index of a data folder that no gateway uses; in PostgreSQL, at `url`, where it is.

    Raises: ConfigurationError when a gateway uses it or there is no data folder; DatabaseError.
    """
    layout = Layout(Path(settings.path))
    if not FileStore(layout).is_there():
        raise ConfigurationError(f"{settings.path}: there is no data folder here; name one with --data")
    async with open_folder(settings, url, rebuilding=True) as folder:
        if workers := await asyncio.to_thread(worker_names, layout):
            raise ConfigurationError(f"{settings.path}: a gateway or an import uses it ({workers[0]}); stop it first")
        if not isinstance(folder.database, SQLite):
            return await _Rebuild(folder, folder.database, progress).run()
        await asyncio.to_thread(_remove_copy, layout)
        await folder.database.backup(layout.rebuilding)
        copy = await SQLite.open(layout.rebuilding, lock_path=layout.write_lock)
        try:
            report = await _Rebuild(folder, copy, progress).run()
        finally:
            await copy.close()
    await asyncio.to_thread(_change_over, layout)
    return report


def _remove_copy(layout: Layout) -> None:
    """Remove the copy of an interrupted rebuild."""
    for ending in ("", *_SIDE_FILES, ".partial"):
        layout.rebuilding.with_name(layout.rebuilding.name + ending).unlink(missing_ok=True)


def _change_over(layout: Layout) -> None:
    """Replace the database with the copy. Both are closed, so that neither has a log with further pages.

    Raises: ConfigurationError when another process still has the old database open.
    """
    log = layout.database.with_name(layout.database.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise ConfigurationError(
            f"{layout.database}: another process has it open; stop that (a backup, perhaps) and run reindex again. "
            "Nothing has been changed"
        )
    for ending in _SIDE_FILES:
        layout.database.with_name(layout.database.name + ending).unlink(missing_ok=True)
    replace_durably(layout.rebuilding, layout.database)


_Read = tuple[InstanceRecord, FileLocation, Origin]


class _Rebuild:
    def __init__(self, folder: DataFolder, database: Database, progress: Progress) -> None:
        self._folder = folder
        self._database = database
        self._progress = progress
        self._report = Report()
        self._unreadable: list[tuple[str, str]] = []
        self._attached: dict[AttachedTo, list[tuple[float, str]]] = defaultdict(list)
        """Times of the last write, and keys, of the files for each attachment."""

    async def run(self) -> Report:
        database, report = self._database, self._report
        ((_patients, _studies, _series, total, _size),) = await database.fetch(STATISTICS)
        garbage = set(await index.garbage(database, older_than=math.inf, limit=-1))
        await database.write(rebuild.begin)
        await self._enter_segments()
        keys = filter(lambda key: key not in garbage, self._folder.store.keys(report.strays))
        while page := await asyncio.to_thread(self._read_page, keys):
            await asyncio.gather(*(self._enter(*file) for file in page))  # They share a commit.
            done = report.instances + report.superseded + len(self._unreadable)
            self._progress(done, max(total, done) if total else None)
        for to, files in self._attached.items():
            await self._attach(to, [key for _at, key in sorted(files)])
        report.superseded += len(garbage)
        for key, reason in self._unreadable:
            report.unreadable.append((self._folder.store.where(key), reason))
            await database.write(functools.partial(rebuild.pass_over, key, reason, time.time()))
        await database.write(rebuild.finish)
        return report

    async def _enter_segments(self) -> None:
        """Enter the segments as their files say. No gateway writes them."""
        folder, database = self._folder.store.segments, self._database
        await database.write(segments.clear)
        for name in await asyncio.to_thread(folder.names):
            frames = await asyncio.to_thread(list[FrameHeader], folder.frames(name))
            end = max((frame.end for frame in frames), default=0)
            live = sum(frame.length for frame in frames if frame.kind is FrameKind.INSTANCE)
            await database.write(functools.partial(segments.set_segment, name, end, live))

    def _read_page(self, keys: Iterator[str]) -> list[_Read]:
        """The next readable files; an empty list at the end. Blocks."""
        page: list[_Read] = []
        for key in keys:
            try:
                if (file := self._read(key)) is not None:
                    page.append(file)
            except (DataSetError, StorageError) as error:
                self._unreadable.append((key, str(error)))
            if len(page) == _PAGE:
                break
        return page

    async def _enter(self, record: InstanceRecord, placement: FileLocation, guess: Origin) -> None:
        database = self._database
        known = await rebuild.origin_of(database, placement.key)
        origin, version = known or (guess, 1)
        origin.tenant = guess.tenant
        replaces: str | None = None
        while True:
            answer = await database.write(
                functools.partial(
                    rebuild.store_again, record, placement, origin, version, replaces=replaces, known=known is not None
                )
            )
            if not isinstance(answer, Duplicate):
                self._report.instances += replaces is None
                self._report.superseded += replaces is not None
                return
            if known is not None or not await asyncio.to_thread(self._is_newer, placement.key, answer.key):
                await database.write(functools.partial(rebuild.supersede, placement.key, time.time()))
                self._report.superseded += 1
                return
            replaces = answer.key

    async def _attach(self, to: AttachedTo, keys: list[str]) -> None:
        """Enter an attachment that only its files know of, oldest first: the newest counts. What is known stays."""
        database = self._database
        *older, newest = keys
        older = [key for key in older if not await index.keys_present(database, [key])]
        if not await index.keys_present(database, [newest]):
            try:
                found = await asyncio.to_thread(self._read_attachment, newest, to.name)
                old = await database.write(functools.partial(attach_again, to.level, to.public_id, found))
            except (NotFound, StorageError) as error:
                self._unreadable.append((newest, f"{to.name!r}, attached to {to.level} {to.public_id}: {error}"))
                return
            older += [old] if old is not None else []
        self._report.attachments += 1
        for key in older:
            await database.write(functools.partial(rebuild.supersede, key, time.time()))
            self._report.superseded += 1

    def _read_attachment(self, key: str, name: str) -> Attachment:
        stored = self._folder.store.open(key)
        try:
            return read_attachment(stored, key, name)
        finally:
            stored.close()

    def _is_newer(self, key: str, other: str) -> bool:
        """Whether `key` was written after `other`. Keys do not show it: they are allocated ahead of time."""
        store = self._folder.store
        return (store.written_at(key), key) > (store.written_at(other), other)

    def _read(self, key: str) -> _Read | None:
        """The index values in a stored file; None for an attachment. Raises DataSetError, StorageError."""
        stored = self._folder.store.open(key)
        try:
            if (to := read_header(stored)) is not None:
                self._attached[to].append((self._folder.store.written_at(key), key))
                return None
            meta, record, placement, _broken = read_stored_header(stored, key, self._folder.settings.max_header)
            if isinstance(stored, SegmentObject):
                return record, placement, decode(stored.notes()).origin(meta.tenant)
        finally:
            stored.close()
        sender, receiver = (_text(meta, tag) for tag in (0x00020016, 0x00020018))
        via: index.Via = "dimse" if sender else "import"
        return record, placement, Origin(sender, receiver, "", self._folder.store.written_at(key), via, meta.tenant)


def _text(meta: part10.FileMeta, tag: int) -> str:
    element = meta.elements.get(tag)
    return element.value.rstrip(b" \0").decode("ascii", "replace") if element is not None else ""
