"""/jobs: durable jobs in Orthanc's JSON, and the actions of a user on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal

from aiohttp import web

from gateway.database.database import Script
from gateway.errors import BadRequest, NotFound
from gateway.jobs import table
from gateway.jobs.table import Job
from gateway.web.context import CONTEXT
from gateway.web.errors import BAD_FILE, CANCELLED, NETWORK
from gateway.web.inputs import whole_number
from gateway.web.rest.answers import json_answer, number, timestamp
from gateway.web.rest.archives import ARCHIVE_JOBS
from gateway.web.rest.own_jobs import check_acts_on
from gateway.web.route import EXPAND, OF_JOBS, PAGE, Route

_STATES = {"running": "Running", "held": "Paused", "done": "Success", "failed": "Failure", "cancelled": "Failure"}
_MAX_LIMIT = 1000
_LONG = 200
"""Characters past which a member of the payload is omitted: most likely a data set."""


async def all_jobs(request: web.Request) -> web.Response:
    """Jobs: their ids, newest first; with `expand`, whole. `limit` is the page size, `before` an id to start at."""
    limit = min(number(request, "limit", 100), _MAX_LIMIT)
    database = request.app[CONTEXT].database
    jobs = await table.list_jobs(database, before=number(request, "before", 2**62), limit=limit)
    expanded = "expand" in request.query
    return json_answer([as_json(job) if expanded else str(job.id) for job in jobs])


async def one(request: web.Request) -> web.Response:
    """The state of one job."""
    return json_answer(as_json(await _get(request, request.match_info["id"])))


async def cancel(request: web.Request) -> web.Response:
    """Cancel a job: it fails, and is not tried again."""
    return await _acted(request, "cancel")


async def pause(request: web.Request) -> web.Response:
    """Pause a job until it is resumed."""
    return await _acted(request, "pause")


async def resume(request: web.Request) -> web.Response:
    """Resume a job; if it waits for its next attempt, that is made now."""
    return await _acted(request, "resume")


async def resubmit(request: web.Request) -> web.Response:
    """Retry a job that has failed or was cancelled, from its beginning, with all its attempts again."""
    return await _acted(request, "resubmit")


async def remove(request: web.Request) -> web.Response:
    """Delete a job that is over, and what it has made."""
    return await _acted(request, "remove")


JobAction = Literal["pause", "resume", "cancel", "resubmit", "remove"]
_SCRIPTS: Final[dict[JobAction, Callable[[int, float], Script[bool]]]] = {
    "pause": lambda number, _now: table.hold_job(number),
    "resume": table.release_job,
    "cancel": table.cancel_job,
    "resubmit": table.resubmit_job,
    "remove": lambda number, _now: table.remove_job(number),
}
JOB_ACTIONS: Final[dict[JobAction, tuple[table.State, ...]]] = {
    "pause": ("waiting", "running"),
    "resume": ("held",),
    "cancel": ("waiting", "running", "held"),
    "resubmit": ("failed", "cancelled"),
    "remove": ("done", "failed", "cancelled"),
}
"""The actions of a user on a job, and the states of the job in which a page offers them."""


async def act_on(request: web.Request, text: str, action: JobAction) -> None:
    """Perform an action on the job with a number. Raises NotFound, Forbidden for a job of somebody else, and
    BadRequest if its state does not allow it."""
    job, context = await _get(request, text), request.app[CONTEXT]
    check_acts_on(request, job)
    if not await context.database.write(lambda: _SCRIPTS[action](job.id, time.time())):
        raise BadRequest(f"job {job.id} is {job.state}")
    context.use_cases.wake()
    if action == "remove":
        await request.app[ARCHIVE_JOBS].remove_output(job.id)


def as_json(job: Job) -> dict[str, Any]:
    """A job with Orthanc's members, and with `Attempts`, `Due` and `Lane`, which Orthanc does not have."""
    state = _STATES.get(job.state) or ("Retry" if job.attempts else "Pending")
    progress = job.progress
    code, description = _error(job)
    shown = {
        "Attempts": job.attempts,
        "CompletionTime": timestamp(job.finished_at) if job.finished_at else "",
        "Content": progress.content if progress is not None else _payload(job),
        "CreationTime": timestamp(job.created_at),
        "Due": timestamp(job.due_at),
        "EffectiveRuntime": round(max(0.0, job.finished_at - job.created_at), 3) if job.finished_at else 0.0,
        "ErrorCode": code,
        "ErrorDescription": description,
        "ErrorDetails": job.error,
        "ID": str(job.id),
        "Lane": job.queue,
        "Priority": job.priority,
        "Progress": 100 if job.state == "done" else progress.percent if progress is not None else 0,
        "State": state,
        "Timestamp": timestamp(time.time()),
        "Type": job.kind,
    }
    if progress is not None and progress.error_payload and job.state == "failed":
        shown["ErrorPayload"] = progress.error_payload
    if (user_data := job.payload.get("user_data")) is not None:
        shown["UserData"] = user_data
    return shown


def _payload(job: Job) -> dict[str, Any]:
    return {name: value for name, value in job.payload.items() if len(str(value)) <= _LONG}


def _error(job: Job) -> tuple[int, str]:
    """Orthanc's number, and words, for the kinds that Orthanc has too; for our own the reason in words."""
    if job.progress is not None:
        of_instance = (job.progress.error_payload or {}).get("Type") == "Instance"
        failed = BAD_FILE if of_instance else NETWORK
        return {"cancelled": CANCELLED, "failed": failed}.get(job.state, (0, "Success"))
    return -1 if job.error else 0, "cancelled" if job.state == "cancelled" else job.error or "Success"


async def _get(request: web.Request, text: str) -> Job:
    number = whole_number(text)
    job = await table.get_job(request.app[CONTEXT].database, number) if number is not None else None
    if job is None:
        raise NotFound(f"there is no job {text[:40]}")
    return job


async def _acted(request: web.Request, action: JobAction) -> web.Response:
    await act_on(request, request.match_info["id"], action)
    return json_answer({})


ROUTES = (
    Route("GET", "/jobs", all_jobs, OF_JOBS, (*PAGE, EXPAND)),
    Route("GET", "/jobs/{id}", one, OF_JOBS, errors=(404,), name="job"),
    Route("DELETE", "/jobs/{id}", remove, OF_JOBS, errors=(403, 404)),
    *(
        Route("POST", f"/jobs/{{id}}/{action.__name__}", action, OF_JOBS, errors=(403, 404))
        for action in (cancel, pause, resume, resubmit)
    ),
)
