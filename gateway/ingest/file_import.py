"""Importing local files, folders and zips through the one ingest."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import zipfile
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import IO, Protocol

from gateway import config
from gateway.errors import DataSetError, InstanceRefused, NotAnInstance
from gateway.index.store import Origin
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.ingest.files import Files
from gateway.ingest.ingest import Ingest
from gateway.ingest.outcome import StoreResult
from gateway.ingest.part10_receiver import receive

_MAX_CONCURRENT = 8
"""Files in progress at a time."""
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(slots=True)
class ImportReport:
    """The results of an import. `outcomes` counts ingested files, by `Outcome` value."""

    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    """Files that are not DICOM, or a DICOMDIR."""
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(file, reason) of DICOM files that were refused."""
    incomplete: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(file, what its pixel data lack) of incomplete ones that were ingested."""


async def import_paths(
    settings: config.Storage,
    paths: Iterable[Path],
    progress: Callable[[ImportReport], None] = lambda report: None,
    *,
    url: str = "",
) -> ImportReport:
    """Import everything below `paths`, whether or not a gateway runs on the same data folder.

    `progress` is called after each file; errors of a single file go into the report. Raises: OutOfSpace and
    StorageFailed, after which nothing more would work.
    """
    report = ImportReport()
    files = Files(paths)
    sources = iter(files)
    room = asyncio.Semaphore(_MAX_CONCURRENT)

    async def work(name: str, file: IO[bytes]) -> None:
        try:
            with file:
                await _import(ingest, name, file, report)
        finally:
            room.release()
        progress(report)

    async with open_folder(settings, url) as folder, open_ingest(folder) as ingest:
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
    origin = Origin(calling_aet="", called_aet="", peer="", received_at=time.time(), via="import")
    try:
        result = await ingest_file(ingest, file, origin)
    except NotAnInstance:
        report.skipped += 1
    except (InstanceRefused, DataSetError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        report.refused.append((name, str(error)))
    else:
        outcome = result.outcome.value
        report.outcomes[outcome] = report.outcomes.get(outcome, 0) + 1
        if result.lacking:
            report.incomplete.append((name, result.lacking))


class Readable(Protocol):
    """A readable file. Blocks."""

    def read(self, length: int, /) -> bytes: ...


async def ingest_file(ingest: Ingest, file: Readable, origin: Origin) -> StoreResult:
    """Stream one file into the ingest. Raises as `part10_receiver.receive`, and as `file.read`."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk

    return await receive(ingest, chunks(), origin)
