"""Running the jobs: claim due jobs, run each in a task, retry failures with growing delays.

Any number of runners, in any number of processes, share one table. A runner holds a lease on its jobs and
extends it; when the runner dies, others claim the jobs once the lease has expired. Everything is done at least once: a
handler must be safe to run twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from gateway import tracing
from gateway.database.database import Database, Script
from gateway.errors import DatabaseError, GatewayError, OutOfDescriptors, Overloaded, PermanentFailure
from gateway.jobs import table
from gateway.jobs.table import Job, Limit
from gateway.supervision import lasting

log = logging.getLogger(__name__)

CompletionScript = Callable[[], Script[None]]
"""The script for the transaction that ends a job."""
Handler = Callable[[Job], Awaitable[CompletionScript | None]]
"""Does one job. Raises: PermanentFailure if a retry is in vain; Postpone, or OutOfDescriptors, if it is too early;
QueuePaused if that holds for the whole queue; any other error to retry the job."""
_PURGE_EVERY_S = 3600.0
_STEP_S = 1.0
"""A clock that goes back by more than this, in seconds, between two searches for work has been set."""
_FIRST_RECORD_S, _MAX_RECORD_S = 0.5, 30.0
"""Seconds between attempts to record a result while the database fails: doubled each time, up to the second number."""
_DESCRIPTORS_S = 5.0
"""Seconds before a job for which no file could be opened is retried, plus or minus a half."""
_PACE_S = 0.01
"""Seconds between two searches for work, so that jobs that end or are added meanwhile cost one search together."""


class Postpone(Exception):
    """A job is too early: retry in some seconds, without counting an attempt. The text gives the reason."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds


class QueuePaused(Exception):
    """The destination of a queue does not answer: none of its jobs is tried for a while, longer each time, without
    counting an attempt. The text says why."""

    def __init__(self, why: str, at_least: float = 0.0) -> None:
        """`at_least`: seconds, if the destination has said when to come again."""
        super().__init__(why)
        self.at_least = at_least


@dataclass(frozen=True, slots=True)
class Retry:
    """The schedule of retries after a failure. Times in seconds."""

    attempts: int = 20
    """Attempts until a job has failed; 20 with the times below take about half a day."""
    first: float = 10.0
    """Seconds before the second attempt, plus or minus a half; doubled for the third, and so on."""
    longest: float = 3600.0

    def delay(self, attempts: int, chance: float) -> float:
        """Seconds before the next attempt; `chance`, 0 to 1, spreads jobs that failed together."""
        return min(self.longest, self.first * 2.0 ** min(attempts - 1, 30)) * (0.5 + chance)


PAUSES = Retry(first=5.0, longest=300.0)
"""The schedule on which a paused queue is tried again."""


@dataclass(frozen=True, slots=True)
class JobType:
    """How jobs of one kind are run."""

    handle: Handler
    retry: Callable[[Job], Retry] = lambda job: Retry()
    timeout: float | None = 600.0
    """Seconds for one attempt; None: the handler decides."""
    failed: Callable[[Job, str, bool], Script[None]] | None = None
    """Makes a script for the transaction in which a job fails, from the reason and whether retries were left out."""


