"""Archives and media: /{patients|studies|series}/{id}/{archive|media}, /tools/create-…, and what jobs have made."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.slots import FairSlots, NoSlot, client_of
from gateway.database.view import VIEW
from gateway.dicom.levels import COLLECTIONS
from gateway.dicom.uids import TRANSFER_SYNTAXES
from gateway.errors import BadRequest
from gateway.index.visibility import shows_no_more
from gateway.jobs.table import get_job
from gateway.retrieve.archive import ArchiveContent, Archives
from gateway.retrieve.zip_stream import ZIP
from gateway.storage.outputs import Output
from gateway.systems.archive_jobs import ArchiveJobs, ArchiveOrder
from gateway.web.accept import JSON
from gateway.web.auditing import named
from gateway.web.conditional import entity_tag, sent_span, validators
from gateway.web.context import CONTEXT, USER
from gateway.web.dicomweb.resources import RETRIEVAL
from gateway.web.errors import Busy, error_answer
from gateway.web.inputs import read_json, whole_number
from gateway.web.rest.answers import flag, json_answer, reference
from gateway.web.rest.asked import JobBody, bad_file, converted
from gateway.web.rest.own_jobs import check_acts_on
from gateway.web.route import FLAG, OF_JOBS, TEXT, UID, Parameter, Route, at_least
from gateway.web.schemas import PUBLIC_ID, any_of, list_of, struct
from gateway.web.security import attachment_named
from gateway.web.streaming import stream

ARCHIVES: web.AppKey[Archives] = web.AppKey("archives", Archives)
ARCHIVE_JOBS: web.AppKey[ArchiveJobs] = web.AppKey("archive_jobs", ArchiveJobs)
ARCHIVE_SLOTS: web.AppKey[FairSlots] = web.AppKey("archive_slots", FairSlots)
MAX_AT_ONCE: Final = 32
"""Archives that are sent at once; a client has half of them at most."""
MAX_RESOURCES: Final = 20_000
"""Resources in one request."""
_PATIENCE_S: Final = 30.0
"""Seconds that a request waits for others to end."""
_OUT_OF_RANGE: Final = (3, "Parameter out of range")
_INEXISTENT: Final = (7, "Accessing an inexistent item")


class OutOfRange(BadRequest):
    """A value is none of those that are possible."""


class ArchiveBody(JobBody):
    """Members of a body that say what archive is wanted."""

    resources: Any = None
    extended: bool = False
    transcode: str = ""
    lossy_quality: int | None = None
    filename: str = ""


def archive_slots() -> FairSlots:
    """Build the slots for archives that are being sent."""
    return FairSlots(MAX_AT_ONCE, each=MAX_AT_ONCE // 2)


async def of_resource(request: web.Request, media: bool) -> web.StreamResponse:
    """Send all files below a resource in a zip, made while it is sent.

    An archive has them in folders of patients, studies and series. A medium has a DICOMDIR beside them (PS3.10 §8),
    whose records have more than they must have with `extended`.
    """
    try:
        syntax = _syntax(request.query.get("transcode", ""))
        quality = asked_quality(request)
        content = ArchiveContent((), media, media and flag(request, "extended"), syntax, quality)
    except OutOfRange as error:
        return error_answer(request, 400, str(error), orthanc=_OUT_OF_RANGE)
    identifier = request.match_info["id"]
    name = request.query.get("filename", "")
    order = await request.app[ARCHIVE_JOBS].order([identifier], content, name)
    return await _send(request, order, f"{identifier}.zip")


async def made_of_resource(request: web.Request, media: bool) -> web.StreamResponse:
    """Make a zip of all files below a resource, as GET does; with `Asynchronous`, by a job that writes it down."""
    try:
        body = await _body(request)
    except BadRequest as error:
        return bad_file(request, error)
    members = body if isinstance(body, dict) else {}
    identifier = request.match_info["id"]
    return await _made(request, {**members, "Resources": [identifier]}, media, f"{identifier}.zip")


async def listed(request: web.Request) -> web.StreamResponse:
    """Send all files below the resources that `resources` lists, with commas between them, in a zip."""
    names = request.query.get("resources", "")
    if not names:
        return error_answer(request, 400, "resources: identifiers with commas between them", orthanc=_OUT_OF_RANGE)
    members: dict[str, Any] = {"Resources": names.split(","), "Transcode": request.query.get("transcode", "")}
    members["Filename"] = request.query.get("filename", "")
    try:
        members["LossyQuality"] = asked_quality(request)
    except OutOfRange as error:
        return error_answer(request, 400, str(error), orthanc=_OUT_OF_RANGE)
    return await _made(request, members, False, "Archive.zip")


async def made(request: web.Request, media: bool, extended: bool = False) -> web.StreamResponse:
    """Make a zip of resources: a list of identifiers, or an object with `Resources`.

    `Asynchronous` has a job write it to the disk, to be fetched from `/jobs/{id}/archive`; `Filename` is what it is
    called, `Transcode` the transfer syntax of the files that can have it, with loss where `LossyQuality` says how much;
    `Priority` and `UserData` are of the job.
    """
    try:
        body = await _body(request)
    except BadRequest as error:
        return bad_file(request, error)
    members = body if isinstance(body, dict) else {"Resources": body}
    if "Resources" not in members:
        return bad_file(request, BadRequest("Missing field Resources in the JSON body"))
    if extended:
        members = {**members, "Extended": True}
    return await _made(request, members, media, "Archive.zip")


async def _body(request: web.Request) -> dict[str, Any] | list[Any]:
    """The JSON in the body. Raises BadRequest for what is neither an object nor a list."""
    body = await read_json(request)
    if not isinstance(body, dict | list):
        raise BadRequest("Expected a list of resources to archive in the body")
    return body


async def _made(request: web.Request, members: dict[str, Any], media: bool, name: str) -> web.StreamResponse:
    try:
        body = converted(members, ArchiveBody)
        found = body.resources
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise BadRequest("Expected a list of strings (Orthanc identifiers)")
        if len(found) > MAX_RESOURCES:
            raise BadRequest(f"{len(found)} resources; at most {MAX_RESOURCES} are taken in one request")
        quality = None if body.lossy_quality is None else _checked_quality(body.lossy_quality)
        content = ArchiveContent((), media, body.extended, _syntax(body.transcode), quality)
    except OutOfRange as error:
        return error_answer(request, 400, str(error), orthanc=_OUT_OF_RANGE)
    except BadRequest as error:
        return bad_file(request, error)
    jobs = request.app[ARCHIVE_JOBS]
    await named(request, found)
    order = await jobs.order(found, content, body.filename)
    if body.waits:
        return await _send(request, order, name)
    number = await jobs.add(msgspec.structs.replace(order, user_data=body.user_data), priority=body.rank)
    return json_answer(reference("jobs", number))


async def _send(request: web.Request, order: ArchiveOrder, name: str) -> web.StreamResponse:
    """Send an archive while it is made, once fewer than MAX_AT_ONCE are on their way."""
    async with _slot(request):
        response = web.StreamResponse(headers=_headers(order.filename, name))
        return await stream(request, response, request.app[ARCHIVES].chunks(order.content))


def _headers(name: str, otherwise: str) -> dict[str, str]:
    return {"Content-Type": ZIP, "Content-Disposition": attachment_named(name, otherwise)}


@asynccontextmanager
async def _slot(request: web.Request) -> AsyncIterator[None]:
    user = request.get(USER)
    client = client_of(request.remote or "") if user is None else f"user {user}"
    slot = request.app[ARCHIVE_SLOTS].slot(client)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await slot.__aenter__()
    except (TimeoutError, NoSlot):
        raise Busy("too many archives are being sent; try again, or have a job make it (Asynchronous)") from None
    try:
        yield
    finally:
        await slot.__aexit__(None, None, None)


async def output(request: web.Request) -> web.StreamResponse:
    """Send what a job has made: the archive of a job that makes one, whole or a part of it."""
    found = await _output(request)
    if found is None:
        return _no_output(request)
    name, made = found
    tag = entity_tag("output", made)
    response = web.StreamResponse(headers={**_headers(name, "archive.zip"), **validators(tag)})
    start, stop = sent_span(request, response, made.size, tag)
    pieces = request.app[ARCHIVE_JOBS].read(made, start, stop)
    return await stream(request, response, request.app[RETRIEVAL].stepwise(pieces, stop - start))


async def remove_output(request: web.Request) -> web.StreamResponse:
    """Delete what a job has made, and leave the job."""
    number = whole_number(request.match_info["id"])
    if request.match_info["key"] != "archive" or number is None:
        return _no_output(request)
    job = await get_job(request.app[CONTEXT].database, number)
    if job is None:
        return _no_output(request)
    check_acts_on(request, job)
    removed = await request.app[ARCHIVE_JOBS].remove_output(number)
    return json_answer({}) if removed else _no_output(request)


async def _output(request: web.Request) -> tuple[str, Output] | None:
    number = whole_number(request.match_info["id"])
    if request.match_info["key"] != "archive" or number is None:
        return None
    found = await request.app[ARCHIVE_JOBS].output(number)
    if found is None:
        return None
    job, made = found
    if not shows_no_more(job.seen, VIEW.get()):  # Of its requester, who saw more then: before roles changed, say.
        return None
    return job.payload.get("filename", ""), made


def _no_output(request: web.Request) -> web.Response:
    details = f"Job has no such output: {request.match_info['key'][:80]}"
    return error_answer(request, 404, details, orthanc=_INEXISTENT)


def _syntax(uid: str) -> str:
    """The transfer syntax that a request names; '' for none. Raises OutOfRange."""
    if uid and uid not in TRANSFER_SYNTAXES:
        raise OutOfRange(f"Unknown transfer syntax: {uid[:80]}")
    return uid


def asked_quality(request: web.Request) -> int | None:
    """The quality with which pixels may be compressed with loss; None where they may not. Raises OutOfRange."""
    text = request.query.get("lossy-quality")
    return None if text is None else _checked_quality(whole_number(text))


def _checked_quality(quality: int | None) -> int:
    if quality is None or not 1 <= quality <= 100:
        raise OutOfRange("LossyQuality: 1 to 100")
    return quality


LOSSY_QUALITY: Final = Parameter(
    "lossy-quality", "Quality with which pixels may be compressed with loss", at_least(1, 100), "90"
)
_FILENAME: Final = Parameter("filename", "What the archive is called when it is saved", TEXT, "ct.zip")
_QUERY: Final = (
    _FILENAME,
    Parameter("transcode", "Transfer syntax of the files that can have it", UID, "1.2.840.10008.1.2.1"),
    LOSSY_QUALITY,
)
_EXTENDED: Final = Parameter("extended", "More in the records of the DICOMDIR", FLAG)
_ERRORS: Final = (404, 503)
_RESOURCES: Final = list_of(PUBLIC_ID, MAX_RESOURCES)
_OF_RESOURCE: Final = any_of(struct(ArchiveBody, Resources=_RESOURCES), list_of(TEXT))
_MADE: Final = any_of(struct(ArchiveBody, "Resources", Resources=_RESOURCES), _RESOURCES)

ROUTES = (
    *(
        route
        for kind in list(COLLECTIONS.values())[:3]
        for name, media in (("archive", False), ("media", True))
        for route in (
            Route(
                "GET",
                f"/{kind}/{{id}}/{name}",
                functools.partial(of_resource, media=media),
                "download",
                (*_QUERY, _EXTENDED) if media else _QUERY,
                answers=(ZIP,),
                errors=_ERRORS,
                name=f"{kind}-{name}",
            ),
            Route(
                "POST",
                f"/{kind}/{{id}}/{name}",
                functools.partial(made_of_resource, media=media),
                "download",
                body=(JSON,),
                takes=_OF_RESOURCE,
                answers=(ZIP, JSON),
                errors=_ERRORS,
            ),
        )
    ),
    Route(
        "GET",
        "/tools/create-archive",
        listed,
        "download",
        (Parameter("resources", "Identifiers with commas between them", TEXT, required=True), *_QUERY),
        answers=(ZIP,),
        errors=_ERRORS,
        name="create-archive",
    ),
    *(
        Route(
            "POST",
            f"/tools/{name}",
            handler,
            "download",
            takes=_MADE,
            body=(JSON,),
            answers=(ZIP, JSON),
            errors=_ERRORS,
        )
        for name, handler in (
            ("create-archive", functools.partial(made, media=False)),
            ("create-media", functools.partial(made, media=True)),
            ("create-media-extended", functools.partial(made, media=True, extended=True)),
        )
    ),
    Route("GET", "/jobs/{id}/{key}", output, "download", answers=(ZIP,), errors=(404, 416), name="job-output"),
    Route("DELETE", "/jobs/{id}/{key}", remove_output, OF_JOBS, errors=(403, 404)),
)
