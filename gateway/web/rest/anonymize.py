"""POST /instances|series|studies|patients/{id}/anonymize, in the JSON of Orthanc.

UIDs and pseudonyms are made with a key of the request's own, as Orthanc makes them anew each time; `Changes` names a
set of the configuration instead, whose key makes the same again. What Orthanc can do and this cannot is refused by
name: an option passed over might leave in what somebody wanted out.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.archive.anonymizing import Anonymizing, Editor
from gateway.config.deidentify import Deidentify
from gateway.dicom.charset import TEXT_VRS
from gateway.dicom.dictionary import implicit_vr, keyword_of
from gateway.dicom.path import AttributePath
from gateway.edit.change_set import ChangeSet
from gateway.edit.deid import table
from gateway.edit.deid.deidentify import Deidentifier
from gateway.errors import BadRequest, ConfigurationError, EditError
from gateway.index.remove import Level
from gateway.index.store import Origin
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, place
from gateway.web.rest.removal import REMOVAL

ANONYMIZING: web.AppKey[Anonymizing] = web.AppKey("anonymizing", Anonymizing)
_BAD_FILE: Final = (15, "Bad file format")
_IDENTIFIERS: Final = {0x00100020, 0x0020000D, 0x0020000E, 0x00080018}
"""Kept or replaced only by force: objects that are not the same could be taken for it."""
_SOP_INSTANCE, _REFERENCED = 0x00080018, 0x00081155
_TEXTS: Final = TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_IGNORED: Final = {"Synchronous", "Priority", "Permissive", "PrivateCreator"}


class _Wishes(msgspec.Struct, forbid_unknown_fields=True, rename="pascal"):
    keep: list[str] = []
    remove: list[str] = []
    replace: dict[str, str] = {}
    keep_private_tags: bool = False
    keep_source: bool = True
    force: bool = False
    asynchronous: bool = False
    dicom_version: str = table.EDITION
    changes: str = ""


async def anonymize(request: web.Request, level: Level) -> web.StreamResponse:
    """The file of an instance; of anything else what became of it, which is stored beside it."""
    body = await request.read()
    try:
        model = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return error_answer(request, 400, f"the body is not JSON: {error}", orthanc=_BAD_FILE)
    if not isinstance(model, dict):
        return error_answer(request, 400, "the body is not a JSON object", orthanc=_BAD_FILE)
    wishes = _wishes(model)
    context = request.app[CONTEXT]
    if not wishes.keep_source and not context.settings().dicomweb.delete:
        return error_answer(request, 403, "deleting is not allowed here; dicomweb.delete = true would allow it")
    deidentifier = await asyncio.to_thread(_deidentifier, request, wishes)
    public_id = request.match_info["id"]
    anonymizing = request.app[ANONYMIZING]
    if level == "instance":
        return await file(request, anonymizing, public_id, deidentifier)
    return await stored(request, level, deidentifier, keep_source=wishes.keep_source, anonymizes=True)


async def stored(
    request: web.Request, level: Level, editor: Editor, *, keep_source: bool, anonymizes: bool
) -> web.Response:
    """Take in what becomes of a series, study or patient; without `keep_source` the original goes if all of it passed.

    The answer is Orthanc's.
    """
    context, public_id = request.app[CONTEXT], request.match_info["id"]
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


async def file(
    request: web.Request, anonymizing: Anonymizing, public_id: str, deidentifier: Editor
) -> web.StreamResponse:
    async with aclosing(anonymizing.file(public_id, deidentifier)) as pieces:
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


def _wishes(model: dict[str, Any]) -> _Wishes:
    """BadRequest names what is not done here."""
    model = {name: value for name, value in model.items() if name not in _IGNORED}
    model["Asynchronous"] = model.get("Asynchronous", False)
    try:
        wishes = msgspec.convert(model, _Wishes)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this cannot be done here: {error}") from None
    if wishes.asynchronous:
        raise BadRequest("Asynchronous cannot be done here: the answer comes when it is done")
    if wishes.dicom_version != table.EDITION:
        raise BadRequest(f"DicomVersion: only the profile of {table.EDITION} is known here")
    return wishes


def _deidentifier(request: web.Request, wishes: _Wishes) -> Editor:
    if wishes.changes:
        known = request.app[CONTEXT].settings().changes
        if wishes.changes not in known:
            raise BadRequest(f"there is no [changes.{wishes.changes}] in the configuration")
        if wishes.keep or wishes.remove or wishes.replace or wishes.keep_private_tags:
            raise BadRequest("Changes goes with none of Keep, Remove, Replace and KeepPrivateTags")
        try:
            changes = ChangeSet.build(wishes.changes, known[wishes.changes])
        except ConfigurationError as error:
            raise BadRequest(str(error)) from None
        if not changes.deidentifies:
            raise BadRequest(
                f"[changes.{wishes.changes}] does not de-identify; add [changes.{wishes.changes}.deidentify]"
            )
        return changes
    keep = {_tag(name, wishes.force, "kept") for name in wishes.keep}
    if _SOP_INSTANCE in keep:
        keep.add(_REFERENCED)
    replaced = {}
    for name, value in wishes.replace.items():
        tag = _tag(name, wishes.force, "replaced")
        if implicit_vr(tag) not in _TEXTS:
            raise BadRequest(f"Replace: {name} has no value that is text")
        replaced[tag] = value
    made = Deidentifier.build(Deidentify(), os.urandom(32), "the request")
    return made.adapted(
        keep=keep,
        remove={_tag(name, True, "removed") for name in wishes.remove},
        replaced=replaced,
        keep_private=wishes.keep_private_tags,
    )


def _tag(name: str, force: bool, what: str) -> int:
    """BadRequest where it is no attribute of the data set itself."""
    steps = AttributePath.parse(name).steps
    if len(steps) > 1 or steps[0].creator or steps[0].tag >> 16 & 1:
        raise BadRequest(f"{name}: only attributes of the standard are {what} here, and by their name alone")
    tag = steps[0].tag
    if tag in _IDENTIFIERS and not force:
        raise BadRequest(
            f'Marking tag "{keyword_of(tag)}" as to be {what} requires the "Force" option to be set to true'
        )
    return tag
