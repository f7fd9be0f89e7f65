"""The forms on the pages of series and instances: labels, deletion, and the way to sending. They need no scripts."""

from __future__ import annotations

import functools
from typing import Any, Final

from aiohttp import web

from gateway.dicom.levels import COLLECTIONS, Level
from gateway.errors import BadRequest
from gateway.index.annotations import LABEL_TEXT, add_label, remove_label
from gateway.index.resources import Resource
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form
from gateway.web.pages.reader import may, page_of, page_path
from gateway.web.rest.removal import REMOVAL, forbidden
from gateway.web.route import Route
from gateway.web.sessions import check_form
from gateway.web.urls import path_template, path_to

_LEVELS: Final[tuple[Level, ...]] = ("series", "instance")
_FORM: Final = ("application/x-www-form-urlencoded",)


def form_values(request: web.Request, level: Level, found: Resource) -> dict[str, Any]:
    """The values of the forms for a resource, of those that the reader may use."""
    send = page_path(request, "send-page") if may(request, "send", level=level) else ""
    return {
        "can_delete": may(request, "delete", level=level) and request.app[CONTEXT].settings().dicomweb.delete,
        "can_download": may(request, "download", level=level),
        "can_label": may(request, "edit-labels", level=level),
        "delete_url": path_to(request, f"delete-{level}", id=found.public_id),
        "labels": sorted(found.labels),
        "labels_url": path_to(request, f"label-{level}", id=found.public_id),
        "page_url": path_to(request, f"{level}-page", id=found.public_id),
        "send_url": send and f"{send}?id={found.public_id}",
    }


async def change_label(request: web.Request, level: Level) -> web.StreamResponse:
    """Give a label to a resource (`add`), or take one from it (`remove`)."""
    form, public_id = await read_form(request), request.match_info["id"]
    check_form(request, form)
    added, removed = form.get("add", "").strip(), form.get("remove", "")
    if added and LABEL_TEXT.fullmatch(added) is None:
        raise BadRequest(f"{added[:80]!r} is no label: at most 64 of A-Z, a-z, 0-9, hyphens and underscores")
    if not added and not removed:
        raise BadRequest("no label is named")
    change = functools.partial(add_label, level, public_id, added)
    if not added:
        change = functools.partial(remove_label, level, public_id, removed)
    await request.app[CONTEXT].database.write(change)
    raise web.HTTPSeeOther(path_to(request, f"{level}-page", id=public_id))


async def delete(request: web.Request, level: Level) -> web.StreamResponse:
    """Delete a resource, and lead to what is left above it."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    check_form(request, await read_form(request))
    removed = await request.app[REMOVAL].by_public_id(level, request.match_info["id"])
    above, left = removed.ancestor or ("", "")
    url = page_of(request, f"{above}-page", left)
    raise web.HTTPSeeOther(url or path_template(request, "home"))


ROUTES = tuple(
    route
    for level in _LEVELS
    for route in (
        Route(
            "POST",
            f"/ui/{COLLECTIONS[level]}/{{id}}/labels",
            functools.partial(change_label, level=level),
            "edit-labels",
            body=_FORM,
            leads_on=True,
            errors=(404,),
            name=f"label-{level}",
        ),
        Route(
            "POST",
            f"/ui/{COLLECTIONS[level]}/{{id}}/delete",
            functools.partial(delete, level=level),
            "delete",
            body=_FORM,
            leads_on=True,
            errors=(403, 404, 409),
            name=f"delete-{level}",
        ),
    )
)
