"""Jobs that move instances into another study: into a new one (split), or into one that is there (merge).

What they make is derived from a key of the order, so that an interrupted job stores the same again. Nothing is deleted
before all of it is stored, and a job that was interrupted while it deleted goes on with that alone.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.admin.anonymization import Anonymizing, UidSet, identity_of
from gateway.admin.change_requests import check_new_patient
from gateway.admin.copies import Copies
from gateway.admin.deletion import Moment, Removal
from gateway.config import Settings
from gateway.database.view import seeing
from gateway.dicom.json_reader import from_json
from gateway.dicom.levels import LEVELS, UNIQUE_KEYS, Level
from gateway.dicom.modules import MODULES
from gateway.edit.change_set import ChangeSet
from gateway.edit.deid.keyed import Keyed
from gateway.edit.regrouping import StudyMove, StudyMoves, regrouping, writing
from gateway.errors import (
    DataSetError,
    EditError,
    GatewayError,
    InstanceRefused,
    NotFound,
    PermanentFailure,
    UnknownResource,
)
from gateway.events.changes import last_change
from gateway.index.annotations import MadeBy, note_origins
from gateway.index.locate import Counted, Identity, Located, counted_resources, identified, last_row
from gateway.index.store import Origin
from gateway.ingest.outcome import StoreResult
from gateway.jobs.runner import CompletionScript, JobType
from gateway.jobs.table import Job
from gateway.retrieve.retrieval import Retrieval
from gateway.retrieve.stored_attributes import attributes_of
from gateway.storage.store import StoredObject
from gateway.systems.job_desk import DESCRIPTION, JobDesk, Reporter, once
from gateway.systems.resources import Resources
from gateway.systems.source_removal import check_running, is_replaced, remove_sources

SPLIT: Final = "SplitStudy"
MERGE: Final = "MergeStudy"
CHANGEABLE: Final = (MODULES["patient"] | MODULES["study"]) - {UNIQUE_KEYS["study"]}
"""The attributes that all instances of a study have alike, and that those who come to it take over."""
MAX_RESOURCES: Final = 20_000
"""Resources of one order."""
_AT_ONCE: Final = 4
"""Instances that are changed and stored together."""
_MADE_BY: Final[MadeBy] = "ModifiedFrom"
_STORED: Final = 1
"""The position of a job that has stored everything, but for the number of the last change before that: what has been
replaced since stays, also where the job is taken up again."""


class RegroupingOrder(msgspec.Struct, frozen=True):
    """An order to move instances into another study; the payload of its job."""

    study: str
    """Public id of the study that is split, or merged into."""
    study_instance_uid: str
    """That of the target."""
    key: str
    """Of the new UIDs, in hexadecimal digits."""
    attributes: dict[str, Any]
    """What is set, in the DICOM JSON Model."""
    removed: tuple[int, ...]
    """Tags of what is removed, unless it is set."""
    merges: bool = False
    """Whether `study` is the target."""
    resources: Resources = ()
    """What moves: nothing below anything else."""
    instances: int = 0
    """How many there were when it was asked for."""
    last: int = -1
    """The last row of an instance at that time: what comes later is not moved."""
    keep_source: bool = False
    keep_labels: bool = False
    peer: str = ""
    user_data: Any = None


@dataclass(frozen=True, slots=True)
class RegroupingOptions:
    """How an order is carried out."""

    keep_source: bool = False
    keep_labels: bool = False
    peer: str = ""
    priority: int = 0
    user_data: Any = None


@dataclass(frozen=True, slots=True)
class PlannedRegrouping:
    """The plan of a job: nothing moves before somebody has added it."""

    kind: str
    order: RegroupingOrder
    content: Mapping[str, Any]
    """What its job says of the target."""


@dataclass(slots=True)
class _Source:
    """What moves out of one study."""

    study_instance_uid: str
    uids: UidSet = field(default_factory=UidSet)
    series: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Instances that move, by public id and UID of their series."""


