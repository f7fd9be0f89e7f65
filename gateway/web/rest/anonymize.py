"""POST /instances|series|studies|patients/{id}/anonymize, in the JSON of Orthanc.

UIDs and pseudonyms are derived from a random key of the request, as Orthanc makes new ones each time; `Changes` names a
set of the configuration instead, whose key repeats them.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.admin.change_requests import ChangeRequest
from gateway.dicom.levels import Level
from gateway.edit.deid import table
from gateway.errors import BadRequest
from gateway.web.rest.changing import ChangeBody, change_routes, file_answer, read_change, read_members, stored_answer

_VERSIONS: Final = frozenset(("", "2008", "2017c", "2021b", "2023b", table.EDITION))
"""Editions of PS3.15 that Orthanc has profiles of; the one that is used here removes more than each of them."""


async def anonymize(request: web.Request, level: Level) -> web.StreamResponse:
    """Anonymize: an instance is answered with a file; a series, study or patient is stored as a new one.

    The profile is that of the newest edition, whatever `DicomVersion` says. `Keep`, `Remove` and `Replace` are as those
    of `modify`, and so is the answer.
    """
    members = await read_members(request)
    if isinstance(members, web.Response):
        return members
    body = read_change(members)
    wanted = anonymizing_request(body)
    if level != "instance":
        return await stored_answer(request, body, wanted, [request.match_info["id"]], level)
    return await file_answer(request, wanted)


def anonymizing_request(body: ChangeBody) -> ChangeRequest:
    """The changes that a body asks for. Raises BadRequest."""
    if body.dicom_version not in _VERSIONS:
        raise BadRequest(f"Unknown specific version of the DICOM standard: {body.dicom_version[:40]}")
    return body.change_request("anonymize", "patient")


ROUTES = change_routes("anonymize", anonymize)
