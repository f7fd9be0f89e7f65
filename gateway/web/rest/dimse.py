"""/modalities/{name}/…: what is asked of a modality: C-ECHO, C-STORE, C-MOVE and C-GET. C-FIND is `queries.py`'s."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.dimse import status
from gateway.errors import BadRequest, DataSetError, RequestFailed
from gateway.remote.modality_fields import modality_of, read_modality
from gateway.scu.echo import echo as send_echo
from gateway.scu.node import Node
from gateway.scu.node import node_of as node_of_section
from gateway.systems.calls import CallOptions, node_of
from gateway.systems.retrieve_jobs import Method, RetrieveJobs
from gateway.systems.store_jobs import StoreJobs
from gateway.systems.straight import send_straight
from gateway.web.accept import JSON
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_json
from gateway.web.receiving import receiving
from gateway.web.rest.answers import json_answer
from gateway.web.rest.asked import (
    CallBody,
    JobBody,
    StoreBody,
    ae_title,
    bad_file,
    job_answer,
    read_body,
    read_store_body,
    sent,
)
from gateway.web.rest.modalities import DIRECTORY, MODALITY_SCHEMA
from gateway.web.rest.names import level_named, tag_text
from gateway.web.rest.tags import tag_named
from gateway.web.route import MODALITY, OF_SYSTEMS, Route
from gateway.web.schemas import KEYS, LEVEL, list_of, struct

STORE_JOBS: web.AppKey[StoreJobs] = web.AppKey("store_jobs", StoreJobs)
RETRIEVE_JOBS: web.AppKey[RetrieveJobs] = web.AppKey("retrieve_jobs", RetrieveJobs)


class _StoreBody(StoreBody):
    storage_commitment: bool = False
    move_originator_aet: str = ""
    move_originator_id: int = msgspec.field(default=0, name="MoveOriginatorID")
    called_aet: str = ""
    host: str = ""
    port: int = 0


class _RetrieveBody(JobBody):
    level: Any = None
    resources: Any = None
    target_aet: str = ""


async def echo(request: web.Request) -> web.Response:
    """Ask a modality by C-ECHO whether it is there (`Timeout` in seconds). 500 where it is not."""
    body = await read_body(request, CallBody)
    return await _echoed(await node_of(request.app[DIRECTORY], request.match_info["name"], body.options()))


async def echo_any(request: web.Request) -> web.Response:
    """Ask any system by C-ECHO, given as a modality is: `{"AET", "Host", "Port"}`, or a list of the three."""
    body = await read_json(request)
    try:
        fields = read_modality(body)
    except BadRequest as error:
        return bad_file(request, error)
    return await _echoed(node_of_section(request.app[CONTEXT].settings(), "request", modality_of(fields)))


async def _echoed(node: Node) -> web.Response:
    code = await send_echo(node)
    if code != status.SUCCESS:
        raise RequestFailed(f"{node} answers C-ECHO with {status.describe(code)}", code)
    return json_answer({})


async def store(request: web.Request) -> web.Response:
    """Send resources to a modality by C-STORE: an identifier, a list of them, or an object with `Resources`.

    The answer comes once all are sent, or failed; with `"Synchronous": false` at once, with the job that does it.
    `Permissive` goes on after a failure, `StorageCommitment` asks for commitment in the end.
    """
    try:
        body, ids = await read_store_body(request, _StoreBody)
        options = body.options()
        originator = ae_title("MoveOriginatorAet", body.move_originator_aet), body.move_originator_id & 0xFFFF
        if body.called_aet or body.host or body.port:
            options = _elsewhere(body)
    except BadRequest as error:
        return bad_file(request, error)
    number = await request.app[STORE_JOBS].add(
        request.match_info["name"],
        ids,
        options,
        permissive=body.permissive,
        commitment=body.storage_commitment,
        move_originator=originator,
        priority=body.rank,
        user_data=body.user_data,
    )
    return await job_answer(request, number, waits=body.waits)


async def store_straight(request: web.Request) -> web.Response:
    """Send the DICOM file in the body to a modality by C-STORE, without storing it here."""
    node = await node_of(request.app[DIRECTORY], request.match_info["name"])
    try:
        async with receiving(request) as chunks:
            sop_class, sop_instance = await send_straight(request.app[CONTEXT].use_cases.ingest, node, chunks)
    except DataSetError as error:
        return bad_file(request, BadRequest(str(error)))
    return json_answer({"SOPClassUID": sop_class, "SOPInstanceUID": sop_instance})


async def move(request: web.Request) -> web.Response:
    """Have a modality send resources to `TargetAet` by C-MOVE; to us where none is named.

    `{"Level", "Resources": [{"StudyInstanceUID": …}], "TargetAet"}`. Synchronous unless told otherwise, as `store`.
    """
    return await _retrieve(request, "C-MOVE")


async def get(request: web.Request) -> web.Response:
    """Have a modality send resources to us by C-GET. The body is that of `move`, without a target."""
    return await _retrieve(request, "C-GET")


async def _retrieve(request: web.Request, method: Method) -> web.Response:
    try:
        body = await read_body(request, _RetrieveBody)
        if not isinstance(body.resources, list) or body.level is None:
            raise BadRequest("Must provide a JSON body containing fields Resources and Level")
        level, options = level_named(body.level), body.options()
        number = await request.app[RETRIEVE_JOBS].add(
            request.match_info["name"],
            level,
            [_values(each) for each in body.resources],
            options,
            method=method,
            target_aet=ae_title("TargetAet", body.target_aet),
            permissive=body.permissive,
            priority=body.rank,
            user_data=body.user_data,
        )
    except BadRequest as error:
        return bad_file(request, error)
    return await job_answer(request, number, waits=body.waits)


def _values(resource: Any) -> dict[str, str]:
    """The texts of a resource by tag. Raises BadRequest."""
    if not isinstance(resource, dict) or not all(isinstance(value, str) for value in resource.values()):
        raise BadRequest("each of the Resources is an object of texts by tag")
    found = {}
    for name, value in resource.items():
        tag = tag_named(name)
        found[tag_text(tag)] = value
    return found


def _elsewhere(body: _StoreBody) -> CallOptions:
    """The options with what the request says of another place than the modality's. Raises BadRequest."""
    if not 0 <= body.port <= 65535:
        raise BadRequest(f"Port: {body.port} is no TCP port")
    if len(body.host) > 255 or not body.host.isprintable():
        raise BadRequest("Host: it is no address and no name of a host")
    called = ae_title("CalledAet", body.called_aet)
    return replace(body.options(), called_aet=called, host=body.host, port=body.port)


_RETRIEVE: Final = struct(_RetrieveBody, "Level", "Resources", Level=LEVEL, Resources=list_of(KEYS))
ROUTES = (
    Route("POST", f"{MODALITY}/echo", echo, OF_SYSTEMS, takes=struct(CallBody), body=(JSON,), errors=(404,)),
    Route("POST", "/tools/dicom-echo", echo_any, OF_SYSTEMS, takes=MODALITY_SCHEMA, body=(JSON,)),
    Route("POST", f"{MODALITY}/store", store, "send", takes=sent(_StoreBody), body=(JSON, "text/plain"), errors=(404,)),
    Route(
        "POST",
        f"{MODALITY}/store-straight",
        store_straight,
        "send",
        body=("application/dicom", "application/octet-stream"),
        errors=(404, 413, 503, 507),
    ),
    Route("POST", f"{MODALITY}/move", move, "q-r-remote-modalities", takes=_RETRIEVE, body=(JSON,), errors=(404,)),
    Route("POST", f"{MODALITY}/get", get, "q-r-remote-modalities", takes=_RETRIEVE, body=(JSON,), errors=(404,)),
)
