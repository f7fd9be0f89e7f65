"""Jobs as rows: adding, claiming, finishing, holding. Scripts, so that a job can share the transaction of its cause.

Who does the work, and when it is tried again, is `runner.py`. What a kind of job means is its handler's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.database.database import Database, Row, Script
from gateway.jobs import queries

State = Literal["waiting", "running", "held", "done", "failed", "cancelled"]
"""`failed`: given up. `held`: a person wants it to wait."""
_PURGE = 500


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work as its row has it. Times are seconds since 1970, 0 for none."""

    id: int
    kind: str
    state: State
    lane: str
    chain: str
    priority: int
    payload: dict[str, Any]
    attempts: int
    """Those begun, the one under way included."""
    created_at: float
    due_at: float
    lease_until: float
    owner: str
    finished_at: float
    error: str
    """Why the last attempt failed, in words; '' where none did."""


@dataclass(frozen=True, slots=True)
class Lane:
    """How it stands with a lane that was ever held or paused."""

    name: str
    held: bool
    """A person wants it to wait."""
    paused_until: float
    """Seconds since 1970."""
    failures: int
    """How often in a row it was found closed."""
    reason: str
    """Why, the last time."""


Limit = Callable[[str], int]
"""How many jobs of a lane may run at once; 0: none now."""


def add_job(
    kind: str,
    payload: dict[str, Any],
    now: float,
    *,
    lane: str = "",
    chain: str = "",
    priority: int = 0,
    due_at: float | None = None,
) -> Script[int]:
    """Add a job; its id. Wake the runner (`Runner.notify`) once the transaction is committed.

    `lane` (the kind, where empty) is what shares a limit, a destination for example; jobs of a `chain` run in the order
    in which they were added, one at a time. Of a lane, the highest `priority` goes first.
    """
    text = msgspec.json.encode(payload).decode()
    ((number,),) = yield (
        queries.ADD,
        (kind, lane or kind, chain, priority, text, now, now if due_at is None else due_at),
    )
    return int(number)


