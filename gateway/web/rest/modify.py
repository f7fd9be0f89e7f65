"""POST /instances|series|studies|patients/{id}/modify, in the JSON of Orthanc, with its answers to invalid requests.

The result is a new instance, series, study or patient: the UIDs from its level down are derived from a random key of
the request. `Changes` names a set of the configuration instead, which decides about UIDs itself.
"""

from __future__ import annotations

from aiohttp import web

from gateway.dicom.levels import Level
from gateway.edit.modification import detected_level
from gateway.web.rest.changing import change_routes, file_answer, read_change, read_members, stored_answer


async def modify(request: web.Request, level: Level) -> web.StreamResponse:
    """Modify: an instance is answered with a file; a series, study or patient is stored as a new one.

    `Replace` has values by names or paths: texts, numbers, null, lists of items for sequences; `Remove` and `Keep` have
    names or paths. Answered when it is done, or with `Asynchronous` at once with the job. Without `KeepSource` the
    source is deleted once everything is stored.
    """
    members = await read_members(request)
    if isinstance(members, web.Response):
        return members
    body = read_change(members)
    if level != "instance":
        return await stored_answer(
            request, body, body.change_request("modify", level), [request.match_info["id"]], level
        )
    wanted = body.change_request("modify", detected_level(body.replace, body.private_creator))
    return await file_answer(request, wanted)


ROUTES = change_routes("modify", modify)
