"""The script that stores an instance in the index, and the lists of files for recovery and garbage collection.

All changes of one instance are in one script: its row, its parents' rows and counts, the change log, the
list of files to delete. When duplicates are compared, and the answer to the sender, is in `ingest/ingest.py`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.database.database import Database, Script
from gateway.dicom.levels import LEVELS, Level
from gateway.index.queries import store as queries
from gateway.index.queries.metadata import FORGET_METADATA_OF_STUDY
from gateway.index.record import InstanceRecord
from gateway.index.values import like

SOP_ELSEWHERE, SERIES_ELSEWHERE, STUDY_ELSEWHERE = 1, 2, 4
"""Flags: the UID was known under another parent when the instance was stored."""

READERS_S: Final = 60.0
"""Seconds for which objects that are not needed any more stay, so that their readers can finish."""

Via = Literal["dimse", "stow", "rest", "import", "inbox"]


@dataclass(slots=True)
class Origin:
    """The sender of an instance, and the way in. `peer` is the host; `received_at` seconds since 1970."""

    calling_aet: str
    called_aet: str
    peer: str
    received_at: float
    via: Via
    tenant: str = ""
    """Whom the instance belongs to; empty for no tenant."""
    link: str = ""
    """The link to upload by which it came, by its id, which has limits; empty for none."""

    @classmethod
    def by_rest(cls, our_aet: str, peer: str, tenant: str = "") -> Origin:
        """The origin of what comes now by the management API, or is made for a request of `peer`."""
        return cls("", our_aet, peer, time.time(), "rest", tenant)

    @classmethod
    def by_inbox(cls, our_aet: str, peer: str, tenant: str, link: str) -> Origin:
        """The origin of what an outsider uploads now, with a link."""
        return cls("", our_aet, peer, time.time(), "inbox", tenant, link)


@dataclass(slots=True)
class FileLocation:
    """The file of an instance: storage key, size in bytes, offset of the data set, and transfer syntax."""

    key: str
    size: int
    data_set_offset: int
    transfer_syntax_uid: str
    lacking: str = ""
    """What its pixel data lack, in words; '' if nothing is known."""


@dataclass(slots=True)
class Stored:
    version: int
    change: int
    """Number of its entry in the change log."""
    new_study: bool
    flags: int
    shared: bool = False
    """Whether another patient has a study with the same UID."""


@dataclass(slots=True)
class Duplicate:
    """The instance that exists already; nothing was changed."""

    key: str
    version: int
    transfer_syntax_uid: str
    size: int
    data_set_offset: int
    lacking: str = ""
    """What its pixel data lack, as in FileLocation."""
    shared: bool = False
    """Whether another patient has a study with the same UID."""


def store_instance(
    record: InstanceRecord, placement: FileLocation, origin: Origin, *, replaces: str | None = None
) -> Script[Stored | Duplicate]:
    """Store an instance, and its parents if they are new.

    If the instance is known, nothing changes and Duplicate names its file, unless that is the file named by
    `replaces`: then the new file replaces it as the next version and the old one becomes garbage. The rows
    of patient, study and series are those of the first instance, until a new version corrects them.
    An instance that was deleted and is stored again has the version after its last one. The next instance of a known
    series costs four statements.
    """
    added = yield from _add_instance(record, placement, origin)
    new_study = False
    if not added:
        rows = yield queries.FIND_INSTANCE, (record.public_id,)
        if rows:
            (row,) = rows
            if replaces is None or replaces != row[1]:
                return duplicate(row)
            return (yield from _replace(record, placement, origin, row))
        new_study = yield from _add_parents(record, origin)
        added = yield from _add_instance(record, placement, origin)
    series, flags, version = added[0]
    if placement.lacking:
        yield from flag_incomplete(record.public_id, record.parents.study_public_id, placement, origin.received_at)
    ((study,),) = yield queries.COUNT_IN_SERIES, (series, placement.size, origin.received_at)
    ((shared,),) = yield queries.COUNT_IN_STUDY, (study, placement.size, origin.received_at)
    ((sequence,),) = yield queries.ADD_CHANGE, _change("NewInstance", "Instance", record.public_id, record, origin)
    return Stored(version, sequence, new_study, flags, bool(shared))


def duplicate(row: tuple[Any, ...]) -> Duplicate:
    """The Duplicate of a row of FIND_INSTANCE."""
    return Duplicate(row[1], row[2], row[3], row[4], row[5], row[9], bool(row[10]))


async def stored_as(database: Database, public_id: str) -> Duplicate | None:
    """The file of the instance with a public id; None if it is not in the index."""
    rows = await database.fetch(queries.FIND_INSTANCE, public_id)
    return duplicate(rows[0]) if rows else None


def flag_incomplete(instance: str, study: str, placement: FileLocation, now: float) -> Script[None]:
    """Record what the pixel data of a version of an instance lack; public ids of instance and study."""
    yield queries.ADD_INCOMPLETE, (placement.key, instance, study, placement.lacking, now)


def _add_instance(
    record: InstanceRecord, placement: FileLocation, origin: Origin
) -> Script[list[tuple[int, int, int]]]:
    return (
        yield (
            queries.ADD_INSTANCE,
            (
                record.parents.series_public_id,
                record.public_id,
                record.sop_instance_uid,
                record.sop_class_uid,
                record.number,
                placement.key,
                placement.transfer_syntax_uid,
                placement.size,
                placement.data_set_offset,
                origin.received_at,
                origin.via,
                origin.calling_aet,
                origin.called_aet,
                origin.peer,
                record.attributes,
                record.extras,
            ),
        )
    )


def _add_parents(record: InstanceRecord, origin: Origin) -> Script[bool]:
    """Store patient, study and series, as far as they are new. Whether the study is."""
    parents = record.parents
    rows = yield queries.ADD_PATIENT, parents.patient
    new_patient = bool(rows)
    if not rows:
        rows = yield queries.FIND_PATIENT, (parents.patient_public_id,)
    rows = yield queries.ADD_STUDY, (rows[0][0], *parents.study, origin.received_at, origin.calling_aet, origin.tenant)
    new_study = bool(rows)
    if not rows:
        rows = yield queries.FIND_STUDY, (parents.study_public_id,)
    study = rows[0][0]
    if new_study:
        if rows[0][1]:
            yield queries.SHARE_STUDIES, (parents.study_instance_uid,)
        for tag, name in parents.names:
            yield queries.ADD_NAME, (study, tag, name)
    if new_patient:
        yield queries.ADD_CHANGE, _change("NewPatient", "Patient", parents.patient_public_id, record, origin)
    if new_study:
        yield queries.ADD_CHANGE, _change("NewStudy", "Study", parents.study_public_id, record, origin)
    if (yield queries.ADD_SERIES, (study, *parents.series)):
        yield queries.COUNT_SERIES, (study, *_listing(parents.modality))
        yield queries.ADD_CHANGE, _change("NewSeries", "Series", parents.series_public_id, record, origin)
    return new_study


def _listing(modality: str) -> tuple[str, str]:
    """A pattern that a list with this modality matches, and the text to append to a list without."""
    return (f"%\\{like(modality)}\\%", modality + "\\") if modality else ("%", "")


def _replace(
    record: InstanceRecord, placement: FileLocation, origin: Origin, row: tuple[object, ...]
) -> Script[Stored | Duplicate]:
    identifier, old_key, _version, _syntax, old_size, _offset, flags, series, study, lacked, shared, _public_id = row
    ((version,),) = yield (
        queries.REPLACE_INSTANCE,
        (
            identifier,
            old_key,
            placement.key,
            placement.transfer_syntax_uid,
            placement.size,
            placement.data_set_offset,
            origin.received_at,
            origin.via,
            origin.calling_aet,
            origin.called_aet,
            origin.peer,
            record.sop_class_uid,
            record.number,
            record.attributes,
            record.extras,
        ),
    )
    assert isinstance(old_size, int)
    assert isinstance(flags, int)
    yield queries.RESIZE_SERIES, (series, placement.size - old_size, origin.received_at)
    yield queries.RESIZE_STUDY, (study, placement.size - old_size, origin.received_at)
    yield queries.ADD_GARBAGE, (old_key, origin.received_at + READERS_S)
    if lacked:
        yield queries.FORGET_INCOMPLETE, (old_key,)
    if placement.lacking:
        yield from flag_incomplete(record.public_id, record.parents.study_public_id, placement, origin.received_at)
    yield FORGET_METADATA_OF_STUDY, (record.parents.study_instance_uid,)
    yield from _correct_parents(record, series, study)
    ((sequence,),) = yield (
        queries.ADD_CHANGE,
        _change("UpdatedAttachment", "Instance", record.public_id, record, origin),
    )
    return Stored(version, sequence, False, flags, bool(shared))


def correct_parents(record: InstanceRecord, levels: Collection[Level]) -> Script[None]:
    """Give the rows above an instance that is stored its own attributes, at some levels; nothing where it has gone."""
    for row in (yield queries.FIND_INSTANCE, (record.public_id,)):
        yield FORGET_METADATA_OF_STUDY, (record.parents.study_instance_uid,)
        yield from _correct_parents(record, row[7], row[8], levels)


def _correct_parents(
    record: InstanceRecord, series: object, study: object, levels: Collection[Level] = LEVELS
) -> Script[None]:
    """Update the parents' rows: a new version has its own patient, study and series attributes; the latest count."""
    parents = record.parents
    yield queries.COUNT_EDIT, ()
    if "patient" in levels:
        yield queries.CORRECT_PATIENT, parents.patient
    if "study" in levels:
        yield from set_study(record, study)
    if "series" in levels:
        yield queries.CORRECT_SERIES, (series, *parents.series[2:])
        yield from set_modalities(study)


