"""Taking in files that lie around: files, folders, zips, through the same ingest as everything else."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from gateway import config
from gateway.archive.files import HEAD, Files, identity, read_meta
from gateway.archive.folder import open_folder, open_ingest
from gateway.archive.ingest import Ingest, Taken
from gateway.dicom import uids
from gateway.errors import DataSetError, InstanceRefused, UnsupportedTransferSyntax
from gateway.index.store import Origin

_AT_ONCE = 8
"""Files in progress at a time."""
_CHUNK = 1 << 20


@dataclasses.dataclass(slots=True)
class ImportReport:
    """What became of the files. `outcomes` counts those taken in, by `Outcome` value."""

    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    """Files that are not DICOM, or a DICOMDIR."""
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(file, reason) of DICOM files that could not be taken in."""


async def import_paths(
    settings: config.Storage, paths: Iterable[Path], progress: Callable[[ImportReport], None] = lambda report: None
) -> ImportReport:
    """Import everything below `paths`, whether or not a gateway runs on the same data folder.

    `progress` is called after each file. Raises OutOfSpace and StorageFailed, after which nothing more would work;
    what is wrong with a single file goes into the report.
    """
    report = ImportReport()
    files = Files(paths)
    sources = iter(files)
    room = asyncio.Semaphore(_AT_ONCE)

    async def work(name: str, file: IO[bytes]) -> None:
        try:
            with file:
                await _import(ingest, name, file, report)
        finally:
            room.release()
        progress(report)

    async with open_folder(settings) as folder, open_ingest(folder) as ingest:
        try:
            async with asyncio.TaskGroup() as group:
                while (source := await asyncio.to_thread(next, sources, None)) is not None:
                    await room.acquire()
                    try:
                        file = await asyncio.to_thread(source.open)
                    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
                        report.refused.append((source.name, f"cannot be opened: {error}"))
                        room.release()
                        continue
                    group.create_task(work(source.name, file))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            files.close()
    return report


async def _import(ingest: Ingest, name: str, file: IO[bytes], report: ImportReport) -> None:
    try:
        taken = await _take_in(ingest, file)
    except (InstanceRefused, DataSetError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        report.refused.append((name, str(error)))
        return
    if taken is None:
        report.skipped += 1
    else:
        outcome = taken.outcome.value
        report.outcomes[outcome] = report.outcomes.get(outcome, 0) + 1


async def _take_in(ingest: Ingest, file: IO[bytes]) -> Taken | None:
    """Stream one Part 10 file into the ingest; None for what is not one, or is a DICOMDIR."""
    head = await asyncio.to_thread(file.read, HEAD)
    meta = read_meta(head)
    if meta is None:
        return None
    if meta.transfer_syntax_uid not in uids.TRANSFER_SYNTAXES:
        raise UnsupportedTransferSyntax(f"transfer syntax {meta.transfer_syntax_uid} is not known here")
    sop_class_uid, sop_instance_uid = identity(head, meta)
    reception = ingest.begin(
        transfer_syntax_uid=meta.transfer_syntax_uid,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        origin=Origin(calling_aet="", called_aet="", peer="", received_at=time.time(), via="import"),
    )
    try:
        chunk = head[meta.data_set_offset :]
        while chunk:
            reception.write(chunk, None)
            await reception.drained()
            chunk = await asyncio.to_thread(file.read, _CHUNK)
    except BaseException:
        ingest.abandon(reception)
        raise
    return await ingest.end(reception)
