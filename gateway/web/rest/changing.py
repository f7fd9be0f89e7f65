"""What `modify` and `anonymize` share: requests in the JSON of Orthanc, and its answers to them."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from gateway.archive.anonymizing import Anonymizing, Editor
from gateway.edit.change_set import ChangeSet
from gateway.errors import BadRequest, ConfigurationError, EditError
from gateway.index.remove import Level
from gateway.index.store import Origin
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, place
from gateway.web.rest.removal import REMOVAL

ANONYMIZING: web.AppKey[Anonymizing] = web.AppKey("anonymizing", Anonymizing)
_BAD_FILE: Final = (15, "Bad file format")
_IGNORED: Final = {"Synchronous", "Priority", "Permissive", "PrivateCreator"}


class Wishes(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    keep: list[str] = []
    remove: list[str] = []
    replace: dict[str, str] = {}
    keep_source: bool = True
    force: bool = False
    asynchronous: bool = False
    changes: str = ""
    """A set of the configuration, which says all of it."""


W = TypeVar("W", bound=Wishes)


async def read_model(request: web.Request) -> dict[str, Any] | web.Response:
    """The object in the body, or the answer where there is none."""
    try:
        model = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        return error_answer(request, 400, f"the body is not JSON: {error}", orthanc=_BAD_FILE)
    if not isinstance(model, dict):
        return error_answer(request, 400, "the body is not a JSON object", orthanc=_BAD_FILE)
    return model


def understood(model: dict[str, Any], kind: type[W]) -> W:
    """BadRequest names what is not done here."""
    try:
        wishes = msgspec.convert({name: value for name, value in model.items() if name not in _IGNORED}, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this cannot be done here: {error}") from None
    if wishes.asynchronous:
        raise BadRequest("Asynchronous cannot be done here: the answer comes when it is done")
    return wishes


def configured(request: web.Request, name: str, conflict: str) -> ChangeSet:
    """A set of the configuration. Blocks. BadRequest where there is none, or its files cannot be used; and of the
    `conflict`, where the request says what does not go with one."""
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
    """The file of what an instance becomes. A series, study or patient is taken in as what it becomes; without
    `keep_source` the original goes if all of it passed.

    The answer is Orthanc's.
    """
    context, public_id = request.app[CONTEXT], request.match_info["id"]
    if level == "instance":
        return await _file(request, public_id, editor)
    origin = Origin("", context.settings().dicom.aet, request.remote or "", time.time(), "rest")
    done = await request.app[ANONYMIZING].store(level, public_id, editor, origin)
    if done.taken is None:
        return error_answer(request, 400, f"none of the {done.count} instances may pass: {done.failed[0]}")
    if not keep_source and not done.failed:
        await request.app[REMOVAL].by_public_id(level, public_id)
    parents, kind = done.taken.record.parents, level.capitalize()
    ids = {
        "patient": parents.patient_public_id,
        "study": parents.study_public_id,
        "series": parents.series_public_id,
    }
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
    async with aclosing(request.app[ANONYMIZING].file(public_id, editor)) as pieces:
        try:
            first = await anext(pieces)
        except EditError as error:
            return error_answer(request, 400, str(error))
        response = web.StreamResponse(headers={"Content-Type": "application/dicom"})
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response