class Runner:
    """Runs the jobs of a database. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, JobType],
        *,
        owner: str = "",
        slots: int = 16,
        limit: Limit = lambda queue: 4,
        lease: float = 60.0,
        poll: float = 1.0,
        purge: Callable[[float], Script[int]] = lambda now: table.forget_jobs(now - 7 * 86400.0),
        clock: Callable[[], float] = time.time,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`owner` is a name that no other runner has or had.

        `slots` jobs run at once, shared as in `claim_jobs`; `limit` bounds a queue over all runners; `poll` is the
        seconds until a job added by another process is noticed; `purge` deletes some finished jobs, given the time,
        until none is left. A caller that adds or releases a job sets
        `wake`: the runner then searches at once.
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
        self._claimed: dict[int, Job] = {}
        """The last claim of each job that runs here, as the transactions see it."""
        self._logged_until: dict[str, float] = {}
        self._wake = wake or asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to run jobs, until `close`."""
        self._tasks = [
            asyncio.create_task(lasting("looking for jobs", self._work), name="jobs"),
            asyncio.create_task(lasting("extending the leases of jobs", self._keep_leases), name="job-leases"),
        ]

    def notify(self) -> None:
        """Search at once: a job has been added or released."""
        self._wake.set()

    async def close(self) -> None:
        """Stop. Running jobs are interrupted and wait for the next runner."""
        running = list(self._running.values())
        for task in (*self._tasks, *running):
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        if running:
            with contextlib.suppress(DatabaseError):
                await self._database.write(lambda: table.give_back_jobs(self._owner, self._clock()))

    async def _work(self) -> None:
        monotonic = asyncio.get_running_loop().time
        purge_at, clock_lead = 0.0, math.inf
        while True:
            self._wake.clear()
            wait = self._poll
            try:
                lead = self._clock() - monotonic()
                if lead < clock_lead - _STEP_S:  # At the start too: the process before may have seen any time.
                    await self._database.write(lambda: table.pull_in_jobs(self._clock()))
                clock_lead = lead
                moment = await table.next_moment(self._database)
                if moment is not None:
                    if moment <= self._clock():
                        await self._claim()
                    else:
                        wait = min(wait, moment - self._clock())
                if monotonic() >= purge_at:
                    await self._purge()
                    purge_at = monotonic() + _PURGE_EVERY_S
            except DatabaseError as error:
                log.warning("jobs cannot be read: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0.001)):
                    await self._wake.wait()
                    await asyncio.sleep(_PACE_S)

    async def _claim(self) -> None:
        owner, taken = self._owner, len(self._running)

        def script() -> Script[list[Job]]:
            jobs = yield from table.claim_jobs(owner, self._clock(), self._lease, self._slots, self._limit, taken=taken)
            self._claimed.update({job.id: job for job in jobs})
            return jobs

        jobs = await self._database.write(script, durably=False)  # One that a power cut undoes is claimed again.
        for job in jobs:
            # Held and released again before the lease loop noticed, the job still runs here.
            before = self._running.get(job.id)
            if before is not None:
                before.cancel()
            self._running[job.id] = asyncio.create_task(self._run(job, before), name=f"job-{job.id}")
        if jobs:
            self._wake.set()  # There may be more due jobs.

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
                extend = functools.partial(table.extend_leases, self._owner, self._clock() + self._lease)
                ours = await self._database.write(extend, durably=False)
            except DatabaseError as error:
                log.warning("the leases of jobs cannot be extended: %s", error)
                continue
            for number, task in before.items():
                if number not in ours and not task.done():
                    log.info("job %d was taken back", number)
                    task.cancel()

    async def _run(self, job: Job, before: asyncio.Task[None] | None) -> None:
        """Run one attempt, after the task `before` has ended, and record its result."""
        try:
            if before is not None:
                await asyncio.wait([before])
            try:
                await self._record(job, await self._attempt(job))
            except Exception as error:
                log.exception("job %d (%s): the result cannot be recorded", job.id, job.kind)
                await self._record(job, self._unwritten(job, f"internal error: {type(error).__name__}"))
        finally:
            if self._running.get(job.id) is asyncio.current_task():
                del self._running[job.id]
            if self._claimed.get(job.id) is job:
                del self._claimed[job.id]
            self._wake.set()

    async def _attempt(self, job: Job) -> Callable[[], Script[bool]]:
        """Run the handler; returns the script that records the result."""
        kind = self._kinds.get(job.kind)
        if kind is None:
            return lambda: self._finished(job, "failed", f"this release knows no jobs of kind {job.kind!r}")
        try:
            async with asyncio.timeout(kind.timeout) as limit:
                with self._span(job):
                    record = await kind.handle(job)
        except Postpone as later:
            return self._later(job, later.seconds, str(later))
        except (OutOfDescriptors, Overloaded) as error:
            return self._later(job, _DESCRIPTORS_S * (0.5 + random.random()), str(error))
        except QueuePaused as closed:
            return self._closed(job, closed)
        except PermanentFailure as error:
            return self._failed(job, kind, str(error), given_up=True)
        except TimeoutError as error:
            late = f"not finished within {kind.timeout:g} s"
            return self._again(job, kind, late if limit.expired() else str(error) or "no answer in time")
        except (GatewayError, OSError) as error:
            return self._again(job, kind, str(error) or type(error).__name__)
        except Exception as error:
            log.exception("job %d (%s) failed", job.id, job.kind)
            return self._again(job, kind, f"internal error: {type(error).__name__}")
        return lambda: self._ended(job, "done", "", record)

    @staticmethod
    def _span(job: Job) -> AbstractContextManager[tracing.TraceSpan]:
        """The attempt in the trace of whatever added the job."""
        parent = tracing.continued(job.payload.get("traceparent", ""))
        about: tracing.About = {"gateway.job": job.id, "gateway.queue": job.queue, "gateway.attempt": job.attempts}
        return tracing.span(f"job {job.kind}", "consumer", parent=parent, about=about)

    def _later(self, job: Job, seconds: float, why: str) -> Callable[[], Script[bool]]:
        now = self._clock()
        return lambda: self._own(job, table.postpone_job(job, now + seconds, now, why, counted=False))

    def _again(self, job: Job, kind: JobType, why: str) -> Callable[[], Script[bool]]:
        retry = kind.retry(job)
        if job.attempts >= retry.attempts:
            return self._failed(job, kind, why, given_up=False)
        delay = retry.delay(job.attempts, random.random())
        log.warning("job %d (%s), attempt %d: %s; again in %.0f s", job.id, job.kind, job.attempts, why, delay)
        now = self._clock()

        def script() -> Script[bool]:
            yield from table.resume_queue(job.queue)
            return (yield from self._own(job, table.postpone_job(job, now + delay, now, why)))

        return script

    def _failed(self, job: Job, kind: JobType, why: str, *, given_up: bool) -> Callable[[], Script[bool]]:
        log.error("job %d (%s) has failed after %d attempts: %s", job.id, job.kind, job.attempts, why)
        failed = kind.failed
        record = (lambda: failed(job, why, given_up)) if failed is not None else None
        return lambda: self._ended(job, "failed", why, record)

    def _ended(
        self, job: Job, state: Literal["done", "failed"], why: str, record: CompletionScript | None
    ) -> Script[bool]:
        """The script of a finished job; what it did is recorded even if it was taken back: it has happened."""
        if record is not None:
            yield from record()
        yield from table.resume_queue(job.queue)
        return (yield from self._finished(job, state, why))

    def _finished(self, job: Job, state: Literal["done", "failed"], why: str) -> Script[bool]:
        return self._own(job, table.finish_job(job, state, self._clock(), why))

    def _own(self, job: Job, script: Script[bool]) -> Script[bool]:
        """A script, unless this runner has claimed the job again: the row says no more than that the runner owns it."""
        return (yield from script) if self._claimed.get(job.id) is job else False

    def _closed(self, job: Job, closed: QueuePaused) -> Callable[[], Script[bool]]:
        now, chance, why = self._clock(), random.random(), str(closed)
        moment = asyncio.get_running_loop().time()

        def script() -> Script[bool]:
            yield from table.pause_queue(job.queue, now, lambda n: max(closed.at_least, PAUSES.delay(n, chance)), why)
            return (yield from self._own(job, table.postpone_job(job, job.due_at, now, why, counted=False)))

        if moment >= self._logged_until.get(job.queue, 0.0):
            log.warning("%s: %s; its jobs wait", job.queue, why)
        self._logged_until[job.queue] = moment + PAUSES.first / 2  # One line for all jobs that failed together.
        return script

    def _unwritten(self, job: Job, why: str) -> Callable[[], Script[bool]]:
        """The script that ends or postpones a job by itself, where that of its kind failed by an internal error."""
        now, retry = self._clock(), Retry()
        if job.attempts >= retry.attempts:
            return lambda: self._finished(job, "failed", why)
        delay = retry.delay(job.attempts, random.random())
        return lambda: self._own(job, table.postpone_job(job, now + delay, now, why))

    async def _record(self, job: Job, outcome: Callable[[], Script[bool]]) -> None:
        """Record a result, as soon as the database can: until then the job is leased, and not run twice."""
        pause = _FIRST_RECORD_S
        while True:
            try:
                if not await self._database.write(outcome):
                    log.info("job %d was taken back while it was worked on", job.id)
                return
            except DatabaseError as error:
                log.warning(
                    "the result of job %d (%s) is not recorded yet: %s; again in %g s", job.id, job.kind, error, pause
                )
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, _MAX_RECORD_S)
