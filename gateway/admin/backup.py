"""Backup of a data folder while the gateway runs on it, and restore.

A backup is a data folder with `backup.json`, written last: without that file the backup never finished. The database is
copied first, then every file that a row of the copy names. A file may be deleted in between, when its instance gets a
new version: then the database is copied again. Files never change under their name, so on one file system a hard link
is a copy; segments grow, and are copied as far as the copy of the database says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway import __version__, config
from gateway.database.database import Script
from gateway.database.sqlite import SQLite
from gateway.dicom.json import NOT_JSON
from gateway.errors import ConfigurationError, StorageError
from gateway.index.queries.attachments import LIST_ATTACHED_FILES
from gateway.index.queries.backups import NOTE_BACKUP
from gateway.index.queries.store import LIST_FILES
from gateway.index.queries.summary import STATISTICS
from gateway.index.segments import segments
from gateway.index.store import keys_present
from gateway.ingest.data_folder import open_folder
from gateway.storage.copying import StoreCopy, copy_file, make_store, remove_store
from gateway.storage.layout import Layout
from gateway.storage.naming import private, replace_durably

log = logging.getLogger(__name__)

_PAGE = 500
_ATTEMPTS = 20
"""Copies of the database at most; each after the first has only the changes since the previous one to catch up with."""

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(slots=True)
class Report:
    """The counts of a backup or restore. `lost`: storage keys that a row names without a whole file in the source."""

    made_at: str
    instances: int = 0
    bytes: int = 0
    linked: int = 0
    copied: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    attachments: int = 0


class _Manifest(msgspec.Struct):
    made_at: str
    version: str
    instances: int
    bytes: int
    attachments: int = 0


async def backup(
    settings: config.Storage,
    target: Path,
    url: str = "",
    *,
    copy: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Back up the data folder of `settings` into `target`, new or empty. With `copy`, never by hard links.

    Raises: StorageError when `target` is not empty or not writable, or when the folder changes too quickly;
    ConfigurationError when the index is in PostgreSQL, at `url`, which has backups of its own.
    """
    if url:
        raise ConfigurationError(
            "backup: the index is in PostgreSQL; copy it by pg_dump or by its write-ahead log, and the data folder "
            "after it; what the folder then has and the index has not, `dicom-gateway reindex` enters after a restore"
        )
    async with open_folder(settings, create=False) as folder:
        layout = Layout(target)
        await asyncio.to_thread(_make_empty, layout)
        assert isinstance(folder.database, SQLite)
        files = StoreCopy(folder.layout, layout, copy)
        for _ in range(_ATTEMPTS):
            report = Report(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
            await asyncio.to_thread(layout.database.unlink, missing_ok=True)
            await folder.database.backup(layout.database)
            missing = await _bring(layout.database, files, report, progress)
            present = await _present(folder.database, missing)
            report.lost = [key for key in missing if key in present]
            if len(report.lost) == len(missing):
                break
        else:
            raise StorageError(f"{settings.path}: instances are replaced faster than they can be backed up; try later")
        await asyncio.to_thread(files.drop_others)
        await asyncio.to_thread(_finish, layout, files, report)
        began = datetime.datetime.fromisoformat(report.made_at).timestamp()
        try:
            await asyncio.to_thread(folder.store.note_backup, began)
        except OSError as error:  # The backup is whole, and stays so.
            log.warning("the time of the backup cannot be noted in %s: %s", settings.path, error.strerror)
        where = str(await asyncio.to_thread(target.absolute))
        await folder.database.write(lambda: _note(where))
        return report


async def restore(source: Path, settings: config.Storage, *, progress: Progress = lambda done, total: None) -> Report:
    """Restore the backup in `source` into the data folder of `settings`, new or empty.

    A failed restore deletes what it copied, so that the next one finds the folder empty again. Raises: StorageError
    when `source` is not a finished backup, or when the data folder is not empty.
    """
    origin, layout = Layout(source), Layout(Path(settings.path))
    manifest = await asyncio.to_thread(_read_manifest, origin)
    await asyncio.to_thread(_make_empty, layout)
    try:
        return await _restore(origin, layout, Report(manifest.made_at), progress)
    except BaseException:
        await asyncio.to_thread(_clear, layout)
        raise


async def _restore(origin: Layout, layout: Layout, report: Report, progress: Progress) -> Report:
    files = StoreCopy(origin, layout, copy=False)
    # The database gets its name last: a gateway cannot start on the folder of an unfinished restore.
    partial = layout.database.with_name(layout.database.name + ".partial")
    try:
        await asyncio.to_thread(copy_file, origin.database, partial)
    except OSError as error:
        raise StorageError(f"{origin.database}: cannot be copied to {partial}: {error.strerror}") from None
    report.lost = await _bring(partial, files, report, progress)
    await asyncio.to_thread(files.sync)
    await asyncio.to_thread(replace_durably, partial, layout.database)
    return report


async def _bring(database: Path, files: StoreCopy, report: Report, progress: Progress) -> list[str]:
    """Copy every file that a row of this database names; returns the keys of those that could not be copied."""
    missing: list[str] = []
    lock = database.with_name(database.name + ".lock")
    copied = await SQLite.open(database, lock_path=lock)
    try:
        ((_patients, _studies, _series, total, _size),) = await copied.fetch(STATISTICS)
        files.named.clear()
        files.marks = {segment.name: segment.mark for segment in await segments(copied)}
        for listed in (LIST_FILES, LIST_ATTACHED_FILES):
            last = ""
            while rows := await copied.fetch(listed, last, _PAGE):
                for _key, size in await asyncio.to_thread(files.bring, rows):
                    report.instances += listed is LIST_FILES
                    report.attachments += listed is LIST_ATTACHED_FILES
                    report.bytes += size
                missing += [key for key, _size in rows if key not in files.named]
                last = rows[-1][0]
                progress(report.instances, total)
    finally:
        await copied.close()
        await asyncio.to_thread(lock.unlink, missing_ok=True)
    report.linked, report.copied = files.linked, files.copied
    return missing


async def _present(database: SQLite, keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(keys), _PAGE):
        found |= await keys_present(database, keys[start : start + _PAGE])
    return found


def _note(where: str) -> Script[None]:
    yield NOTE_BACKUP, (where, time.time())


def _make_empty(layout: Layout) -> None:
    try:
        layout.base.mkdir(mode=0o750, parents=True, exist_ok=True)
        # A new ext file system has one folder of its own.
        held = sorted(entry.name for entry in layout.base.iterdir() if entry.name != "lost+found")
        if held:
            raise StorageError(f"{layout.base} is not empty ({held[0]} is there); name a new folder")
        make_store(layout)
    except OSError as error:
        raise StorageError(f"{layout.base}: {error.strerror}") from error


def _clear(layout: Layout) -> None:
    """Empty a folder that was empty at the start."""
    remove_store(layout)
    for path in layout.base.glob(f"{layout.database.name}*"):
        path.unlink(missing_ok=True)


def _finish(layout: Layout, files: StoreCopy, report: Report) -> None:
    files.sync()
    manifest = _Manifest(report.made_at, __version__, report.instances, report.bytes, report.attachments)
    partial = layout.manifest.with_suffix(".partial")
    with open(partial, "wb", opener=private) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    replace_durably(partial, layout.manifest)


def _read_manifest(layout: Layout) -> _Manifest:
    try:
        return msgspec.json.decode(layout.manifest.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        raise StorageError(f"{layout.base} is not a finished backup: {layout.manifest.name} is missing") from None
    except (OSError, *NOT_JSON) as error:
        raise StorageError(f"{layout.manifest}: cannot be read: {error}") from None
