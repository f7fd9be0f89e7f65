"""Performed procedure steps as a use case (PS3.4 F.7): stored, applied to the worklist, forwarded.

A step, the status of its worklist items and the jobs that forward it change in one transaction. The rules of its states
are here; `scp/mpps.py` receives steps, `scu/mpps.py` sends them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.config import Settings
from gateway.database.database import Database, Row, Script
from gateway.database.view import seeing, tenant_of_task
from gateway.dicom.encode import Attribute, DataSet
from gateway.dicom.json_reader import from_json
from gateway.dimse import status
from gateway.errors import BadRequest, GatewayError, NotFound, PermanentFailure
from gateway.jobs.runner import JobType, Retry
from gateway.jobs.table import Job, add_job, chained_jobs
from gateway.scu.mpps import create_step, set_step
from gateway.scu.node import find_node
from gateway.workflow import queries
from gateway.workflow.worklist_items import STEP_ID, STUDY_UID, follow_step, text_of, to_json

log = logging.getLogger(__name__)

KIND: Final = "mpps"
STATUS: Final = 0x00400252
"""Performed Procedure Step Status."""
SCHEDULED_ATTRIBUTES: Final = 0x00400270
"""Scheduled Step Attributes Sequence."""
IN_PROGRESS: Final = "IN PROGRESS"
FINAL: Final = frozenset({"COMPLETED", "DISCONTINUED"})
NO_LONGER_UPDATED: Final = 0xA710
"""Error ID: "Performed Procedure Step Object may no longer be updated" (Table F.7.2-2)."""
_FOLLOWED: Final = {IN_PROGRESS: "STARTED", "COMPLETED": "COMPLETED", "DISCONTINUED": "DISCONTINUED"}
"""State of the performed step to status of the scheduled one (PS3.3 C.4.10)."""
_OF_CREATION: Final = frozenset(
    {
        *(0x00080005, SCHEDULED_ATTRIBUTES, 0x00081120),
        *(0x00100010, 0x00100020, 0x00100021, 0x00100024, 0x00100030, 0x00100040),
    }
)
"""Attributes that N-SET may not contain: the patient and what was scheduled ("Not allowed", Table F.7.2-1)."""
_FIXED: Final = frozenset(
    {
        *(0x00400253, 0x00400241, 0x00400242, 0x00400243, 0x00400244, 0x00400245),
        *(0x00080060, 0x00200010),
    }
)
"""Attributes that N-SET may not change, but may add where N-CREATE gave no value: Performed Procedure Step ID, station
and location, start, Modality, Study ID. A modality has no other way to supply what it omitted."""

_AT_FIRST: Final = (SCHEDULED_ATTRIBUTES, 0x00400253, 0x00400241, 0x00400244, 0x00400245, 0x00080060)
"""Attributes that need a value in N-CREATE, beside the status: Scheduled Step Attributes Sequence, Performed Procedure
Step ID, Performed Station AE Title, start date and time, Modality (Table F.7.2-1)."""
_AT_LAST: Final = (0x00400250, 0x00400251, 0x00400340)
"""Attributes that a step must have in its final state: end date and time, Performed Series Sequence."""


class StepRefused(GatewayError):
    """A request about a step is refused. `status` and `error_id` are those of the response, the text is the reason."""

    def __init__(self, detail: str, code: int, error_id: int | None = None) -> None:
        super().__init__(detail)
        self.status = code
        self.error_id = error_id


@dataclass(frozen=True, slots=True)
class Step:
    """One performed procedure step. Times are seconds since 1970."""

    id: int
    uid: str
    state: str
    calling_aet: str
    called_aet: str
    created_at: float
    changed_at: float
    data_set: DataSet
    tenant: str = ""
    """Whose it is; empty: nobody's among the tenants."""


