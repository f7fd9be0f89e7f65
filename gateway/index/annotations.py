"""What people add to patients, studies, series and instances: metadata with revisions, labels, protection.

All of it goes with the resource it is about (`remove.py`) and outlives a rebuild of the index. Metadata that a resource
has by itself (when it came, from whom) stands in its row and not here.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.database.database import Database, Script
from gateway.dicom.levels import LEVELS, Level
from gateway.errors import BadRequest, NotFound, UnknownResource
from gateway.index.locate import Identity
from gateway.index.precondition import Precondition
from gateway.index.queries import annotations as queries
from gateway.index.queries.attachments import DISCARD_ATTACHED
from gateway.index.queries.store import COUNT_EDIT
from gateway.index.resources import Resource
from gateway.index.values import NO_NUMBER

MAX_METADATA: Final = 256
"""Metadata of one resource."""
MAX_METADATA_BYTES: Final = 1 << 20
"""UTF-8 of one metadata."""
MAX_LABELS: Final = 256
"""Labels of one resource."""
LABEL_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""What a label may be, as Orthanc has it. The index separates labels by another character."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """`revision` counts from 0 how often the value was set anew."""

    value: str
    revision: int

    @property
    def tag(self) -> str:
        """Revision and MD5, by which clients tell versions apart."""
        return f"{self.revision}-{hashlib.md5(self.value.encode(), usedforsecurity=False).hexdigest()}"


async def check_exists(database: Database, level: Level, public_id: str) -> None:
    """Raise UnknownResource where there is no such resource."""
    if not await database.fetch(queries.EXISTS[level], public_id):
        raise UnknownResource(f"there is no {level} {public_id}")


async def metadata_of(database: Database, resources: Sequence[Resource]) -> list[dict[str, Metadata]]:
    """All metadata of some resources of one level (a page at most), by name: first what they have by themselves.

    Nothing of an instance that has gone meanwhile.
    """
    if not resources:
        return []
    level, rows = resources[0].level, [each.row for each in resources]
    came = await database.fetch(queries.came_from(level, len(rows)), *rows) if level in ("series", "instance") else []
    found = {each.row: _own(each) for each in resources}
    for row, *values in came:
        found[row] |= dict(zip(queries.CAME_FROM[level], values, strict=True))
    made = {row: {name: Metadata(value, 0) for name, value in own.items()} for row, own in found.items()}
    for row, name, value, revision in await database.fetch(queries.added_to(level, len(rows)), *rows):
        made[row][name] = Metadata(value, revision)
    return [made[row] for row in rows]


async def added_metadata(database: Database, level: Level, public_id: str) -> dict[str, Metadata]:
    """The metadata that were added to a resource, by name."""
    rows = await database.fetch(queries.ADDED_METADATA, level, public_id)
    return {name: Metadata(value, revision) for name, value, revision in rows}


def _own(resource: Resource) -> dict[str, str]:
    when = datetime.datetime.fromtimestamp(resource.last_received, datetime.UTC).strftime("%Y%m%dT%H%M%S")
    if resource.level != "instance":
        expected = resource.expected_instances
        return {"LastUpdate": when, **({"ExpectedNumberOfInstances": str(expected)} if expected else {})}
    return {"ReceptionDate": when, **({"IndexInSeries": str(resource.number)} if resource.number != NO_NUMBER else {})}


def set_metadata(
    level: Level, public_id: str, name: str, value: str, condition: Precondition, now: float
) -> Script[Metadata]:
    """Add metadata to a resource, or set it anew, where the condition is met.

    Raises NotFound where there is no resource; BadRequest where the resource has too many; as `Precondition.check`.
    """
    yield from must_exist(level, public_id)
    rows = yield queries.ONE_METADATA, (level, public_id, name)
    if not rows:
        ((count,),) = yield queries.COUNT_METADATA, (level, public_id)
        if count >= MAX_METADATA:
            raise BadRequest(f"the {level} has {count} metadata; no more are taken")
    condition.check(f"metadata {name!r}", Metadata(*rows[0]).tag if rows else None)
    made = Metadata(value, rows[0][1] + 1 if rows else 0)
    yield queries.SET_METADATA, (level, public_id, name, made.value, made.revision)
    yield COUNT_EDIT, ()
    yield queries.LOG_METADATA[level], (public_id, now)
    return made


MadeBy = Literal["AnonymizedFrom", "ModifiedFrom"]


def note_origins(
    name: MadeBy,
    pairs: Iterable[tuple[Identity, Identity]],
    *,
    labels: bool = False,
    levels: Collection[Level] = LEVELS,
) -> Script[None]:
    """Write down of which resources others were made, at those `levels` at which they differ: pairs of new and
    original.

    The last one counts where something was made of several. With `labels` they get those of the originals, at each
    level.
    """
    origins: dict[tuple[Level, str], str] = {}
    for made, original in pairs:
        for level, public_id, source in zip(LEVELS, made, original, strict=True):
            if public_id != source:
                origins[level, public_id] = source
    for (level, public_id), source in origins.items():
        if (yield queries.EXISTS[level], (public_id,)):
            if level in levels:
                yield queries.SET_METADATA, (level, public_id, name, source, 0)
            if labels:
                for (label,) in (yield queries.LABELS, (level, source)):
                    yield from give_label(level, public_id, label)
    yield COUNT_EDIT, ()


def bring_annotations(
    level: Level, public_id: str, metadata: Mapping[str, Metadata], labels: Iterable[str], now: float
) -> Script[list[str]]:
    """Set metadata, with their revisions, and labels as another archive has them; returns the names of those that the
    resource has no room for, and what is no label.

    What the resource has besides stays. Raises UnknownResource.
    """
    yield from must_exist(level, public_id)
    ((count,),) = yield queries.COUNT_METADATA, (level, public_id)
    changed, refused = False, []
    for name, brought in metadata.items():
        rows = yield queries.ONE_METADATA, (level, public_id, name)
        if rows and Metadata(*rows[0]) == brought:
            continue
        if len(brought.value.encode("utf-8", "replace")) > MAX_METADATA_BYTES or (not rows and count >= MAX_METADATA):
            refused.append(name)
            continue
        yield queries.SET_METADATA, (level, public_id, name, brought.value, brought.revision)
        count += not rows
        changed = True
    if changed:
        yield queries.LOG_METADATA[level], (public_id, now)
    there = {label for (label,) in (yield queries.LABELS, (level, public_id))}
    for label in labels:
        if label not in there and (len(there) >= MAX_LABELS or LABEL_TEXT.fullmatch(label) is None):
            refused.append(label)
            continue
        there.add(label)
        yield from give_label(level, public_id, label)
    yield COUNT_EDIT, ()
    return refused


def remove_metadata(level: Level, public_id: str, name: str, condition: Precondition, now: float) -> Script[None]:
    """Take added metadata away again, where the condition is met.

    Raises as `set_metadata`, and NotFound where there is none of that name.
    """
    yield from must_exist(level, public_id)
    rows = yield queries.ONE_METADATA, (level, public_id, name)
    if not rows:
        raise NotFound(f"the {level} has no metadata {name!r} that was added")
    condition.check(f"metadata {name!r}", Metadata(*rows[0]).tag)
    yield queries.REMOVE_METADATA, (level, public_id, name)
    yield COUNT_EDIT, ()
    yield queries.LOG_METADATA[level], (public_id, now)


async def labels(database: Database, level: Level, public_id: str) -> list[str]:
    """The labels of a resource, in order."""
    return [label for (label,) in await database.fetch(queries.LABELS, level, public_id)]


async def all_labels(database: Database) -> list[str]:
    """Every label that some resource has, in order: one look into the index for each, however many have it."""
    found: list[str] = []
    while True:
        ((label,),) = await database.fetch(queries.NEXT_LABEL, found[-1] if found else "")
        if label is None:
            return found
        found.append(label)


def give_label(level: Level, public_id: str, label: str) -> Script[None]:
    """Give a resource a label, and note it in the rows of studies, by which a view shows them."""
    yield queries.ADD_LABEL, (level, public_id, label)
    if level in queries.LABEL_STUDIES:
        yield queries.LABEL_STUDIES[level], (public_id,)


def take_label(level: Level, public_id: str, label: str) -> Script[None]:
    """Take a label from a resource, and from the rows of studies, by which a view shows them."""
    yield queries.REMOVE_LABEL, (level, public_id, label)
    if level in queries.LABEL_STUDIES:
        yield queries.LABEL_STUDIES[level], (public_id,)


def add_label(level: Level, public_id: str, label: str) -> Script[None]:
    """Label a resource; nothing where it has the label. NotFound, and BadRequest where it has too many."""
    yield from must_exist(level, public_id)
    if len((yield queries.LABELS, (level, public_id))) >= MAX_LABELS:
        raise BadRequest(f"the {level} has {MAX_LABELS} labels; no more are taken")
    yield from give_label(level, public_id, label)
    yield COUNT_EDIT, ()


def remove_label(level: Level, public_id: str, label: str) -> Script[None]:
    """Take a label from a resource, if it has it. NotFound where there is no resource."""
    yield from must_exist(level, public_id)
    yield from take_label(level, public_id, label)
    yield COUNT_EDIT, ()


async def is_protected(database: Database, patient: str) -> bool:
    return bool(await database.fetch(queries.PROTECTED, patient))


def protect(patient: str, protected: bool) -> Script[None]:
    """Protect a patient from whatever makes room by itself, or no longer. NotFound."""
    yield from must_exist("patient", patient)
    yield queries.PROTECT if protected else queries.UNPROTECT, (patient,)
    yield COUNT_EDIT, ()


def forget(level: Level, public_id: str, delete_at: float) -> Script[None]:
    """Remove all that was added to a resource, which is going; attached files may be deleted from `delete_at` on."""
    yield DISCARD_ATTACHED, (level, public_id, delete_at)
    for query in queries.FORGET_OF:
        yield query, (level, public_id)
    if level == "patient":
        yield queries.UNPROTECT, (public_id,)


def must_exist(level: Level, public_id: str) -> Script[None]:
    """Raise UnknownResource where there is no such resource, as a part of a script."""
    if not (yield queries.EXISTS[level], (public_id,)):
        raise UnknownResource(f"there is no {level} {public_id}")
