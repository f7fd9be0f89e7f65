"""DELETE, over DICOMweb and as in Orthanc, if `dicomweb.delete` allows it; `admin/deletion.py` deletes.

PS3.18 has no such transaction; under `/dicom-web` it works as in dcm4che and Google's API.
"""

from __future__ import annotations

import functools

from aiohttp import web

from gateway.admin.deletion import Removal
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, place
from gateway.web.route import INSTANCE, SERIES, STUDY, Route

REMOVAL: web.AppKey[Removal] = web.AppKey("removal", Removal)


async def dicomweb(request: web.Request) -> web.Response:
    """Delete a study, series or instance. The answer is 409 for committed instances, or if several patients match."""
    settings = request.app[CONTEXT].settings().dicomweb
    if not settings.delete:
        return forbidden(request)
    names = request.match_info
    uids = [names[level] for level in LEVELS[1:] if level in names]
    await request.app[REMOVAL].by_uid(uids, names.get("patient", ""))
    return web.Response(status=settings.delete_status)


async def orthanc(request: web.Request, level: Level) -> web.Response:
    """Delete a patient, study, series or instance. The answer names the lowest remaining resource above it."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    removed = await request.app[REMOVAL].by_public_id(level, request.match_info["id"])
    if removed.ancestor is None:
        return json_answer({"RemainingAncestor": None})
    above, public_id = removed.ancestor
    kind = above.capitalize()
    return json_answer({"RemainingAncestor": {"ID": public_id, "Path": place(kind, public_id), "Type": kind}})


def forbidden(request: web.Request) -> web.Response:
    """The answer if `dicomweb.delete` does not allow deleting."""
    return error_answer(request, 403, "deleting is not allowed here; dicomweb.delete = true would allow it")


DICOMWEB_ROUTES = tuple(
    Route("DELETE", path, dicomweb, "delete", answers=(), errors=(403, 404, 409)) for path in (STUDY, SERIES, INSTANCE)
)
ROUTES = tuple(
    Route(
        "DELETE",
        f"/{kind}/{{id}}",
        functools.partial(orthanc, level=level),
        "delete",
        errors=(403, 404, 409),
        name=f"{level}-resource",
    )
    for level, kind in COLLECTIONS.items()
)
