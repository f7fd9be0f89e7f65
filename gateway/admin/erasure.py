"""Erasure of a patient: everything that a data folder has of somebody is gone from the disk when it ends.

That is the stored objects with their rows, earlier versions of them, what was attached; of what lies aside, what is
of the patient; archives that jobs have made, whoever is in them; worklist items, performed steps, and the lists of what
was sent and of answers of other systems. The audit log and the list of changes stay, which law may demand: they have
identifiers. So do backups, of which those that still have the patient are named.
"""

from __future__ import annotations

import asyncio
import functools
import json
import mmap
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from gateway import config
from gateway.admin.deletion import Removal
from gateway.database.database import Database, Query, Script
from gateway.database.sqlite import SQLite, fetch_read_only
from gateway.errors import NotFound
from gateway.events.exports import forget_exports_of
from gateway.index import attributes as tags
from gateway.index.identity import owned, public_id
from gateway.index.queries.annotations import EXISTS
from gateway.index.queries.backups import LIST_BACKUPS
from gateway.index.resources import resources_below
from gateway.ingest.data_folder import open_folder, open_ingest
from gateway.remote.queries import FORGET_ANSWERS
from gateway.storage.aside import erase_aside
from gateway.storage.layout import Layout
from gateway.storage.outputs import OutputFolder
from gateway.workflow import queries

_PAGE: Final = 200
_PATIENT_ID: Final = "00100020"
_BYTE_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
_MAX_BYTES: Final = 256
"""Bytes of a Patient ID, of 64 characters, or of a UID."""


Left = Literal["has it", "cannot be read"]


@dataclass(slots=True)
class ErasureReport:
    """Counts of what was erased."""

    instances: int = 0
    aside: int = 0
    """Files in `rejected` and `unindexed`."""
    outputs: int = 0
    """Archives that jobs have made."""
    worklist_items: int = 0
    performed_steps: int = 0
    log: bool = False
    """Whether the log of the database was overwritten, too."""
    backups: dict[str, Left] = field(default_factory=dict)
    """Folders of backups that have the patient, or of which nobody can say: they have been moved, or are damaged."""
    worklist_files: list[str] = field(default_factory=list)
    """Files of the worklist that name the patient: whoever wrote them must delete them."""

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing of the patient."""
        return not (self.instances or self.aside or self.worklist_items or self.performed_steps)


async def erase_patient(settings: config.Storage, patient_id: str, tenant: str = "", *, url: str = "") -> ErasureReport:
    """Erase a patient, also while a gateway serves the folder; readers get an error.

    `url` is that of PostgreSQL where the index is there; what its log holds is left to it. Raises:
    RetainedByCommitment where an instance must be kept, and nothing is erased; ConfigurationError where there is no
    data folder; OSError; StorageError; DatabaseError.
    """
    report = ErasureReport()
    patient = public_id(owned(patient_id, tenant))
    async with open_folder(settings, url, create=False) as folder, open_ingest(folder) as ingest:
        database = folder.database
        studies = await _studies(database, patient)
        try:
            removed = await Removal(ingest, readers_s=0.0).by_public_id("patient", patient)
            report.instances = removed.instances
        except NotFound:
            pass
        await _erase_rows(database, patient_id, tenant, report)
        uids = [uid.encode() for uid in studies]
        report.aside, report.outputs = await asyncio.to_thread(_erase_files, folder.layout, patient_id.encode(), uids)
        await ingest.garbage.collect(everything=True)  # Earlier versions may still wait for their readers.
        report.log = isinstance(database, SQLite) and await database.overwrite_log()
        report.backups = await _backups(database, patient)
    return report


async def _studies(database: Database, patient: str) -> list[str]:
    if not await database.fetch(EXISTS["patient"], patient):
        return []
    pages = resources_below(database, "patient", patient, "study")
    return [study.attributes[tags.STUDY_INSTANCE_UID] async for page in pages for study in page]


async def _erase_rows(database: Database, patient_id: str, tenant: str, report: ErasureReport) -> None:
    last = -1
    while rows := await database.fetch(queries.LIST_WORKLIST_ITEMS, last, _PAGE):
        for last, name, source, *_, data, owner in rows:  # noqa: B007
            if owner != tenant or patient_id not in _patient_ids(json.loads(data)):
                continue
            if source:
                report.worklist_files.append(source)
            else:
                await database.write(functools.partial(_execute, queries.REMOVE_WORKLIST_ITEM, name))
                report.worklist_items += 1
    first = 2**62
    while rows := await database.fetch(queries.LIST_STEPS, first, _PAGE):
        for first, *_, data, owner in rows:
            if owner == tenant and patient_id in _patient_ids(json.loads(data)):
                await database.write(functools.partial(_execute, queries.REMOVE_STEP, first))
                report.performed_steps += 1
    await database.write(lambda: forget_exports_of(patient_id))
    await database.write(lambda: _execute(FORGET_ANSWERS))


def _execute(query: Query, *parameters: object) -> Script[None]:
    yield query, parameters


def _patient_ids(found: object) -> set[str]:
    """The Patient IDs anywhere in an object of the DICOM JSON Model."""
    if isinstance(found, list):
        return set().union(*map(_patient_ids, found))
    if not isinstance(found, dict):
        return set()
    ids = set().union(*[_patient_ids(value) for value in found.values()])
    own = found.get(_PATIENT_ID)
    return ids | set(own.get("Value", [])) if isinstance(own, dict) else ids


def _erase_files(layout: Layout, patient_id: bytes, studies: Sequence[bytes]) -> tuple[int, int]:
    """Erase what lies aside and is of the patient, and archives. Returns both counts."""

    def is_meant(data: mmap.mmap) -> bool:
        return _has_value(data, 0x0010, 0x0020, [patient_id]) or _has_value(data, 0x0020, 0x000D, studies)

    outputs = OutputFolder(layout)
    return erase_aside(layout, is_meant), sum(map(outputs.remove, outputs.jobs()))


def _has_value(data: mmap.mmap, group: int, element: int, values: Sequence[bytes]) -> bool:
    """Whether an element that looks like this one has one of the values, in either byte order and form of VR."""
    for order in _BYTE_ORDERS:
        tag, at = group.to_bytes(2, order) + element.to_bytes(2, order), -1
        while (at := data.find(tag, at + 1)) >= 0:
            # Behind the tag are VR and length, or the length alone, then the value, padded.
            is_explicit = data[at + 4 : at + 6].isalpha()
            length = int.from_bytes(data[at + 6 if is_explicit else at + 4 : at + 8], order)
            if length <= _MAX_BYTES and data[at + 8 : at + 8 + length].strip(b" \0") in values:
                return True
    return False


async def _backups(database: Database, patient: str) -> dict[str, Left]:
    """The backups of this data folder that have the patient, or may have."""
    found: dict[str, Left] = {}
    for (name,) in await database.fetch(LIST_BACKUPS):
        layout = Layout(Path(name))
        try:
            if await asyncio.to_thread(fetch_read_only, layout.database, EXISTS["patient"], patient):
                found[name] = "has it"
        except (sqlite3.Error, OSError):
            found[name] = "cannot be read"
    return found
