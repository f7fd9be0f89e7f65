"""POST /instances|series|studies|patients/{id}/anonymize, in the JSON of Orthanc.

UIDs and pseudonyms are made with a key of the request's own, as Orthanc makes them anew each time; `Changes` names a
set of the configuration instead, whose key makes the same again. What Orthanc can do and this cannot is refused by
name: an option passed over might leave in what somebody wanted out.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from aiohttp import web

from gateway.archive.anonymizing import Editor
from gateway.config.deidentify import Deidentify
from gateway.dicom.charset import TEXT_VRS
from gateway.dicom.dictionary import implicit_vr, keyword_of
from gateway.dicom.path import AttributePath
from gateway.edit.deid import table
from gateway.edit.deid.deidentify import Deidentifier
from gateway.errors import BadRequest
from gateway.index.remove import Level
from gateway.web.context import CONTEXT
from gateway.web.rest.changing import Wishes, changed, configured, needs_force, read_model, understood
from gateway.web.rest.removal import forbidden

_IDENTIFIERS: Final = {0x00100020, 0x0020000D, 0x0020000E, 0x00080018}
"""Kept or replaced only by force: objects that are not the same could be taken for it."""
_SOP_INSTANCE, _REFERENCED = 0x00080018, 0x00081155
_TEXTS: Final = TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}


class _Wishes(Wishes):
    keep_private_tags: bool = False
    dicom_version: str = table.EDITION


async def anonymize(request: web.Request, level: Level) -> web.StreamResponse:
    """The file of an instance; of anything else what became of it, which is stored beside it."""
    model = await read_model(request)
    if isinstance(model, web.Response):
        return model
    wishes = _wishes(model)
    if not wishes.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    deidentifier = await asyncio.to_thread(_deidentifier, request, wishes)
    return await changed(request, level, deidentifier, keep_source=wishes.keep_source, anonymizes=True)


def _wishes(model: dict[str, Any]) -> _Wishes:
    """BadRequest names what is not done here."""
    wishes = understood(model, _Wishes)
    if wishes.dicom_version != table.EDITION:
        raise BadRequest(f"DicomVersion: only the profile of {table.EDITION} is known here")
    return wishes


def _deidentifier(request: web.Request, wishes: _Wishes) -> Editor:
    if wishes.changes:
        more = wishes.keep or wishes.remove or wishes.replace or wishes.keep_private_tags
        text = "Changes goes with none of Keep, Remove, Replace and KeepPrivateTags"
        changes = configured(request, wishes.changes, text if more else "")
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
        raise needs_force(keyword_of(tag), what)
    return tag
