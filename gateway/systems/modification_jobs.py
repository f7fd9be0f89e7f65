"""Jobs that modify or anonymize what is stored, as `POST …/modify` and `…/anonymize` ask for them.

What they make is derived from a key of the order, so that an interrupted job goes on with the same UIDs; what it stored
already is recognised as the same. The sources are deleted last, if at all, once everything of them is stored.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, Final

import msgspec

from gateway.admin.anonymization import Anonymizing, identity_of
from gateway.admin.change_requests import ChangeRequest, check_patient, compile_request
from gateway.admin.copies import Copies
from gateway.admin.deletion import Moment, Removal
from gateway.config import Settings
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.edit.change_set import ChangeSet
from gateway.edit.modification import Members, keeps_instances
from gateway.errors import (
    DataSetError,
    EditError,
    GatewayError,
    InstanceRefused,
    NotFound,
    OutOfDescriptors,
    Overloaded,
    PermanentFailure,
    UnknownResource,
)
from gateway.events.changes import last_change
from gateway.index.annotations import MadeBy
from gateway.index.locate import Identity, Located, counted_resources, identified, last_row
from gateway.index.store import Origin
from gateway.ingest.committer import CommitterUnavailable
from gateway.ingest.outcome import StoreResult
from gateway.jobs.runner import CompletionScript, JobType, Postpone
from gateway.jobs.table import Job
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once
from gateway.systems.resources import Resources
from gateway.systems.source_removal import check_running, is_replaced, remove_sources

KIND: Final = "ResourceModification"
MAX_LISTED: Final = 10_000
"""Resources of each level that a job lists among what it has made."""
_AT_ONCE: Final = 8
"""Instances that are changed and stored together."""
_ROWS: Final = 1 << 40
"""More than there are rows: a position is the number of a resource and the last row of it that is done."""
_MAX_COMPILED: Final = 16
"""Sets of changes that are remembered, which differ in what they mask."""
_AGAIN_S: Final = 3.0
"""Until a process that commits has been started again."""
_REFUSED: Final = (EditError, DataSetError, InstanceRefused, NotFound)
"""Errors of one instance, which the others need not have."""
_KINDS: Final[dict[Level, str]] = {level: level.capitalize() for level in LEVELS}


class ModificationOrder(msgspec.Struct, frozen=True):
    """An order to change resources; the payload of its job."""

    request: ChangeRequest
    resources: Resources
    instances: int
    """How many there were when it was asked for."""
    last: int
    """The last row of an instance at that time: what comes later is not changed."""
    key: str
    """Of everything that is derived, in hexadecimal digits."""
    several: bool = False
    """Whether it says what it has made of several resources, or of one."""
    keep_source: bool = True
    keep_labels: bool = False
    permissive: bool = False
    """Go on where an instance cannot be changed."""
    peer: str = ""
    user_data: Any = None


class ModificationJobs:
    """Adds such jobs and does them."""

    def __init__(
        self, desk: JobDesk, anonymizing: Anonymizing, removal: Removal, settings: Callable[[], Settings]
    ) -> None:
        self._desk = desk
        self._anonymizing = anonymizing
        self._removal = removal
        self._settings = settings

    @property
    def kind(self) -> JobType:
        return once(self.work)

    def change_set(self, wanted: ChangeRequest, key: bytes, members: Members | None = None) -> ChangeSet:
        """Compile a request by the current settings. Blocking. Raises BadRequest with what cannot be done."""
        return compile_request(wanted, key, self._settings().changes, members)

    async def of_instance(self, wanted: ChangeRequest, public_id: str) -> ChangeSet:
        """Compile a request for the file of one instance, with a key of its own. Raises BadRequest."""
        if wanted.regions:
            async for page in identified(self._desk.database, "instance", public_id):
                wanted = wanted.with_regions(wanted.regions_of(page[0][0].series, public_id))
        return await asyncio.to_thread(self.change_set, wanted, os.urandom(32))

    async def order(
        self,
        wanted: ChangeRequest,
        public_ids: Sequence[str],
        level: Level | None = None,
        *,
        keep_source: bool = True,
        keep_labels: bool = False,
        permissive: bool = False,
        peer: str = "",
        user_data: Any = None,
    ) -> ModificationOrder:
        """An order to change resources, each once; of one, its `level`; of several, without.

        Raises: BadRequest with what cannot be done; UnknownResource for a resource that is not there;
        RetainedByCommitment for one that would have to go and must stay; OutOfSpace.
        """
        self._anonymizing.check_space()
        key = os.urandom(32)
        await asyncio.to_thread(self.change_set, wanted, key)
        database = self._desk.database
        found = await counted_resources(database, public_ids)
        for public_id in public_ids:
            if public_id not in found or (level is not None and found[public_id].level != level):
                raise UnknownResource(f"there is no {level or 'resource'} {public_id[:80]}")
        resources = tuple((public_id, each.level) for public_id, each in found.items())
        if resources:
            await check_patient(database, wanted, resources)
        if not keep_source or self._replaces_source(wanted):
            for public_id, each in resources:
                await self._removal.check(each, public_id)
        return ModificationOrder(
            wanted,
            resources,
            sum(each.instances for each in found.values()),
            await last_row(database),
            key.hex(),
            level is None,
            keep_source,
            keep_labels,
            permissive,
            peer,
            user_data,
        )

    async def add(self, order: ModificationOrder, priority: int = 0) -> int:
        """Add a job; its number."""
        return await self._desk.add(KIND, "", msgspec.to_builtins(order), _content(order), priority)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first instance that cannot be changed, unless it is permissive, and
        where none can be; Postpone, and what the runner postpones, where it goes on soon."""
        order = msgspec.convert(job.payload, ModificationOrder)
        reporter = await self._desk.reporter(job)
        try:
            await _Modifying(self, order, reporter).run(lambda: self._desk.is_running(job))
        except (PermanentFailure, Overloaded, OutOfDescriptors):
            raise
        except CommitterUnavailable as error:
            raise Postpone(_AGAIN_S, str(error)) from None
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        return reporter.done

    async def members(self, order: ModificationOrder) -> Members:
        """The UIDs of all that an order changes."""
        return await self._anonymizing.members(order.resources, order.last)

    async def store(
        self, order: ModificationOrder, located: Located, changes: ChangeSet, *, is_stored: bool
    ) -> StoreResult:
        """Store one instance as it is changed. Raises as `Anonymizing.store`."""
        origin = Origin.by_rest(self._settings().dicom.aet, order.peer)
        in_place = self._replaces_source(order.request)
        return await self._anonymizing.store(located, changes, origin, overwrites=in_place, is_stored=is_stored)

    def _replaces_source(self, wanted: ChangeRequest) -> bool:
        """Whether instances may take the place of those that they are made of: where they keep their UIDs by force, and
        what is stored may be deleted."""
        return self._settings().dicomweb.delete and not wanted.changes and keeps_instances(wanted.modification)

    async def note(self, order: ModificationOrder, pairs: Sequence[tuple[StoreResult, Identity]]) -> None:
        """Write down what instances were made of."""
        made_by: MadeBy = "AnonymizedFrom" if order.request.what == "anonymize" else "ModifiedFrom"
        await self._anonymizing.note(made_by, pairs, labels=order.keep_labels, changed=_changed_level(order))

    async def pages(
        self, order: ModificationOrder, position: int
    ) -> AsyncIterator[tuple[list[tuple[Identity, Located]], int]]:
        """The instances to change behind a position, a few at a time, each with the position behind it."""
        first, row = divmod(position, _ROWS)
        for number, (public_id, level) in enumerate(order.resources[first:], first):
            async for page in identified(self._desk.database, level, public_id, after=row - 1):
                page = [each for each in page if each[1].id <= order.last]
                for at in range(0, len(page), _AT_ONCE):
                    some = page[at : at + _AT_ONCE]
                    yield some, number * _ROWS + some[-1][1].id + 1
                if not page:
                    break
            row = 0

    async def last_change(self) -> int:
        """The number of the last change in the archive."""
        return await last_change(self._desk.database)

    async def is_replaced(self, instance: str, since: int) -> bool:
        """Whether an instance got another file behind a change."""
        return await is_replaced(self._desk.database, instance, since)

    async def remove_sources(
        self, order: ModificationOrder, reporter: Reporter, since: int, copies: Copies, stays: Collection[int]
    ) -> None:
        """Delete what was changed and has stored copies, but for the rows that stay, for what came since the order, and
        for what was replaced behind the change `since`. Raises as `source_removal.remove_sources`."""
        await remove_sources(self._removal, reporter, order.resources, Moment(order.last, since), copies, stays)


