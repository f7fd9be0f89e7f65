"""POST /instances|series|studies|patients/{id}/anonymize, in the JSON of Orthanc.

UIDs and pseudonyms are derived from a random key of the request, as Orthanc makes new ones each time; `Changes` names a
set of the configuration instead, whose key repeats them. An option of Orthanc that is not supported is refused by name:
ignoring it might leave data in the result that the user wanted removed.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any, Final

from aiohttp import web

from gateway.admin.anonymization import Editor
from gateway.config.deidentify import Deidentify
from gateway.dicom.charset import TEXT_VRS
from gateway.dicom.dictionary import implicit_vr, keyword_of
from gateway.dicom.levels import Level
from gateway.dicom.path import AttributePath
from gateway.dicom.validity import fault_of
from gateway.edit.deid import table
from gateway.edit.deid.deidentify import Deidentifier
from gateway.errors import BadRequest
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.rest.answers import COLLECTIONS
from gateway.web.rest.changing import ModifyRequest, changed, configured, needs_force, read_model, understood
from gateway.web.rest.removal import forbidden
from gateway.web.route import Route

_IDENTIFIERS: Final = {0x00100020, 0x0020000D, 0x0020000E, 0x00080018}
"""Attributes kept or replaced only with `Force`: otherwise a different object could be mistaken for the original."""
_SOP_INSTANCE, _REFERENCED = 0x00080018, 0x00081155
_TEXTS: Final = TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}


class _AnonymizeRequest(ModifyRequest):
    keep_private_tags: bool = False
    dicom_version: str = table.EDITION


async def anonymize(request: web.Request, level: Level) -> web.StreamResponse:
    """Anonymize: an instance is answered with a file; a series, study or patient is stored as a new one."""
    model = await read_model(request)
    if isinstance(model, web.Response):
        return model
    body = _anonymize_request(model)
    if not body.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    deidentifier = await asyncio.to_thread(_deidentifier, request, body)
    return await changed(request, level, deidentifier, keep_source=body.keep_source, anonymizes=True)


def _anonymize_request(model: dict[str, Any]) -> _AnonymizeRequest:
    """Convert the body of a request. Raises BadRequest, which names an option that is not supported."""
    body = understood(model, _AnonymizeRequest)
    if body.dicom_version != table.EDITION:
        raise BadRequest(f"DicomVersion: only the profile of {table.EDITION} is known here")
    return body


def _deidentifier(request: web.Request, body: _AnonymizeRequest) -> Editor:
    if body.changes:
        more = body.keep or body.remove or body.replace or body.keep_private_tags
        text = "Changes goes with none of Keep, Remove, Replace and KeepPrivateTags"
        changes = configured(request, body.changes, text if more else "")
        if not changes.deidentifies:
            raise BadRequest(f"[changes.{body.changes}] does not de-identify; add [changes.{body.changes}.deidentify]")
        return changes
    keep = {_tag(name, body.force, "kept") for name in body.keep}
    if _SOP_INSTANCE in keep:
        keep.add(_REFERENCED)
    replaced = {}
    for name, value in body.replace.items():
        tag = _tag(name, body.force, "replaced")
        if implicit_vr(tag) not in _TEXTS:
            raise BadRequest(f"Replace: {name} has no value that is text")
        if fault := fault_of(implicit_vr(tag), value):
            raise BadRequest(f"Replace: {name}: {fault}")
        replaced[tag] = value
    made = Deidentifier.build(Deidentify(), os.urandom(32), "the request")
    return made.adapted(
        keep=keep,
        remove={_tag(name, True, "removed") for name in body.remove},
        replaced=replaced,
        keep_private=body.keep_private_tags,
    )


def _tag(name: str, force: bool, what: str) -> int:
    """The tag of an attribute at the top level of the data set. Raises BadRequest for any other attribute."""
    steps = AttributePath.parse(name).steps
    if len(steps) > 1 or steps[0].creator or steps[0].tag >> 16 & 1:
        raise BadRequest(f"{name}: only attributes of the standard are {what} here, and by their name alone")
    tag = steps[0].tag
    if tag in _IDENTIFIERS and not force:
        raise needs_force(keyword_of(tag), what)
    return tag


ROUTES = tuple(
    Route(
        "POST",
        f"/{kind}/{{id}}/anonymize",
        functools.partial(anonymize, level=level),
        body=(JSON,),
        answers=("application/dicom",) if level == "instance" else (JSON,),
        errors=(403, 404, 409, 507),
    )
    for level, kind in COLLECTIONS.items()
)
