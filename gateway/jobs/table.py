"""Jobs as rows: adding, claiming, finishing, holding. Scripts, so that a job can share the transaction of its cause.

Running and retrying is in `runner.py`. The meaning of a kind of job is its handler's. A queue is the column `lane`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from gateway.database.actor import GATEWAY, Actor
from gateway.database.database import Database, Row, Script
from gateway.jobs import queries

State = Literal["waiting", "running", "held", "done", "failed", "cancelled"]
"""The state of a job. `failed`: no attempts are left. `held`: a person wants it to wait."""
MAX_PAUSE_S = 900.0
"""Longest pause of a queue, whatever was asked for. An end beyond that was written by a clock that was ahead, and
counts as past."""
_PURGE = 500
_COLUMNS = 18
"""Those of a job, in a row that may have its progress behind them."""
_FIRST_LOOK_S, _MAX_LOOK_S = 0.02, 0.5
"""Between looks whether a job is over, for those who wait for it: twice as long each time."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is, and what it says of itself."""

    percent: int = 0
    position: int = 0
    """Where it goes on after an interruption, in steps of its kind. Below zero: it begins again, and had come so far
    before it was submitted again."""
    content: dict[str, Any] = field(default_factory=dict)
    error_payload: dict[str, Any] | None = None
    """What there is to say of a failure, beside its text."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its row has it. Times are seconds since 1970, 0 for none."""

    id: int
    kind: str
    state: State
    queue: str
    chain: str
    priority: int
    payload: dict[str, Any]
    attempts: int
    """Attempts begun, a running one included."""
    created_at: float
    due_at: float
    lease_until: float
    owner: str
    finished_at: float
    error: str
    """The error of the last attempt; '' if there was none."""
    requester: str = ""
    """The name of whoever asked for it; '' if nobody need be named."""
    requester_token: str = ""
    """By what they had signed in, as in `Actor`."""
    requester_origin: str = ""
    """From where they asked, as in `Actor`."""
    seen: str = ""
    """What the requester sees, as the `origin` of a view; '' for everything."""
    progress: JobProgress | None = None
    """None for kinds that say nothing of it, and where it was not asked for."""

    @property
    def actor(self) -> Actor:
        """The actor who asked for it."""
        return Actor(self.requester, self.requester_token, self.requester_origin)


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of a queue that was ever held or paused."""

    name: str
    held: bool
    """A person wants the queue to wait."""
    paused_until: float
    """Seconds since 1970."""
    failures: int
    """Failures in a row."""
    reason: str
    """The reason of the last failure."""


Limit = Callable[[str], int]
"""The number of jobs of a queue that may run at once; 0: none now."""


def add_job(
    kind: str,
    payload: dict[str, Any],
    now: float,
    *,
    queue: str = "",
    chain: str = "",
    priority: int = 0,
    due_at: float | None = None,
    actor: Actor = GATEWAY,
    seen: str = "",
) -> Script[int]:
    """Add a job; returns its id. Wake the runner (`Runner.notify`) once the transaction is committed.

    Jobs of a `queue` (default: the kind) share a limit, that of a destination for example; jobs of a `chain` run one
    at a time, in the order in which they were added. In a queue, the highest `priority` goes first. `actor` asks for
    it; `seen` as in `Job`.
    """
    text = msgspec.json.encode(payload).decode()
    ((number,),) = yield (
        queries.ADD,
        (kind, queue or kind, chain, priority, text, now, now if due_at is None else due_at, *actor, seen),
    )
    return int(number)


def traced(traceparent: str) -> dict[str, str]:
    """The member of a job's payload by which it continues a trace; none for ''."""
    return {"traceparent": traceparent} if traceparent else {}


