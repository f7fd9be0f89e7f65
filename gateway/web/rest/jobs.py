"""/jobs: durable work, in Orthanc's shape, and what a person may do about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.database.database import Script
from gateway.errors import BadRequest, NotFound
from gateway.jobs import table
from gateway.jobs.table import Job
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import json_answer, number, timestamp

_STATES = {"running": "Running", "held": "Paused", "done": "Success", "failed": "Failure", "cancelled": "Failure"}
_MOST = 1000
_LONG = 200
"""Characters of a member of the payload, past which it is left out: a data set, most likely."""


async def all_jobs(request: web.Request) -> web.Response:
    """Jobs: their ids, newest first; with `expand`, all of them. `limit`, and `before` (an id) to go on."""
    limit = min(number(request, "limit", 100), _MOST)
    database = request.app[CONTEXT].database
    jobs = await table.list_jobs(database, before=number(request, "before", 2**62), limit=limit)
    return json_answer([as_json(job) if "expand" in request.query else str(job.id) for job in jobs])


async def one(request: web.Request) -> web.Response:
    """One job."""
    return json_answer(as_json(await _get(request)))


async def cancel(request: web.Request) -> web.Response:
    """Let a job be: it fails, and is not tried again."""
    return await _act(request, lambda job: table.cancel_job(job.id, time.time()))


async def pause(request: web.Request) -> web.Response:
    """Let a job wait until it is resumed."""
    return await _act(request, lambda job: table.hold_job(job.id))


async def resume(request: web.Request) -> web.Response:
    """Let a job go on; where it waits for its next attempt, that is made now."""
    return await _act(request, lambda job: table.release_job(job.id, time.time()))


async def resubmit(request: web.Request) -> web.Response:
    """Try a job again that has failed or was cancelled, with all its attempts before it."""
    return await _act(request, lambda job: table.release_job(job.id, time.time()))


def as_json(job: Job) -> dict[str, Any]:
    """Orthanc's members, and what it has no member for: `Attempts`, `Due`, `Lane`."""
    state = _STATES.get(job.state) or ("Retry" if job.attempts else "Pending")
    return {
        "Attempts": job.attempts,
        "CompletionTime": timestamp(job.finished_at) if job.finished_at else "",
        "Content": {name: value for name, value in job.payload.items() if len(str(value)) <= _LONG},
        "CreationTime": timestamp(job.created_at),
        "Due": timestamp(job.due_at),
        "ErrorCode": 0 if not job.error else -1,
        "ErrorDescription": "cancelled" if job.state == "cancelled" else job.error or "Success",
        "ID": str(job.id),
        "Lane": job.lane,
        "Priority": job.priority,
        "Progress": 100 if job.state == "done" else 0,
        "State": state,
        "Type": job.kind,
    }


async def _get(request: web.Request) -> Job:
    text = request.match_info["id"]
    job = await table.get_job(request.app[CONTEXT].database, int(text)) if text.isdigit() and len(text) < 19 else None
    if job is None:
        raise NotFound(f"there is no job {text[:40]}")
    return job


async def _act(request: web.Request, script: Callable[[Job], Script[bool]]) -> web.Response:
    job, context = await _get(request), request.app[CONTEXT]
    if not await context.database.write(lambda: script(job)):
        raise BadRequest(f"job {job.id} is {job.state}")
    context.wake()
    return json_answer({})
