"""Doing the jobs: claim what is due, one task each, try again what failed, later each time.

Any number of runners, in any number of processes, work off one table. A runner holds a lease on what it works on and
extends it; when it dies, others take over once the lease is over. So everything is done at least once: a handler must
bear to do its work twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.database.database import Database, Script
from gateway.errors import DatabaseError, GatewayError, JobGivenUp
from gateway.jobs import table
from gateway.jobs.table import Job, Limit

log = logging.getLogger(__name__)

Record = Callable[[], Script[None]]
"""What is to be written down in the transaction that ends a job."""
Handler = Callable[[Job], Awaitable[Record | None]]
"""Does one job. Raises JobGivenUp where trying again is in vain, Later where it is not yet time, LaneClosed where that
holds for all of its lane, anything else to have it tried again."""
_PURGE_EVERY = 3600.0
_PACE = 0.01
"""Seconds between two looks for work, so that what ends or is added meanwhile costs one look together."""


class Later(Exception):
    """Not yet: to be done again in some seconds, without counting as an attempt. The text says what is waited for."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds


class LaneClosed(Exception):
    """Nobody answers where the jobs of this lane go: none of them is tried for a while, longer each time, and this does
    not count as an attempt. The text says why."""

    def __init__(self, why: str, at_least: float = 0.0) -> None:
        """`at_least`: seconds, where it was said when to come again."""
        super().__init__(why)
        self.at_least = at_least


@dataclass(frozen=True, slots=True)
class Retry:
    """When what has failed is tried again. Times in seconds."""

    attempts: int = 20
    """Then it has failed. 20 with the times below are about half a day."""
    first: float = 10.0
    """Before the second attempt, give or take a half; twice that before the third, and so on."""
    longest: float = 3600.0

    def delay(self, attempts: int, chance: float) -> float:
        """Seconds before the next attempt; `chance`, 0 to 1, spreads what failed together."""
        return min(self.longest, self.first * 2.0 ** min(attempts - 1, 30)) * (0.5 + chance)


LANES = Retry(first=5.0, longest=300.0)
"""When a lane that was found closed is tried again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How jobs of one kind are done."""

    handle: Handler
    retry: Callable[[Job], Retry] = lambda job: Retry()
    timeout: float | None = 600.0
    """Seconds for one attempt; None: the handler knows best."""
    failed: Callable[[Job, str, bool], Script[None]] | None = None
    """What else is written when one has failed: given the reason, and whether it was given up before its time."""