def claim_jobs(owner: str, now: float, lease: float, slots: int, limit: Limit, *, taken: int = 0) -> Script[list[Job]]:
    """Claim due jobs for `lease` seconds; at most `limit` of a queue run at once.

    Of the `slots` of the owner, `taken` are in use. Queues share the rest, those with the fewest running jobs first, so
    that a slow queue holds up no other. Each has a part of all slots to itself even when queues before it have them
    all, since a destination that hangs occupies its own for minutes: so twice `slots` may run, or a little more with
    many such queues. A queue that has failed is tried with a single job.
    """
    yield queries.EXPIRE, (now, owner)
    queues = sorted((yield queries.QUEUES, (now, now + MAX_PAUSE_S)), key=lambda row: int(row[1]))
    free = slots - taken
    fair, own = max(1, free // max(1, len(queues))), slots // (len(queues) + 1)
    claimed: list[Job] = []
    for queue, running, failures in queues:
        at_once = min(limit(queue), 1) if failures else limit(queue)
        share = min(at_once - running, max(min(fair, free - len(claimed)), own - running))
        if share <= 0:
            continue
        for (priority,) in (yield queries.PRIORITIES, (queue,)):
            rows = yield queries.CLAIM, (queue, priority, now, share, owner, now + lease)
            claimed += sorted(map(_job, rows), key=lambda job: (job.due_at, job.id))
            share -= len(rows)
            if not share:
                break
    return claimed


def pull_in_jobs(now: float) -> Script[int]:
    """Let jobs whose due time was written by a clock that was ahead wait no longer than they were meant to. Returns
    their number."""
    return len((yield queries.PULL_IN, (now,)))


def extend_leases(owner: str, until: float) -> Script[set[int]]:
    """Extend the leases of an owner's jobs; returns the ids that it still has."""
    return {int(number) for (number,) in (yield queries.EXTEND, (owner, until))}


def finish_job(job: Job, state: Literal["done", "failed"], now: float, error: str = "") -> Script[bool]:
    """Finish a claimed job. False if it was taken from its owner meanwhile: cancelled, held, or its lease expired."""
    return bool((yield queries.FINISH, (job.id, job.owner, state, now, error)))


def postpone_job(job: Job, due_at: float, now: float, error: str, *, counted: bool = True) -> Script[bool]:
    """Let a claimed job wait; if not `counted`, as if this attempt had not been made."""
    attempts = job.attempts if counted else job.attempts - 1
    return bool((yield queries.POSTPONE, (job.id, job.owner, due_at, attempts, error, job.due_at, now)))


def give_back_jobs(owner: str, now: float) -> Script[None]:
    """Return all jobs of an owner, to wait for another one."""
    yield queries.GIVE_BACK, (owner, now)


def abandon_jobs(owner: str) -> Script[int]:
    """Return the jobs of a dead owner, as if their leases had expired; returns their number."""
    return len((yield queries.ABANDON, (owner,)))


def cancel_job(number: int, now: float) -> Script[bool]:
    """Cancel an unfinished job; a running one is interrupted soon. False if there is none with this number."""
    return bool((yield queries.CANCEL, (number, now)))


def hold_job(number: int, why: str = "") -> Script[bool]:
    """Let an unfinished job wait until it is released; a running one is interrupted soon. False if there is none.

    `why`, if given, replaces the error of its last attempt.
    """
    return bool((yield queries.HOLD, (number, why)))


def release_job(number: int, now: float) -> Script[bool]:
    """Make a held, failed, cancelled or waiting job due, with all attempts before it again."""
    return bool((yield queries.RELEASE, (number, now)))


def resubmit_job(number: int, now: float) -> Script[bool]:
    """Run a job again from its beginning, with all its attempts; false unless `release_job` could release it."""
    yield queries.RESTART_PROGRESS, (number,)
    return (yield from release_job(number, now))


def remove_job(number: int) -> Script[bool]:
    """Delete a job that is over. False where there is none such."""
    removed = bool((yield queries.REMOVE, (number,)))
    if removed:
        yield queries.FORGET_PROGRESS, (number,)
    return removed


def report_progress(number: int, progress: JobProgress) -> Script[None]:
    """Write down how far a job is; in the transaction that adds it, too."""
    payload = msgspec.json.encode(progress.error_payload).decode()
    content = msgspec.json.encode(progress.content).decode()
    yield queries.REPORT_PROGRESS, (number, progress.percent, progress.position, content, payload)


def expedite_jobs(chain: str, now: float) -> Script[None]:
    """Make waiting jobs of a chain due; a running one runs again once it is postponed, as it may miss the news."""
    yield queries.EXPEDITE, (chain, now)


def move_jobs(chain: str, due_at: float, now: float) -> Script[bool]:
    """Move the waiting job of a chain to another time. False if none waits."""
    return bool((yield queries.MOVE, (chain, due_at, now)))


def pause_queue(queue: str, now: float, pause: Callable[[int], float], reason: str) -> Script[None]:
    """Pause a queue whose destination does not answer for `pause(n)` seconds, where this is the n-th failure in a row.

    Failures at the same time count once. No pause is longer than MAX_PAUSE_S.
    """
    rows = yield queries.GET_QUEUE, (queue,)
    failures, until = (int(rows[0][3]), float(rows[0][2])) if rows else (0, 0.0)
    if not now < until <= now + MAX_PAUSE_S:
        failures += 1
        yield queries.PAUSE_QUEUE, (queue, now + min(pause(failures), MAX_PAUSE_S), failures, reason)


def resume_queue(queue: str) -> Script[None]:
    """End the pause of a queue: its destination has answered."""
    yield queries.RESUME_QUEUE, (queue,)


def hold_queue(queue: str) -> Script[None]:
    """Hold a queue: no job of it is claimed until it is released; running jobs go on."""
    yield queries.HOLD_QUEUE, (queue,)


def release_queue(queue: str) -> Script[None]:
    """Release a queue at once, whether it was held or paused."""
    yield queries.RELEASE_QUEUE, (queue,)


def forget_jobs(before: float) -> Script[int]:
    """Delete some jobs that finished before that time; returns their number."""
    gone = yield queries.FORGET, (before, _PURGE)
    if gone:
        yield queries.FORGET_LOST_PROGRESS, ()
    return len(gone)


async def get_job(database: Database, number: int) -> Job | None:
    rows = await database.fetch(queries.GET, number)
    return _job(rows[0]) if rows else None


async def get_progress(database: Database, number: int) -> JobProgress | None:
    """How far a job is; None for kinds that say nothing of it."""
    rows = await database.fetch(queries.GET_PROGRESS, number)
    return _progress(rows[0]) if rows else None


async def ended_job(database: Database, number: int) -> Job | None:
    """Wait until a job is over, in whichever process it is done; None where it has been deleted. It may wait for ever,
    for a job that a person has paused."""
    pause = _FIRST_LOOK_S
    while True:
        job = await get_job(database, number)
        if job is None or job.finished_at:
            return job
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_LOOK_S)


