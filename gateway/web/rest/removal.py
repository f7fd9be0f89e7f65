"""DELETE, over DICOMweb and as Orthanc has it, where `dicomweb.delete` allows it. The rest is `archive/remove.py`'s.

PS3.18 has no such transaction; under `/dicom-web` it is as dcm4che and Google have it.
"""

from __future__ import annotations

from aiohttp import web

from gateway.archive.remove import Removal
from gateway.index.remove import Level
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, place

REMOVAL: web.AppKey[Removal] = web.AppKey("removal", Removal)


async def dicomweb(request: web.Request) -> web.Response:
    """Delete a study, series or instance. 409 where storage commitment has promised to keep it."""
    settings = request.app[CONTEXT].settings().dicomweb
    if not settings.delete:
        return forbidden(request)
    names = request.match_info
    await request.app[REMOVAL].by_uid([names[level] for level in ("study", "series", "instance") if level in names])
    return web.Response(status=settings.delete_status)


async def orthanc(request: web.Request, level: Level) -> web.Response:
    """Delete a patient, study, series or instance. The answer names what is left above it."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    removed = await request.app[REMOVAL].by_public_id(level, request.match_info["id"])
    if removed.ancestor is None:
        return json_answer({"RemainingAncestor": None})
    above, public_id = removed.ancestor
    kind = above.capitalize()
    return json_answer({"RemainingAncestor": {"ID": public_id, "Path": place(kind, public_id), "Type": kind}})


def forbidden(request: web.Request) -> web.Response:
    """The answer where `dicomweb.delete` does not allow it."""
    return error_answer(request, 403, "deleting is not allowed here; dicomweb.delete = true would allow it")
