"""Deletion of patients, studies, series and instances: the only way out of the archive.

An instance under storage commitment is not deleted. Rows are deleted in one transaction, which also checks commitments;
files are deleted some time later, so that their readers can finish, or at once where the disk is full. A crash in
between leaves files on the list of garbage. Whoever sees a part of a patient's studies deletes that part.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, NamedTuple

from gateway.admin.copies import Copies, Pairs
from gateway.database.database import Query, Row, Script
from gateway.database.view import VIEW, seeing
from gateway.dicom.levels import Level, level_of
from gateway.errors import GatewayError, NotFound, RetainedByCommitment, SeveralPatients
from gateway.index.locate import PAGE, identified
from gateway.index.queries.annotations import EXISTS
from gateway.index.queries.locate import (
    LOCATE_BY_PUBLIC_ID,
    REPLACED_SINCE,
    ROWS_BY_PUBLIC_ID,
    ROWS_BY_UID,
    count_below,
    count_stored,
)
from gateway.index.queries.remove import STUDIES_OF_PATIENT, TOTALS_BELOW
from gateway.index.remove import Removed, remove_resource
from gateway.ingest.ingest import Ingest
from gateway.workflow import queries

Stay = Literal["newer", "replaced", "without copy"]
"""Why a source is not deleted: an instance of it has come since; has got another file since; has no stored copy."""


class _Staying(GatewayError):
    """There are instances that are not to be deleted."""

    def __init__(self, why: Stay) -> None:
        super().__init__(why)
        self.why: Stay = why


class Moment(NamedTuple):
    """A moment of the archive, which is given so that nothing that has come since is deleted."""

    row: int
    """The last row of an instance."""
    change: int
    """The number of the last change."""


class Removal:
    """Deletes resources of one archive."""

    def __init__(
        self, ingest: Ingest, *, clock: Callable[[], float] = time.time, readers_s: float | None = None
    ) -> None:
        """`readers_s`: as in `Garbage.discarding`."""
        self._ingest = ingest
        self._readers_s = readers_s
        self._clock = clock

    async def by_public_id(self, level: Level, public_id: str) -> Removed:
        """Delete the resource with this Orthanc identifier. Raises NotFound, RetainedByCommitment."""
        return await self._remove(level, ROWS_BY_PUBLIC_ID[level], (public_id,), (public_id,))

    async def as_copied(self, level: Level, public_id: str, known: Moment, pairs: Pairs) -> Stay | None:
        """Delete a resource of which copies are stored; returns why it stays, None where it was deleted.

        `pairs` are the rows of its instances, and public ids of their copies: it stays unless these are all of its
        instances, all copies are stored, and no instance has come, or got another file, since it was `known`. That is
        looked at in the transaction of the deletion. Raises as `by_public_id`.
        """

        def check(row: int) -> Script[None]:
            if (yield LOCATE_BY_PUBLIC_ID[level], (public_id, known.row, 1)):
                raise _Staying("newer")
            if (yield REPLACED_SINCE[level], (public_id, known.change)):
                raise _Staying("replaced")
            yield from _check_copies(level, row, pairs)

        try:
            await self._remove(level, ROWS_BY_PUBLIC_ID[level], (public_id,), (public_id,), check)
        except _Staying as error:
            return error.why
        return None

    async def each_as_copied(
        self, level: Level, public_id: str, known: Moment, copies: Copies, stays: Collection[int] = ()
    ) -> Counter[Stay]:
        """Delete the instances of a resource of which copies are stored, but for the rows that stay and for what has
        come since; returns how many others stay, and why. Raises RetainedByCommitment."""
        left: Counter[Stay] = Counter()
        try:
            in_part = level == "patient" and VIEW.get() is not None
            whole = not stays and not in_part
            if whole and await self.as_copied(level, public_id, known, copies.of_resource(public_id)) is None:
                return left
        except NotFound:
            return left
        async for page in identified(self._ingest.database, level, public_id):
            for identity, located in page:
                if located.id > known.row or located.id in stays:
                    continue
                with suppress(NotFound):
                    pairs = copies.of_instance(identity, located.id)
                    why = await self.as_copied("instance", identity.instance, known, pairs)
                    if why is not None:
                        left[why] += 1
        return left

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
        self,
        level: Level,
        query: Query,
        parameters: Sequence[str],
        names: Sequence[str],
        check: Callable[[int], Script[None]] | None = None,
    ) -> Removed:
        """Delete what a query finds; `check` gets its row and raises where it stays."""
        now, ingest = self._clock(), self._ingest
        rows = None if VIEW.get() is None else await self._seen(level, query, parameters, names)

        def script() -> Script[Removed]:
            if check is not None:
                for row, *_patient in (yield query, parameters):
                    yield from check(row)
            found = rows if rows is not None else _one(level, (yield query, parameters), names)
            return (yield from _remove(found, names, now, delete_at))

        async with ingest.garbage.discarding(now, self._readers_s) as delete_at:
            with seeing(None):  # The counts of what stays are of all that stays.
                removed = await ingest.database.write(script)
            ingest.committed(removed.change)
        if removed.ancestor is not None and rows is not None:
            above, public_id = removed.ancestor
            if not await ingest.database.fetch(EXISTS[above], public_id):
                return replace(removed, ancestor=None)
        return removed

    async def _seen(
        self, level: Level, query: Query, parameters: Sequence[str], names: Sequence[str]
    ) -> list[tuple[Level, int]]:
        """The rows to delete of a resource, for somebody who does not see everything. Raises as `_one`."""
        database = self._ingest.database
        found = _one(level, await database.fetch(query, *parameters), names)
        if level != "patient":
            return found
        return [("study", row) for (row,) in await database.fetch(STUDIES_OF_PATIENT, found[0][1])]


def _one(level: Level, rows: Sequence[Row], names: Sequence[str]) -> list[tuple[Level, int]]:
    """The one row found under the names. Raises SeveralPatients, NotFound."""
    if len(rows) > 1:
        raise SeveralPatients(names, [patient for _row, patient in rows])
    if not rows:
        raise NotFound(f"there is no {level} {names[-1]}")
    return [(level, rows[0][0])]


def _remove(found: Sequence[tuple[Level, int]], names: Sequence[str], now: float, delete_at: float) -> Script[Removed]:
    for level, row in found:
        for uid, until in (yield queries.PROMISED_BELOW[level], (row, now)):
            raise _retained(uid, until)
    removed: Removed | None = None
    for level, row in found:
        one = yield from remove_resource(level, row, now, delete_at)
        if one is not None:
            before = removed.instances if removed is not None else 0
            removed = replace(one, instances=before + one.instances)
    if removed is None:
        raise NotFound(f"there is no {names[-1]}")
    return removed


def _check_copies(level: Level, row: int, pairs: Pairs) -> Script[None]:
    """Raise where an instance of a resource is of no pair, or a copy of a pair is not stored."""
    ((count, _size),) = yield TOTALS_BELOW[level], (row,)
    for some in pairs.pages(PAGE):
        ((sources,),) = yield count_below(level, len(some)), (row, *[source for source, _copy in some])
        ((copies,),) = yield count_stored(len(some)), [copy for _source, copy in some]
        if copies < len(some):
            raise _Staying("without copy")
        count -= sources
    if count:
        raise _Staying("without copy")


def _retained(uid: str, until: float) -> RetainedByCommitment:
    day = datetime.datetime.fromtimestamp(until, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return RetainedByCommitment(
        f"instance {uid} must be kept {'until ' + day if until else 'for now'}, as storage commitment has promised; "
        "nothing is deleted"
    )
