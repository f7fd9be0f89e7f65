"""The common parts of `modify` and `anonymize`: their requests and answers in the JSON of Orthanc."""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from gateway.admin.anonymization import Anonymizing
from gateway.admin.change_requests import DEFAULT_QUALITY, ChangeRequest
from gateway.dicom.levels import COLLECTIONS, Level
from gateway.edit.masks import parse_regions
from gateway.edit.modification import Modification
from gateway.errors import BadRequest, DataSetError, EditError
from gateway.systems.modification_jobs import ModificationJobs
from gateway.web.accept import JSON
from gateway.web.auditing import named
from gateway.web.context import CONTEXT
from gateway.web.errors import CANCELLED, error_answer
from gateway.web.inputs import read_object
from gateway.web.rest.answers import json_answer, reference
from gateway.web.rest.asked import JOB_DESK, JobBody, bad_file
from gateway.web.rest.removal import forbidden
from gateway.web.route import PIXELS_MASKER, Route
from gateway.web.schemas import LEVEL, PUBLIC_ID, TAGS, list_of, members, struct
from gateway.web.security import ATTACHMENT
from gateway.web.streaming import stream

ANONYMIZING: web.AppKey[Anonymizing] = web.AppKey("anonymizing", Anonymizing)
MODIFICATION_JOBS: web.AppKey[ModificationJobs] = web.AppKey("modification_jobs", ModificationJobs)
_MAX_USER_DATA: Final = 64 << 10
"""Bytes of the JSON that a job brings back."""


class Changing(Protocol):
    """A handler for the resources of each level."""

    def __call__(self, request: web.Request, level: Level) -> Awaitable[web.StreamResponse]: ...


class ChangeBody(JobBody, forbid_unknown_fields=True, rename="pascal"):
    """The options of a request. One that is not known is refused by its name: ignoring it might leave data in the
    result that somebody wanted removed."""

    keep: list[str] = []
    remove: list[str] = []
    replace: dict[str, Any] = {}
    remove_private_tags: bool = False
    keep_private_tags: bool = False
    private_creator: str = ""
    keep_source: bool = True
    keep_labels: bool = False
    force: bool = False
    transcode: str = ""
    lossy_quality: int = DEFAULT_QUALITY
    dicom_version: str = ""
    mask_pixel_data: Any = None
    changes: str = ""
    """Name of a set of the configuration, used instead of all that says what to change."""
    level: Any = None
    resources: Any = None

    def modification(self, level: Level) -> Modification:
        return Modification(
            level,
            self.replace,
            tuple(self.remove),
            tuple(self.keep),
            self.private_creator,
            self.remove_private_tags,
            self.keep_private_tags,
            self.force,
        )

    def change_request(self, what: Any, level: Level) -> ChangeRequest:
        """The changes that a body asks for, as a modification from this level down. Raises BadRequest."""
        if self.changes and (self.replace or self.remove or self.keep or self.remove_private_tags):
            raise BadRequest("Changes goes with none of Replace, Remove, Keep and RemovePrivateTags")
        if self.changes and (self.keep_private_tags or self.mask_pixel_data is not None):
            raise BadRequest("Changes goes with no KeepPrivateTags and no MaskPixelData")
        regions = parse_regions(self.mask_pixel_data) if self.mask_pixel_data is not None else ()
        return ChangeRequest(what, self.modification(level), self.changes, self.transcode, self.lossy_quality, regions)


_REGION: Final = {"type": "object", "description": "A region of Orthanc's Pixels Masker"}
CHANGE_SCHEMA: Final = struct(
    ChangeBody,
    Replace=TAGS,
    MaskPixelData=members(Regions=list_of(_REGION)),
    Level=LEVEL,
    Resources=list_of(PUBLIC_ID),
)


async def read_members(request: web.Request) -> dict[str, Any] | web.Response:
    """The JSON object in the body; the error answer if there is none."""
    try:
        return await read_object(request)
    except BadRequest as error:
        return bad_file(request, error)


def read_change(found: dict[str, Any]) -> ChangeBody:
    """Convert a body. Raises BadRequest with the name of an option that is not known."""
    try:
        body = msgspec.convert(found, ChangeBody)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this cannot be done here: {error}") from None
    if body.user_data is not None and len(msgspec.json.encode(body.user_data)) > _MAX_USER_DATA:
        raise BadRequest(f"UserData: at most {_MAX_USER_DATA >> 10} KiB")
    return body


async def file_answer(request: web.Request, wanted: ChangeRequest) -> web.StreamResponse:
    """The changed file of an instance, which is not stored; the reason, where it cannot be changed as asked."""
    changes = await request.app[MODIFICATION_JOBS].of_instance(wanted, request.match_info["id"])
    response = web.StreamResponse(headers={"Content-Type": "application/dicom", **ATTACHMENT})
    try:
        return await stream(request, response, request.app[ANONYMIZING].file(request.match_info["id"], changes))
    except (EditError, DataSetError) as error:
        return error_answer(request, 400, str(error))


async def stored_answer(
    request: web.Request, body: ChangeBody, wanted: ChangeRequest, public_ids: list[str], level: Level | None
) -> web.StreamResponse:
    """Have resources changed and stored by a job, and answer as Orthanc: with the job, or with what came of it."""
    if not body.keep_source and not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    number = await add_change(request, body, wanted, public_ids, level)
    if not body.waits:
        return json_answer(reference("jobs", number))
    job = await request.app[JOB_DESK].ended(number)
    progress = job.progress
    if job.state == "done" and progress is not None:
        return json_answer(progress.content)
    if job.state == "cancelled":
        return error_answer(request, 500, f"job {number} was cancelled", orthanc=CANCELLED)
    return error_answer(request, 400 if progress is not None and progress.error_payload else 500, job.error)


async def add_change(
    request: web.Request, body: ChangeBody, wanted: ChangeRequest, public_ids: list[str], level: Level | None
) -> int:
    """Add a job that changes resources and stores the result; its number. Raises as `ModificationJobs.order`."""
    await named(request, public_ids, level or "")
    jobs = request.app[MODIFICATION_JOBS]
    order = await jobs.order(
        wanted,
        public_ids,
        level,
        keep_source=body.keep_source,
        keep_labels=body.keep_labels,
        permissive=body.permissive,
        peer=request.remote or "",
        user_data=body.user_data,
    )
    return await jobs.add(order, body.rank)


def change_routes(name: str, handler: Changing) -> tuple[Route, ...]:
    """The routes of a handler for each level; below those of Orthanc's Pixels Masker, which masks pixels, too."""
    return tuple(
        Route(
            "POST",
            f"{prefix}/{kind}/{{id}}/{name}",
            functools.partial(handler, level=level),
            name,
            body=(JSON,),
            takes=CHANGE_SCHEMA,
            answers=("application/dicom",) if level == "instance" else (JSON,),
            errors=(403, 404, 409, 507),
            name=None if prefix else f"{level}-{name}",
        )
        for prefix in ("", PIXELS_MASKER)
        for level, kind in COLLECTIONS.items()
        if not prefix or level != "patient"
    )