def claim_jobs(owner: str, now: float, lease: float, most: int, limit: Limit) -> Script[list[Job]]:
    """Take up to `most` jobs that are due, for `lease` seconds; of each lane no more than `limit` of it run at once.

    Lanes share what can be taken, those first in which the least runs, so that a slow one holds up no other. One that
    was found closed is tried with a single job.
    """
    yield queries.EXPIRE, (now,)
    lanes = sorted((yield queries.LANES, (now,)), key=lambda row: int(row[1]))
    claimed: list[Job] = []
    for lane, running, failures in lanes:
        at_once = min(limit(lane), 1) if failures else limit(lane)
        share = min(at_once - running, max(1, most // len(lanes)), most - len(claimed))
        if share <= 0:
            continue
        for (priority,) in (yield queries.PRIORITIES, (lane,)):
            rows = yield queries.CLAIM, (lane, priority, now, share, owner, now + lease)
            claimed += sorted(map(_job, rows), key=lambda job: (job.due_at, job.id))
            share -= len(rows)
            if not share:
                break
    return claimed


def extend_leases(owner: str, until: float) -> Script[set[int]]:
    """Keep what an owner works on; the ids that it still has."""
    return {int(number) for (number,) in (yield queries.EXTEND, (owner, until))}


def finish_job(job: Job, state: Literal["done", "failed"], now: float, error: str = "") -> Script[bool]:
    """End a claimed job. False where it was taken from its owner meanwhile: cancelled, held, or the lease ran out."""
    return bool((yield queries.FINISH, (job.id, job.owner, state, now, error)))


def postpone_job(job: Job, due_at: float, error: str, *, counted: bool = True) -> Script[bool]:
    """Let a claimed job wait; where it is not `counted`, as if this attempt had not been made."""
    attempts = job.attempts if counted else job.attempts - 1
    return bool((yield queries.POSTPONE, (job.id, job.owner, due_at, attempts, error, job.due_at)))


def give_back_jobs(owner: str, now: float) -> Script[None]:
    """Let everything that an owner has wait for another one."""
    yield queries.GIVE_BACK, (owner, now)


def settle_job(number: int, now: float) -> Script[bool]:
    """It was done elsewhere. False where it is over already."""
    return bool((yield queries.SETTLE, (number, now)))


def abandon_jobs(owner: str) -> Script[int]:
    """An owner has died: what it had waits, as if its lease had run out; how many."""
    return len((yield queries.ABANDON, (owner,)))


def cancel_job(number: int, now: float) -> Script[bool]:
    """End a job that is not over; one that runs is interrupted soon. False where there is none such."""
    return bool((yield queries.CANCEL, (number, now)))


def hold_job(number: int) -> Script[bool]:
    """Let a job wait until it is released; one that runs is interrupted soon. False where there is none such."""
    return bool((yield queries.HOLD, (number,)))


def release_job(number: int, now: float) -> Script[bool]:
    """Do it now, with all attempts before it again: a job that is held, failed, was cancelled, or waits."""
    return bool((yield queries.RELEASE, (number, now)))


def hurry_jobs(chain: str, now: float) -> Script[None]:
    """What waits in a chain is due now; what runs, as soon as it wants to wait, since it may not know the news."""
    yield queries.HURRY, (chain, now)


def move_jobs(chain: str, due_at: float) -> Script[bool]:
    """What waits in a chain becomes due at another time. False where nothing waits in it."""
    return bool((yield queries.MOVE, (chain, due_at)))


def close_lane(lane: str, now: float, pause: Callable[[int], float], reason: str) -> Script[None]:
    """Nobody answers there: claim nothing of it for `pause(n)` seconds, where this is the n-th time in a row.

    What is found closed at the same time counts once.
    """
    rows = yield queries.GET_LANE, (lane,)
    failures, until = (int(rows[0][3]), float(rows[0][2])) if rows else (0, 0.0)
    if until <= now:
        failures += 1
        yield queries.CLOSE_LANE, (lane, now + pause(failures), failures, reason)


def open_lane(lane: str) -> Script[None]:
    """Somebody has answered there."""
    yield queries.OPEN_LANE, (lane,)


def hold_lane(lane: str) -> Script[None]:
    """Claim nothing of it until it is released; what runs goes on."""
    yield queries.HOLD_LANE, (lane,)


def release_lane(lane: str) -> Script[None]:
    """Go on with it at once, whether it was held or paused."""
    yield queries.RELEASE_LANE, (lane,)


def forget_jobs(before: float) -> Script[int]:
    """Delete some of the jobs that were over before then; how many."""
    return len((yield queries.FORGET, (before, _PURGE)))


async def get_job(database: Database, number: int) -> Job | None:
    rows = await database.fetch(queries.GET, number)
    return _job(rows[0]) if rows else None


async def list_jobs(database: Database, *, before: int = 2**62, limit: int = 100) -> list[Job]:
    """A page of jobs, newest first; the next one begins `before` the last id of this."""
    return [_job(row) for row in await database.fetch(queries.LIST, before, limit)]


async def chained_jobs(database: Database, chain: str) -> list[Job]:
    """The jobs of a chain, in order."""
    return [_job(row) for row in await database.fetch(queries.CHAIN, chain)]


async def list_lanes(database: Database) -> dict[str, Lane]:
    """The lanes that were ever held or paused."""
    return {row[0]: Lane(row[0], bool(row[1]), *row[2:]) for row in await database.fetch(queries.LIST_LANES)}


async def count_lanes(database: Database, prefix: str) -> dict[tuple[str, str], int]:
    """How many jobs are not over, by lane and state, of the lanes that begin so."""
    rows = await database.fetch(queries.COUNT_LANES, prefix, prefix + "\U0010ffff")
    return {(lane, state): count for lane, state, count in rows}


async def next_moment(database: Database) -> float | None:
    """When the next job is due or a lease runs out; None while there is nothing to wait for."""
    ((at,),) = await database.fetch(queries.NEXT)
    return at if at is None else float(at)


def _job(row: Row) -> Job:
    return Job(*[*row[:6], msgspec.json.decode(row[6]), *row[7:]])
