"""POST /instances|series|studies|patients/{id}/modify, in the JSON of Orthanc, whose answers to what makes no sense are
these too.

What is modified becomes another instance, series, study or patient: the UIDs from its level on are made anew, with a
key of the request's own. `Changes` names a set of the configuration instead, which says by itself what becomes of UIDs.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from aiohttp import web

from gateway.config.edits import Changes, HashStep, RemovePrivateStep, RemoveStep, SetStep, Step
from gateway.dicom.path import AttributePath
from gateway.edit.change_set import ChangeSet
from gateway.errors import BadRequest, ConfigurationError
from gateway.index.remove import Level
from gateway.web.context import CONTEXT
from gateway.web.rest.changing import Wishes, changed, configured, needs_force, read_model, understood
from gateway.web.rest.removal import forbidden

_LEVELS: Final[tuple[Level, ...]] = ("patient", "study", "series", "instance")
_IDENTIFIERS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Of each level."""


class _Wishes(Wishes):
    remove_private_tags: bool = False


async def modify(request: web.Request, level: Level) -> web.StreamResponse:
    """The file of what an instance becomes; of anything else where it is stored, beside it."""
    model = await read_model(request)
    if isinstance(model, web.Response):
        return model
    wishes = understood(model, _Wishes)
    if not wishes.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    changes = await asyncio.to_thread(_change_set, request, wishes, level)
    return await changed(request, level, changes, keep_source=wishes.keep_source, anonymizes=changes.deidentifies)


def _change_set(request: web.Request, wishes: _Wishes, level: Level) -> ChangeSet:
    if wishes.changes:
        more = wishes.replace or wishes.remove or wishes.keep or wishes.remove_private_tags
        text = "Changes goes with none of Replace, Remove, Keep and RemovePrivateTags"
        return configured(request, wishes.changes, text if more else "")
    try:
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
            raise needs_force(name, what)
    return found