class _Modifying:
    """One attempt of one job."""

    def __init__(self, jobs: ModificationJobs, order: ModificationOrder, reporter: Reporter) -> None:
        self._jobs = jobs
        self._order = order
        self._reporter = reporter
        self._content = reporter.content
        self._end = len(order.resources) * _ROWS
        # Everything is stored, and what is left of the sources goes, but for what was replaced behind this change.
        deletes = reporter.position >= self._end
        self._since = reporter.position - self._end if deletes else None
        # Submitted again, when sources may have been deleted already: references to these do not follow any more. The
        # copies as they were stored are right, but for those of what was replaced behind this change.
        resumed = not order.keep_source and reporter.position_before >= self._end
        self._stored_since = reporter.position_before - self._end if resumed else self._since
        # Which sources stay must be known of all of them, so that what may delete begins again.
        self._position = reporter.position if order.keep_source else 0
        self._done = order.instances * reporter.percent // 100 if self._position else 0
        self._failed = int(self._content["FailedInstancesCount"]) if self._position else 0
        self._stored = deletes or resumed or (self._position > 0 and ("ID" in self._content or order.several))
        """Whether anything was."""
        self._stays = array("q")
        self._copies = Copies([public_id for public_id, _level in order.resources])
        self._made_ids = set[int]()
        """Hashes of the public ids of what was made, of which each is made of one source alone where sources go."""
        self._listed = {level: set[str]() for level in LEVELS}
        if order.several and not self._position and not deletes and not resumed:
            self._content["Resources"] = []
        for each in self._content["Resources"] if order.several else ():
            self._listed[_level_of(each["Type"])].add(each["ID"])
        self._why = ""
        self._members: Members | None = None
        self._compiled: dict[tuple[int, ...], ChangeSet] = {}

    async def run(self, is_running: Callable[[], Awaitable[bool]]) -> None:
        """Do what is left; `is_running` says whether somebody has taken the job back, which is noticed some seconds
        later. Raises PermanentFailure, and errors that are not of one instance."""
        order, reporter = self._order, self._reporter
        since = self._since if self._since is not None else await self._jobs.last_change()
        if order.request.what == "modify" and not order.request.changes:
            self._members = await self._jobs.members(order)
        async for page, position in self._jobs.pages(order, self._position):
            await self._change(page)
            self._content["FailedInstancesCount"] = self._failed
            if self._why and not order.permissive:
                raise await self._refused(f"instance {self._why}")
            await reporter.note(100 * self._done / max(1, order.instances), position if order.keep_source else 0)
        if self._failed and not self._stored:
            raise await self._refused(f"none of the {self._failed} instances may pass: {self._why}")
        if order.several:
            self._content["Resources"].sort(key=lambda each: -LEVELS.index(_level_of(each["Type"])))
        elif not self._stored:
            raise UnknownResource(f"there is no {order.resources[0][1]} {order.resources[0][0]} any more")
        if not order.keep_source and not self._failed:
            await reporter.note(99, self._end + since, at_once=True)
            await check_running(is_running)
            await self._jobs.remove_sources(order, reporter, since, self._copies, frozenset(self._stays))

    async def _changes_of(self, source: Identity) -> ChangeSet:
        """The changes of an instance, compiled once for all of which the same is masked."""
        request = self._order.request
        regions = request.regions_of(source.series, source.instance)
        found = self._compiled.get(regions)
        if found is None:
            if len(self._compiled) == _MAX_COMPILED:
                self._compiled.clear()
            key = bytes.fromhex(self._order.key)
            found = await asyncio.to_thread(self._jobs.change_set, request.with_regions(regions), key, self._members)
            self._compiled[regions] = found
        return found

    async def _change(self, page: Sequence[tuple[Identity, Located]]) -> None:
        changes = [await self._changes_of(source) for source, _located in page]
        stored = [await self._is_stored(source) for source, _located in page]
        results = await asyncio.gather(
            *(
                self._jobs.store(self._order, located, change, is_stored=is_stored)
                for (_source, located), change, is_stored in zip(page, changes, stored, strict=True)
            ),
            return_exceptions=True,
        )
        pairs = []
        for (source, located), result in zip(page, results, strict=True):
            self._done += 1
            if isinstance(result, StoreResult):
                pairs.append((result, source))
                self._made(result, source, located)
                self._check_own(result, located)
            elif isinstance(result, _REFUSED):
                self._failed += 1
                self._why = self._why or f"{located.sop_uid}: {result}"
            else:
                raise result
        await self._jobs.note(self._order, pairs)

    async def _is_stored(self, source: Identity) -> bool:
        """Whether the copy of an instance is right as an attempt before has stored it: while sources are deleted, what
        is made now only names it. What is replaced meanwhile stays, unless the job was submitted again."""
        if self._since is not None or self._stored_since is None:
            return self._since is not None
        return not await self._jobs.is_replaced(source.instance, self._stored_since)

    def _made(self, result: StoreResult, source: Identity, located: Located) -> None:
        made = identity_of(result.record)
        self._stored = True
        if made.instance == source.instance:
            self._stays.append(located.id)
        elif not self._order.keep_source:
            self._copies.add(source, located.id, made.instance)
        if self._order.several:
            for level, public_id in zip(LEVELS, made, strict=True):
                self._list(level, public_id)
            return
        level = self._order.resources[0][1]
        public_id = made[LEVELS.index(level)]
        self._content |= {"PatientID": made.patient, **_named(level, public_id)}

    def _check_own(self, result: StoreResult, located: Located) -> None:
        """Count an instance that is made of two sources as failed, where the sources would go: one of them is lost."""
        if self._order.keep_source:
            return
        made = hash(result.record.public_id)
        if made in self._made_ids:
            self._failed += 1
            self._why = self._why or f"{located.sop_uid}: another source has become the same instance"
        self._made_ids.add(made)

    def _list(self, level: Level, public_id: str) -> None:
        listed = self._listed[level]
        if public_id not in listed and len(listed) < MAX_LISTED:
            listed.add(public_id)
            self._content["Resources"].append(_named(level, public_id))

    async def _refused(self, why: str) -> PermanentFailure:
        return await self._reporter.failed(why, {"Content": {"FailedInstancesCount": self._failed}, "Type": "Instance"})


def _changed_level(order: ModificationOrder) -> Level:
    """The level from which on what keeps its identifiers has changed as a whole."""
    if not order.several:
        return order.resources[0][1]
    return order.request.modification.level if order.request.what == "modify" else "instance"


def _named(level: Level, public_id: str) -> dict[str, str]:
    return {"ID": public_id, "Path": f"/{COLLECTIONS[level]}/{public_id}", "Type": _KINDS[level]}


def _level_of(kind: str) -> Level:
    return next(level for level, name in _KINDS.items() if name == kind)


def _content(order: ModificationOrder) -> dict[str, Any]:
    sources = (
        [] if order.several else [{"ID": public_id, "Type": _KINDS[level]} for public_id, level in order.resources]
    )
    return {
        "Description": DESCRIPTION,
        "FailedInstancesCount": 0,
        "InstancesCount": order.instances,
        "IsAnonymization": order.request.what == "anonymize",
        "ParentResources": sorted(public_id for public_id, _level in order.resources),
        "Resources": sources,
    }
