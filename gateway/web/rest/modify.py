"""POST /instances|series|studies|patients/{id}/modify, in the JSON of Orthanc, whose answers to what makes no sense are
these too.

What is modified becomes another instance, series, study or patient: the UIDs from its level on are made anew, with a
key of the request's own. `Changes` names a set of the configuration instead, which says by itself what becomes of UIDs.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.config.edits import Changes, HashStep, RemovePrivateStep, RemoveStep, SetStep, Step
from gateway.dicom.path import AttributePath
from gateway.edit.change_set import ChangeSet
from gateway.errors import BadRequest, ConfigurationError
from gateway.index.remove import Level
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.anonymize import ANONYMIZING, file, stored

_BAD_FILE: Final = (15, "Bad file format")
_LEVELS: Final[tuple[Level, ...]] = ("patient", "study", "series", "instance")
_IDENTIFIERS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Of each level."""
_IGNORED: Final = {"Synchronous", "Priority", "Permissive", "PrivateCreator"}


class _Wishes(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    replace: dict[str, str] = {}
    remove: list[str] = []
    keep: list[str] = []
    remove_private_tags: bool = False
    force: bool = False
    keep_source: bool = True
    asynchronous: bool = False
    changes: str = ""


async def modify(request: web.Request, level: Level) -> web.StreamResponse:
    """The file of what an instance becomes; of anything else where it is stored, beside it."""
    try:
        model = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        return error_answer(request, 400, f"the body is not JSON: {error}", orthanc=_BAD_FILE)
    if not isinstance(model, dict):
        return error_answer(request, 400, "the body is not a JSON object", orthanc=_BAD_FILE)
    wishes = _wishes(model)
    if not wishes.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return error_answer(request, 403, "deleting is not allowed here; dicomweb.delete = true would allow it")
    changes = await asyncio.to_thread(_change_set, request, wishes, level)
    if level == "instance":
        return await file(request, request.app[ANONYMIZING], request.match_info["id"], changes)
    return await stored(request, level, changes, keep_source=wishes.keep_source, anonymizes=changes.deidentifies)


def _wishes(model: dict[str, Any]) -> _Wishes:
    """BadRequest names what is not done here."""
    try:
        wishes = msgspec.convert({name: value for name, value in model.items() if name not in _IGNORED}, _Wishes)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this cannot be done here: {error}") from None
    if wishes.asynchronous:
        raise BadRequest("Asynchronous cannot be done here: the answer comes when it is done")
    return wishes


def _change_set(request: web.Request, wishes: _Wishes, level: Level) -> ChangeSet:
    try:
        if wishes.changes:
            known = request.app[CONTEXT].settings().changes
            if wishes.changes not in known:
                raise BadRequest(f"there is no [changes.{wishes.changes}] in the configuration")
            if wishes.replace or wishes.remove or wishes.keep or wishes.remove_private_tags:
                raise BadRequest("Changes goes with none of Replace, Remove, Keep and RemovePrivateTags")
            return ChangeSet.build(wishes.changes, known[wishes.changes])
        return ChangeSet.build("request", Changes(steps=_steps(wishes, level), key=os.urandom(32).hex()))
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None


def _steps(wishes: _Wishes, level: Level) -> tuple[Step, ...]:
    """UIDs first, so that a value of the request is not made into another."""
    keep = _named(wishes.keep, wishes.force, "kept")
    remove = _named(wishes.remove, wishes.force, "removed")
    replace = dict(zip(_named(wishes.replace, wishes.force, "replaced"), wishes.replace.values(), strict=True))
    depth = _LEVELS.index(level)
    if level == "patient" and "PatientID" not in replace:
        raise BadRequest("When modifying a patient, her PatientID is required to be modified")
    for name in _IDENTIFIERS[:depth]:
        if name in replace:
            article = "an" if level == "instance" else "a"
            raise BadRequest(f"When modifying {article} {level}, the parent {name} cannot be manually modified")
    steps: list[Step] = [
        HashStep(attribute=name) for name in _IDENTIFIERS[max(depth, 1) :] if name not in replace and name not in keep
    ]
    if depth < 2 and "SOPInstanceUID" not in replace and "SOPInstanceUID" not in keep:
        steps.append(HashStep(attribute="*.ReferencedSOPInstanceUID"))
    if wishes.remove_private_tags:
        steps.append(RemovePrivateStep())
    steps += [RemoveStep(attribute=name) for name in remove if name not in keep]
    steps += [SetStep(attribute=name, value=value) for name, value in replace.items()]
    return tuple(steps)


def _named(names: list[str] | dict[str, str], force: bool, what: str) -> list[str]:
    """The attributes, each written in one way."""
    found = [str(AttributePath.parse(name)) for name in names]
    for name in found:
        if name in _IDENTIFIERS and not force:
            raise BadRequest(f'Marking tag "{name}" as to be {what} requires the "Force" option to be set to true')
    return found
