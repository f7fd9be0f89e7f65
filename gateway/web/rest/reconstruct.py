"""POST /{level}/{id}/reconstruct and /tools/reconstruct: the files are read into the index again."""

from __future__ import annotations

import functools
from typing import Final

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, Level
from gateway.systems.reconstruction import Reconstruction
from gateway.web.accept import JSON
from gateway.web.rest.asked import JobBody, job_answer, read_body
from gateway.web.route import Route
from gateway.web.schemas import struct

RECONSTRUCTION: web.AppKey[Reconstruction] = web.AppKey("reconstruction", Reconstruction)


async def one(request: web.Request, level: Level) -> web.StreamResponse:
    """Read the files of a resource into the index again; metadata, labels and deliveries stay.

    Answered when it is done, or with `Asynchronous` at once with the job. Files are never changed: `ReconstructFiles`
    has no effect.
    """
    body = await read_body(request, JobBody)
    resource = level, request.match_info["id"]
    number = await request.app[RECONSTRUCTION].add(resource, priority=body.rank, user_data=body.user_data)
    answer = await job_answer(request, number, waits=body.waits)
    return web.Response(text="") if body.waits and answer.status == 200 else answer


async def everything(request: web.Request) -> web.StreamResponse:
    """Read the files of all instances into the index again, in a job. With `Synchronous` answered when it is done."""
    body = await read_body(request, JobBody)
    number = await request.app[RECONSTRUCTION].add(None, priority=body.rank, user_data=body.user_data)
    return await job_answer(request, number, waits=bool(body.synchronous))


_BODY: Final = (JSON,)
_JOB: Final = struct(JobBody)
ROUTES = (
    *(
        Route(
            "POST",
            f"/{kind}/{{id}}/reconstruct",
            functools.partial(one, level=level),
            "settings",
            takes=_JOB,
            body=_BODY,
            errors=(404,),
        )
        for level, kind in COLLECTIONS.items()
    ),
    Route("POST", "/tools/reconstruct", everything, "settings", takes=_JOB, body=_BODY),
)
