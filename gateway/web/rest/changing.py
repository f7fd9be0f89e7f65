"""The common parts of `modify` and `anonymize`: their requests and answers in the JSON of Orthanc."""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from gateway.admin.anonymization import Anonymizing, Editor
from gateway.dicom.levels import Level
from gateway.edit.change_set import ChangeSet
from gateway.errors import BadRequest, ConfigurationError, EditError
from gateway.index.store import Origin
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.inputs import read_json
from gateway.web.rest.answers import json_answer, place
from gateway.web.rest.removal import REMOVAL
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

ANONYMIZING: web.AppKey[Anonymizing] = web.AppKey("anonymizing", Anonymizing)
_BAD_FILE: Final = (15, "Bad file format")
_IGNORED: Final = {"Synchronous", "Priority", "Permissive", "PrivateCreator"}


class ModifyRequest(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    keep: list[str] = []
    remove: list[str] = []
    replace: dict[str, str] = {}
    keep_source: bool = True
    force: bool = False
    asynchronous: bool = False
    changes: str = ""
    """Name of a set of the configuration, used instead of all the other options."""


W = TypeVar("W", bound=ModifyRequest)


async def read_model(request: web.Request) -> dict[str, Any] | web.Response:
    """The JSON object in the body; the error answer if there is none."""
    try:
        model = await read_json(request)
    except BadRequest as error:
        return error_answer(request, 400, str(error), orthanc=_BAD_FILE)
    if not isinstance(model, dict):
        return error_answer(request, 400, "the body is not a JSON object", orthanc=_BAD_FILE)
    return model


def understood(model: dict[str, Any], kind: type[W]) -> W:
    """Convert the body of a request. Raises BadRequest, which names an option that is not supported."""
    try:
        body = msgspec.convert({name: value for name, value in model.items() if name not in _IGNORED}, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this cannot be done here: {error}") from None
    if body.asynchronous:
        raise BadRequest("Asynchronous cannot be done here: the answer comes when it is done")
    return body


def configured(request: web.Request, name: str, conflict: str) -> ChangeSet:
    """Build a change set of the configuration. Blocking.

    Raises BadRequest when there is none of this name, when its files cannot be used, and with the text `conflict`, if
    there is one, for options that exclude a change set."""
    known = request.app[CONTEXT].settings().changes
    if name not in known:
        raise BadRequest(f"there is no [changes.{name}] in the configuration")
    if conflict:
        raise BadRequest(conflict)
    try:
        return ChangeSet.build(name, known[name])
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None


def needs_force(keyword: str, what: str) -> BadRequest:
    return BadRequest(f'Marking tag "{keyword}" as to be {what} requires the "Force" option to be set to true')


async def changed(
    request: web.Request, level: Level, editor: Editor, *, keep_source: bool, anonymizes: bool
) -> web.StreamResponse:
    """Answer with the changed file of an instance; store a changed series, study or patient, and answer like Orthanc.

    Without `keep_source`, the original is deleted if every instance was changed.
    """
    context, public_id = request.app[CONTEXT], request.match_info["id"]
    if level == "instance":
        return await _file(request, public_id, editor)
    origin = Origin("", context.settings().dicom.aet, request.remote or "", time.time(), "rest")
    done = await request.app[ANONYMIZING].store(
        level, public_id, editor, origin, "AnonymizedFrom" if anonymizes else "ModifiedFrom"
    )
    if done.taken is None:
        return error_answer(request, 400, f"none of the {done.count} instances may pass: {done.failed[0]}")
    parents, kind = done.taken.record.parents, level.capitalize()
    ids = {
        "patient": parents.patient_public_id,
        "study": parents.study_public_id,
        "series": parents.series_public_id,
    }
    if not keep_source and not done.failed and ids[level] != public_id:  # with UIDs kept, the copies are in it too
        await request.app[REMOVAL].by_public_id(level, public_id)
    return json_answer(
        {
            "Description": "REST API",
            "FailedInstancesCount": len(done.failed),
            "ID": ids[level],
            "InstancesCount": done.count,
            "IsAnonymization": anonymizes,
            "Path": place(kind, ids[level]),
            "PatientID": parents.patient_public_id,
            "Type": kind,
        }
    )


async def _file(request: web.Request, public_id: str, editor: Editor) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/dicom", **ATTACHMENT})
    try:
        return await stream(request, response, request.app[ANONYMIZING].file(public_id, editor))
    except EditError as error:
        return error_answer(request, 400, str(error))
