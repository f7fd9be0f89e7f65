"""/modalities/{name}/storage-commitment and /storage-commitment/{id}: asking a modality to keep instances."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.dimse.commitment import REASONS, Reference
from gateway.errors import BadRequest, NotFound
from gateway.index.locate import PAGE
from gateway.systems.calls import node_of
from gateway.systems.resources import pages, resolved
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.rest.answers import json_answer, reference
from gateway.web.rest.asked import CallBody, bad_file, public_ids, read_body
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.removal import REMOVAL, forbidden
from gateway.web.route import MODALITY, UID, Route
from gateway.web.schemas import PUBLIC_ID, any_of, list_of, members, struct
from gateway.workflow.commitment import new_transaction_uid
from gateway.workflow.commitment_requests import Requested, requested, stored_here

_WAIT_S = 1.0
"""Seconds that a report is waited for on the association of the request: most come on one of the modality's own."""
_OUT_OF_ORDER = (6, "Bad sequence of calls")


class _Body(CallBody):
    resources: Any = None
    dicom_instances: Any = None


async def ask(request: web.Request) -> web.Response:
    """Ask a modality to commit `Resources` (identifiers) or `DicomInstances` (pairs of SOP class and instance UID).

    The answer says where its report can be looked up.
    """
    commitments = request.app[CONTEXT].use_cases.commitments
    name = request.match_info["name"]
    try:
        body = await read_body(request, _Body)
        if body.resources is None and body.dicom_instances is None:
            raise BadRequest('one of these fields is mandatory: "Resources" or "DicomInstances"')
        wanted = _pairs(body.dicom_instances)
        ids = public_ids(body.resources or [])
    except BadRequest as error:
        return bad_file(request, error)
    await node_of(request.app[DIRECTORY], name)
    wanted += await _stored(request, ids)
    uid = new_transaction_uid()
    await commitments.ask(name, list(dict.fromkeys(wanted)), transaction_uid=uid, wait_s=_WAIT_S)
    return json_answer(reference("storage-commitment", uid))


async def report(request: web.Request) -> web.Response:
    """Show the answer of a modality to a request: `Status` is Pending, Success or Failure."""
    found = await _requested(request)
    return json_answer(
        {
            "Failures": [
                {**_as_json(each), "Description": REASONS.get(reason, "not committed"), "FailureReason": reason}
                for each, reason in found.failed
            ],
            "RemoteAET": found.commitment.peer_aet,
            "Status": found.status.capitalize(),
            "Success": [_as_json(each) for each in found.committed],
        }
    )


async def remove(request: web.Request) -> web.Response:
    """Delete here the instances that a modality has committed, all of them."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    found = await _requested(request)
    if found.status != "success":
        text = "instances can be removed once all of them are committed"
        return error_answer(request, 409, text, orthanc=_OUT_OF_ORDER)
    uids = [each.sop_instance_uid for each in found.committed]
    for public_id in await stored_here(request.app[CONTEXT].database, uids):
        await request.app[REMOVAL].by_public_id("instance", public_id)
    return json_answer({})


async def _requested(request: web.Request) -> Requested:
    uid = request.match_info["id"]
    found = await requested(request.app[CONTEXT].database, uid)
    if found is None:
        raise NotFound(f"No storage commitment transaction with UID: {uid[:80]}")
    return found


def _pairs(found: Any) -> list[Reference]:
    """References as Orthanc writes them: a pair, or an object with the keywords of both UIDs. Raises BadRequest."""
    try:
        pairs = [
            (each["SOPClassUID"], each["SOPInstanceUID"]) if isinstance(each, dict) else each for each in found or []
        ]
        return [Reference(*pair) for pair in msgspec.convert(pairs, list[tuple[str, str]])]
    except (KeyError, TypeError, msgspec.ValidationError):
        raise BadRequest("DicomInstances is a list of pairs: SOP Class UID, SOP Instance UID") from None


async def _stored(request: web.Request, ids: list[str]) -> list[Reference]:
    """Raises NotFound for a resource that is not there."""
    database = request.app[CONTEXT].database
    resources, _ = await resolved(database, ids)
    return [
        Reference(located.sop_class_uid, located.sop_uid)
        async for page, _ in pages(database, resources, PAGE)
        for located in page
    ]


def _as_json(each: Reference) -> dict[str, str]:
    return {"SOPClassUID": each.sop_class_uid, "SOPInstanceUID": each.sop_instance_uid}


_PAIR: Final = any_of(
    {**list_of(UID, 2), "minItems": 2}, members("SOPClassUID", "SOPInstanceUID", SOPClassUID=UID, SOPInstanceUID=UID)
)
_ASK: Final = struct(_Body, Resources=list_of(PUBLIC_ID), DicomInstances=list_of(_PAIR))
ROUTES = (
    Route("POST", f"{MODALITY}/storage-commitment", ask, "send", takes=_ASK, body=(JSON,), errors=(404,)),
    Route("GET", "/storage-commitment/{id}", report, "send", errors=(404,)),
    Route("POST", "/storage-commitment/{id}/remove", remove, "delete", errors=(403, 404, 409)),
)
