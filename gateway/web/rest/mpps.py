"""/mpps: performed procedure steps of modalities, and their forwarding. Orthanc has no such routes."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.web.rest.answers import json_answer, number, timestamp
from gateway.web.rest.jobs import as_json as job_as_json
from gateway.web.rest.tags import to_tags
from gateway.web.route import EXPAND, PAGE, Parameter, Route
from gateway.workflow.performed_steps import PerformedSteps, Step

STEPS: web.AppKey[PerformedSteps] = web.AppKey("steps", PerformedSteps)
_MAX_LIMIT = 1000
_TENANT: Final = Parameter("tenant", "The tenant whose step it is", example="clinic-a")


async def all_steps(request: web.Request) -> web.Response:
    """Performed procedure steps: their SOP Instance UIDs, newest first; with `expand`, the whole steps.

    `limit` is the size of a page; `before` (a `Number`) requests the next page.
    """
    limit = min(number(request, "limit", 100), _MAX_LIMIT)
    steps = await request.app[STEPS].page(before=number(request, "before", 2**62), limit=limit)
    expanded = "expand" in request.query
    return json_answer([_as_json(step) if expanded else step.uid for step in steps])


async def one(request: web.Request) -> web.Response:
    """One performed procedure step, and its forwards. `tenant` says whose, where several have one of this UID."""
    steps = request.app[STEPS]
    step = await steps.get(request.match_info["uid"], request.query.get("tenant", ""))
    forwards = await steps.forwards(step)
    return json_answer(
        {**_as_json(step), "Forwards": {name: [job_as_json(job) for job in jobs] for name, jobs in forwards.items()}}
    )


async def remove(request: web.Request) -> web.Response:
    """Delete a step. `tenant` says whose, where several have one of this UID."""
    await request.app[STEPS].remove(request.match_info["uid"], request.query.get("tenant", ""))
    return json_answer({})


def _as_json(step: Step) -> dict[str, Any]:
    of_tenant = {"Tenant": step.tenant} if step.tenant else {}
    return {
        "CalledAet": step.called_aet,
        "CallingAet": step.calling_aet,
        "CreationTime": timestamp(step.created_at),
        "ID": step.uid,
        "LastUpdate": timestamp(step.changed_at),
        "Number": step.id,
        "Status": step.state,
        "Tags": to_tags(step.data_set),
        **of_tenant,
    }


ROUTES = (
    Route("GET", "/mpps", all_steps, "worklists", (*PAGE, EXPAND)),
    Route("GET", "/mpps/{uid}", one, "worklists", (_TENANT,), errors=(400, 404)),
    Route("DELETE", "/mpps/{uid}", remove, "worklists", (_TENANT,), errors=(400, 404)),
)
