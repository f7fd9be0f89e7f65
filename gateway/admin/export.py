"""Export: stored studies become folders that people can browse, named by a template.

The files are written as those of a destination of kind `folder`: whole or not at all, and never over another file. A
list in the folder says what is there already, so that an export that was broken off goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.config import Settings
from gateway.config.destinations import FolderDestination
from gateway.dicom.encode import DataSet
from gateway.errors import StorageError
from gateway.index import attributes as tags
from gateway.index.locate import Located
from gateway.index.resources import Resource, resources_by_row
from gateway.ingest.data_folder import open_folder
from gateway.remote.folder import Folder
from gateway.retrieve.find import Request, ResourceFinder
from gateway.retrieve.outgoing import StoredInstance
from gateway.retrieve.retrieval import Retrieval
from gateway.storage.naming import private

NAME: Final = (
    "{PatientID} {PatientName}/{StudyDate} {StudyDescription}/"
    "{SeriesNumber} {Modality} {SeriesDescription}/{InstanceNumber}.dcm"
)
LIST: Final = ".dicom-gateway-export"
"""The name of the list in the folder: its first line is the template, each other one a storage key and a path."""
_AT_ONCE: Final = 4
_STUDIES: Final = 100

Progress = Callable[[int, int | None], None]


@dataclass(slots=True)
class ExportReport:
    """Counts of an export."""

    studies: int = 0
    written: int = 0
    """Files of this export, among them such as were there with equal bytes."""
    present: int = 0
    """Files of an earlier export that was broken off."""
    bytes: int = 0
    """Bytes of the data sets."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """SOP Instance UIDs of those that could not be written, and why."""


async def export(
    settings: Settings,
    target: Path,
    keys: Sequence[DataSet],
    *,
    name: str = NAME,
    progress: Progress = lambda done, total: None,
) -> ExportReport:
    """Export the studies that match any of the identifiers, while a gateway goes on or not. `name` is the template.

    Raises: ConfigurationError for a template that is none, or where there is no data folder; StorageError where the
    folder cannot be written; TooManyInstances, DatabaseError.
    """
    report = ExportReport()
    folder = Folder("export", FolderDestination(path=str(target), name=name, connections=_AT_ONCE))
    try:
        await asyncio.to_thread(target.mkdir, 0o750, True, True)
        done = await asyncio.to_thread(_Done, target, name)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror}") from error
    with contextlib.closing(done), ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="read") as threads:
        async with open_folder(settings.storage, settings.database.url, create=False) as data:
            retrieval = Retrieval(data.database, data.store, threads)
            finder = ResourceFinder(data.database, data.store, lambda: settings)
            total = sum([await finder.count(Request("study", key)) for key in keys]) if len(keys) == 1 else None
            async for study in _studies(finder, keys):
                report.studies += 1
                uid = study.attributes[tags.STUDY_INSTANCE_UID]
                async for page in retrieval.pages(uid, patient=study.parent):
                    await _export_page(folder, retrieval, page, done, report)
                progress(report.studies, total)
    return report


async def _studies(finder: ResourceFinder, keys: Sequence[DataSet]) -> AsyncIterator[Resource]:
    """The studies that match, each once."""
    seen = set[str]()
    for key in keys:
        async for page in finder.pages(Request("study", key)):
            for at in range(0, len(page), _STUDIES):
                rows = [row for row, public_id in page[at : at + _STUDIES] if public_id not in seen]
                seen.update(public_id for _, public_id in page[at : at + _STUDIES])
                for study in await resources_by_row(finder.database, "study", rows) if rows else ():
                    yield study


async def _export_page(
    folder: Folder, retrieval: Retrieval, page: Sequence[Located], done: _Done, report: ExportReport
) -> None:
    async def one(located: Located) -> None:
        if done.has(located.key):
            report.present += 1
            return
        answer = await folder.send(StoredInstance(located, retrieval))
        if answer.outcome != "delivered":
            report.refused.append((located.sop_uid, answer.detail))
            return
        report.written += 1
        report.bytes += answer.sent
        done.add(located.key, answer.detail)

    for at in range(0, len(page), _AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for located in page[at : at + _AT_ONCE]:
                group.create_task(one(located))
    await asyncio.to_thread(done.flush)


class _Done:
    """What an export has written into a folder, in a file there. Blocks, except `has` and `add`."""

    def __init__(self, folder: Path, template: str) -> None:
        """Raises: OSError."""
        path = folder / LIST
        self._folder = folder
        self._paths: dict[str, str] = {}
        known = list(_lines(path))
        if known[:1] == [template]:
            self._paths = dict(line.split(" ", 1) for line in known[1:] if " " in line)
        self._file = open(path, "a" if self._paths else "w", encoding="utf-8", opener=private)  # noqa: SIM115
        if not self._paths:
            self._file.write(f"{template}\n")

    def has(self, key: str) -> bool:
        """Whether the file of an object was written, and is still there."""
        return key in self._paths and (self._folder / self._paths[key]).exists()

    def add(self, key: str, path: str) -> None:
        """Add a file that is durable."""
        self._file.write(f"{key} {path}\n")

    def flush(self) -> None:
        """Hand the list over to the file system: what is lost of it is written again, and found to be there."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _lines(path: Path) -> Iterator[str]:
    """The whole lines of a file; none where it does not exist."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.endswith("\n"):
                yield line[:-1]
