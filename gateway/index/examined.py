"""Progress of the examination of code streams, and its findings: scripts, and the next part of the change log.

The examination itself is in `ingest/pixel_examination.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.database.database import Database, Row, Script
from gateway.index.queries import examined as queries

_MAX_CHANGES: Final = 500
"""Entries of the change log in one part."""


@dataclass(frozen=True, slots=True)
class ChangeLogPart:
    """A part of the change log, with its instances."""

    instances: Sequence[Row]
    """The present row of each instance named: storage key, public ids of instance and study, SOP Instance UID, transfer
    syntax, bytes of the file, offset of the data set."""
    up_to: int
    """The number of its last entry."""
    last: bool
    """Whether the change log ended here."""


async def next_instances(database: Database, transfer_syntaxes: Collection[str]) -> ChangeLogPart | None:
    """The next part of the change log, with its instances in one of these transfer syntaxes. None at the end."""
    ((after, newest),) = await database.fetch(queries.EXAMINED_SO_FAR)
    if newest <= after:
        return None
    up_to = min(newest, after + _MAX_CHANGES)
    # The statement chooses: a row that is only dropped here costs a busy intake 20 us.
    find = queries.new_versions(len(transfer_syntaxes))
    rows = await database.fetch(find, after, up_to, *sorted(transfer_syntaxes))
    return ChangeLogPart(rows, up_to, last=up_to == newest)


def advance(up_to: int) -> Script[None]:
    """Record that everything up to this entry of the change log has been examined."""
    yield queries.SET_EXAMINED, (up_to,)


def flag(key: str, instance: str, study: str, lacking: str, now: float) -> Script[bool]:
    """Record what a stored version lacks. False if that is known, or the version has gone."""
    return bool((yield queries.FLAG_INCOMPLETE, (key, instance, study, lacking, now)))