def set_study(record: InstanceRecord, study: object) -> Script[None]:
    """Set the attributes of the study with a row number to those that an instance of it has."""
    yield queries.CORRECT_STUDY, (study, *record.parents.study[2:])
    yield queries.FORGET_NAMES, (study,)
    for tag, name in record.parents.names:
        yield queries.ADD_NAME, (study, tag, name)


def set_modalities(study: object) -> Script[None]:
    """Set the modalities of the study with a row number to those of its series."""
    modalities = yield queries.MODALITIES, (study,)
    yield queries.SET_MODALITIES, (study, "\\" + "".join([f"{code}\\" for (code,) in modalities if code]))


def _change(kind: str, level: str, public_id: str, record: InstanceRecord, origin: Origin) -> tuple[object, ...]:
    return kind, level, public_id, record.parents.study_instance_uid, origin.received_at


async def keys_present(database: Database, keys: Sequence[str]) -> set[str]:
    """The storage keys among these that are in a row. At most 500 keys."""
    if not keys:
        return set()
    return {key for (key,) in await database.fetch(queries.keys_present(len(keys)), *keys)}


async def keys_known(database: Database, keys: Sequence[str]) -> set[str]:
    """The storage keys among these that are known: present, to be deleted, or unreadable. At most 500 keys."""
    if not keys:
        return set()
    return {key for (key,) in await database.fetch(queries.keys_known(len(keys)), *keys)}


