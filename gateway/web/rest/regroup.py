"""POST /studies/{id}/split and /studies/{id}/merge, in the JSON of Orthanc; jobs do it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.dicom.dictionary import keyword_of
from gateway.errors import BadRequest
from gateway.systems.regrouping_jobs import CHANGEABLE, MAX_RESOURCES, RegroupingJobs, RegroupingOptions
from gateway.web.accept import JSON
from gateway.web.auditing import named
from gateway.web.context import CONTEXT
from gateway.web.errors import error_answer
from gateway.web.inputs import read_object
from gateway.web.rest.asked import JobBody, bad_file, converted, job_answer
from gateway.web.rest.names import tag_text
from gateway.web.rest.removal import forbidden
from gateway.web.rest.tags import ToBeWritten, from_tags, tag_named
from gateway.web.route import Route
from gateway.web.schemas import PUBLIC_ID, list_of, struct

REGROUPING: web.AppKey[RegroupingJobs] = web.AppKey("regrouping", RegroupingJobs)
_OUT_OF_RANGE: Final = (3, "Parameter out of range")


class _NotOfStudy(BadRequest):
    """An attribute is not one of a patient or study."""


class RegroupBody(JobBody):
    """Members of a body that say how instances move into another study."""

    keep_source: bool = False
    keep_labels: bool = False


class _SplitBody(RegroupBody):
    series: list[str] = []
    instances: list[str] = []
    replace: dict[str, str] = {}
    remove: list[str] = []


class _MergeBody(RegroupBody):
    resources: list[str] | None = None


async def split(request: web.Request) -> web.StreamResponse:
    """Make a new study of `Series` and `Instances` of a study, which leave it unless `KeepSource` says otherwise.

    `Replace` and `Remove` change attributes of the patient and the study in the new one. Series and instances have new
    UIDs; references among them follow. The sources are deleted once everything is stored.
    """
    try:
        body = converted(await read_object(request), _SplitBody)
        wanted = [*body.series, *body.instances]
        if len(wanted) > MAX_RESOURCES:
            raise BadRequest(f"{len(wanted)} resources; at most {MAX_RESOURCES} are taken in one request")
    except BadRequest as error:
        return bad_file(request, error)
    if not wanted:
        return error_answer(request, 400, 'Both the "Series" and the "Instances" fields are missing')
    if not _may_delete(request, body):
        return forbidden(request)
    try:
        removed = [_changeable(name) for name in body.remove]
        attributes = new_attributes(body.replace)
    except _NotOfStudy as error:
        return error_answer(request, 400, str(error), orthanc=_OUT_OF_RANGE)
    number = await request.app[REGROUPING].split(
        request.match_info["id"], body.series, body.instances, attributes, removed, _options(request, body)
    )
    return await job_answer(request, number, waits=body.waits)


async def merge(request: web.Request) -> web.StreamResponse:
    """Move `Resources` (studies, series, instances) into a study, whose patient and study they take over.

    Series and instances have new UIDs; references among them follow. The sources are deleted once everything is stored,
    unless `KeepSource` says otherwise.
    """
    try:
        body = converted(await read_object(request), _MergeBody)
        if body.resources is None:
            raise BadRequest("List of strings expected in field: Resources")
        if len(body.resources) > MAX_RESOURCES:
            raise BadRequest(f"{len(body.resources)} resources; at most {MAX_RESOURCES} are taken in one request")
    except BadRequest as error:
        return bad_file(request, error)
    if not _may_delete(request, body):
        return forbidden(request)
    await named(request, [request.match_info["id"], *body.resources])
    number = await request.app[REGROUPING].merge(request.match_info["id"], body.resources, _options(request, body))
    return await job_answer(request, number, waits=body.waits)


def _may_delete(request: web.Request, body: RegroupBody) -> bool:
    return body.keep_source or request.app[CONTEXT].settings().dicomweb.delete


def _options(request: web.Request, body: RegroupBody) -> RegroupingOptions:
    return RegroupingOptions(body.keep_source, body.keep_labels, request.remote or "", body.rank, body.user_data)


def _changeable(name: str) -> int:
    """The tag of an attribute that a new study may have of its own. Raises BadRequest, _NotOfStudy."""
    tag = tag_named(name)
    if tag not in CHANGEABLE:
        raise _NotOfStudy(
            "Cannot modify the following tag while splitting a study (not in the patient/study modules): "
            f"{keyword_of(tag)} ({tag_text(tag)})"
        )
    return tag


def new_attributes(replace: dict[str, str]) -> dict[str, Any]:
    """New values in the DICOM JSON Model. Raises BadRequest, _NotOfStudy."""
    for name in replace:
        _changeable(name)
    found = from_tags(replace, written=ToBeWritten())
    return {f"{tag:08X}": {"vr": vr, "Value": list(values)} for tag, (vr, values) in found.items()}


_MERGE: Final = struct(_MergeBody, "Resources", Resources=list_of(PUBLIC_ID, MAX_RESOURCES))
ROUTES = (
    *(
        Route(
            "POST",
            f"/studies/{{id}}/{name}",
            handler,
            "modify",
            takes=takes,
            body=(JSON,),
            errors=(403, 404, 409),
            name=f"study-{name}",
        )
        for name, handler, takes in (("split", split, struct(_SplitBody)), ("merge", merge, _MERGE))
    ),
)