async def list_jobs(database: Database, *, before: int = 2**62, limit: int = 100) -> list[Job]:
    """A page of jobs, newest first; the next page begins `before` the last id of this one."""
    return [_job(row) for row in await database.fetch(queries.LIST, before, limit)]


async def list_reporting_jobs(
    database: Database, *, state: State | Literal[""] = "", before: int = 2**62, limit: int = 50
) -> list[Job]:
    """A page of the jobs that say how far they are, as those do that people ask for; newest first, of one state or ('')
    of all."""
    return [_job(row) for row in await database.fetch(queries.LIST_REPORTING, before, limit, state)]


async def chained_jobs(database: Database, chain: str) -> list[Job]:
    """The jobs of a chain, in order."""
    return [_job(row) for row in await database.fetch(queries.CHAIN, chain)]


async def list_queues(database: Database) -> dict[str, QueueState]:
    """The queues that were ever held or paused, by name."""
    return {row[0]: QueueState(row[0], bool(row[1]), *row[2:]) for row in await database.fetch(queries.LIST_QUEUES)}


async def count_queues(database: Database, prefix: str) -> dict[tuple[str, str], int]:
    """The number of unfinished jobs, by queue and state, of queues whose name has the prefix."""
    rows = await database.fetch(queries.COUNT_QUEUES, prefix, prefix + "\U0010ffff")
    return {(queue, state): count for queue, state, count in rows}


async def count_states(database: Database) -> dict[str, int]:
    """The number of jobs, finished ones included, by state. Reads all of them."""
    return dict(await database.fetch(queries.COUNT_STATES))


async def oldest_jobs(database: Database, prefix: str) -> dict[str, float]:
    """When the oldest waiting or running job was added, by queue, of queues whose name has the prefix."""
    return dict(await database.fetch(queries.OLDEST, prefix, prefix + "\U0010ffff"))


async def next_moment(database: Database) -> float | None:
    """When the next job is due or a lease expires; None while there is nothing to wait for."""
    ((at,),) = await database.fetch(queries.NEXT)
    return at if at is None else float(at)


def _job(row: Row) -> Job:
    progress = _progress(row[_COLUMNS:]) if len(row) > _COLUMNS and row[_COLUMNS] is not None else None
    return Job(*[*row[:6], msgspec.json.decode(row[6]), *row[7:_COLUMNS], progress])


def _progress(row: Row) -> JobProgress:
    percent, position, content, payload = row
    return JobProgress(int(percent), int(position), msgspec.json.decode(content), msgspec.json.decode(payload))
