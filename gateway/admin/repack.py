"""Repacking: small instances that are files of their own, as earlier releases stored all, move into segments.

A gateway may go on meanwhile, and it may be stopped at any time: what was moved is moved, and running it again moves
the rest. The files go as what is deleted goes, after a minute for their readers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway import config
from gateway.database.database import Row
from gateway.errors import NoSuchObject
from gateway.index import segments as rows
from gateway.index.queries.segments import LIST_SMALL_FILES
from gateway.index.store import READERS_S, Origin
from gateway.ingest.commit_batch import advance_of
from gateway.ingest.data_folder import DataFolder, open_folder
from gateway.ingest.frame_notes import FrameNotes
from gateway.storage.segments.writer import SegmentWriter

log = logging.getLogger(__name__)

_PAGE: Final = 64
"""Instances that are moved by one flush and one transaction: some 16 MB."""

Progress = Callable[[int, int | None], None]


@dataclass(slots=True)
class Report:
    """Counts of moved instances, of their bytes, and of files that were not there."""

    moved: int = 0
    bytes: int = 0
    missing: int = 0


async def repack(settings: config.Storage, url: str = "", *, progress: Progress = lambda done, total: None) -> Report:
    """Move the instances that are no larger than `settings.pack_below` into segments.

    Raises: ConfigurationError where there is no data folder; OutOfSpace, StorageError; DatabaseError.
    """
    report = Report()
    async with open_folder(settings, url, create=False) as folder:
        writer = SegmentWriter(folder.store.segments)
        try:
            last = ""
            while page := await folder.database.fetch(LIST_SMALL_FILES, last, settings.pack_below, _PAGE):
                await _move(folder, writer, page, report)
                last = page[-1][0]
                progress(report.moved, None)
        finally:
            name = writer.segment
            await asyncio.to_thread(writer.close)
        if name:
            await folder.database.write(functools.partial(rows.end_segment, name))
    return report


async def _move(folder: DataFolder, writer: SegmentWriter, page: Sequence[Row], report: Report) -> None:
    moved = await asyncio.to_thread(_append, folder, writer, page, report)
    if not moved:
        return
    now = time.time()
    await folder.database.write(functools.partial(rows.enter_moved, moved, advance_of(writer), now, now + READERS_S))
    writer.recorded()


def _append(folder: DataFolder, writer: SegmentWriter, page: Sequence[Row], report: Report) -> list[tuple[str, str]]:
    """Append the files of a page to the segment, durably; returns the old and the new key of each. Blocks."""
    read = []
    for key, via, received_at, calling_aet, called_aet, peer, lacking in page:
        try:
            with contextlib.closing(folder.store.open(key)) as stored:
                data, at = stored.read(0, stored.size), folder.store.written_at(key)
        except NoSuchObject:
            log.warning("%s is missing, and stays so", folder.store.where(key))
            report.missing += 1
            continue
        origin = Origin(calling_aet, called_aet, peer, received_at, via)
        notes = FrameNotes.of(origin, lacking, replayable=False).encode()
        read.append((key, notes, data, at))
    if not read:
        return []
    writer.reserve([(len(notes), len(data)) for _, notes, data, _ in read])
    moved = [(key, writer.stage(notes, [data], at)) for key, notes, data, at in read]
    writer.flush()
    report.moved += len(moved)
    report.bytes += sum(len(data) for _, _, data, _ in read)
    return moved
