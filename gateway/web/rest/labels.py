"""Labels of patients, studies, series and instances, and the protection of patients, as Orthanc has them."""

from __future__ import annotations

import functools
from typing import Final

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, Level
from gateway.errors import BadRequest
from gateway.index import annotations as index
from gateway.web.context import CONTEXT
from gateway.web.receiving import small_body
from gateway.web.rest.answers import json_answer, unknown
from gateway.web.route import Route
from gateway.web.sessions import Forbidden

_TEXT: Final = ("text/plain",)


async def labels(request: web.Request, level: Level) -> web.StreamResponse:
    """The labels of a resource."""
    database, public_id = request.app[CONTEXT].database, request.match_info["id"]
    await index.check_exists(database, level, public_id)
    return json_answer(await index.labels(database, level, public_id))


async def has_label(request: web.Request, level: Level) -> web.StreamResponse:
    """Whether a resource has a label: 404 where it has not."""
    found = await index.labels(request.app[CONTEXT].database, level, request.match_info["id"])
    return web.Response(text="") if request.match_info["label"] in found else unknown(request)


async def put_label(request: web.Request, level: Level) -> web.StreamResponse:
    """Label a resource, with one of the labels that may be given: any, unless `PUT /auth/settings/roles` lists some."""
    await give_label(request, level, request.match_info["label"])
    return web.Response(text="")


async def give_label(request: web.Request, level: Level, label: str) -> None:
    """Label the resource of the path. Raises: BadRequest for what is no label, Forbidden for one that may not be
    given, UnknownResource."""
    public_id = request.match_info["id"]
    if index.LABEL_TEXT.fullmatch(label) is None:
        raise BadRequest(
            f"{label[:80]!r} is no label: letters and digits of ASCII, hyphens and underscores, at most 64"
        )
    available, database = request.app[CONTEXT].use_cases.access_changes.labels, request.app[CONTEXT].database
    if available and label not in available and label not in await index.labels(database, level, public_id):
        raise Forbidden(f"{label!r} is not among the available labels: {', '.join(sorted(available))}"[:500])
    await database.write(lambda: index.add_label(level, public_id, label))


async def delete_label(request: web.Request, level: Level) -> web.StreamResponse:
    """Take a label from a resource, if it has it."""
    public_id, label = request.match_info["id"], request.match_info["label"]
    await request.app[CONTEXT].database.write(lambda: index.remove_label(level, public_id, label))
    return web.Response(text="")


async def all_labels(request: web.Request) -> web.StreamResponse:
    """All labels that some resource has."""
    return json_answer(await index.all_labels(request.app[CONTEXT].database))


async def is_protected(request: web.Request) -> web.StreamResponse:
    """Whether a patient is protected: 1 or 0."""
    database, public_id = request.app[CONTEXT].database, request.match_info["id"]
    await index.check_exists(database, "patient", public_id)
    return web.Response(text="1" if await index.is_protected(database, public_id) else "0")


async def protect(request: web.Request) -> web.StreamResponse:
    """Protect a patient (1) or no longer (0): what makes room by itself leaves protected patients alone."""
    public_id, text = request.match_info["id"], (await small_body(request)).decode("utf-8", "replace").strip()
    if text not in ("0", "1"):
        raise BadRequest("Boolean value expected: 0 or 1")
    await request.app[CONTEXT].database.write(lambda: index.protect(public_id, text == "1"))
    return web.Response(text="")


ROUTES = (
    *(
        route
        for level, kind in COLLECTIONS.items()
        for route in (
            Route("GET", f"/{kind}/{{id}}/labels", functools.partial(labels, level=level), "view", errors=(404,)),
            Route(
                "GET",
                f"/{kind}/{{id}}/labels/{{label}}",
                functools.partial(has_label, level=level),
                "view",
                answers=(),
                errors=(404,),
            ),
            Route(
                "PUT",
                f"/{kind}/{{id}}/labels/{{label}}",
                functools.partial(put_label, level=level),
                "edit-labels",
                answers=(),
                errors=(404,),
                name=f"{level}-label",
            ),
            Route(
                "DELETE",
                f"/{kind}/{{id}}/labels/{{label}}",
                functools.partial(delete_label, level=level),
                "edit-labels",
                answers=(),
                errors=(404,),
            ),
        )
    ),
    Route("GET", "/tools/labels", all_labels, "view"),
    Route("GET", "/patients/{id}/protected", is_protected, "view", answers=_TEXT, errors=(404,)),
    Route(
        "PUT",
        "/patients/{id}/protected",
        protect,
        "edit-labels",
        body=_TEXT,
        answers=(),
        errors=(404,),
        name="protected",
    ),
)