class PerformedSteps:
    """The steps of one gateway."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wake` tells the job runner that a job may be due."""
        self._database = database
        self._settings = settings
        self._wake = wake
        self._clock = clock

    @property
    def kind(self) -> JobType:
        """The job type of forwarding, retried for four days."""
        return JobType(self.work, lambda job: Retry(attempts=100))

    async def create(self, uid: str, data_set: DataSet, calling_aet: str, called_aet: str) -> None:
        """Store a step of N-CREATE (F.7.2.1).

        A modality cannot repair a step that was refused, and the examination continues: other missing attributes are
        logged, and the step is stored. Raises StepRefused: 0120H without a status; 0106H for one other than IN
        PROGRESS; 0111H for a UID that exists.
        """
        state = text_of(data_set.get(STATUS))
        if not state:
            raise StepRefused("(0040,0252) Performed Procedure Step Status is missing", status.MISSING_ATTRIBUTE)
        if state != IN_PROGRESS:
            raise StepRefused(f"a step begins IN PROGRESS, not {state[:16]}", status.INVALID_ATTRIBUTE_VALUE)
        _note_lacking(uid, calling_aet, data_set, _AT_FIRST)
        text, now, tenant = to_json(data_set), self._clock(), tenant_of_task()
        destinations = self._destinations()

        def script() -> Script[bool]:
            if not (yield queries.ADD_STEP, (uid, state, calling_aet, called_aet, now, text, tenant)):
                return False
            yield from _follow(data_set, state, now)
            yield from _send_on("create", uid, tenant, text, destinations, now)
            return True

        if not await self._database.write(script):
            raise StepRefused("there is a step with this UID", status.DUPLICATE_SOP_INSTANCE)
        self._wake()

    async def update(self, uid: str, changes: DataSet) -> None:
        """Apply N-SET to a step (F.7.2.2).

        Attributes that N-SET may not change stay, and the others are applied: many modalities send all that they have,
        and an examination must not stay open for that. Raises StepRefused: 0112H for an unknown step; 0110H with A710H
        for a final one; 0106H for an unknown state.
        """
        state = text_of(changes.get(STATUS))
        if state and state != IN_PROGRESS and state not in FINAL:
            raise StepRefused(f"there is no state {state[:16]!r}", status.INVALID_ATTRIBUTE_VALUE)
        text, now = to_json(changes), self._clock()
        destinations = self._destinations()

        def script() -> Script[Step]:
            rows = yield queries.GET_STEP, (uid, "")
            if not rows:
                raise StepRefused("there is no such step", status.NO_SUCH_SOP_INSTANCE)
            step = _step(rows[0])
            if step.tenant and len(rows) > 1:
                raise StepRefused("several tenants have this step", status.PROCESSING_FAILURE)
            if step.state != IN_PROGRESS:
                why = "Performed Procedure Step Object may no longer be updated"
                raise StepRefused(why, status.PROCESSING_FAILURE, NO_LONGER_UPDATED)
            merged = {**step.data_set, **_allowed(step.data_set, changes)}
            yield queries.CHANGE_STEP, (step.id, state or step.state, now, to_json(merged))
            if state in FINAL:
                yield from _follow(step.data_set, state, now)
            yield from _send_on("set", uid, step.tenant, text, destinations, now)
            return replace(step, data_set=merged)

        step = await self._database.write(script)
        self._wake()
        if ignored := [tag for tag, each in changes.items() if not _same(step.data_set.get(tag), each)]:
            log.warning(
                "step %s of %s keeps its value of %s, which N-SET may not change",
                uid,
                step.calling_aet,
                _listed(ignored),
            )
        if state in FINAL:
            _note_lacking(uid, step.calling_aet, step.data_set, _AT_LAST)

    async def get(self, uid: str, tenant: str = "") -> Step:
        """The step with a UID, of a tenant if one is named. Raises NotFound; BadRequest where several have one."""
        return _only(uid, await self._database.fetch(queries.GET_STEP, uid, tenant))

    async def page(self, *, before: int = 2**62, limit: int = 100) -> list[Step]:
        """A page of steps, newest first; pass the last id as `before` for the next page."""
        return [_step(row) for row in await self._database.fetch(queries.LIST_STEPS, before, limit)]

    async def remove(self, uid: str, tenant: str = "") -> None:
        """Delete a step. Jobs that forward it still run. Raises as `get`."""
        await self._database.write(lambda: _remove(uid, tenant))

    async def forwards(self, step: Step) -> dict[str, list[Job]]:
        """The jobs that forward a step, by destination, as long as the jobs exist. Whoever sees the step sees them."""
        names = self._destinations()
        with seeing(None):
            found = {name: await chained_jobs(self._database, _chain(step.uid, step.tenant, name)) for name in names}
        return {name: jobs for name, jobs in found.items() if jobs}

    def _destinations(self) -> tuple[str, ...]:
        """The modalities to which steps are forwarded: of a tenant's steps, those that are there for the tenant."""
        settings, tenant = self._settings(), tenant_of_task()
        return tuple([name for name in settings.mpps.forward if not tenant or name in settings.modalities])

    async def work(self, job: Job) -> None:
        """Forward one N-CREATE or N-SET. The success of an earlier attempt is no failure."""
        uid, operation = str(job.payload["uid"]), job.payload["operation"]
        node = await asyncio.to_thread(find_node, self._settings(), str(job.payload["destination"]))
        attributes = from_json(msgspec.json.decode(job.payload["data"]))
        send = create_step if operation == "create" else set_step
        code, comment = await send(node, uid, attributes)
        if status.category(code) is not status.Category.FAILURE:
            return
        if job.attempts > 1 and (
            (operation == "create" and code == status.DUPLICATE_SOP_INSTANCE)
            or (operation == "set" and code == status.PROCESSING_FAILURE and text_of(attributes.get(STATUS)) in FINAL)
        ):
            log.info("%s has the %s of step %s from an earlier attempt", node, operation, uid)
            return
        why = f"{node} answered the {operation} with {status.describe(code)}{f': {comment}' if comment else ''}"
        if code in (status.RESOURCE_LIMITATION, status.PROCESSING_FAILURE):
            raise GatewayError(why)
        raise PermanentFailure(why)


