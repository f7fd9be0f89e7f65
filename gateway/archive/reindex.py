"""The index made anew from the files of the store: after damage, or when a release derives more from them.

What only the database knew (where an instance came from, its version) is kept where there is a database; what is
derived is cleared and entered again, file by file. Broken off, it is begun again from the start. The rows are
`index/rebuild.py`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway import config
from gateway.archive.folder import DataFolder, open_folder
from gateway.archive.heading import Heading
from gateway.dicom import part10
from gateway.errors import ConfigurationError, DataSetError, StorageError
from gateway.index import queries, rebuild
from gateway.index import store as index
from gateway.index.record import InstanceRecord
from gateway.index.store import Exists, Origin, Placement
from gateway.storage.incoming import abandoned, incoming_keys
from gateway.storage.layout import Layout
from gateway.storage.store import StoredObject

_PAGE = 200
"""Files that are read, then entered, together."""
_FIRST = 64 * 1024
"""Bytes of a data set that are read at first; mostly the index needs no more."""

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(slots=True)
class Report:
    instances: int = 0
    """Files that are in the index now."""
    superseded: int = 0
    """Older versions of them, left to be deleted."""
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(file, reason), left where they are and not in the index."""


async def reindex(settings: config.Storage, *, progress: Progress = lambda done, total: None) -> Report:
    """Rebuild the index of a data folder that no gateway works on.

    Raises ConfigurationError where one does, or where there is no data folder; DatabaseError.
    """
    layout = Layout(Path(settings.path))
    if not layout.store.is_dir():
        raise ConfigurationError(f"{settings.path}: there is no data folder here; name one with --data")
    if not layout.database.exists():
        await asyncio.to_thread(_keep_what_is_placed, layout)
    async with open_folder(settings, rebuilding=True) as folder:
        if workers := await asyncio.to_thread(os.listdir, layout.incoming):
            raise ConfigurationError(
                f"{settings.path}: a gateway or an import works on it ({workers[0]}); stop it first"
            )
        return await _Rebuild(folder, progress).run()


def _keep_what_is_placed(layout: Layout) -> None:
    """Without a database recovery would take every file on its way in for one that was never acknowledged.

    Those that have their name in the store may have been: they keep it, and lose the incoming one.
    """
    if not layout.incoming.is_dir():
        return
    for path, lock in abandoned(layout):
        try:
            for key in incoming_keys(path):
                if Path(layout.stored(key)).exists():
                    os.unlink(f"{path}/{key}")
        finally:
            os.close(lock)


_Read = tuple[InstanceRecord, Placement, Origin]


class _Rebuild:
    def __init__(self, folder: DataFolder, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._report = Report()

    async def run(self) -> Report:
        database, report = self._folder.database, self._report
        ((_patients, _studies, _series, total, _size),) = await database.fetch(queries.STATISTICS)
        garbage = set(await index.garbage(database, older_than=math.inf, limit=-1))
        await database.write(rebuild.begin)
        keys = filter(lambda key: key not in garbage, self._folder.store.keys())
        while page := await asyncio.to_thread(self._read_page, keys):
            await asyncio.gather(*(self._enter(*file) for file in page))  # They share a commit.
            done = report.instances + report.superseded + len(report.unreadable)
            self._progress(done, max(total, done) if total else None)
        report.superseded += len(garbage)
        await database.write(rebuild.finish)
        return report

    def _read_page(self, keys: Iterator[str]) -> list[_Read]:
        """The next files that can be read; an empty list when there are none left. Blocks."""
        page: list[_Read] = []
        for key in keys:
            try:
                page.append(self._read(key))
            except (DataSetError, StorageError) as error:
                self._report.unreadable.append((self._folder.layout.stored(key), str(error)))
            if len(page) == _PAGE:
                break
        return page

    async def _enter(self, record: InstanceRecord, placement: Placement, guess: Origin) -> None:
        database = self._folder.database
        known = await rebuild.origin_of(database, placement.key)
        origin, version = known or (guess, 1)
        replaces: str | None = None
        while True:
            answer = await database.write(
                functools.partial(rebuild.store_again, record, placement, origin, version, replaces=replaces)
            )
            if not isinstance(answer, Exists):
                self._report.instances += replaces is None
                self._report.superseded += replaces is not None
                return
            if known is not None or not await asyncio.to_thread(self._is_newer, placement.key, answer.key):
                await database.write(functools.partial(rebuild.supersede, placement.key, time.time()))
                self._report.superseded += 1
                return
            replaces = answer.key

    def _is_newer(self, key: str, other: str) -> bool:
        """Keys do not tell: they are made before they are needed."""
        store = self._folder.store
        return (store.written_at(key), key) > (store.written_at(other), other)

    def _read(self, key: str) -> _Read:
        """What the file says. Raises DataSetError, StorageError."""
        stored = self._folder.store.open(key)
        try:
            meta = part10.read_header(stored.read)
            record = self._read_record(stored, meta)
            placement = Placement(key, stored.size, meta.data_set_offset, meta.transfer_syntax_uid)
        finally:
            stored.close()
        sender, receiver = (_text(meta, tag) for tag in (0x00020016, 0x00020018))
        via: index.Via = "dimse" if sender else "import"
        return record, placement, Origin(sender, receiver, "", self._folder.store.written_at(key), via)

    def _read_record(self, stored: StoredObject, meta: part10.FileMeta) -> InstanceRecord:
        heading = Heading(meta.transfer_syntax_uid, self._folder.settings.max_header)
        at, length = meta.data_set_offset, _FIRST
        while not heading.found:
            data = stored.read(at, length)
            at += len(data)
            heading.look([data], complete=at >= stored.size)
            length = min(4 * length, self._folder.settings.max_header)
        return heading.record()


def _text(meta: part10.FileMeta, tag: int) -> str:
    element = meta.elements.get(tag)
    return element.value.rstrip(b" \0").decode("ascii", "replace") if element is not None else ""