class Runner:
    """Works off the jobs of a database. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind],
        *,
        owner: str = "",
        slots: int = 16,
        limit: Limit = lambda lane: 4,
        lease: float = 60.0,
        poll: float = 1.0,
        purge: Callable[[float], Script[int]] = lambda now: table.forget_jobs(now - 7 * 86400.0),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`owner` is a name that no other runner has or had.

        `slots` jobs at once, `limit` of a lane over all runners; `poll`: seconds until a job that another process
        added is noticed; `purge` deletes some of what is over, given the time, until there is no more.
        """
        self._database = database
        self._kinds = kinds
        self._slots = slots
        self._limit = limit
        self._lease = lease
        self._poll = poll
        self._purge_script = purge
        self._clock = clock
        self._owner = owner or f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._running: dict[int, asyncio.Task[None]] = {}
        self._told: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work, until `close`."""
        self._tasks = [
            asyncio.create_task(self._work(), name="jobs"),
            asyncio.create_task(self._keep_leases(), name="job-leases"),
        ]

    def notify(self) -> None:
        """A job has been added or released: look at once."""
        self._wake.set()

    async def close(self) -> None:
        """Stop. What is under way is interrupted and waits for the next runner."""
        running = list(self._running.values())
        for task in (*self._tasks, *running):
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        if running:
            with contextlib.suppress(DatabaseError):
                await self._database.write(lambda: table.give_back_jobs(self._owner, self._clock()))

    async def _work(self) -> None:
        purge_at = 0.0
        while True:
            self._wake.clear()
            wait = self._poll
            try:
                moment = await table.next_moment(self._database)
                if moment is not None and len(self._running) < self._slots:
                    if moment <= self._clock():
                        await self._claim()
                    else:
                        wait = min(wait, moment - self._clock())
                if self._clock() >= purge_at:
                    await self._purge()
                    purge_at = self._clock() + _PURGE_EVERY
            except DatabaseError as error:
                log.warning("jobs cannot be read: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0.001)):
                    await self._wake.wait()
                    await asyncio.sleep(_PACE)

    async def _claim(self) -> None:
        owner, free = self._owner, self._slots - len(self._running)

        def script() -> Script[list[Job]]:
            return table.claim_jobs(owner, self._clock(), self._lease, free, self._limit)

        jobs = await self._database.write(script)
        for job in jobs:
            self._running[job.id] = asyncio.create_task(self._run(job), name=f"job-{job.id}")
        if jobs:
            self._wake.set()  # Perhaps there is more.

    async def _purge(self) -> None:
        while await self._database.write(lambda: self._purge_script(self._clock())):
            pass

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            before = dict(self._running)
            if not before:
                continue
            try:
                ours = await self._database.write(lambda: table.extend_leases(self._owner, self._clock() + self._lease))
            except DatabaseError as error:
                log.warning("the leases of jobs cannot be extended: %s", error)
                continue
            for number, task in before.items():
                if number not in ours and not task.done():
                    log.info("job %d was taken back", number)
                    task.cancel()

    async def _run(self, job: Job) -> None:
        try:
            await self._record(job, await self._attempt(job))
        finally:
            del self._running[job.id]
            self._wake.set()

    async def _attempt(self, job: Job) -> Callable[[], Script[bool]]:
        """Do it; the script that says how it went."""
        kind = self._kinds.get(job.kind)
        if kind is None:
            return lambda: table.finish_job(
                job, "failed", self._clock(), f"this release knows no jobs of kind {job.kind!r}"
            )
        try:
            async with asyncio.timeout(kind.timeout) as limit:
                record = await kind.handle(job)
        except Later as later:
            due, why = self._clock() + later.seconds, str(later)
            return lambda: table.postpone_job(job, due, why, counted=False)
        except LaneClosed as closed:
            return self._closed(job, closed)
        except JobGivenUp as error:
            return self._failed(job, kind, str(error), given_up=True)
        except TimeoutError as error:
            late = f"not done within {kind.timeout:g} s"
            return self._again(job, kind, late if limit.expired() else str(error) or "no answer in time")
        except (GatewayError, OSError) as error:
            return self._again(job, kind, str(error) or type(error).__name__)
        except Exception as error:
            log.exception("job %d (%s) failed", job.id, job.kind)
            return self._again(job, kind, f"internal error: {type(error).__name__}")
        return lambda: self._ended(job, "done", "", record)

    def _again(self, job: Job, kind: Kind, why: str) -> Callable[[], Script[bool]]:
        retry = kind.retry(job)
        if job.attempts >= retry.attempts:
            return self._failed(job, kind, why, given_up=False)
        delay = retry.delay(job.attempts, random.random())
        log.warning("job %d (%s), attempt %d: %s; again in %.0f s", job.id, job.kind, job.attempts, why, delay)
        due = self._clock() + delay

        def script() -> Script[bool]:
            yield from table.open_lane(job.lane)
            return (yield from table.postpone_job(job, due, why))

        return script

    def _failed(self, job: Job, kind: Kind, why: str, *, given_up: bool) -> Callable[[], Script[bool]]:
        log.error("job %d (%s) has failed after %d attempts: %s", job.id, job.kind, job.attempts, why)
        failed = kind.failed
        record = (lambda: failed(job, why, given_up)) if failed is not None else None
        return lambda: self._ended(job, "failed", why, record)

    def _ended(self, job: Job, state: Literal["done", "failed"], why: str, record: Record | None) -> Script[bool]:
        """What was done is written down even where the job was taken back: it has happened."""
        if record is not None:
            yield from record()
        yield from table.open_lane(job.lane)
        return (yield from table.finish_job(job, state, self._clock(), why))

    def _closed(self, job: Job, closed: LaneClosed) -> Callable[[], Script[bool]]:
        now, chance, why = self._clock(), random.random(), str(closed)

        def script() -> Script[bool]:
            yield from table.close_lane(job.lane, now, lambda n: max(closed.at_least, LANES.delay(n, chance)), why)
            return (yield from table.postpone_job(job, job.due_at, why, counted=False))

        if now >= self._told.get(job.lane, 0.0):
            log.warning("%s: %s; it waits", job.lane, why)
        self._told[job.lane] = now + LANES.first / 2  # once for all that found it closed together
        return script

    async def _record(self, job: Job, outcome: Callable[[], Script[bool]]) -> None:
        """Write down how it went. Where that fails, the lease runs out and it is done again."""
        try:
            if not await self._database.write(outcome):
                log.info("job %d was taken back while it was worked on", job.id)
        except DatabaseError as error:
            log.warning("what became of job %d (%s) is not written down: %s", job.id, job.kind, error)