def _note_lacking(uid: str, calling_aet: str, data_set: DataSet, wanted: tuple[int, ...]) -> None:
    lacking = [tag for tag in wanted if not _has_value(data_set.get(tag))]
    if lacking:
        log.warning("step %s of %s is stored without %s, which it should have", uid, calling_aet, _listed(lacking))


def _same(kept: Attribute | None, given: Attribute) -> bool:
    return kept is not None and kept.values == given.values


def _listed(tags: list[int]) -> str:
    return ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags)


def _allowed(step: DataSet, changes: DataSet) -> DataSet:
    """The attributes of an N-SET that may be changed in this step."""
    fixed = _OF_CREATION | {tag for tag in _FIXED if _has_value(step.get(tag))}
    return {tag: each for tag, each in changes.items() if tag not in fixed}


def _has_value(attribute: Attribute | None) -> bool:
    return attribute is not None and any(value != "" and value is not None for value in attribute.values)


def _follow(data_set: DataSet, state: str, now: float) -> Script[None]:
    """Set the status of the scheduled steps that a performed step belongs to."""
    scheduled = data_set.get(SCHEDULED_ATTRIBUTES, Attribute("SQ"))
    steps: dict[str, set[str]] = {}
    for item in scheduled.values if scheduled.vr == "SQ" else ():
        study = text_of(item.get(STUDY_UID))
        step = text_of(item.get(STEP_ID))
        if study and step:
            steps.setdefault(study, set()).add(step)
    for study, ids in steps.items():
        yield from follow_step(study, frozenset(ids), _FOLLOWED[state], now)


def _send_on(
    operation: str, uid: str, tenant: str, text: str, destinations: tuple[str, ...], now: float
) -> Script[None]:
    for name in destinations:
        payload = {"operation": operation, "uid": uid, "destination": name, "data": text}
        yield from add_job(KIND, payload, now, queue=f"{KIND} {name}", chain=_chain(uid, tenant, name), priority=1)


def _chain(uid: str, tenant: str, destination: str) -> str:
    return f"{KIND}-{f'{tenant}/' if tenant else ''}{uid}-{destination}"


def _remove(uid: str, tenant: str) -> Script[None]:
    step = _only(uid, (yield queries.GET_STEP, (uid, tenant)))
    yield queries.REMOVE_STEP, (step.id,)


def _only(uid: str, rows: Sequence[Row]) -> Step:
    """The one step found under a UID; that of nobody before those of tenants."""
    if not rows:
        raise NotFound(f"there is no performed procedure step {uid}")
    step = _step(rows[0])
    if step.tenant and len(rows) > 1:
        raise BadRequest(f"several tenants have a performed procedure step {uid}: name one with ?tenant=NAME")
    return step


def _step(row: Row) -> Step:
    return Step(*[*row[:7], from_json(msgspec.json.decode(row[7])), row[8]])
