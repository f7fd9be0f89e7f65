"""The script that enters an instance into the index, and the lists of files that recovery and clean-up ask for.

Everything one instance changes happens in one script: its row, its parents' rows and counts, the change log, the
list of files to delete. What is compared, when, and what is answered to the sender is in `archive/ingest.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.database.database import Database, Script
from gateway.index import queries
from gateway.index.record import InstanceRecord
from gateway.index.values import like

SOP_ELSEWHERE, SERIES_ELSEWHERE, STUDY_ELSEWHERE = 1, 2, 4
"""Flags: the same UID was known under another parent when this one came."""

Via = Literal["dimse", "stow", "rest", "import"]


@dataclass(slots=True)
class Origin:
    """Where an instance came from. `peer` is the host; `received_at` seconds since 1970."""

    calling_aet: str
    called_aet: str
    peer: str
    received_at: float
    via: Via


@dataclass(slots=True)
class Placement:
    """Where its file is: storage key, bytes of the file, where the data set begins, in which transfer syntax."""

    key: str
    size: int
    data_set_offset: int
    transfer_syntax_uid: str


@dataclass(slots=True)
class Stored:
    version: int
    change: int
    """Number of its entry in the change log."""
    new_study: bool
    flags: int


@dataclass(slots=True)
class Exists:
    """The instance is here already; nothing was changed."""

    key: str
    version: int
    transfer_syntax_uid: str
    size: int
    data_set_offset: int


def store_instance(
    record: InstanceRecord, placement: Placement, origin: Origin, *, replaces: str | None = None
) -> Script[Stored | Exists]:
    """Enter an instance; its parents too where they are new.

    Where the instance is known, nothing changes and Exists tells which file it has, unless that is the file that
    `replaces` names: then the new one takes its place as the next version and the old one becomes garbage. The rows
    of patient, study and series are those of the instance that came first, until a new version corrects them.
    The next instance of a known series costs four statements.
    """
    added = yield from _add_instance(record, placement, origin)
    new_study = False
    if not added:
        found = yield queries.FIND_INSTANCE, (record.public_id,)
        if found:
            (row,) = found
            if replaces is None or replaces != row[1]:
                return Exists(row[1], row[2], row[3], row[4], row[5])
            return (yield from _replace(record, placement, origin, row))
        new_study = yield from _add_parents(record, origin)
        added = yield from _add_instance(record, placement, origin)
    series, flags = added[0]
    ((study,),) = yield queries.COUNT_IN_SERIES, (series, placement.size)
    yield queries.COUNT_IN_STUDY, (study, placement.size, origin.received_at)
    ((sequence,),) = yield queries.ADD_CHANGE, _change("NewInstance", "Instance", record.public_id, record, origin)
    return Stored(1, sequence, new_study, flags)


def _add_instance(record: InstanceRecord, placement: Placement, origin: Origin) -> Script[list[tuple[int, int]]]:
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
                1,
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
    """Patient, study and series, as far as they are new. True where the study is."""
    parents = record.parents
    rows = yield queries.ADD_PATIENT, parents.patient
    new_patient = bool(rows)
    if not rows:
        rows = yield queries.FIND_PATIENT, (parents.patient_public_id,)
    rows = yield queries.ADD_STUDY, (rows[0][0], *parents.study, origin.received_at)
    new_study = bool(rows)
    if not rows:
        rows = yield queries.FIND_STUDY, (parents.study_public_id,)
    study = rows[0][0]
    if new_study:
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
    """A pattern that a list with this modality matches, and what is added to one without."""
    return (f"%\\{like(modality)}\\%", modality + "\\") if modality else ("%", "")


def _replace(
    record: InstanceRecord, placement: Placement, origin: Origin, row: tuple[object, ...]
) -> Script[Stored | Exists]:
    identifier, old_key, _version, _syntax, old_size, _offset, flags, series, study = row
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
    yield queries.RESIZE_SERIES, (series, placement.size - old_size)
    yield queries.RESIZE_STUDY, (study, placement.size - old_size, origin.received_at)
    yield queries.ADD_GARBAGE, (old_key, origin.received_at)
    yield queries.FORGET_METADATA_OF_STUDY, (record.parents.study_instance_uid,)
    yield from _correct_parents(record, series, study)
    ((sequence,),) = yield (
        queries.ADD_CHANGE,
        _change("UpdatedAttachment", "Instance", record.public_id, record, origin),
    )
    return Stored(version, sequence, False, flags)


def _correct_parents(record: InstanceRecord, series: object, study: object) -> Script[None]:
    """A new version brings its own patient, study and series attributes, corrected perhaps: the latest count."""
    parents = record.parents
    yield queries.CORRECT_PATIENT, parents.patient
    yield queries.CORRECT_STUDY, (study, *parents.study[2:])
    yield queries.FORGET_NAMES, (study,)
    for tag, name in parents.names:
        yield queries.ADD_NAME, (study, tag, name)
    yield queries.CORRECT_SERIES, (series, *parents.series[2:])
    modalities = yield queries.MODALITIES, (study,)
    yield queries.SET_MODALITIES, (study, "\\" + "".join([f"{code}\\" for (code,) in modalities if code]))


def _change(kind: str, level: str, public_id: str, record: InstanceRecord, origin: Origin) -> tuple[object, ...]:
    return kind, level, public_id, record.parents.study_instance_uid, origin.received_at


async def keys_present(database: Database, keys: Sequence[str]) -> set[str]:
    """Which of these storage keys a row names. At most 500 keys."""
    if not keys:
        return set()
    return {key for (key,) in await database.fetch(queries.keys_present(len(keys)), *keys)}


def disown(key: str, now: float) -> Script[bool]:
    """Its file is garbage, unless a row names the key: whether it is.

    After the death of a process this is the way to ask. A commit that was on the disk and not yet in the shared index
    of the log when it died is seen by nobody, and comes back with the next start unless another one has taken its
    place, as this one does.
    """
    if (yield queries.keys_present(1), (key,)):
        return False
    yield queries.ADD_GARBAGE, (key, now)
    return True


async def garbage(database: Database, *, older_than: float, limit: int = 500) -> list[str]:
    """Keys of files to delete that became garbage before `older_than` (seconds since 1970), oldest first."""
    return [key for (key,) in await database.fetch(queries.LIST_GARBAGE, older_than, limit)]


def forget_garbage(keys: Sequence[str]) -> Script[None]:
    """The files are deleted; take them off the list."""
    for key in keys:
        yield queries.FORGET_GARBAGE, (key,)
