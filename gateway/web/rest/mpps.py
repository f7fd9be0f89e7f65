"""/mpps: performed procedure steps that modalities have reported, and where they were sent on to. Ours, in the style
of Orthanc's API."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.archive.performed import PerformedSteps, Step
from gateway.web.rest.answers import json_answer, number, timestamp
from gateway.web.rest.jobs import as_json as job_as_json
from gateway.web.rest.tags import to_tags

STEPS: web.AppKey[PerformedSteps] = web.AppKey("steps", PerformedSteps)
_MOST = 1000


async def all_steps(request: web.Request) -> web.Response:
    """Performed procedure steps: their SOP Instance UIDs, newest first; with `expand`, all of them.

    `limit`, and `before` (a `Number`) to go on.
    """
    limit = min(number(request, "limit", 100), _MOST)
    steps = await request.app[STEPS].page(before=number(request, "before", 2**62), limit=limit)
    return json_answer([_as_json(step) if "expand" in request.query else step.uid for step in steps])


async def one(request: web.Request) -> web.Response:
    """One performed procedure step."""
    steps = request.app[STEPS]
    step = await steps.get(request.match_info["uid"])
    forwards = await steps.forwards(step.uid)
    return json_answer(
        {**_as_json(step), "Forwards": {name: [job_as_json(job) for job in jobs] for name, jobs in forwards.items()}}
    )


async def remove(request: web.Request) -> web.Response:
    """Forget a step."""
    await request.app[STEPS].remove(request.match_info["uid"])
    return json_answer({})


def _as_json(step: Step) -> dict[str, Any]:
    return {
        "CalledAet": step.called_aet,
        "CallingAet": step.calling_aet,
        "CreationTime": timestamp(step.created_at),
        "ID": step.uid,
        "LastUpdate": timestamp(step.changed_at),
        "Number": step.id,
        "Status": step.state,
        "Tags": to_tags(step.data_set),
    }
