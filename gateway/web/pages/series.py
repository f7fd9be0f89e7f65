"""The page of a series: a filmstrip of its instances in the order of its slices, and one of them large.

Without scripts the pictures of the filmstrip lead to the pages of the instances; `static/series.js` shows them in the
view of `static/view.js`.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.index.slices import ordered_slices
from gateway.index.study_list import StudyConditions, list_studies
from gateway.web.context import CONTEXT
from gateway.web.inputs import whole_number
from gateway.web.pages.frame import page_answer
from gateway.web.pages.instance_pictures import THUMBNAIL
from gateway.web.pages.lineage import lineage
from gateway.web.pages.resource_forms import form_values
from gateway.web.pages.viewer_links import viewer_links
from gateway.web.pages.views import START, ViewStart, view_values
from gateway.web.route import COUNT, TEXT, Parameter, Route
from gateway.web.urls import path_template, path_to

FILM: Final = 1000
"""Instances in one filmstrip."""


async def series(request: web.Request) -> web.Response:
    """The page of a series."""
    public_id, start = request.match_info["id"], ViewStart.of(request)
    wanted, place = request.query.get("instance", ""), whole_number(request.query.get("from", "")) or 0
    line = await lineage(request, "series", public_id)
    found = line[-1].resource
    database = request.app[CONTEXT].database
    order = await ordered_slices(database, public_id, is_lenient=True)
    numbers = dict(zip(found.children, found.numbers, strict=True))
    places = {each.public_id: at for at, each in enumerate(order.slices)}
    first = max(0, min(places.get(wanted, place), len(places) - 1)) // FILM * FILM
    film = order.slices[first : first + FILM]
    studies = await list_studies(database, StudyConditions(public_id=line[-2].resource.public_id), limit=1)
    values: dict[str, Any] = {
        **view_values(
            request, line, [(each.public_id, each.frames, numbers.get(each.public_id)) for each in film], start, wanted
        ),
        **await form_values(request, "series", found),
        "archive_url": path_to(request, "series-archive", id=public_id),
        "first": first,
        "film_size": FILM,
        "instances": len(order.slices),
        "is_volume": order.is_volume,
        "line": line,
        "thumbnail_size": THUMBNAIL,
        "thumbnail_url": path_template(request, "instance-thumbnail"),
        "viewers": viewer_links(request, studies[0], found.attributes.get(0x0020000E, "")) if studies else [],
    }
    return page_answer(request, "series.html", values)


ROUTES = (
    Route(
        "GET",
        "/ui/series/{id}",
        series,
        "view",
        (
            Parameter("instance", "The instance that is shown first", TEXT),
            *START,
            Parameter("from", "Place of an instance whose part of a long filmstrip is shown", COUNT, "0"),
        ),
        answers=("text/html",),
        errors=(404,),
        name="series-page",
    ),
)
