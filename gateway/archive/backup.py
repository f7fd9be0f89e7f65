"""A consistent copy of a data folder while the gateway runs on it, and back.

A backup is a data folder with `backup.json` in it, which is written last: without it the backup was never finished.
The database is copied first; then every file that a row of the copy names. A file may go in between, when its
instance gets a new version: then the database is copied again. Files never change under their name, so on one file
system a hard link is a copy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway import __version__, config
from gateway.archive.folder import open_folder
from gateway.database.sqlite import SQLite
from gateway.errors import StorageError
from gateway.index import queries
from gateway.index.store import keys_present
from gateway.storage.filesystem import sync_folder
from gateway.storage.layout import Layout

_PAGE = 500
_ATTEMPTS = 20
"""Copies of the database that are made at most; each but the first has only what changed meanwhile to catch up with."""
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(slots=True)
class Report:
    """What was copied. `lost` are storage keys that a row names and that have no whole file in the source."""

    made_at: str
    instances: int = 0
    bytes: int = 0
    linked: int = 0
    copied: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)


class _Manifest(msgspec.Struct):
    made_at: str
    version: str
    instances: int
    bytes: int


async def backup(
    settings: config.Storage,
    target: Path,
    *,
    copy: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Back up the data folder of `settings` into `target`, new or empty. With `copy`, never by hard links.

    Raises StorageError where `target` holds something, cannot be written, or the folder changes too quickly.
    """
    async with open_folder(settings, create=False) as folder:
        layout = Layout(target)
        await asyncio.to_thread(_make_empty, layout)
        files = _Files(folder.layout, layout, copy)
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
        return report


async def restore(source: Path, settings: config.Storage, *, progress: Progress = lambda done, total: None) -> Report:
    """Bring the backup in `source` into the data folder of `settings`, new or empty.

    Raises StorageError where `source` is not a finished backup, or the data folder holds something.
    """
    origin, layout = Layout(source), Layout(Path(settings.path))
    manifest = await asyncio.to_thread(_read_manifest, origin)
    await asyncio.to_thread(_make_empty, layout)
    files = _Files(origin, layout, copy=False)
    report = Report(manifest.made_at)
    # Under its own name last: a restore that did not end leaves no folder that a gateway would start on as if whole.
    partial = layout.database.with_name(layout.database.name + ".partial")
    await asyncio.to_thread(shutil.copyfile, origin.database, partial)
    report.lost = await _bring(partial, files, report, progress)
    await asyncio.to_thread(files.sync)
    await asyncio.to_thread(_rename, partial, layout.database)
    return report


async def _bring(database: Path, files: _Files, report: Report, progress: Progress) -> list[str]:
    """Bring every file that a row of this database names; the keys of those that could not be had."""
    missing: list[str] = []
    lock = database.with_name(database.name + ".lock")
    copied = await SQLite.open(database, lock_path=lock)
    try:
        ((_patients, _studies, _series, total, _size),) = await copied.fetch(queries.STATISTICS)
        last = ""
        files.named.clear()
        while rows := await copied.fetch(queries.LIST_FILES, last, _PAGE):
            for _key, size in await asyncio.to_thread(files.bring, rows):
                report.instances += 1
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


class _Files:
    """Brings files of one data folder into another. Everything blocks."""

    def __init__(self, source: Layout, target: Layout, copy: bool) -> None:
        self._source, self._target, self._copy = source, target, copy
        self._here: set[str] = set()
        self._folders: set[Path] = set()
        self.named: set[str] = set()
        """Keys that have been brought since this was last cleared."""
        self.linked = 0
        self.copied = 0

    def bring(self, rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those (key, size) that are there now, whole. Raises StorageError where nothing can be written."""
        done = []
        for key, size in rows:
            if key in self._here or self._bring(key, size):
                self._here.add(key)
                self.named.add(key)
                done.append((key, size))
        return done

    def _bring(self, key: str, size: int) -> bool:
        source, target = Path(self._source.stored(key)), Path(self._target.stored(key))
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        try:
            if source.stat().st_size != size:
                return False
            if not self._copy:
                try:
                    target.hardlink_to(source)
                    self.linked += 1
                    return True
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    self._copy = True
            _copy_file(source, target)
            self.copied += 1
            return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}") from error

    def drop_others(self) -> None:
        """Delete what an earlier copy of the database named and the last does not."""
        for key in self._here - self.named:
            os.unlink(self._target.stored(key))

    def sync(self) -> None:
        """Make the names durable; the contents are."""
        for folder in self._folders | {folder.parent for folder in self._folders}:
            sync_folder(folder)
        for folder in (self._target.store, self._target.base, self._target.base.absolute().parent):
            sync_folder(folder)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())


def _make_empty(layout: Layout) -> None:
    try:
        layout.base.mkdir(mode=0o750, parents=True, exist_ok=True)
        # A freshly made file system has one folder of its own.
        held = sorted(entry.name for entry in layout.base.iterdir() if entry.name != "lost+found")
        if held:
            raise StorageError(f"{layout.base} is not empty ({held[0]} is there); name a new folder")
        layout.store.mkdir(mode=0o750)
    except OSError as error:
        raise StorageError(f"{layout.base}: {error.strerror}") from error


def _finish(layout: Layout, files: _Files, report: Report) -> None:
    files.sync()
    manifest = _Manifest(report.made_at, __version__, report.instances, report.bytes)
    partial = layout.manifest.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _rename(partial, layout.manifest)


def _read_manifest(layout: Layout) -> _Manifest:
    try:
        return msgspec.json.decode(layout.manifest.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        raise StorageError(f"{layout.base} is not a backup that ended: {layout.manifest.name} is not there") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"{layout.manifest}: cannot be read: {error}") from None


def _rename(partial: Path, final: Path) -> None:
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(final)
    sync_folder(final.parent)
