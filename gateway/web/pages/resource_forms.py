"""The forms on the pages of patients, studies, series and instances: labels, deletion, the way to sending.

They need no scripts. Deletion asks first: by a page for patients and studies, in place for series and instances.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from aiohttp import web

from gateway.access.principals import ANYBODY
from gateway.dicom.levels import COLLECTIONS, LEVELS, Level
from gateway.errors import BadRequest, UnknownResource
from gateway.index.annotations import all_labels, remove_label
from gateway.index.resources import Resource, totals
from gateway.web.authorization import PRINCIPAL
from gateway.web.context import CONTEXT
from gateway.web.inputs import read_form
from gateway.web.pages.frame import page_answer
from gateway.web.pages.lineage import lineage
from gateway.web.pages.reader import may, page_of, page_path
from gateway.web.pages.wording import reader_words
from gateway.web.rest.labels import give_label
from gateway.web.rest.removal import REMOVAL, forbidden
from gateway.web.route import Route
from gateway.web.sessions import check_form
from gateway.web.urls import path_template, path_to

_FORM: Final = ("application/x-www-form-urlencoded",)
_MAX_LABELS: Final = 200
"""Labels that are suggested."""


async def form_values(request: web.Request, level: Level, found: Resource) -> dict[str, Any]:
    """The values of the forms for a resource, of those that the reader may use."""
    send = page_path(request, "send-page") if may(request, "send", level=level) else ""
    can_label = may(request, "edit-labels", level=level) and (level != "patient" or is_of_all_studies(request))
    return {
        "all_labels": (await all_labels(request.app[CONTEXT].database))[:_MAX_LABELS] if can_label else [],
        "can_delete": may(request, "delete", level=level) and request.app[CONTEXT].settings().dicomweb.delete,
        "can_download": may(request, "download", level=level),
        "can_label": can_label,
        "delete_url": path_to(request, f"delete-{level}", id=found.public_id),
        "labels": sorted(found.labels),
        "labels_url": path_to(request, f"label-{level}", id=found.public_id),
        "page_url": path_to(request, f"{level}-page", id=found.public_id),
        "send_url": send and f"{send}?id={found.public_id}",
    }


def is_of_all_studies(request: web.Request) -> bool:
    """Whether the reader sees all studies of every patient, and so may change what is a patient's own."""
    return bool(request.get(PRINCIPAL, ANYBODY).without_conditions().roles)


async def change_label(request: web.Request, level: Level) -> web.StreamResponse:
    """Give a label to a resource (`add`), or take one from it (`remove`)."""
    form, public_id = await read_form(request), request.match_info["id"]
    check_form(request, form)
    added, removed = form.get("add", "").strip(), form.get("remove", "")
    if not added and not removed:
        raise BadRequest("no label is named")
    if added:
        await give_label(request, level, added)
    else:
        await request.app[CONTEXT].database.write(lambda: remove_label(level, public_id, removed))
    raise web.HTTPSeeOther(path_to(request, f"{level}-page", id=public_id))


async def ask_deletion(request: web.Request, level: Level) -> web.StreamResponse:
    """Ask whether a patient or study is to be deleted: what goes with it."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    public_id, t = request.match_info["id"], reader_words(request)
    line = await lineage(request, level, public_id)
    counted = await totals(request.app[CONTEXT].database, level, public_id)
    if counted is None:
        raise UnknownResource(f"there is no {level} {public_id[:64]}")
    goes = t("study.delete_what", series=counted.series, count=counted.instances, size=t.size(counted.size))
    values = {
        "act_url": path_to(request, f"delete-{level}", id=public_id),
        "button": t("study.delete"),
        "fields": {},
        "items": [goes],
        "line": line,
        "page_url": path_to(request, f"{level}-page", id=public_id),
        "title": t("study.delete_patient_question" if level == "patient" else "study.delete_question"),
    }
    return page_answer(request, "question.html", values)


async def delete(request: web.Request, level: Level) -> web.StreamResponse:
    """Delete a resource, and lead to what is left above it."""
    if not request.app[CONTEXT].settings().dicomweb.delete:
        return forbidden(request)
    check_form(request, await read_form(request))
    removed = await request.app[REMOVAL].by_public_id(level, request.match_info["id"])
    above, left = removed.ancestor or ("", "")
    url = page_of(request, f"{above}-page", left)
    raise web.HTTPSeeOther(url or path_template(request, "patients-page" if level == "patient" else "home"))


ROUTES = tuple(
    route
    for level in LEVELS
    for route in (
        Route(
            "POST",
            f"/ui/{COLLECTIONS[level]}/{{id}}/labels",
            functools.partial(change_label, level=level),
            "edit-labels",
            body=_FORM,
            leads_on=True,
            errors=(403, 404),
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
) + tuple(
    Route(
        "GET",
        f"/ui/{COLLECTIONS[level]}/{{id}}/delete",
        functools.partial(ask_deletion, level=level),
        "delete",
        answers=("text/html",),
        errors=(403, 404),
        action="view",
    )
    for level in LEVELS[:2]
)
