"""Folders whose files are worklist items: that of the gateway, and one for each tenant that has one.

Files are read when they appear or change, and their items deleted when the files go; in between, the database has the
items.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Settings
from gateway.database.database import Database, Script
from gateway.database.view import seeing, tenant_of_task
from gateway.dicom.decode import decode_data_set
from gateway.dicom.encode import DataSet
from gateway.dicom.json import NOT_JSON
from gateway.dicom.json_reader import from_json
from gateway.dicom.part10 import read_header
from gateway.errors import BadRequest, DataSetError
from gateway.workflow import queries
from gateway.workflow.worklist_items import MAX_ITEM, Item, add_item, change_item, checked, remove_item, to_json

log = logging.getLogger(__name__)

MAX_FILES: Final = 20_000
"""Files of one folder."""
_RESCAN_S: Final = 1.0
"""Seconds within which the folders are not scanned again."""
_SUFFIXES: Final = (".wl", ".json")
_File = tuple[str, str]
"""A tenant, empty for the folder of the gateway, and the name of a file in its folder."""


class WorklistFolders:
    """The folders of one gateway."""

    def __init__(self, database: Database, settings: Callable[[], Settings], *, clock: Callable[[], float]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._scanned_at = float("-inf")
        self._scanning = asyncio.Lock()
        self._unreadable: dict[_File, str] = {}

    def folder(self) -> str:
        """The folder of whoever asks: a tenant's, or that of the gateway; empty for none."""
        return _folders(self._settings()).get(tenant_of_task(), "")

    async def scan(self) -> None:
        """Add the new and changed files of every folder, and delete the items whose files are gone, whoever asks."""
        with seeing(None):
            async with self._scanning:
                if self._clock() >= self._scanned_at + _RESCAN_S:
                    self._scanned_at = self._clock()
                    await self._scan(_folders(self._settings()))

    async def _scan(self, folders: Mapping[str, str]) -> None:
        known = {(row[3], row[0]): row[1] for row in await self._database.fetch(queries.WORKLIST_FILES)}
        if not folders and not known:
            return
        files: dict[_File, tuple[str, str]] = {}
        unread = set()
        for tenant, folder in folders.items():
            try:
                found = await asyncio.to_thread(_files, folder)
            except OSError as error:
                log.warning("worklist folder %s cannot be read: %s", folder, error.strerror)
                unread.add(tenant)
                continue
            files |= {(tenant, name): each for name, each in found.items()}
        changed = {
            file: (path, fingerprint)
            for file, (path, fingerprint) in files.items()
            if known.get(file) != fingerprint and self._unreadable.get(file) != fingerprint
        }
        # What cannot be read now may come back: its items stay.
        gone = {file for file in known if file not in files and file[0] not in unread}
        if changed or gone:
            read, now = await asyncio.to_thread(self._read, changed), self._clock()
            await self._database.write(lambda: _take_files(read, gone, now))

    def _read(self, files: Mapping[_File, tuple[str, str]]) -> dict[_File, tuple[str, DataSet, str]]:
        """Read files: to fingerprint, item and JSON of those that are readable. Blocking."""
        found = {}
        for file, (path, fingerprint) in files.items():
            try:
                data_set = checked(read_file(path))
                found[file] = fingerprint, data_set, to_json(data_set)
            except (OSError, DataSetError, BadRequest) as error:
                log.warning("worklist folder: %s is no worklist item: %s", path, error)
                self._unreadable[file] = fingerprint
        return found


def _folders(settings: Settings) -> dict[str, str]:
    """The folders by tenant, that of the gateway as the one without a name."""
    of_tenants = {name: tenant.worklist_folder for name, tenant in settings.tenants.items()}
    return {tenant: folder for tenant, folder in (("", settings.worklist.folder), *of_tenants.items()) if folder}


def read_file(path: str) -> DataSet:
    """Read a worklist item from a file, `.json` as DICOM JSON Model, any other as DICOM. Blocks. Raises DataSetError,
    OSError."""
    with Path(path).open("rb") as file:
        data = file.read(MAX_ITEM + 1)
    if len(data) > MAX_ITEM:
        raise DataSetError(f"more than {MAX_ITEM} bytes")
    if path.endswith(".json"):
        try:
            model = msgspec.json.decode(data)
        except NOT_JSON as error:
            raise DataSetError(f"not JSON: {error}") from None
        if isinstance(model, list) and len(model) == 1:
            model = model[0]
        return from_json(model)
    meta = read_header(lambda offset, length: data[offset : offset + length])
    return decode_data_set(data[meta.data_set_offset :], meta.transfer_syntax_uid)


def _files(folder: str) -> dict[str, tuple[str, str]]:
    """List the files of the folder: name to path and fingerprint. Blocking."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                status = entry.stat()
                found[entry.name] = entry.path, f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"
                if len(found) >= MAX_FILES:
                    log.warning("worklist folder %s: only the first %d files are read", folder, MAX_FILES)
                    break
    return found


def _take_files(found: Mapping[_File, tuple[str, DataSet, str]], gone: set[_File], now: float) -> Script[None]:
    rows = yield queries.WORKLIST_FILES, ()
    known = {(tenant, source): (fingerprint, public_id) for source, fingerprint, public_id, tenant in rows}
    for file in gone & known.keys():
        yield from remove_item(known[file][1])
    for file, (fingerprint, data_set, text) in found.items():
        if file not in known:
            tenant, name = file
            item = Item(0, str(uuid.uuid4()), name, now, now, data_set, tenant)
            yield from add_item(item, fingerprint, text)
        elif known[file][0] != fingerprint:
            yield from change_item(known[file][1], fingerprint, data_set, text, now)