def tombstone_if_uncommitted(key: str, now: float) -> Script[bool]:
    """Make a file garbage unless a row names its key; returns whether it is garbage.

    After the death of a process this script finds out. A commit that was on the disk and not yet in the shared
    index of the log when the process died is seen by no reader, and comes back at the next start unless another commit
    has taken its place, as that of this script does.
    """
    if (yield queries.keys_present(1), (key,)):
        return False
    yield queries.ADD_GARBAGE, (key, now)
    return True


async def garbage(database: Database, *, older_than: float, limit: int = 500) -> list[str]:
    """Keys of files to delete that became garbage before `older_than` (seconds since 1970), oldest first."""
    return [key for (key,) in await database.fetch(queries.LIST_GARBAGE, older_than, limit)]


def claim_garbage(keys: Sequence[str]) -> Script[None]:
    """Write the rows of garbage again, so that the commit of this script makes durable all that led to them."""
    for key in keys:
        yield queries.CLAIM_GARBAGE, (key,)


def forget_garbage(keys: Sequence[str]) -> Script[list[str]]:
    """Remove deleted files from the list of garbage; returns those that were on it."""
    forgotten: list[str] = []
    for key in keys:
        forgotten += [found for (found,) in (yield queries.FORGET_GARBAGE, (key,))]
    return forgotten
