"""Deletion of patients, studies, series and instances: the only way out of the archive.

An instance under storage commitment is not deleted. Rows are deleted in one transaction, which also checks commitments;
files are deleted some time later, so that their readers can finish, or at once where the disk is full. A crash in
between leaves files on the list of garbage.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from gateway.database.database import Query, Script
from gateway.dicom.levels import Level, level_of
from gateway.errors import GatewayError, NotFound, RetainedByCommitment, SeveralPatients
from gateway.index.locate import identified
from gateway.index.queries.locate import LOCATE_BY_PUBLIC_ID, REPLACED_SINCE, ROWS_BY_PUBLIC_ID, ROWS_BY_UID
from gateway.index.remove import Removed, remove_resource
from gateway.ingest.ingest import Ingest
from gateway.workflow import queries


class _Changed(GatewayError):
    """There are instances that were not to be deleted."""


class Moment(NamedTuple):
    """A moment of the archive, which is given so that nothing that has come since is deleted."""

    row: int
    """The last row of an instance."""
    change: int
    """The number of the last change."""


class Removal:
    """Deletes resources of one archive."""

    def __init__(self, ingest: Ingest, *, clock: Callable[[], float] = time.time) -> None:
        self._ingest = ingest
        self._clock = clock

    async def by_public_id(self, level: Level, public_id: str) -> Removed:
        """Delete the resource with this Orthanc identifier. Raises NotFound, RetainedByCommitment."""
        return await self._remove(level, ROWS_BY_PUBLIC_ID[level], (public_id,), (public_id,))

    async def as_known(self, level: Level, public_id: str, known: Moment) -> bool:
        """Delete the resource unless an instance of it has come, or got another file, since; whether it was deleted.

        Raises as `by_public_id`.
        """
        try:
            await self._remove(level, ROWS_BY_PUBLIC_ID[level], (public_id,), (public_id,), known)
        except _Changed:
            return False
        return True

    async def each_as_known(self, level: Level, public_id: str, known: Moment, stays: Collection[int] = ()) -> int:
        """Delete the instances of a resource but for the rows that stay, for what has come since and for what has got
        another file since; returns the number of the latter. Raises RetainedByCommitment."""
        try:
            if not stays and await self.as_known(level, public_id, known):
                return 0
        except NotFound:
            return 0
        replaced = 0
        async for page in identified(self._ingest.database, level, public_id):
            for identity, located in page:
                if located.id <= known.row and located.id not in stays:
                    with suppress(NotFound):
                        replaced += not await self.as_known("instance", identity.instance, known)
        return replaced

    async def check(self, level: Level, public_id: str) -> None:
        """Raise RetainedByCommitment where storage commitment retains an instance of the resource."""
        now = self._clock()
        for (row,) in await self._ingest.database.fetch(ROWS_BY_PUBLIC_ID[level], public_id):
            for uid, until in await self._ingest.database.fetch(queries.PROMISED_BELOW[level], row, now):
                raise _retained(uid, until)

    async def by_uid(self, uids: Sequence[str], patient: str = "") -> Removed:
        """Delete a study, series or instance, named by its UIDs from the study down.

        `patient` is the public id of its patient; without one, a resource that several patients share is not deleted.
        Raises NotFound, RetainedByCommitment, SeveralPatients.
        """
        level = level_of(*uids)
        return await self._remove(level, ROWS_BY_UID[level], (uids[0], patient, *uids[1:]), uids)

    async def _remove(
        self, level: Level, query: Query, parameters: Sequence[str], names: Sequence[str], known: Moment | None = None
    ) -> Removed:
        now, ingest = self._clock(), self._ingest

        def script() -> Script[Removed]:
            if known is not None and (
                (yield LOCATE_BY_PUBLIC_ID[level], (parameters[0], known.row, 1))
                or (yield REPLACED_SINCE[level], (parameters[0], known.change))
            ):
                raise _Changed(names[-1])
            return (yield from _remove(level, query, parameters, names, now, delete_at))

        async with ingest.garbage.discarding(now) as delete_at:
            removed = await ingest.database.write(script)
            ingest.committed(removed.change)
        return removed


def _remove(
    level: Level, query: Query, parameters: Sequence[str], names: Sequence[str], now: float, delete_at: float
) -> Script[Removed]:
    rows = yield query, parameters
    if len(rows) > 1:
        raise SeveralPatients(names, [patient for _row, patient in rows])
    for row, *_patient in rows:
        for uid, until in (yield queries.PROMISED_BELOW[level], (row, now)):
            raise _retained(uid, until)
        removed = yield from remove_resource(level, row, now, delete_at)
        if removed is not None:
            return removed
    raise NotFound(f"there is no {level} {names[-1]}")


def _retained(uid: str, until: float) -> RetainedByCommitment:
    day = datetime.datetime.fromtimestamp(until, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return RetainedByCommitment(
        f"instance {uid} must be kept {'until ' + day if until else 'for now'}, as storage commitment has promised; "
        "nothing is deleted"
    )