class RegroupingJobs:
    """Adds such jobs and does them."""

    def __init__(
        self,
        desk: JobDesk,
        anonymizing: Anonymizing,
        retrieval: Retrieval,
        removal: Removal,
        settings: Callable[[], Settings],
    ) -> None:
        self._desk = desk
        self._anonymizing = anonymizing
        self._retrieval = retrieval
        self._removal = removal
        self._settings = settings

    @property
    def kinds(self) -> dict[str, JobType]:
        return {SPLIT: once(self.work), MERGE: once(self.work)}

    async def split(
        self,
        study: str,
        series: Sequence[str],
        instances: Sequence[str],
        attributes: Mapping[str, Any],
        removed: Sequence[int],
        options: RegroupingOptions,
    ) -> int:
        """Add a job that makes a new study of series and instances of a study; its number.

        Raises as `plan_split`, and RetainedByCommitment.
        """
        return await self.add(await self.plan_split(study, series, instances, attributes, removed), options)

    async def plan_split(
        self,
        study: str,
        series: Sequence[str],
        instances: Sequence[str],
        attributes: Mapping[str, Any],
        removed: Sequence[int],
    ) -> PlannedRegrouping:
        """The plan of a new study of series and instances of a study; `attributes` are set and `removed` are taken
        away in it. Raises UnknownResource; BadRequest where it would go to another person."""
        await self._check_study(study, f"Cannot split unknown study {study[:80]}")
        found = await counted_resources(self._desk.database, [*series, *instances])
        wanted: tuple[tuple[Level, Sequence[str]], ...] = (("series", series), ("instance", instances))
        for level, public_ids in wanted:
            for public_id in public_ids:
                each = found.get(public_id)
                if each is None or each.level != level or study not in each.above:
                    raise UnknownResource(f"This {level} does not belong to the study to be split: {public_id[:80]}")
        values = dict.fromkeys(removed, "")
        values |= {tag: "\\".join(map(str, each)) for tag, (_vr, each) in from_json(attributes).items()}
        await check_new_patient(self._desk.database, values, list(found))
        key = os.urandom(32)
        target = Keyed(key).uid(study)
        order = RegroupingOrder(study, target, key.hex(), dict(attributes), tuple(removed))
        return await self._planned(SPLIT, order, found, {"TargetStudyUID": target})

    async def merge(self, study: str, public_ids: Sequence[str], options: RegroupingOptions) -> int:
        """Add a job that moves studies, series and instances into a study; its number.

        Raises as `plan_merge`, and RetainedByCommitment.
        """
        return await self.add(await self.plan_merge(study, public_ids), options)

    async def plan_merge(self, study: str, public_ids: Sequence[str]) -> PlannedRegrouping:
        """The plan of moving studies, series and instances into a study, whose patient and study they take over. Raises
        UnknownResource."""
        await self._check_study(study, f"Cannot merge into an unknown study: {study[:80]}")
        found = await counted_resources(self._desk.database, public_ids)
        for public_id in public_ids:
            each = found.get(public_id)
            if each is None:
                raise UnknownResource(f"Cannot find this resource: {public_id[:80]}")
            if each.level == "patient":
                raise UnknownResource(f"This resource is neither a study, nor a series, nor an instance: {public_id}")
            if public_id == study or study in each.above:
                raise UnknownResource(f"Cannot merge {each.level} {public_id} into its own study {study}")
        located, attributes = await self._taken_over(study)
        key = os.urandom(32).hex()
        order = RegroupingOrder(study, located.study_uid, key, attributes, tuple(sorted(CHANGEABLE)), merges=True)
        return await self._planned(MERGE, order, found, {"TargetStudy": study})

    async def first_change(self, plan: PlannedRegrouping) -> tuple[Located, ChangeSet]:
        """The first instance that a plan moves, and its changes, to be shown beforehand. Raises UnknownResource."""
        sets = await self._change_sets(plan.order, await self._sources(plan.order))
        async for some in self._instances(plan.order):
            source, located = some[0]
            return located, sets[source.study]
        raise UnknownResource("there is nothing that moves")

    async def _taken_over(self, study: str) -> tuple[Located, dict[str, Any]]:
        """An instance of a study, and its attributes that all others take over. Raises UnknownResource."""

        def work(stored: StoredObject, located: Located) -> dict[str, Any]:
            members = attributes_of(
                stored, located.data_set_offset, located.size, located.transfer_syntax_uid, CHANGEABLE
            )
            return {name: msgspec.json.decode(each) for name, each in members.items() if int(name, 16) in CHANGEABLE}

        async for page in identified(self._desk.database, "study", study, 1):
            (attributes,) = await self._retrieval.map([page[0][1]], work)
            return page[0][1], attributes
        raise UnknownResource(f"Cannot merge into an unknown study: {study[:80]}")

    async def _check_study(self, public_id: str, why: str) -> None:
        """Raise UnknownResource where there is no such study."""
        found = (await counted_resources(self._desk.database, [public_id])).get(public_id)
        if found is None or found.level != "study":
            raise UnknownResource(why)

    async def _planned(
        self, kind: str, order: RegroupingOrder, found: Mapping[str, Counted], more: Mapping[str, Any]
    ) -> PlannedRegrouping:
        """The plan for the resources that are `found`, each once."""
        outer = {public_id: each for public_id, each in found.items() if not each.above & found.keys()}
        order = msgspec.structs.replace(
            order,
            resources=tuple((public_id, each.level) for public_id, each in outer.items()),
            instances=sum(each.instances for each in outer.values()),
            last=await last_row(self._desk.database),
        )
        return PlannedRegrouping(kind, order, more)

    async def add(self, plan: PlannedRegrouping, options: RegroupingOptions) -> int:
        """Add the job of a plan; its number. Raises RetainedByCommitment."""
        if not options.keep_source:
            for public_id, level in plan.order.resources:
                await self._removal.check(level, public_id)
        order = msgspec.structs.replace(
            plan.order,
            keep_source=options.keep_source,
            keep_labels=options.keep_labels,
            peer=options.peer,
            user_data=options.user_data,
        )
        content = {
            "Description": DESCRIPTION,
            "FailedInstancesCount": 0,
            "InstancesCount": order.instances,
            "ParentResources": [public_id for public_id, _level in order.resources],
            **plan.content,
        }
        # Asked for twice, it must not be done twice at once: then the second finds nothing left.
        chain = f"regroup:{order.study}"
        return await self._desk.add(plan.kind, "", msgspec.to_builtins(order), content, options.priority, chain=chain)

    async def work(self, job: Job) -> CompletionScript:
        """The job. Raises PermanentFailure at the first instance that cannot be moved."""
        order = msgspec.convert(job.payload, RegroupingOrder)
        reporter = await self._desk.reporter(job)
        try:
            since = reporter.position - _STORED
            if reporter.position < _STORED:
                since = await last_change(self._desk.database)
                await self._store(order, reporter)
                await reporter.note(99, _STORED + since, at_once=True)
            if not order.keep_source:
                copies = Copies([public_id for public_id, _level in order.resources])
                # By what is written with them, since an attempt before may have stored them.
                with seeing(None):  # Whoever asked for it may not see the copies.
                    await copies.add_made_in(self._desk.database, reporter.content.get("TargetStudy", ""), _MADE_BY)
                await check_running(lambda: self._desk.is_running(job))
                known = Moment(order.last, since)
                await remove_sources(self._removal, reporter, order.resources, known, copies)
        except PermanentFailure:
            raise
        except GatewayError as error:
            raise await reporter.failed(str(error)) from None
        return reporter.done

    async def _store(self, order: RegroupingOrder, reporter: Reporter) -> None:
        """Store everything in the target. Raises PermanentFailure for an instance that is not."""
        sources = await self._sources(order)
        sets = await self._change_sets(order, sources)
        origin = Origin.by_rest(self._settings().dicom.aet, order.peer)
        content, done = reporter.content, 0
        # The target of a merge is not made of what comes to it.
        made = LEVELS[2:] if order.merges else LEVELS[1:]
        content["FailedInstancesCount"] = 0
        async for some in self._instances(order):
            stored = [await self._is_stored(order, reporter, source) for source, _located in some]
            results = await asyncio.gather(
                *(
                    self._anonymizing.store(located, sets[source.study], origin, repeats=True, is_stored=is_stored)
                    for (source, located), is_stored in zip(some, stored, strict=True)
                ),
                return_exceptions=True,
            )
            pairs: list[tuple[StoreResult, Identity]] = []
            for (source, located), result in zip(some, results, strict=True):
                if isinstance(result, StoreResult):
                    pairs.append((result, source))
                elif isinstance(result, InstanceRefused | EditError | DataSetError):
                    content["FailedInstancesCount"] += 1
                    raise await reporter.failed(f"instance {located.sop_uid}: {result}")
                elif not isinstance(result, NotFound):  # It has been deleted since.
                    raise result
            for result, _source in pairs:
                target = identity_of(result.record).study
                if order.merges and target != order.study:
                    raise await reporter.failed(f"an instance has become one of another study, {target}")
                content["TargetStudy"] = target
            made_of = [(identity_of(result.record), source) for result, source in pairs]
            note = functools.partial(note_origins, _MADE_BY, made_of, labels=order.keep_labels, levels=made)
            with seeing(None):  # Whoever asked for it may not see what came of it.
                await self._desk.database.write(note)
            done += len(some)
            await reporter.note(100 * done / max(1, order.instances), 0)

    async def _is_stored(self, order: RegroupingOrder, reporter: Reporter, source: Identity) -> bool:
        """Whether the copy of an instance is right as an attempt before has stored it: that had stored all and may have
        deleted some, to which references do not follow any more, and the instance was not replaced since."""
        since = reporter.position_before - _STORED
        return (
            not order.keep_source and since >= 0 and not await is_replaced(self._desk.database, source.instance, since)
        )

    async def _sources(self, order: RegroupingOrder) -> dict[str, _Source]:
        """What moves out of which studies, by their public ids."""
        sources: dict[str, _Source] = {}
        async for some in self._instances(order):
            for source, located in some:
                found = sources.setdefault(source.study, _Source(located.study_uid))
                found.uids.add([located])
                found.series[source.series, located.series_uid] += 1
        for found in sources.values():
            found.uids.sort()
        return sources

    async def _change_sets(self, order: RegroupingOrder, sources: Mapping[str, _Source]) -> dict[str, ChangeSet]:
        """How the instances of each study are changed, by public ids of the studies."""
        key = bytes.fromhex(order.key)
        series = [public_id for source in sources.values() for public_id, _uid in source.series]
        counted = await counted_resources(self._desk.database, series)
        moves = [
            StudyMove(
                source.study_instance_uid,
                order.study_instance_uid,
                # Other studies may have the same UIDs below them.
                Keyed(hmac.digest(key, study.encode(), "sha256")).uid,
                functools.partial(source.uids.has, "instance"),
                {
                    uid: public_id in counted and count >= counted[public_id].instances
                    for (public_id, uid), count in source.series.items()
                },
            )
            for study, source in sources.items()
        ]
        write = writing(from_json(order.attributes), order.removed)
        found = StudyMoves(moves)
        return {
            study: ChangeSet.of_steps("Regroup", [*regrouping(number, found), *write], key=key)
            for number, study in enumerate(sources)
        }

    async def _instances(self, order: RegroupingOrder) -> AsyncIterator[list[tuple[Identity, Located]]]:
        """The instances that move, a few at a time."""
        for public_id, level in order.resources:
            async for page in identified(self._desk.database, level, public_id):
                page = [each for each in page if each[1].id <= order.last]
                for at in range(0, len(page), _AT_ONCE):
                    yield page[at : at + _AT_ONCE]
