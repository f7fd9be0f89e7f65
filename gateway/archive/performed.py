"""Performed procedure steps as a use case (PS3.4 F.7): kept, followed by the worklist, sent on.

A step, the status of its worklist items and the jobs that send it on change in one transaction. What the state of a
step allows is decided here; how it comes in is `scp/mpps.py`'s, how it goes out `scu/mpps.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.archive import queries
from gateway.archive.worklist import STEP_ID, STUDY_UID, follow_step, text_of, to_json
from gateway.config import Settings
from gateway.database.database import Database, Row, Script
from gateway.dicom.encode import Attribute, DataSet, from_json
from gateway.dimse import status
from gateway.errors import GatewayError, JobGivenUp, NotFound
from gateway.jobs.runner import Kind, Retry
from gateway.jobs.table import Job, add_job, chained_jobs
from gateway.scu.mpps import create_step, set_step
from gateway.scu.node import find_node

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
_FIXED: Final = frozenset({0x00080005, SCHEDULED_ATTRIBUTES, 0x00100010, 0x00100020, 0x00100030, 0x00100040})
"""What N-SET may not change (Table F.7.2-1): whose step it is and what was scheduled. It is left as it was."""

_AT_FIRST: Final = (SCHEDULED_ATTRIBUTES, 0x00400253, 0x00400241, 0x00400244, 0x00400245, 0x00080060)
"""Beside the status, what N-CREATE must give a value: Scheduled Step Attributes Sequence, Performed Procedure Step ID,
Performed Station AE Title, start date and time, Modality (Table F.7.2-1)."""
_AT_LAST: Final = (0x00400250, 0x00400251, 0x00400340)
"""What a step must have in its final state: end date and time, Performed Series Sequence."""


class StepRefused(GatewayError):
    """A request about a step is not accepted. `status` and `error_id` are those to answer with, the text says why."""

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
        """`wake` tells the runner of jobs that there is something to do."""
        self._database = database
        self._settings = settings
        self._wake = wake
        self._clock = clock

    @property
    def kind(self) -> Kind:
        """How steps are sent on: for four days."""
        return Kind(self.work, lambda job: Retry(attempts=100))

    async def create(self, uid: str, data_set: DataSet, calling_aet: str, called_aet: str) -> None:
        """N-CREATE (F.7.2.1). StepRefused: 0120H no status, 0106H another one than IN PROGRESS, 0111H there already.

        A modality whose step is refused has no way to mend it, and its examination goes on: what else is missing is
        said in the log, and the step is kept.
        """
        state = text_of(data_set.get(STATUS))
        if not state:
            raise StepRefused("(0040,0252) Performed Procedure Step Status is missing", status.MISSING_ATTRIBUTE)
        if state != IN_PROGRESS:
            raise StepRefused(f"a step begins IN PROGRESS, not {state[:16]}", status.INVALID_ATTRIBUTE_VALUE)
        _note_lacking(uid, calling_aet, data_set, _AT_FIRST)
        text, now = to_json(data_set), self._clock()
        destinations = self._settings().mpps.forward

        def script() -> Script[bool]:
            if not (yield queries.ADD_STEP, (uid, state, calling_aet, called_aet, now, text)):
                return False
            yield from _follow(data_set, state, now)
            yield from _send_on("create", uid, text, destinations, now)
            return True

        if not await self._database.write(script):
            raise StepRefused("there is a step with this UID", status.DUPLICATE_SOP_INSTANCE)
        self._wake()

    async def update(self, uid: str, changes: DataSet) -> None:
        """N-SET (F.7.2.2). StepRefused: 0112H no such step, 0110H with A710H it is final, 0106H no such state."""
        state = text_of(changes.get(STATUS))
        if state and state != IN_PROGRESS and state not in FINAL:
            raise StepRefused(f"there is no state {state[:16]!r}", status.INVALID_ATTRIBUTE_VALUE)
        text, now = to_json(changes), self._clock()
        destinations = self._settings().mpps.forward

        def script() -> Script[Step]:
            rows = yield queries.GET_STEP, (uid,)
            if not rows:
                raise StepRefused("there is no such step", status.NO_SUCH_SOP_INSTANCE)
            step = _step(rows[0])
            if step.state != IN_PROGRESS:
                why = "Performed Procedure Step Object may no longer be updated"
                raise StepRefused(why, status.PROCESSING_FAILURE, NO_LONGER_UPDATED)
            merged = {**step.data_set, **{tag: each for tag, each in changes.items() if tag not in _FIXED}}
            yield queries.CHANGE_STEP, (uid, state or step.state, now, to_json(merged))
            if state in FINAL:
                yield from _follow(step.data_set, state, now)
            yield from _send_on("set", uid, text, destinations, now)
            return replace(step, data_set=merged)

        step = await self._database.write(script)
        self._wake()
        if state in FINAL:
            _note_lacking(uid, step.calling_aet, step.data_set, _AT_LAST)

    async def get(self, uid: str) -> Step:
        rows = await self._database.fetch(queries.GET_STEP, uid)
        if not rows:
            raise NotFound(f"there is no performed procedure step {uid}")
        return _step(rows[0])

    async def page(self, *, before: int = 2**62, limit: int = 100) -> list[Step]:
        """A page, newest first; the next one begins `before` the last id of this."""
        return [_step(row) for row in await self._database.fetch(queries.LIST_STEPS, before, limit)]

    async def remove(self, uid: str) -> None:
        """Forget a step. What is still to be sent on is."""
        if not await self._database.write(lambda: _remove(uid)):
            raise NotFound(f"there is no performed procedure step {uid}")

    async def forwards(self, uid: str) -> dict[str, list[Job]]:
        """The jobs that send a step on, by destination, as far as they are kept."""
        names = self._settings().mpps.forward
        found = {name: await chained_jobs(self._database, _chain(uid, name)) for name in names}
        return {name: jobs for name, jobs in found.items() if jobs}

    async def work(self, job: Job) -> None:
        """The job: send one N-CREATE or N-SET on. What an earlier attempt has achieved is no failure."""
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
        raise JobGivenUp(why)


def _note_lacking(uid: str, calling_aet: str, data_set: DataSet, wanted: tuple[int, ...]) -> None:
    lacking = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in wanted if not _has_value(data_set.get(tag))]
    if lacking:
        log.warning("step %s of %s is kept without %s, which it should have", uid, calling_aet, ", ".join(lacking))


def _has_value(attribute: Attribute | None) -> bool:
    return attribute is not None and any(value != "" and value is not None for value in attribute.values)


def _follow(data_set: DataSet, state: str, now: float) -> Script[None]:
    """Give the scheduled steps that this one performs its status."""
    scheduled = data_set.get(SCHEDULED_ATTRIBUTES, Attribute("SQ"))
    steps: dict[str, set[str]] = {}
    for item in scheduled.values if scheduled.vr == "SQ" else ():
        study = text_of(item.get(STUDY_UID))
        step = text_of(item.get(STEP_ID))
        if study and step:
            steps.setdefault(study, set()).add(step)
    for study, ids in steps.items():
        yield from follow_step(study, frozenset(ids), _FOLLOWED[state], now)


def _send_on(operation: str, uid: str, text: str, destinations: tuple[str, ...], now: float) -> Script[None]:
    for name in destinations:
        payload = {"operation": operation, "uid": uid, "destination": name, "data": text}
        yield from add_job(KIND, payload, now, lane=f"{KIND} {name}", chain=_chain(uid, name), priority=1)


def _chain(uid: str, destination: str) -> str:
    return f"{KIND}-{uid}-{destination}"


def _remove(uid: str) -> Script[bool]:
    return bool((yield queries.REMOVE_STEP, (uid,)))


def _step(row: Row) -> Step:
    return Step(*[*row[:7], from_json(msgspec.json.decode(row[7]))])
