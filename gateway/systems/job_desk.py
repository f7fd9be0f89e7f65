"""What all jobs with other systems have in common: they are added with what they say of themselves, and are not tried
again by themselves, since a script asked for them and looks at what came of it.

An attempt that was interrupted, by a restart or by a person, goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.audit.entry import NO_SUBJECT, AuditEntry, AuditOutcome, AuditSubject
from gateway.audit.log import AuditLog
from gateway.audit.table import append
from gateway.database.actor import ACTOR
from gateway.database.database import Database, Script
from gateway.database.view import VIEW, seeing
from gateway.dicom.levels import Level
from gateway.errors import NotFound, PermanentFailure
from gateway.events.exports import log_exports
from gateway.index.visibility import visible_again
from gateway.jobs import table
from gateway.jobs.runner import CompletionScript, Handler, JobType, Retry
from gateway.jobs.table import Job, JobProgress

DESCRIPTION: Final = "REST API"
"""What Orthanc says of jobs that were asked for over REST."""
_REPORT_EVERY_S: Final = 1.0
"""Between two reports of how far a job is."""


class JobDesk:
    """Adds jobs, and waits for them. One for all kinds."""

    def __init__(
        self,
        database: Database,
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        audit: AuditLog | None = None,
    ) -> None:
        """`wake` tells the runner of jobs that there is something to do. What came of jobs is written to `audit`."""
        self.database = database
        self.audit = audit
        self._wake = wake
        self._clock = clock

    async def add(
        self,
        kind: str,
        system: str,
        payload: dict[str, Any],
        content: Mapping[str, Any],
        priority: int = 0,
        *,
        chain: str = "",
    ) -> int:
        """Add a job about a system; its number. `content` is what it says of itself before it has begun.

        Jobs of a `chain` run one at a time, in their order. The job belongs to whoever asks for it, and sees what they
        see.
        """
        now, actor, view = self._clock(), ACTOR.get(), VIEW.get()
        seen = view.origin if view is not None else ""

        def script() -> Script[int]:
            number = yield from table.add_job(
                *(kind, payload, now),
                queue=f"{kind}:{system}",
                chain=chain,
                priority=priority,
                actor=actor,
                seen=seen,
            )
            yield from table.report_progress(number, JobProgress(content=dict(content)))
            return number

        number = await self.database.write(script)
        self._wake()
        return number

    async def ended(self, number: int) -> Job:
        """Wait until it is over. Raises NotFound where it has been deleted."""
        job = await table.ended_job(self.database, number)
        if job is None:
            raise NotFound(f"there is no job {number} any more")
        return job

    async def is_running(self, job: Job) -> bool:
        """Whether a claimed job is still this attempt's: nobody has cancelled or paused it, or taken it over."""
        found = await table.get_job(self.database, job.id)
        return found is not None and found.state == "running" and found.owner == job.owner

    async def reporter(self, job: Job) -> Reporter:
        """A reporter for a job, beginning where the job was interrupted."""
        return Reporter(
            self.database, self.audit, job, await table.get_progress(self.database, job.id) or JobProgress()
        )


class Reporter:
    """Writes down how far one job is, once a second at most."""

    def __init__(self, database: Database, audit: AuditLog | None, job: Job, before: JobProgress) -> None:
        self._database = database
        self._audit = audit
        self._job = job
        self.percent, self.position = before.percent, max(0, before.position)
        self.position_before = max(0, -before.position)
        """Where the job had come to before it was submitted again; written down for as long as the position is 0."""
        self.content = before.content
        self._written_at = time.monotonic()

    async def note(self, percent: float, position: int, *, at_once: bool = False) -> None:
        """Note how far the job is, in percent and in steps; written once a second at most, or `at_once`. Raises
        DatabaseError."""
        self.percent, self.position = max(0, min(99, int(percent))), position
        if at_once or time.monotonic() - self._written_at >= _REPORT_EVERY_S:
            await self._database.write(lambda: table.report_progress(self._job.id, self._progress(None)))
            self._written_at = time.monotonic()

    def done(self) -> Script[None]:
        """The script that says that it is done, for the transaction that ends it."""
        yield from self._done(self._entries("jobs"))

    def sent(self, remote: str, resources: Iterable[tuple[str, Level]]) -> Script[None]:
        """The script of a job that has sent resources to a system: it is done, and they are in the log of exports."""
        sent = list(resources)
        subjects = [AuditSubject(level, public_id) for public_id, level in sent]
        yield from self._done(self._entries("send", subjects or [NO_SUBJECT], to=remote))
        yield from log_exports(remote, sent, time.time())

    async def failed(self, why: str, payload: dict[str, Any] | None = None) -> PermanentFailure:
        """Write down that the job has failed; returns the exception to raise."""
        entries = self._entries("jobs", outcome="failure")
        await self._database.write(lambda: self._report(self._progress(payload), entries))
        return PermanentFailure(why)

    def _done(self, entries: Sequence[AuditEntry]) -> Script[None]:
        self.percent = 100
        yield from self._report(self._progress(None), entries)

    def _report(self, progress: JobProgress, entries: Sequence[AuditEntry]) -> Script[None]:
        yield from table.report_progress(self._job.id, progress)
        if entries:
            yield from append(entries)

    def _entries(
        self,
        action: str,
        subjects: Sequence[AuditSubject] = (NO_SUBJECT,),
        outcome: AuditOutcome = "success",
        **more: str,
    ) -> list[AuditEntry]:
        """What the audit log says of the end of the job."""
        audit = self._audit
        if audit is None or not audit.is_on:
            return []
        detail = {"job": self._job.id, "kind": self._job.kind, **more}
        return [audit.entry(action, self._job.actor, each, outcome=outcome, detail=detail) for each in subjects]

    def _progress(self, payload: dict[str, Any] | None) -> JobProgress:
        return JobProgress(self.percent, self.position or -self.position_before, self.content, payload)


def once(handle: Handler) -> JobType:
    """A kind of job that is not tried again by itself, and takes as long as it takes: each of its steps has a limit. It
    sees what its requester does: of a patient that is to be sent, the studies that are shown to them."""

    async def handled(job: Job) -> CompletionScript | None:
        with seeing(visible_again(job.seen)):
            return await handle(job)

    return JobType(handled, lambda job: Retry(attempts=1), None)
