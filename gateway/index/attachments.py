"""Files that users attach to patients, studies, series and instances, as rows: name, size, MD5, revision, storage key.

They go with the resource they are about (`remove.py`) and outlive a rebuild of the index. How a file comes in is in
`ingest/attaching.py`; the file of an instance itself stands in the row of the instance and not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database, Script
from gateway.dicom.levels import Level
from gateway.errors import BadRequest, UnknownResource
from gateway.index.annotations import must_exist
from gateway.index.precondition import ANYTHING, Precondition
from gateway.index.queries import attachments as queries
from gateway.index.queries.annotations import LOG_ATTACHMENT
from gateway.index.queries.store import ADD_GARBAGE
from gateway.index.resources import Resource

MAX_ATTACHMENTS: Final = 256
"""Attachments of one resource."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """`revision` counts from 0 how often the name got another file."""

    name: str
    key: str
    data_offset: int
    """Where the attached bytes begin in the stored object."""
    size: int
    """Number of the attached bytes."""
    md5: str
    """Of the attached bytes, in hexadecimal digits."""
    revision: int = 0

    @property
    def tag(self) -> str:
        """Revision and MD5, by which clients tell versions apart."""
        return f"{self.revision}-{self.md5}"


async def attachments_of(database: Database, level: Level, public_id: str) -> list[Attachment]:
    """The attachments of a resource by name; none of one that does not exist."""
    return [Attachment(*row) for row in await database.fetch(queries.ATTACHMENTS, level, public_id)]


async def attached_to(database: Database, found: Sequence[Resource]) -> list[list[Attachment]]:
    """The attachments of each of some resources of one level, by name."""
    if not found:
        return []
    by_row: dict[int, list[Attachment]] = {each.row: [] for each in found}
    for row, *columns in await database.fetch(queries.attached_to(found[0].level, len(by_row)), *by_row):
        by_row[row].append(Attachment(*columns))
    return list(by_row.values())


async def attachment(database: Database, level: Level, public_id: str, name: str) -> Attachment:
    """One attachment of a resource. Raises: UnknownResource."""
    rows = await database.fetch(queries.ONE_ATTACHMENT, level, public_id, name)
    if not rows:
        raise UnknownResource(f"the {level} has no attachment {name[:80]!r}")
    return Attachment(*rows[0])


def may_attach(level: Level, public_id: str, name: str, condition: Precondition) -> Script[Attachment | None]:
    """The attachment that a new one of this name replaces, which must meet the condition; None if there is none.

    Raises NotFound where there is no resource; BadRequest where the resource has too many; as `Precondition.check`.
    """
    yield from must_exist(level, public_id)
    found = yield from _found(level, public_id, name, condition)
    if found is None:
        ((count,),) = yield queries.COUNT_ATTACHMENTS, (level, public_id)
        if count >= MAX_ATTACHMENTS:
            raise BadRequest(f"the {level} has {count} attachments; no more are taken")
    return found


def attach(
    level: Level, public_id: str, file: Attachment, condition: Precondition, now: float, delete_at: float
) -> Script[Attachment]:
    """Attach a file, whose revision is counted here. The file that it replaces may be deleted from `delete_at` on.

    Raises as `may_attach`.
    """
    old = yield from may_attach(level, public_id, file.name, condition)
    made = Attachment(
        file.name, file.key, file.data_offset, file.size, file.md5, old.revision + 1 if old is not None else 0
    )
    if old is not None:
        yield ADD_GARBAGE, (old.key, delete_at)
    yield from _set(level, public_id, made)
    yield LOG_ATTACHMENT[level], (public_id, now)
    return made


def attach_again(level: Level, public_id: str, file: Attachment) -> Script[str | None]:
    """Attach a file of which the database knows nothing any more; returns the key of what it replaces, if anything.

    Raises: UnknownResource.
    """
    yield from must_exist(level, public_id)
    old = yield from _found(level, public_id, file.name, ANYTHING)
    yield from _set(level, public_id, file)
    return None if old is None else old.key


def detach(
    level: Level, public_id: str, name: str, condition: Precondition, now: float, delete_at: float
) -> Script[None]:
    """Take an attachment away; its file may be deleted from `delete_at` on. Raises as `may_attach`, and UnknownResource
    where there is none of that name."""
    yield from must_exist(level, public_id)
    found = yield from _found(level, public_id, name, condition)
    if found is None:
        raise UnknownResource(f"the {level} has no attachment {name[:80]!r}")
    yield ADD_GARBAGE, (found.key, delete_at)
    yield queries.REMOVE_ATTACHMENT, (level, public_id, name)
    yield LOG_ATTACHMENT[level], (public_id, now)


def _found(level: Level, public_id: str, name: str, condition: Precondition) -> Script[Attachment | None]:
    rows = yield queries.ONE_ATTACHMENT, (level, public_id, name)
    found = Attachment(*rows[0]) if rows else None
    condition.check(f"attachment {name[:80]!r}", None if found is None else found.tag)
    return found


def _set(level: Level, public_id: str, made: Attachment) -> Script[None]:
    columns = made.name, made.key, made.data_offset, made.size, made.md5, made.revision
    yield queries.SET_ATTACHMENT, (level, public_id, *columns)
