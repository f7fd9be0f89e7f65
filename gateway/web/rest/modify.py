"""POST /instances|series|studies|patients/{id}/modify, in the JSON of Orthanc, with its answers to invalid requests.

The result is a new instance, series, study or patient: the UIDs from its level down are derived from a random key of
the request. `Changes` names a set of the configuration instead, which decides about UIDs itself.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Final

from aiohttp import web

from gateway.config.edits import Changes, HashStep, RemovePrivateStep, RemoveStep, SetStep, Step
from gateway.dicom.levels import LEVELS, Level
from gateway.dicom.path import AttributePath
from gateway.edit.change_set import ChangeSet
from gateway.errors import BadRequest, ConfigurationError
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import COLLECTIONS
from gateway.web.rest.changing import ModifyRequest, changed, configured, needs_force, read_model, understood
from gateway.web.rest.removal import forbidden
from gateway.web.route import Route

_IDENTIFIERS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""The identifier of each level, from the top."""


class _ModifyRequest(ModifyRequest):
    remove_private_tags: bool = False


async def modify(request: web.Request, level: Level) -> web.StreamResponse:
    """Modify: an instance is answered with a file; a series, study or patient is stored as a new one."""
    model = await read_model(request)
    if isinstance(model, web.Response):
        return model
    body = understood(model, _ModifyRequest)
    if not body.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    changes = await asyncio.to_thread(_change_set, request, body, level)
    return await changed(request, level, changes, keep_source=body.keep_source, anonymizes=changes.deidentifies)


def _change_set(request: web.Request, body: _ModifyRequest, level: Level) -> ChangeSet:
    if body.changes:
        more = body.replace or body.remove or body.keep or body.remove_private_tags
        text = "Changes goes with none of Replace, Remove, Keep and RemovePrivateTags"
        return configured(request, body.changes, text if more else "")
    try:
        return ChangeSet.build("request", Changes(steps=_steps(body, level), key=os.urandom(32).hex()))
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None


def _steps(body: _ModifyRequest, level: Level) -> tuple[Step, ...]:
    """The steps of a change set; UIDs are replaced first, so that values of the request are not changed."""
    keep = _named(body.keep, body.force, "kept")
    remove = _named(body.remove, body.force, "removed")
    replace = dict(zip(_named(body.replace, body.force, "replaced"), body.replace.values(), strict=True))
    depth = LEVELS.index(level)
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
    if body.remove_private_tags:
        steps.append(RemovePrivateStep())
    steps += [RemoveStep(attribute=name) for name in remove if name not in keep]
    steps += [SetStep(attribute=name, value=value) for name, value in replace.items()]
    return tuple(steps)


def _named(names: list[str] | dict[str, str], force: bool, what: str) -> list[str]:
    """The canonical names of the attributes. Raises BadRequest for an identifier without `force`."""
    found = [str(AttributePath.parse(name)) for name in names]
    for name in found:
        if name in _IDENTIFIERS and not force:
            raise needs_force(name, what)
    return found


ROUTES = tuple(
    Route(
        "POST",
        f"/{kind}/{{id}}/modify",
        functools.partial(modify, level=level),
        body=(JSON,),
        answers=("application/dicom",) if level == "instance" else (JSON,),
        errors=(403, 404, 409, 507),
    )
    for level, kind in COLLECTIONS.items()
)
